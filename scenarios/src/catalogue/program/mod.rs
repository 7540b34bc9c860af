//! `program`: random programs of calls, ended in random ways.
//!
//! Up to 32 operations of either vat's owner, with steps of the system between them: calls,
//! pipelining, capabilities passed both ways, kept and handed back, promise capabilities that
//! resolve late, to errors or never, streaming, cancelled calls, methods that throw or never
//! answer, up to three connections, destructors and hooks that act. Then the owner takes
//! everything apart, item by item, in an order of its own.
//!
//! An operand names the operation that made it. If that made nothing, or has lost it, the
//! nearest earlier one stands in, and at last the peer's bootstrap capability.

mod net;
pub mod script;
mod teardown;
mod world;

use dismantle_sim::{Draw, EventKind, Phase, Question, Sim, Stopped, share};
use dismantle_transport::CONNECTIONS_MAX;
use dismantle_transport::compat::Feature;

use self::world::World;
use super::{act, object};
use crate::scenario::Scenario;

/// The most operations of one program.
const OPERATIONS_MAX: u32 = 32;

/// A number of steps that stands for "until nothing can run".
const UNTIL_REST: u64 = 10_000;

const WHATS: [&str; 12] = [
    "nothing",
    "call",
    "stream",
    "cancel",
    "drop-cap",
    "drop-response",
    "make-promise",
    "resolve",
    "rest",
    "bootstrap",
    "disconnect",
    "connect",
];
const SIDES: [&str; 2] = ["client", "server"];
const ARGUMENTS: [&str; 4] = ["none", "object", "bootstrap", "given"];
/// The place of `given`.
const GIVEN: u64 = 3;
const KEEPS: [&str; 4] = ["nothing", "pipelined", "response", "both"];

const OPERANDS: (u64, u64) = (0, OPERATIONS_MAX as u64);

const ANY_ARGUMENT: Draw = &[
    share(3, 0, 0),
    share(3, 1, 1),
    share(1, 2, 2),
    share(3, 3, 3),
];
/// What a promise mostly resolves to. Resolved to what was made from it, it may become a cycle,
/// which upstream follows for ever (`get_innermost_client`, `rpc.rs`, 0.27.3): a finding that
/// costs seconds each time, so that most seeds leave it out.
const FRESH_ARGUMENT: Draw = &[share(3, 0, 0), share(3, 1, 1), share(1, 2, 2)];

/// The decisions of one operation; the star is its number, from 1.
static OPERATIONS: [Question; 13] = [
    Question::word(
        "op.*.what",
        &WHATS,
        &[
            share(1, 0, 0),
            share(14, 1, 1),
            share(1, 2, 2),
            share(2, 3, 3),
            share(3, 4, 5),
            share(4, 6, 6),
            share(1, 7, 7),
            share(1, 8, 8),
            share(1, 9, 11),
        ],
    )
    .without(&["stream"], Feature::Streaming.missing())
    .about("what the operation does"),
    Question::word("op.*.side", &SIDES, &[share(3, 0, 0), share(1, 1, 1)])
        .about("which vat's owner does it"),
    Question::count(
        "op.*.on",
        OPERANDS,
        0,
        &[share(2, 0, 0), share(5, 1, OPERATIONS_MAX as u64)],
    )
    .about("the operation that made its target; 0 is the peer's bootstrap"),
    Question::word(
        "op.*.method",
        &object::METHODS,
        &[share(1, 0, object::METHODS.len() as u64 - 2)],
    )
    .without(&["early"], Feature::EarlyPipeline.missing())
    .about("the method called"),
    Question::word("op.*.argument", &ARGUMENTS, ANY_ARGUMENT).about("the capability passed"),
    Question::count(
        "op.*.given",
        OPERANDS,
        0,
        &[share(1, 1, OPERATIONS_MAX as u64)],
    )
    .about("the operation that made the capability passed"),
    Question::word(
        "op.*.keep",
        &KEEPS,
        &[
            share(1, 0, 0),
            share(3, 1, 1),
            share(1, 2, 2),
            share(2, 3, 3),
        ],
    )
    .about("what the owner keeps of the call"),
    Question::count(
        "op.*.repeat",
        (1, 1_000_000),
        1,
        &[share(4, 1, 1), share(1, 2, 12)],
    )
    .about("how many times"),
    Question::word("op.*.chain", &["parallel", "chained"], &[share(1, 0, 1)])
        .about("whether a repetition calls the same target or the one before's result"),
    Question::count(
        "op.*.steps",
        (0, UNTIL_REST),
        0,
        &[
            share(5, 0, 0),
            share(5, 1, 12),
            share(1, 12, 60),
            share(2, UNTIL_REST, UNTIL_REST),
        ],
    )
    .counts_steps()
    .about("steps of the system after the operation; 10000 is until it rests"),
    Question::word(
        "op.*.patience",
        &["answer", "cancelled"],
        &[share(8, 0, 0), share(1, 1, 1)],
    )
    .about("whether the owner waits for the answer or drops the promise unpolled"),
    Question::count(
        "op.*.connection",
        (0, CONNECTIONS_MAX as u64 - 1),
        0,
        &[share(2, 0, 0), share(1, 0, CONNECTIONS_MAX as u64 - 1)],
    )
    .about("the connection whose bootstrap or end it is; the last one if there are fewer"),
    Question::word(
        "op.*.how",
        &HOWS,
        &[share(2, 0, 0), share(1, 1, 1), share(1, 2, 2)],
    )
    .about("what the operation `disconnect` does with the disconnector"),
];

/// How many connections there are from the start.
static CONNECTIONS: Question = Question::count(
    "connections",
    (1, CONNECTIONS_MAX as u64),
    1,
    &[share(4, 1, 1), share(1, 2, CONNECTIONS_MAX as u64)],
)
.about("connections made at the start, side by side");

/// Whether the client's bootstrap capability reconnects.
static RECONNECTING: Question = Question::word(
    "reconnecting",
    &["no", "eagerly", "lazily"],
    &[share(10, 0, 0), share(1, 1, 2)],
)
.without(&["eagerly", "lazily"], Feature::Reconnecting.missing())
.about("whether the client's first bootstrap capability is one of upstream's that reconnect");

/// Whether the connection has two running ends.
static SERVER_RUNS: Question = Question::word(
    "server_runs",
    &["from-the-start", "in-the-end", "never"],
    &[share(12, 0, 0), share(1, 1, 2)],
)
.about("when the server's system begins to run: until then the connection is half open");

/// Which vats ask for their peer's bootstrap capability.
static BOOTSTRAPS: Question = Question::word("bootstraps", &["client", "both"], &[share(1, 0, 1)])
    .about("which vats ask for their peer's bootstrap capability");

/// When the owners ask for their disconnectors. Up to 0.19.0 one that was asked for before there
/// was a connection did nothing (`Disconnector::new`, `rpc.rs`), and a server has none before its
/// system runs: only what is asked for when it is used then works for both.
static DISCONNECTORS: Question = Question::word(
    "disconnectors",
    &["after-bootstrap", "before-bootstrap", "when-used"],
    &[share(1, 0, 2)],
)
.about("when the owners ask for their disconnectors");

/// Whether the protocol's own way to the end is gone first.
static RELEASE: Question = Question::word("release", &["in-the-end", "first"], &[share(3, 0, 0), share(1, 1, 1)])
    .about("whether the owners first give up all that they hold and wait: then the tables of both vats have to be empty");

/// Who catches a panic.
static PANICS: Question =
    Question::word("panics", &["caught", "unwind"], &[share(1, 0, 1)])
        .about("whether the executor catches a task's panic, as tokio does, or lets it unwind through its owner, as LocalPool does");

const ITEMS: [&str; 4] = ["disconnect", "calls", "caps", "system"];
const HOWS: [&str; 3] = ["await", "poll-once", "none"];

/// The decisions of the teardown; the stars are the vat and the item.
static TEARDOWN: [Question; 4] = [
    Question::count("teardown.*.*.when", (0, 1000), 500, &[share(1, 0, 1000)])
        .about("the item's sort key"),
    Question::count(
        "teardown.*.*.steps",
        (0, UNTIL_REST),
        UNTIL_REST,
        &[
            share(4, 0, 0),
            share(4, 1, 12),
            share(1, 12, 60),
            share(2, UNTIL_REST, UNTIL_REST),
        ],
    )
    .counts_steps()
    .about("steps of the system after the item; 10000 is until it rests"),
    Question::word(
        "teardown.*.disconnect.how",
        &HOWS,
        &[share(2, 0, 0), share(1, 1, 1), share(2, 2, 2)],
    )
    .about("what is done with the disconnector"),
    Question::word(
        "teardown.*.calls.how",
        &["left", "cancelled"],
        &[share(1, 0, 1)],
    )
    .about("what is done with calls that have not ended: all of them have to, if left"),
];

/// Half of the seeds disconnect before they destroy: upstream leaks and hangs without it, and
/// a finding that is in every second run would hide the others.
const DISCONNECT_FIRST: Draw = &[share(1, 0, 200)];
const AFTER_DISCONNECT: Draw = &[share(1, 300, 1000)];
const ALWAYS_AWAIT: Draw = &[share(1, 0, 0)];
const UNTIL_DISCONNECTED: Draw = &[share(1, UNTIL_REST, UNTIL_REST)];

const FAILED: EventKind = EventKind::new("call-failed");
const ANSWERED: EventKind = EventKind::new("call-answered");

/// The scenario.
pub struct Program;

impl Scenario for Program {
    fn name(&self) -> &'static str {
        "program"
    }

    fn about(&self) -> &'static str {
        "random programs of calls between two vats, ended in random ways"
    }

    fn over(&self) -> Option<&'static str> {
        Some("op.*.repeat")
    }

    /// It reaches far more than the others, each of which tells one story.
    fn weight(&self) -> u32 {
        12
    }

    fn questions(&self) -> Vec<&'static [Question]> {
        vec![
            &OPERATIONS,
            &object::QUESTIONS,
            &act::QUESTIONS,
            std::slice::from_ref(&CONNECTIONS),
            std::slice::from_ref(&RECONNECTING),
            std::slice::from_ref(&SERVER_RUNS),
            std::slice::from_ref(&BOOTSTRAPS),
            std::slice::from_ref(&DISCONNECTORS),
            std::slice::from_ref(&RELEASE),
            std::slice::from_ref(&PANICS),
            &TEARDOWN,
        ]
    }

    fn run(&self, sim: &Sim) -> Result<(), Stopped> {
        let mut world = sim.enter(Phase::Build, || Ok(World::new(sim)))?;
        let ended = sim
            .enter(Phase::Drive, || world.operate())
            .and_then(|()| sim.enter(Phase::Teardown, || world.dismantle()));
        if ended.is_err() && sim.ask(&PANICS, &[]) == 1 {
            world.unwind();
        }
        ended
    }
}
