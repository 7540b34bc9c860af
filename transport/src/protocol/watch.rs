//! A judge at work: beside one vat, with its breaches in the run's report. Its memory is not the
//! run's.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use capnp::any_pointer;
use dismantle_sim::heap::uncounted;
use dismantle_sim::{Name, Question, Sim, share};

use super::{Judge, Offence, Rule};

/// The check's decision; the star is the vat.
pub static QUESTIONS: [Question; 1] = [
    // The check costs a tenth of a session's instructions: half of the seeds do without.
    Question::word(
        "vat.*.protocol",
        &["checked", "unchecked"],
        &[share(1, 0, 1)],
    )
    .about("whether its messages are held against rpc.capnp"),
];

/// The judge of one vat.
pub(crate) struct Watch {
    sim: Sim,
    vat: &'static str,
    /// What the peer is, if it is judged here as well.
    peer: Cell<Option<&'static str>>,
    judge: RefCell<Judge>,
}

impl Watch {
    /// Unless the plan says that the vat is not checked.
    pub(crate) fn new(sim: &Sim, vat: &'static str) -> Option<Rc<Self>> {
        let checked = sim.ask(&QUESTIONS[0], &[vat.into()]) == 0;
        checked.then(|| {
            Rc::new(Self {
                sim: sim.clone(),
                vat,
                peer: Cell::new(None),
                judge: RefCell::default(),
            })
        })
    }

    /// The vat queues a message; whether it is one too many, that must not be written.
    pub(crate) fn sent(&self, root: capnp::Result<any_pointer::Reader<'_>>) -> bool {
        let mut judge = self.judge.borrow_mut();
        if judge.has_ended() {
            return true;
        }
        let pause = uncounted();
        if let Err(offence) = root.map_or_else(|_| Ok(()), |root| judge.sent(root)) {
            self.breach(offence);
        }
        drop(pause);
        false
    }

    /// The peer is judged here as well: it is no vat of ours, but `library`'s.
    pub(crate) fn judge_peer(&self, library: &'static str) {
        self.peer.set(Some(library));
    }

    /// A message is handed to the vat.
    pub(crate) fn received(&self, root: capnp::Result<any_pointer::Reader<'_>>) {
        let pause = uncounted();
        let mut judge = self.judge.borrow_mut();
        let judged = match root {
            Ok(root) => judge.received(root),
            Err(_) => {
                judge.cannot_receive();
                Ok(())
            }
        };
        drop(judge);
        // A breach is the peer's, and is reported where the peer is judged.
        if let (Some(library), Err(offence)) = (self.peer.get(), judged) {
            self.breach_of(Some(library), offence);
        }
        drop(pause);
    }

    /// Nothing more can be received.
    pub(crate) fn cannot_receive(&self) {
        self.judge.borrow_mut().cannot_receive();
    }

    /// The peer is about to break a rule.
    pub(crate) fn be_silent(&self) {
        self.judge.borrow_mut().be_silent();
    }

    /// The vat shuts its connection down.
    pub(crate) fn shut_down(&self) {
        self.judge.borrow_mut().shut_down();
    }

    /// A message was written that was queued after the end.
    pub(crate) fn written_after_end(&self) {
        if self.judge.borrow().is_silent() {
            return;
        }
        let detail = "it was written".to_owned();
        self.breach(Offence::new(Rule::AfterEnd, "message", detail));
    }

    /// What the vat has left undone, and its peer, if that is judged here: with whose it is.
    pub(crate) fn left_undone(&self) -> Vec<(Option<&'static str>, Offence)> {
        let judge = self.judge.borrow();
        let ours = judge
            .left_undone()
            .into_iter()
            .map(|offence| (None, offence));
        let peer = self.peer.get().into_iter();
        let theirs = peer.flat_map(|library| {
            let left = judge.left_undone_by_peer().into_iter();
            left.map(move |offence| (Some(library), offence))
        });
        ours.chain(theirs).collect()
    }

    /// Puts it into the report.
    pub(crate) fn breach(&self, offence: Offence) {
        self.breach_of(None, offence);
    }

    /// The same, of the vat or of its peer, which is this library's.
    pub(crate) fn breach_of(&self, library: Option<&'static str>, offence: Offence) {
        let rule = offence.rule;
        let mut text = match &offence.reason {
            Some(reason) => format!("{}: {reason}", rule.text()),
            None => rule.text().to_owned(),
        };
        if let Some(library) = library {
            text.insert_str(0, &format!("{library}: "));
        }
        let detail = format!("{}; rpc.capnp: \"{}\"", offence.detail, rule.source());
        let subject = Name::new(library.unwrap_or(self.vat), offence.kind);
        self.sim.breach("protocol", text, subject, detail);
    }
}
