//! A judge at work: beside one vat, with its breaches in the run's report. Its memory is not the
//! run's.

use std::cell::RefCell;
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

    /// A message is handed to the vat.
    pub(crate) fn received(&self, root: capnp::Result<any_pointer::Reader<'_>>) {
        let pause = uncounted();
        let mut judge = self.judge.borrow_mut();
        // The breach is the peer's, and is reported where the peer is judged.
        match root {
            Ok(root) => drop(judge.received(root)),
            Err(_) => judge.cannot_receive(),
        }
        drop(judge);
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

    /// What the vat has left undone.
    pub(crate) fn left_undone(&self) -> Vec<Offence> {
        self.judge.borrow().left_undone()
    }

    /// Puts it into the report.
    pub(crate) fn breach(&self, offence: Offence) {
        let rule = offence.rule;
        let text = match &offence.reason {
            Some(reason) => format!("{}: {reason}", rule.text()),
            None => rule.text().to_owned(),
        };
        let detail = format!("{}; rpc.capnp: \"{}\"", offence.detail, rule.source());
        let subject = Name::new(self.vat, offence.kind);
        self.sim.breach("protocol", text, subject, detail);
    }
}
