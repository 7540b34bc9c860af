//! The trace: numbered events of one run, and their digest.
//!
//! The digest is always on and streams; the events themselves are kept only when asked for.
//! An event holds no pointer, no thread and no duration, so that two runs of one plan can be
//! compared byte for byte.

use std::fmt;

use serde::{Serialize, Serializer};
use xxhash_rust::xxh3::Xxh3;

use crate::name::{FNV_START, Name, fnv};

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

/// An event as it is hashed: four words.
const EVENT_BYTES: usize = 32;

/// Events are hashed in batches: XXH3 is several times faster on long input.
const BATCH_BYTES: usize = 128 * EVENT_BYTES;

pub(crate) struct Trace {
    hash: Xxh3,
    pending: Vec<u8>,
    kept: Option<Vec<Event>>,
}

impl Trace {
    pub(crate) fn new(keep: bool) -> Self {
        Self {
            hash: Xxh3::new(),
            pending: Vec::with_capacity(BATCH_BYTES),
            kept: keep.then(Vec::new),
        }
    }

    /// Step and time are not hashed: every poll and every move of the clock is an event itself.
    pub(crate) fn record(&mut self, event: Event) {
        let [a, b] = event.numbers;
        let mut bytes = [0; EVENT_BYTES];
        let words = [event.kind.id, event.subject.id(), a, b];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        self.pending.extend_from_slice(&bytes);
        if self.pending.len() == BATCH_BYTES {
            self.hash.update(&self.pending);
            self.pending.clear();
        }
        if let Some(kept) = &mut self.kept
            && kept.len() < TRACE_EVENTS_MAX
        {
            kept.push(event);
        }
    }

    pub(crate) fn finish(mut self) -> (Digest, Option<Vec<Event>>) {
        self.hash.update(&self.pending);
        (Digest(self.hash.digest()), self.kept)
    }
}
