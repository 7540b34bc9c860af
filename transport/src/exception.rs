//! Server exceptions: what a server may do to a call, around any implementation of it.
//!
//! The server is not asked for help: it is wrapped, and each of its calls asks the plan what
//! becomes of it. An injected panic unwinds like a real one and is data in the trace, not a
//! finding; what upstream makes of it may be one.

use std::cell::Cell;
use std::future::pending;

use capnp::capability::{FromServer, Promise};
use capnp::{Error, ErrorKind};
use dismantle_sim::{EventKind, Name, Question, Sim, inject_panic, share};

use crate::compat::{self, Interpose, interposed};

const WHATS: [&str; 8] = [
    "answers",
    "failed",
    "overloaded",
    "disconnected",
    "unimplemented",
    "never",
    "late",
    "panics",
];

/// The decisions of every injected server: its name, then which of its calls, from 0.
pub static QUESTIONS: [Question; 3] = [
    Question::word(
        "server.*.call.*.what",
        &WHATS,
        &[
            share(12, 0, 0),
            share(6, 1, 4),
            share(2, 5, 5),
            share(3, 6, 6),
        ],
    )
    .about("what becomes of the call"),
    Question::word(
        "server.*.call.*.when",
        &["before", "after"],
        &[share(1, 0, 1)],
    )
    .about("whether that is before or after the server's own work"),
    Question::count(
        "server.*.call.*.late_us",
        (1, 60_000_000),
        1000,
        &[share(1, 1, 10_000)],
    )
    .about("how much later a late call answers, in virtual time"),
];

const INJECTED: EventKind = EventKind::new("server-behaves");

/// What a server does to one call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Behaviour {
    /// Its own work, undisturbed.
    Answers,
    /// Throws an exception of this type.
    Throws(ErrorKind),
    /// Never answers.
    Never,
    /// Answers later than its work is done, or starts it later.
    Late {
        /// Virtual time.
        delay_us: u64,
    },
    /// Panics.
    Panics,
}

impl Behaviour {
    /// The behaviour that plans call `word`; `late_us` is asked if it is to answer late.
    ///
    /// # Panics
    /// If there is no such word: words come from a question's own list.
    pub fn from_word(word: &str, late_us: impl FnOnce() -> u64) -> Self {
        match word {
            "answers" => Self::Answers,
            "failed" => Self::Throws(ErrorKind::Failed),
            "overloaded" => Self::Throws(ErrorKind::Overloaded),
            "disconnected" => Self::Throws(ErrorKind::Disconnected),
            "unimplemented" => Self::Throws(ErrorKind::Unimplemented),
            "never" => Self::Never,
            "late" => Self::Late {
                delay_us: late_us(),
            },
            "panics" => Self::Panics,
            other => unreachable!("{other} is no behaviour"),
        }
    }
}

/// Does to one call what `behaviour` says; `work` is the method itself.
pub fn behave(
    sim: &Sim,
    behaviour: Behaviour,
    after_work: bool,
    work: Box<dyn FnOnce() -> Promise<(), Error>>,
) -> Promise<(), Error> {
    let sim = sim.clone();
    let disturb = move || async move {
        match behaviour {
            Behaviour::Answers => Ok(()),
            Behaviour::Throws(kind) => Err(exception(kind)),
            Behaviour::Never => pending().await,
            Behaviour::Late { delay_us } => {
                sim.sleep_us(delay_us).await;
                Ok(())
            }
            Behaviour::Panics => inject_panic(),
        }
    };
    match (behaviour, after_work) {
        (Behaviour::Answers, _) => work(),
        (_, true) => {
            let answer = work();
            Promise::from_future(async move {
                answer.await?;
                disturb().await
            })
        }
        (_, false) => Promise::from_future(async move {
            disturb().await?;
            work().await
        }),
    }
}

/// What an injected exception says before its type.
const SAYS: &str = "injected exception of type ";

/// The exception of a type, as the injected servers throw it. It says which type it has.
pub fn exception(kind: ErrorKind) -> Error {
    compat::error(kind, format!("{SAYS}{kind:?}"))
}

/// The type that an injected exception says it has, if it is one that the wire knows.
pub fn injected_kind(said: &str) -> Option<&str> {
    let kind = said.split_once(SAYS)?.1;
    let end = kind.find(|c: char| !c.is_ascii_alphanumeric());
    let kind = &kind[..end.unwrap_or(kind.len())];
    ["Failed", "Overloaded", "Disconnected", "Unimplemented"]
        .contains(&kind)
        .then_some(kind)
}

/// A client of `server` with generated code, each of whose calls the plan may disturb.
///
/// `name` is what the plan's decisions are filed under: `server."server/calculator".call.0.what`.
pub fn inject<C, S>(sim: &Sim, name: Name, server: S) -> C
where
    C: FromServer<S> + 'static,
    S: 'static,
{
    interposed(server, Injector::new(sim, name))
}

/// Asks the plan about each call of one server.
pub struct Injector {
    sim: Sim,
    name: Name,
    calls: Cell<u32>,
}

impl Injector {
    /// For the server that the plan calls `name`.
    pub fn new(sim: &Sim, name: Name) -> Self {
        Self {
            sim: sim.clone(),
            name,
            calls: Cell::new(0),
        }
    }
}

impl Interpose for Injector {
    fn around(
        &self,
        _interface_id: u64,
        _method_id: u16,
        work: Box<dyn FnOnce() -> Promise<(), Error>>,
    ) -> Promise<(), Error> {
        let call = self.calls.replace(self.calls.get() + 1);
        let ask = |index: usize| {
            self.sim
                .ask(&QUESTIONS[index], &[self.name.into(), call.into()])
        };
        let what = if self.sim.healed() { 0 } else { ask(0) };
        if what == 0 {
            return work();
        }
        let behaviour = Behaviour::from_word(WHATS[what as usize], || ask(2));
        let numbers = [u64::from(call), what];
        let text = || WHATS[what as usize].to_owned();
        self.sim.event_saying(INJECTED, self.name, numbers, text);
        behave(&self.sim, behaviour, ask(1) == 1, work)
    }
}
