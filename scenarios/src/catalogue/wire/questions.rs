//! The decisions of `wire`.

use dismantle_sim::{Draw, Question, share};
use dismantle_transport::compat::Feature;

use super::super::object;
use super::mangle::MANGLES;

/// The most messages of one conversation.
pub const MESSAGES_MAX: u32 = 32;

/// A number of steps that stands for "until nothing can run".
pub const UNTIL_REST: u64 = 10_000;

/// What the level allows: wrong messages from 1, damaged bytes from 2.
pub static PARAMETERS: [Question; 2] = [
    Question::count(
        "level",
        (0, 2),
        0,
        &[share(2, 0, 0), share(4, 1, 1), share(2, 2, 2)],
    )
    .about("0: all messages are legal; 1: some are subtly wrong; 2: some are no messages"),
    Question::word(
        "end",
        &["orderly", "any"],
        &[share(1, 0, 0), share(3, 1, 1)],
    )
    .about("whether the vat's owner shuts down and waits before it destroys"),
];

/// What a message, or an action of the vat's owner in its place, may be.
pub const WHATS: [&str; 20] = [
    "nothing",
    "bootstrap",
    "call",
    "return",
    "finish",
    "resolve",
    "release",
    "disembargo",
    "abort",
    "unimplemented",
    "provide",
    "accept",
    "join",
    "obsolete",
    "unknown",
    "owner-call",
    "owner-pipeline",
    "owner-cancel",
    "owner-drop",
    "close",
];

const TARGETS: [&str; 3] = ["answer", "field", "import"];
const CAPS: [&str; 6] = [
    "none",
    "hosted",
    "hosted-again",
    "promise",
    "receiver-hosted",
    "receiver-answer",
];
const CONTENTS: [&str; 3] = ["root", "field", "large"];
const RESULTS_TO: [&str; 2] = ["caller", "yourself"];
const RELEASES: [&str; 3] = ["no", "yes", "unneeded"];
const ENDS: [&str; 4] = ["results", "exception", "canceled", "take"];

/// What is wrong with a message that is one.
const WRONGS: [&str; 21] = [
    "nothing",
    "id-next",
    "id-huge",
    "id-used",
    "twice",
    "target-unknown",
    "transform-long",
    "transform-pointers",
    "cap-unknown",
    "cap-none",
    "cap-third-party",
    "cap-other-kind",
    "cap-itself",
    "cap-missing",
    "content-deep",
    "content-wide",
    "count-zero",
    "count-huge",
    "level-3",
    "kind-other",
    "after-abort",
];

/// Nothing is wrong, under any seed.
pub const NEVER: Draw = &[];
const WRONG_QUESTION: Draw = &[share(60, 0, 0), share(4, 1, 4), share(1, 20, 20)];
const WRONG_PAYLOAD: Draw = &[
    share(30, 0, 0),
    share(4, 1, 7),
    share(4, 8, 11),
    share(6, 13, 15),
    share(1, 18, 20),
];
const WRONG_PAYLOAD_OR_CYCLE: Draw = &[
    share(30, 0, 0),
    share(4, 1, 7),
    share(12, 8, 15),
    share(1, 18, 20),
];
const WRONG_RESOLVE: Draw = &[
    share(20, 0, 0),
    share(2, 1, 4),
    share(2, 8, 11),
    share(1, 20, 20),
];
const WRONG_RESOLVE_OR_CYCLE: Draw = &[
    share(20, 0, 0),
    share(2, 1, 4),
    share(3, 8, 12),
    share(1, 20, 20),
];
const WRONG_RELEASE: Draw = &[
    share(20, 0, 0),
    share(2, 1, 4),
    share(2, 16, 17),
    share(1, 20, 20),
];
const WRONG_DISEMBARGO: Draw = &[share(20, 0, 0), share(2, 1, 7), share(1, 18, 20)];
const WRONG_ECHO: Draw = &[share(3, 0, 0), share(1, 19, 20)];
const WRONG_OTHER: Draw = &[share(6, 0, 0), share(1, 1, 7), share(1, 20, 20)];

/// What can be wrong with a message of a kind, by places in the list above. Promises that resolve
/// to themselves are left out where `cycles` is off: upstream follows them for ever
/// (`get_resolved`, `rpc.rs`, 0.27.3), which costs seconds each time.
pub fn wrong_draw(what: &str, cycles: bool) -> Draw {
    match (what, cycles) {
        ("bootstrap" | "accept" | "finish", _) => WRONG_QUESTION,
        ("call" | "return", true) => WRONG_PAYLOAD_OR_CYCLE,
        ("call" | "return", false) => WRONG_PAYLOAD,
        ("resolve", true) => WRONG_RESOLVE_OR_CYCLE,
        ("resolve", false) => WRONG_RESOLVE,
        ("release", _) => WRONG_RELEASE,
        ("disembargo", _) => WRONG_DISEMBARGO,
        ("unimplemented", _) => WRONG_ECHO,
        _ => WRONG_OTHER,
    }
}

/// The decisions of one message; the star is its number, from 1.
pub static MESSAGES: [Question; 17] = [
    Question::word(
        "msg.*.what",
        &WHATS,
        &[
            share(2, 0, 0),
            share(2, 1, 1),
            share(9, 2, 2),
            share(7, 3, 3),
            share(3, 4, 4),
            share(5, 5, 5),
            share(2, 6, 6),
            share(4, 7, 7),
            share(1, 8, 14),
            share(7, 15, 15),
            share(2, 16, 16),
            share(2, 17, 18),
            share(1, 19, 19),
        ],
    )
    .about("the message, or what the vat's owner does in its place"),
    Question::count(
        "msg.*.on",
        (0, MESSAGES_MAX as u64),
        0,
        &[share(1, 0, 0), share(3, 1, MESSAGES_MAX as u64)],
    )
    .about("the message whose question or capability it is about"),
    Question::count(
        "msg.*.given",
        (0, MESSAGES_MAX as u64),
        0,
        &[share(1, 0, MESSAGES_MAX as u64)],
    )
    .about("the message that made the capability described"),
    Question::word(
        "msg.*.target",
        &TARGETS,
        &[share(2, 0, 0), share(1, 1, 1), share(2, 2, 2)],
    )
    .about("whom a call is for"),
    Question::word(
        "msg.*.method",
        &object::METHODS,
        &[share(1, 0, object::METHODS.len() as u64 - 1)],
    )
    .without(&["early"], Feature::EarlyPipeline.missing())
    .about("the method called"),
    Question::word(
        "msg.*.cap",
        &CAPS,
        &[share(2, 0, 0), share(5, 1, 5), share(2, 4, 4)],
    )
    .about("the capability in the parameters, in the results, or resolved to"),
    Question::word(
        "msg.*.content",
        &CONTENTS,
        &[share(6, 0, 0), share(2, 1, 1), share(1, 2, 2)],
    )
    .about("where in the content the capability is"),
    Question::word(
        "msg.*.results_to",
        &RESULTS_TO,
        &[share(5, 0, 0), share(1, 1, 1)],
    )
    .about("where the results of a call go"),
    Question::word(
        "msg.*.end",
        &ENDS,
        &[share(6, 0, 0), share(1, 1, 2), share(1, 3, 3)],
    )
    .about("what is returned"),
    Question::word(
        "msg.*.releases",
        &RELEASES,
        &[share(3, 0, 1), share(1, 2, 2)],
    )
    .without(&["unneeded"], Feature::NoFinish.missing())
    .about("whether a finish or return releases capabilities with it, or needs no finish"),
    Question::count(
        "msg.*.count",
        (1, 1_000_000),
        1,
        &[share(3, 1, 1), share(1, 1, 4)],
    )
    .about("how many references are released"),
    Question::word(
        "msg.*.wrong",
        &WRONGS,
        // Each kind of message has its own: `wrong_draw`.
        NEVER,
    )
    .about("what is wrong with it"),
    Question::word("msg.*.mangle", &MANGLES, &[share(10, 0, 0), share(3, 1, 8)])
        .about("what is done to its bytes"),
    Question::count(
        "msg.*.at",
        (0, 1 << 20),
        0,
        &[share(1, 0, 40), share(1, 0, 2000)],
    )
    .about("where in its bytes"),
    Question::count("msg.*.with", (0, 1 << 20), 0, &[share(1, 0, 40)])
        .about("by which of the words and numbers that do harm"),
    Question::count(
        "msg.*.repeat",
        (1, 1_000_000),
        1,
        &[share(6, 1, 1), share(1, 2, 8)],
    )
    .about("how many times"),
    Question::count(
        "msg.*.steps",
        (0, UNTIL_REST),
        0,
        &[
            share(4, 0, 0),
            share(3, 1, 12),
            share(4, UNTIL_REST, UNTIL_REST),
        ],
    )
    .counts_steps()
    .about("steps of the system after it; 10000 is until it rests"),
];

/// What the owner keeps of a call.
pub static KEEP: Question = Question::word(
    "msg.*.keep",
    &["nothing", "pipelined", "response", "all"],
    &[share(1, 0, 2), share(2, 3, 3)],
)
.about("what the vat's owner keeps of its call");

/// The items of the teardown.
pub const ITEMS: [&str; 5] = ["disconnect", "calls", "caps", "system", "peer"];

/// The decisions of the teardown; the star is the item.
pub static TEARDOWN: [Question; 5] = [
    Question::count("teardown.*.when", (0, 1000), 500, &[share(1, 0, 1000)])
        .about("the item's sort key"),
    Question::count(
        "teardown.*.steps",
        (0, UNTIL_REST),
        UNTIL_REST,
        &[
            share(3, 0, 0),
            share(3, 1, 12),
            share(3, UNTIL_REST, UNTIL_REST),
        ],
    )
    .counts_steps()
    .about("steps of the system after the item; 10000 is until it rests"),
    Question::word(
        "teardown.disconnect.how",
        &["await", "poll-once", "none"],
        &[share(2, 0, 0), share(1, 1, 2)],
    )
    .about("what is done with the disconnector"),
    Question::word(
        "teardown.calls.how",
        &["left", "cancelled"],
        &[share(1, 0, 1)],
    )
    .about("what is done with the owner's calls: all of them have to end, if left"),
    Question::word(
        "teardown.peer.how",
        &["close", "reset", "drop"],
        &[share(1, 0, 2)],
    )
    .about("how the raw peer goes: end of file, both directions dead, or both ends dropped"),
];

/// One decision about one message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum About {
    What,
    On,
    Given,
    Target,
    Method,
    Cap,
    Content,
    ResultsTo,
    End,
    Releases,
    Count,
    Wrong,
    Mangle,
    At,
    With,
    Repeat,
    Steps,
}

impl About {
    /// The words that answer it; none if numbers do.
    pub const fn words(self) -> &'static [&'static str] {
        match self {
            Self::What => &WHATS,
            Self::Target => &TARGETS,
            Self::Method => &object::METHODS,
            Self::Cap => &CAPS,
            Self::Content => &CONTENTS,
            Self::ResultsTo => &RESULTS_TO,
            Self::End => &ENDS,
            Self::Releases => &RELEASES,
            Self::Wrong => &WRONGS,
            Self::Mangle => &MANGLES,
            _ => &[],
        }
    }
}
