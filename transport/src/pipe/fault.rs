//! What a plan says of a pipe: its manner, and how it breaks.

use dismantle_sim::{EventKind, Name, Question, Sim, share};

use super::Pipe;

/// How many faults one direction may have.
const FAULTS_MAX: u32 = 2;

const DELIVERIES: [&str; 4] = ["at-once", "message", "byte", "coalesced"];
pub(super) const AT_ONCE: u64 = 0;
pub(super) const BY_MESSAGE: u64 = 1;
pub(super) const BY_BYTE: u64 = 2;
pub(super) const COALESCED: u64 = 3;

const WHATS: [&str; 9] = [
    "nothing",
    "half-close",
    "reset",
    "stall",
    "stall-for-good",
    "read-error",
    "write-error",
    "flush-error",
    "close-error",
];

const WHENS: [&str; 12] = [
    "operation",
    "rest",
    "time",
    "message",
    "call",
    "return",
    "finish",
    "resolve",
    "release",
    "bootstrap",
    "disembargo",
    "abort",
];

/// The pipes' decisions; the first star is the direction, `c2s` or `s2c`.
pub static QUESTIONS: [Question; 14] = [
    Question::count(
        "pipe.*.capacity",
        (0, 1 << 20),
        0,
        &[share(6, 0, 0), share(1, 1, 64), share(1, 64, 4096)],
    )
    .about("bytes that the pipe takes before it pushes back; 0 is any number"),
    Question::count(
        "pipe.*.write_max",
        (0, 1 << 20),
        0,
        &[share(6, 0, 0), share(1, 1, 64)],
    )
    .about("the most bytes that one write takes; 0 is all"),
    Question::count(
        "pipe.*.read_max",
        (0, 1 << 20),
        0,
        &[share(6, 0, 0), share(1, 1, 64)],
    )
    .about("the most bytes that one read gives; 0 is all"),
    Question::word(
        "pipe.*.delivery",
        &DELIVERIES,
        &[share(4, 0, 0), share(5, 1, 1), share(1, 2, 3)],
    )
    .about("what a step of the pipe delivers; coalesced is all, once the writer pauses"),
    Question::count(
        "pipe.*.delay_us",
        (0, 10_000_000),
        0,
        &[share(5, 0, 0), share(1, 1, 5000)],
    )
    .about("virtual time that each delivery takes"),
    Question::word(
        "pipe.*.on_drop",
        &["closes", "stays-open"],
        &[share(9, 0, 0), share(1, 1, 1)],
    )
    .about("what dropping the writing end does: end of file behind the backlog, or nothing"),
    Question::word(
        "pipe.*.fault.*.what",
        &WHATS,
        &[
            share(8, 0, 0),
            share(2, 1, 3),
            share(1, 4, 4),
            share(2, 5, 6),
            share(1, 7, 8),
        ],
    )
    .about("what breaks"),
    Question::word(
        "pipe.*.fault.*.when",
        &WHENS,
        &[share(3, 0, 0), share(1, 1, 2), share(4, 3, 11)],
    )
    .moving(&["message", "finish", "resolve", "release", "disembargo"])
    .about("what its time is counted in"),
    Question::count(
        "pipe.*.fault.*.at",
        (1, 1_000_000),
        1,
        &[share(3, 1, 4), share(2, 1, 30)],
    )
    .about("which operation, rest, or message of the kind; for `time`, milliseconds"),
    Question::count(
        "pipe.*.fault.*.byte",
        (0, 1 << 30),
        0,
        &[share(3, 0, 0), share(1, 1, 200)],
    )
    .about("how many bytes of that message still arrive"),
    Question::count(
        "pipe.*.fault.*.stall_us",
        (1, 1_000_000_000),
        1000,
        &[share(1, 1, 20_000)],
    )
    .about("how long a stall lasts"),
    Question::word("pipe.*.tap", &["on", "off"], &[]).about("whether messages are told apart"),
    Question::word(
        "pipe.*.flush",
        &["at-once", "delivered"],
        &[share(6, 0, 0), share(1, 1, 1)],
    )
    .about("when a flush or a close completes; delivered is behind the backlog and any stall"),
    Question::count(
        "pipe.*.spurious",
        (0, 1000),
        0,
        &[share(8, 0, 0), share(1, 1, 3)],
    )
    .about("how many times an end that waits is woken in vain before each true wake-up"),
];

const FAULT: EventKind = EventKind::new("fault");
const STALL_OVER: EventKind = EventKind::new("stall-over");

/// One thing that breaks, once.
#[derive(Clone, Copy)]
pub(super) struct Fault {
    what: &'static str,
    pub(super) when: &'static str,
    pub(super) at: u32,
    pub(super) byte: u64,
    stall_us: u64,
}

impl Fault {
    /// The faults that the plan has for one direction.
    pub(super) fn all_of(sim: &Sim, direction: &'static str) -> Vec<Self> {
        (0..FAULTS_MAX)
            .filter_map(|number| Self::ask(sim, direction, number))
            .collect()
    }

    /// What it is and what it waited for, for people.
    fn in_words(&self) -> String {
        let Self { what, when, at, .. } = self;
        match *when {
            "byte" => format!("{what} before a byte of the stream"),
            "time" => format!("{what} after {at} ms"),
            "operation" | "rest" => format!("{what} at {when} {at}"),
            kind => format!("{what}, {} bytes into {kind} {at}", self.byte),
        }
    }

    /// One that waits for a byte of the stream.
    pub(super) const fn at_byte(what: &'static str) -> Self {
        Self {
            what,
            when: "byte",
            at: 0,
            byte: 0,
            stall_us: 0,
        }
    }

    fn ask(sim: &Sim, direction: &'static str, number: u32) -> Option<Self> {
        let part = [direction.into(), number.into()];
        let ask = |index: usize| sim.ask(&QUESTIONS[index], &part);
        // Half of the seeds break nothing, so that common failures hide no rare ones.
        let what = match sim.profile("faults", 2) {
            0 => sim.ask_drawn(&QUESTIONS[6], &part, &[]),
            _ => ask(6),
        };
        let what = WHATS[what as usize];
        if sim.real_io() && what.ends_with("-error") {
            // A socket has the kernel's errors and no others.
            sim.ignore(&QUESTIONS[6], &part);
            return None;
        }
        (what != "nothing").then(|| Self {
            what,
            when: WHENS[ask(7) as usize],
            at: ask(8) as u32,
            byte: ask(9),
            stall_us: if what == "stall" { ask(10) } else { 0 },
        })
    }
}

impl Pipe {
    /// Has a fault strike, unless faults are over.
    pub(super) fn break_now(&self, fault: Fault) {
        let sim = self.0.borrow().sim.clone();
        if sim.healed() {
            return;
        }
        let name = {
            let state = self.0.borrow();
            let number = WHATS.iter().position(|what| *what == fault.what);
            let numbers = [number.unwrap_or(0) as u64, state.read];
            sim.event_saying(FAULT, state.name, numbers, || fault.in_words());
            state.name
        };
        match fault.what {
            "half-close" => {
                let mut state = self.0.borrow_mut();
                // What lies behind the break never arrives.
                if fault.when != "operation" && fault.when != "rest" && fault.when != "time" {
                    state.lose_backlog();
                }
                state.close();
            }
            "reset" => self.reset(),
            "read-error" => self.0.borrow_mut().fail(|broken| &mut broken.read),
            "write-error" => self.0.borrow_mut().fail(|broken| &mut broken.write),
            "flush-error" => self.0.borrow_mut().fail(|broken| &mut broken.flush),
            "close-error" => self.0.borrow_mut().fail(|broken| &mut broken.close),
            "stall-for-good" => self.0.borrow_mut().stalled_for_good = true,
            "stall" => {
                self.0.borrow_mut().stalls += 1;
                let pipe = self.clone();
                sim.clone()
                    .spawn(Name::new(name.kind(), "stall"), async move {
                        sim.sleep_us(fault.stall_us).await;
                        let mut state = pipe.0.borrow_mut();
                        state.stalls -= 1;
                        sim.event(STALL_OVER, state.name, [0, 0]);
                        state.wake_all();
                    });
            }
            other => unreachable!("{other} is no fault"),
        }
    }
}
