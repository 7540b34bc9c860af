//! The trace: numbered events of one run, and their digest.
//!
//! The digest is always on and streams; the events themselves are kept only when asked for.
//! An event holds no pointer, no thread and no duration, so that two runs of one plan can be
//! compared byte for byte.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::{Serialize, Serializer};

use crate::heap::uncounted;
use crate::name::{FNV_START, Name, fnv};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A kind of event. Each layer brings its own: `sim` knows no bytes, `transport` does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventKind {
    text: &'static str,
    id: u64,
}

impl EventKind {
    /// A kind with the word that the trace prints.
    pub const fn new(text: &'static str) -> Self {
        Self {
            text,
            id: fnv(FNV_START, text.as_bytes()),
        }
    }

    /// The word that the trace prints.
    pub const fn text(&self) -> &'static str {
        self.text
    }
}

/// What happened to one subject, with two numbers whose meaning the kind gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// To whom.
    pub subject: Name,
    /// Two numbers: bytes, counts, an operation's number.
    pub numbers: [u64; 2],
    /// The step in which it happened, from 1; 0 before the first.
    pub step: u64,
    /// Virtual time, in microseconds.
    pub time_us: u64,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b] = self.numbers;
        write!(
            f,
            "step {} {}us {} {}",
            self.step, self.time_us, self.kind.text, self.subject
        )?;
        match (a, b) {
            (0, 0) => Ok(()),
            (_, 0) => write!(f, " {a}"),
            _ => write!(f, " {a} {b}"),
        }
    }
}

/// The hash of a trace: 64 bits of XXH3, printed as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Digest(pub u64);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The greatest number of events that a kept trace holds; the digest goes on beyond it.
pub const TRACE_EVENTS_MAX: usize = 1_000_000;

/// The events of one run, on their way into the digest and, if asked for, into a list.
///
/// There are some seven events a message, so recording one must cost next to nothing.
pub(crate) struct Trace {
    digest: Cell<u64>,
    keeps: Cell<bool>,
    kept: RefCell<Vec<Event>>,
}

impl Trace {
    pub(crate) fn new(keep: bool) -> Self {
        Self {
            digest: Cell::new(0),
            keeps: Cell::new(keep),
            kept: RefCell::default(),
        }
    }

    /// Records an event; `at` gives step and time, if it is to be kept.
    ///
    /// These two are not hashed: every poll and every move of the clock is an event itself.
    #[inline]
    pub(crate) fn record(
        &self,
        kind: EventKind,
        subject: Name,
        numbers: [u64; 2],
        at: impl FnOnce() -> (u64, u64),
    ) {
        let mut bytes = [0; 32];
        let words = [kind.id, subject.id(), numbers[0], numbers[1]];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        // A chain, each event hashed with the digest so far: nothing to batch, nothing to copy.
        self.digest
            .set(xxh3_64_with_seed(&bytes, self.digest.get()));
        if self.keeps.get() {
            self.keep(kind, subject, numbers, at());
        }
    }

    #[cold]
    #[inline(never)]
    fn keep(&self, kind: EventKind, subject: Name, numbers: [u64; 2], (step, time_us): (u64, u64)) {
        let pause = uncounted();
        let mut kept = self.kept.borrow_mut();
        if kept.len() < TRACE_EVENTS_MAX {
            kept.push(Event {
                kind,
                subject,
                numbers,
                step,
                time_us,
            });
        }
        drop(pause);
    }

    /// The digest, and the events if they were kept. What happens later leaves no trace.
    pub(crate) fn finish(&self) -> (Digest, Option<Vec<Event>>) {
        let kept = self.keeps.take().then(|| self.kept.take());
        (Digest(self.digest.get()), kept)
    }
}
