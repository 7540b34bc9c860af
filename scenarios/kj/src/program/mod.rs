//! `kj-program`: random programs of calls between two vats of the C++ library, ended in random
//! ways.
//!
//! Up to 24 operations of either vat's owner, with steps of the system between them: calls,
//! pipelining, chains of local promises, capabilities passed both ways and kept, promise
//! capabilities that resolve late, to errors, to one another or never, streaming, cancelled calls,
//! methods that throw or never answer. Then the owner takes everything apart, item by item, in an
//! order of its own, and at last gives up what never resolves: whatever was waited for has to end.
//!
//! Decisions are named as in `program`, and an operand names the operation that made it, too. If
//! that made nothing, or has lost it, the nearest earlier one stands in, and at last the peer's
//! bootstrap capability. A promise resolves to what was made before it: no program makes a cycle.

mod object;
mod teardown;
mod world;

use dismantle::Scenario;
use dismantle_sim::{Draw, EventKind, Phase, Question, Sim, Stopped, share};

use self::world::World;

/// The most operations of one program.
const OPERATIONS_MAX: u32 = 24;

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
    "clone",
    "when-resolved",
];
const SIDES: [&str; 2] = ["client", "server"];
const ARGUMENTS: [&str; 4] = ["none", "object", "bootstrap", "given"];
const KEEPS: [&str; 4] = ["nothing", "pipelined", "response", "both"];
const PATIENCES: [&str; 3] = ["answer", "cancelled", "held"];

const OPERANDS: (u64, u64) = (0, OPERATIONS_MAX as u64);

const ANY_STEPS: Draw = &[
    share(5, 0, 0),
    share(5, 1, 12),
    share(1, 12, 60),
    share(2, UNTIL_REST, UNTIL_REST),
];

/// Promises cost little.
const MANY: Draw = &[share(8, 1, 1), share(2, 2, 12), share(1, 12, 1200)];

/// The decisions of one operation; the star is its number, from 1.
static OPERATIONS: [Question; 11] = [
    Question::word(
        "op.*.what",
        &WHATS,
        &[
            share(1, 0, 0),
            share(14, 1, 1),
            share(1, 2, 2),
            share(2, 3, 3),
            share(3, 4, 5),
            share(5, 6, 6),
            share(3, 7, 7),
            share(1, 8, 8),
            share(3, 9, 11),
        ],
    )
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
    .about("the method called"),
    Question::word(
        "op.*.argument",
        &ARGUMENTS,
        &[
            share(3, 0, 0),
            share(3, 1, 1),
            share(1, 2, 2),
            share(3, 3, 3),
        ],
    )
    .about("the capability passed, or what promises become"),
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
        &[share(8, 1, 1), share(2, 2, 12), share(1, 12, 60)],
    )
    .about("how many times"),
    Question::word("op.*.chain", &["parallel", "chained"], &[share(1, 0, 1)]).about(
        "whether a repetition calls the same target or the one before's result; promises that are \
         chained become one another",
    ),
    Question::count("op.*.steps", (0, UNTIL_REST), 0, ANY_STEPS)
        .counts_steps()
        .about("steps of the system after the operation; 10000 is until it rests"),
    Question::word(
        "op.*.patience",
        &PATIENCES,
        &[share(8, 0, 0), share(1, 1, 1), share(2, 2, 2)],
    )
    .about("whether the owner waits for the answer, drops the promise, or holds it for later"),
];

/// What serves the client.
static SERVER: Question = Question::word(
    "server",
    &["vat", "server"],
    &[share(2, 0, 0), share(1, 1, 1)],
)
.about("a TwoPartyClient of the server's side, which can call back, or a TwoPartyServer");

/// Which vats ask for their peer's bootstrap capability.
static BOOTSTRAPS: Question = Question::word("bootstraps", &["client", "both"], &[share(1, 0, 1)])
    .about("which vats ask for their peer's bootstrap capability at the start");

/// What the streams do.
static SHUTDOWN: Question = Question::word(
    "shutdown",
    &["fails", "waits", "throws"],
    &[share(1, 0, 2)],
)
.about("what shutdownWrite does to a write that is under way: as on TCP, on a Unix socket, in kj's own pipe");

/// What an owner has, in the order in which it goes by default.
const ITEMS: [&str; 6] = [
    "calls",
    "caps",
    "disconnected",
    "shut-write",
    "abort-read",
    "system",
];
/// What may happen to the pipes meanwhile.
const BREAKS: [&str; 3] = ["reset", "shut-c2s", "shut-s2c"];

/// The decisions of the teardown; the stars are the vat, or `link`, and the item.
static TEARDOWN: [Question; 4] = [
    Question::count("teardown.*.*.when", (0, 1000), 500, &[share(1, 0, 1000)])
        .about("the item's sort key"),
    Question::count("teardown.*.*.steps", (0, UNTIL_REST), UNTIL_REST, ANY_STEPS)
        .counts_steps()
        .about("steps of the system after the item; 10000 is until it rests"),
    Question::word(
        "teardown.*.*.does",
        &["no", "yes"],
        &[share(2, 0, 0), share(1, 1, 1)],
    )
    .about("whether it is done, where an owner need not"),
    Question::word(
        "teardown.*.calls.how",
        &["left", "cancelled"],
        &[share(1, 0, 1)],
    )
    .about("what is done with calls that have not ended: all of them have to, if left"),
];

const FAILED: EventKind = EventKind::new("call-failed");
const ANSWERED: EventKind = EventKind::new("call-answered");
const THREW: EventKind = EventKind::new("threw");
const SERVED: EventKind = EventKind::new("call-served");

/// The scenario.
pub struct Program;

impl Scenario for Program {
    fn name(&self) -> &'static str {
        "kj-program"
    }

    fn about(&self) -> &'static str {
        "random programs of calls between two vats, ended in random ways"
    }

    fn upstream(&self) -> String {
        crate::upstream()
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
            std::slice::from_ref(&SERVER),
            std::slice::from_ref(&BOOTSTRAPS),
            std::slice::from_ref(&SHUTDOWN),
            &TEARDOWN,
        ]
    }

    fn run(&self, sim: &Sim) -> Result<(), Stopped> {
        let mut world = sim.enter(Phase::Build, || Ok(World::new(sim)))?;
        sim.enter(Phase::Drive, || world.operate())?;
        sim.enter(Phase::Teardown, || world.dismantle())
    }
}
