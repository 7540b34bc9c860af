//! What becomes of each call, whichever library serves it.
//!
//! A call says in its interface id which operation made it; the plan says what that comes to. An
//! object that is called back asks another question, so that the two ends of a call that goes
//! both ways may differ.

use dismantle_sim::{Question, Sim, share};
use dismantle_transport::compat::Feature;

use crate::bridge::Fault;

/// What a method does. The id of a method is its place here.
pub const METHODS: [&str; 8] = [
    "nothing", "object", "argument", "promise", "relay", "callback", "keep", "stream",
];

const OUTCOMES: [&str; 7] = [
    "answers",
    "failed",
    "overloaded",
    "disconnected",
    "unimplemented",
    "never",
    "late",
];

const RESOLUTIONS: [&str; 4] = ["object", "argument", "error", "never"];

/// Decisions about the calls of an operation, asked where one is made or served.
pub static QUESTIONS: [Question; 7] = [
    Question::word(
        "op.*.method",
        &METHODS,
        &[share(1, 0, 1), share(4, 2, 4), share(2, 5, 7)],
    )
    .without(&["stream"], Feature::Streaming.missing())
    .about("what the method does: returns nothing, a new object, its argument or a promise; has its argument answer; calls it back; keeps it; is a streaming one"),
    Question::word(
        "op.*.outcome",
        &OUTCOMES,
        &[
            share(10, 0, 0),
            share(3, 1, 4),
            share(2, 5, 5),
            share(2, 6, 6),
        ],
    )
    .about("what the server does to the call"),
    Question::word(
        "op.*.back",
        &OUTCOMES,
        &[
            share(6, 0, 0),
            share(3, 1, 4),
            share(2, 5, 5),
            share(2, 6, 6),
        ],
    )
    .about("what whoever is called back does to that call"),
    Question::word("op.*.throws", &["late", "at-once"], &[share(1, 0, 1)])
        .about("whether an exception comes out of the promise of the method or of the method itself"),
    Question::word(
        "op.*.resolution",
        &RESOLUTIONS,
        &[share(2, 0, 0), share(2, 1, 1), share(1, 2, 3)],
    )
    .about("what a promise becomes: it is what is late then, and not the answer"),
    Question::count(
        "op.*.late_us",
        (0, 60_000_000),
        1000,
        &[share(1, 0, 0), share(3, 1, 5000)],
    )
    .about("how late the answer or the resolution is, in virtual time"),
    Question::word("op.*.cancellable", &["no", "yes"], &[share(1, 0, 1)])
        .about("whether a C++ method ends when its caller gives up; a Rust one always does"),
];

/// A parameter: whether a C++ object relays by a tail call. The bridge has no other way, so that
/// without it such an object calls its argument back.
pub const TAIL_CALLS: Question = Question::word(
    "tail_calls",
    &["no", "yes"],
    &[share(9, 0, 0), share(1, 1, 1)],
)
.about("whether a C++ server relays by a tail call, which capnp-rpc never serves");

/// A parameter: what becomes of what an object keeps.
pub const KEPT: Question = Question::word(
    "kept",
    &["given-up", "stays"],
    &[share(9, 0, 0), share(1, 1, 1)],
)
.about("whether an object gives up in the end what it keeps");

const BUGS: [&str; 3] = ["none", "lies", "swaps"];

/// A parameter: a bug of the scenario's own, which has to be found.
pub const BUG: Question = Question::word("bug", &BUGS, &[])
    .about("a planted bug: a Rust server whose exceptions have another type than they say, a C++ client that swaps two calls");

/// Which call of a run it is: it travels as its interface id.
#[derive(Clone, Copy)]
pub struct Id {
    /// The operation, from 1.
    pub operation: u32,
    /// Which of its repetitions, from 0.
    pub repetition: u32,
    /// Its place in the order of calls; 0 for none.
    pub ticket: u32,
}

/// From the top, 20 bits of a ticket, 20 of a repetition and 24 of an operation.
const REPETITION_SHIFT: u32 = 24;
const TICKET_SHIFT: u32 = 44;

/// More than there are operations.
const STRIDE: u32 = 100;

impl Id {
    /// One number for operation and repetition: operation 3 is 3, its first repetition 103.
    pub fn index(self) -> u32 {
        self.operation
            .wrapping_add(self.repetition.wrapping_mul(STRIDE))
    }

    /// The interface id under which it is made.
    pub fn to_interface(self) -> u64 {
        u64::from(self.ticket) << TICKET_SHIFT
            | u64::from(self.repetition) << REPETITION_SHIFT
            | u64::from(self.operation)
    }

    /// The call that an interface id stands for.
    pub fn from_interface(id: u64) -> Self {
        let bits = |from: u32, to: u32| (id >> from & ((1 << (to - from)) - 1)) as u32;
        Self {
            operation: bits(0, REPETITION_SHIFT),
            repetition: bits(REPETITION_SHIFT, TICKET_SHIFT),
            ticket: bits(TICKET_SHIFT, 64),
        }
    }
}

/// The method that an operation calls: its id and its name.
pub fn method(sim: &Sim, operation: u32) -> (u16, &'static str) {
    let method = sim.ask(&QUESTIONS[0], &[operation.into()]);
    (method as u16, METHODS[method as usize])
}

/// Whether a method is of no use without an argument.
pub fn needs_argument(method: &str) -> bool {
    ["relay", "callback", "keep"].contains(&method)
}

/// Whether a method returns a capability, whichever library it is of.
pub fn returns_capability(sim: &Sim, method: &str, has_argument: bool) -> bool {
    match method {
        "object" | "promise" => true,
        "argument" => has_argument,
        // A C++ object may call its argument back instead.
        "relay" => makes_tail_calls(sim),
        _ => false,
    }
}

/// When a call is answered, or a promise resolved.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At once.
    Now,
    /// So much later, in virtual time.
    Late(u64),
    /// Not before the owner gives up: [`super::shared::Shared::forget`].
    Never,
}

/// What the plan has an object do with one call.
#[derive(Clone, Copy)]
pub struct Deed {
    /// What it is to return.
    pub method: &'static str,
    /// When.
    pub when: When,
    /// What it fails with. One that never answers does so once it is given up.
    pub fails: Option<Fault>,
    /// The method itself fails, not its promise.
    pub at_once: bool,
}

impl Deed {
    /// What a call with this id and method comes to at an object that it gives an argument or not.
    pub fn of(sim: &Sim, id: Id, method_id: u16, has_argument: bool) -> Self {
        let part = [id.operation.into()];
        let method = METHODS.get(usize::from(method_id)).copied();
        let method = method.unwrap_or("nothing");
        // Whoever relays a call or calls back passes nothing on.
        let is_back = needs_argument(method) && !has_argument;
        let outcome = sim.ask(&QUESTIONS[if is_back { 2 } else { 1 }], &part);
        let (fails, when) = match OUTCOMES[outcome as usize] {
            "failed" => (Some(Fault::Failed), When::Now),
            "overloaded" => (Some(Fault::Overloaded), When::Now),
            "disconnected" => (Some(Fault::Disconnected), When::Now),
            "unimplemented" => (Some(Fault::Unimplemented), When::Now),
            "never" => (Some(Fault::Failed), When::Never),
            "late" if method != "promise" => (None, When::Late(late_us(sim, id))),
            _ => (None, When::Now),
        };
        let method = match (is_back, method) {
            (true, "relay") => "object",
            (true, _) => "nothing",
            (false, method) => method,
        };
        let at_once = fails.is_some() && when == When::Now && sim.ask(&QUESTIONS[3], &part) == 1;
        Self {
            method,
            when,
            fails,
            at_once,
        }
    }
}

/// What a promise becomes.
#[derive(Clone, Copy)]
pub enum Resolution {
    /// A new object.
    Object,
    /// What its call was given.
    Argument,
    /// An exception.
    Error,
}

/// What the promise that a call returned becomes, and when.
pub fn resolution(sim: &Sim, id: Id) -> (Resolution, When) {
    let resolution = sim.ask(&QUESTIONS[4], &[id.operation.into()]);
    let late = When::Late(late_us(sim, id));
    match RESOLUTIONS[resolution as usize] {
        "argument" => (Resolution::Argument, late),
        "error" => (Resolution::Error, late),
        "never" => (Resolution::Error, When::Never),
        _ => (Resolution::Object, late),
    }
}

/// Whether that bug is planted.
pub fn has_bug(sim: &Sim, bug: &str) -> bool {
    BUGS[sim.ask(&BUG, &[]) as usize] == bug
}

/// Whether C++ objects relay by tail calls.
pub fn makes_tail_calls(sim: &Sim) -> bool {
    sim.ask(&TAIL_CALLS, &[]) == 1
}

/// Whether objects give up what they keep.
pub fn gives_up(sim: &Sim) -> bool {
    sim.ask(&KEPT, &[]) == 0
}

/// Whether a method of the C++ party ends when its caller gives up.
pub fn is_cancellable(sim: &Sim, id: Id) -> bool {
    sim.ask(&QUESTIONS[6], &[id.operation.into()]) == 1
}

fn late_us(sim: &Sim, id: Id) -> u64 {
    sim.ask(&QUESTIONS[5], &[id.operation.into()])
}
