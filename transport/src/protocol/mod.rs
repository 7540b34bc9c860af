//! The protocol check: what a vat says is held against `rpc.capnp`.
//!
//! A [`Judge`] sees the messages of one vat where the vat itself knows them: what it sends when
//! it puts it into its queue, what it receives when the message is handed to it. So the judge
//! knows exactly what the vat knew, and a message that crosses another needs no special rule.
//! Bytes on the wire would be the wrong place: a message that lies in the queue may be written
//! after something was received that its sender did not know of.
//!
//! From these messages it rebuilds the four tables and checks each message that is sent against
//! the [`Rule`]s. What is received is checked, too: once the peer has broken a rule, anything may
//! be sent, and the judge is silent from then on. That is how a vat can be judged whose peer lies.
//!
//! What only the end shows — a question that is never returned or finished, an import that is
//! never released — is judged where an owner says that nothing is left to do:
//! [`nothing_left`](crate::nothing_left).
//!
//! # What it costs
//!
//! 187,500 instructions a session of `scenarios/benches/overhead.rs`, 10.6 % of what it takes
//! unchecked (1,775,838 to 1,963,349; callgrind, release, capnp-rpc 0.27.3): most of it is to
//! read each message twice more, where it is sent and where it is received. The decision
//! `vat.*.protocol` switches it off.

mod decode;
mod rule;
mod tables;
mod watch;
mod words;

use std::collections::BTreeSet;

use capnp::any_pointer;

use decode::{Said, decode};
use tables::{Half, Question, apply};

pub use rule::Rule;
pub(crate) use watch::{QUESTIONS, Watch};
pub(crate) use words::words;

/// A rule that was broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offence {
    /// Which.
    pub rule: Rule,
    /// By a message of this kind: `call`.
    pub kind: &'static str,
    /// What else tells this breach from others of the rule: the reason given for an abort,
    /// every number as `#`.
    pub reason: Option<String>,
    /// By what.
    pub detail: String,
}

impl Offence {
    fn new(rule: Rule, kind: &'static str, detail: String) -> Self {
        Self {
            rule,
            kind,
            reason: None,
            detail,
        }
    }
}

/// The tables of one vat, rebuilt from its messages, and what they say of each.
#[derive(Default)]
pub struct Judge {
    ours: Half,
    theirs: Half,
    /// Somebody has broken a rule: the tables are worth nothing any more.
    silent: bool,
    /// The vat has sent an abort or shut down.
    ended: bool,
    /// There is a reason to abort that no message shows.
    may_abort: bool,
    /// The rules broken that leave the tables as they are: told once each.
    slips: BTreeSet<Rule>,
}

impl Judge {
    /// The vat puts a message into its queue.
    ///
    /// # Errors
    /// The first rule that it breaks, unless the peer has broken one before.
    pub fn sent(&mut self, root: any_pointer::Reader<'_>) -> Result<(), Offence> {
        if self.silent || self.ended {
            return Ok(());
        }
        self.offence(root, |judge, said| {
            if let Said::Abort { disconnected, .. } = said {
                judge.ended = true;
                if !disconnected && !judge.may_abort {
                    return Err(Rule::NeedlessAbort);
                }
            }
            apply(&mut judge.ours, &mut judge.theirs, said, true)?;
            match judge.ours.slip.take() {
                Some(rule) if judge.slips.insert(rule) => Err(rule),
                _ => Ok(()),
            }
        })
    }

    /// A message is handed to the vat.
    ///
    /// # Errors
    /// The first rule that the peer breaks with it. Nothing is judged any more then.
    pub fn received(&mut self, root: any_pointer::Reader<'_>) -> Result<(), Offence> {
        if self.silent {
            return Ok(());
        }
        self.offence(root, |judge, said| {
            judge.may_abort |= matches!(said, Said::Abort { .. });
            apply(&mut judge.theirs, &mut judge.ours, said, false)
        })
    }

    /// Reading has failed, or come to its end: a reason to abort.
    pub fn cannot_receive(&mut self) {
        self.may_abort = true;
    }

    /// The vat shuts its connection down.
    pub fn shut_down(&mut self) {
        self.ended = true;
    }

    /// Whether the vat has sent an abort or shut down: what it queues now is not to be written.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The peer is known to break rules, seen or not: nothing is judged any more.
    pub fn be_silent(&mut self) {
        self.silent = true;
    }

    /// Whether somebody has broken a rule: nothing is judged any more.
    pub fn is_silent(&self) -> bool {
        self.silent
    }

    /// What the vat has left undone, if it has nothing more to do: nobody holds a capability of
    /// the connection, waits for a call or serves one, nothing is on its way.
    pub fn left_undone(&self) -> Vec<Offence> {
        self.left(&self.ours, &self.theirs)
    }

    /// The same of its peer.
    pub fn left_undone_by_peer(&self) -> Vec<Offence> {
        self.left(&self.theirs, &self.ours)
    }

    fn left(&self, ours: &Half, theirs: &Half) -> Vec<Offence> {
        if self.silent || self.ended || self.may_abort {
            return Vec::new();
        }
        let ids = |half: &Half, which: &dyn Fn(&Question) -> bool| -> Vec<u32> {
            let questions = half.questions.iter();
            let which = questions.filter(|(_, question)| which(question));
            which.map(|(id, _)| *id).collect()
        };
        let left = [
            (Rule::NeverCanceled, ids(theirs, &|it| it.is_canceled())),
            (Rule::NeverReturned, ids(theirs, &|it| it.is_waiting())),
            (Rule::NeverFinished, ids(ours, &|it| it.is_unfinished())),
            (
                Rule::NeverEchoed,
                theirs.embargoes.iter().copied().collect(),
            ),
            (
                Rule::NeverReleased,
                theirs.exports.keys().copied().collect(),
            ),
        ];
        let left = left.into_iter().filter(|(_, ids)| !ids.is_empty());
        let offence = |(rule, ids)| Offence::new(rule, "tables", format!("ids {ids:?}"));
        left.map(offence).collect()
    }

    fn offence(
        &mut self,
        root: any_pointer::Reader<'_>,
        judge: impl FnOnce(&mut Self, &Said) -> Result<(), Rule>,
    ) -> Result<(), Offence> {
        let offence = match decode(root) {
            Ok(said) => judge(self, &said).map_err(|rule| Offence {
                reason: match &said {
                    Said::Abort { reason, .. } => Some(without_numbers(reason)),
                    _ => None,
                },
                ..Offence::new(rule, said.word(), format!("{said:?}"))
            }),
            Err(error) => {
                let detail = error.to_string();
                Err(Offence::new(Rule::Malformed, "message", detail))
            }
        };
        let offended = offence.as_ref().err();
        self.silent |= offended.is_some_and(|offence| !self.slips.contains(&offence.rule));
        offence
    }
}

fn without_numbers(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars() {
        match c.is_ascii_digit() {
            false => plain.push(c),
            true if plain.ends_with('#') => {}
            true => plain.push('#'),
        }
    }
    plain
}
