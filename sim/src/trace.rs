//! The trace: numbered events of one run, and their digest.
//!
//! The digest is always on and streams; the events themselves are kept only when asked for.
//! An event holds no pointer, no thread and no duration, so that two runs of one plan can be
//! compared byte for byte.
//!
//! A kept event also says in whose turn it happened and which event brought it about. What a
//! moment is inside of — a poll, an action of the owner, a destruction — is its cause; a wake is
//! due to the last event before the waker was called, a poll to the wake before it. None of that
//! is hashed. Where no events are kept it costs 1 % of a session's instructions (2,026,283 before,
//! 2,047,944 after; `scenarios/benches/overhead.rs` says how that is measured).

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::heap::uncounted;
use crate::name::{FNV_START, Name, fnv};
use crate::run::Recorder;
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
#[derive(Clone, PartialEq, Eq, Debug)]
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
    /// In whose turn: a task that was polled, or an action of the owner.
    pub by: Option<Name>,
    /// The number of the event that brought it about, from 0.
    pub cause: Option<u64>,
    /// More for people.
    pub text: Option<Box<str>>,
}

/// What is known of an event beside what is hashed.
#[derive(Default)]
pub(crate) struct Aside {
    pub(crate) step: u64,
    pub(crate) time_us: u64,
    pub(crate) by: Option<Name>,
    /// `None`: what it happens inside of.
    pub(crate) cause: Option<u64>,
    pub(crate) text: Option<String>,
}

thread_local! {
    /// The last event that this thread's run has kept. Wakers ask for it: they must be `Send`,
    /// and a run is not.
    static LAST: Cell<Option<u64>> = const { Cell::new(None) };
}

/// The number of the last event that was kept on this thread.
pub(crate) fn last() -> Option<u64> {
    LAST.get()
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
    /// The event that what happens now happens inside of.
    scope: Cell<Option<u64>>,
    /// Told of each event that is kept.
    recorder: Option<Arc<dyn Recorder>>,
}

impl Trace {
    pub(crate) fn new(keep: bool, recorder: Option<Arc<dyn Recorder>>) -> Self {
        Self {
            digest: Cell::new(0),
            keeps: Cell::new(keep),
            kept: RefCell::default(),
            scope: Cell::new(None),
            recorder,
        }
    }

    /// Whether events are kept.
    pub(crate) fn keeps(&self) -> bool {
        self.keeps.get()
    }

    /// What happens from here on happens inside of the last event; gives what it was inside of
    /// before, for [`Trace::leave`].
    pub(crate) fn enter(&self) -> Option<u64> {
        self.scope.replace(last())
    }

    /// What happens from here on happens inside of `outer`.
    pub(crate) fn leave(&self, outer: Option<u64>) {
        self.scope.set(outer);
    }

    /// Records an event; `aside` gives the rest, if it is to be kept.
    ///
    /// That is not hashed: every poll and every move of the clock is an event itself.
    #[inline]
    pub(crate) fn record(
        &self,
        kind: EventKind,
        subject: Name,
        numbers: [u64; 2],
        aside: impl FnOnce() -> Aside,
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
            self.keep(kind, subject, numbers, aside);
        }
    }

    /// Keeps an event that is no part of the digest, if events are kept.
    pub(crate) fn remark(&self, kind: EventKind, subject: Name, aside: impl FnOnce() -> Aside) {
        if self.keeps.get() {
            self.keep(kind, subject, [0, 0], aside);
        }
    }

    #[cold]
    #[inline(never)]
    fn keep(
        &self,
        kind: EventKind,
        subject: Name,
        numbers: [u64; 2],
        aside: impl FnOnce() -> Aside,
    ) {
        let pause = uncounted();
        let number = self.kept.borrow().len();
        if number < TRACE_EVENTS_MAX {
            let aside = aside();
            let event = Event {
                kind,
                subject,
                numbers,
                step: aside.step,
                time_us: aside.time_us,
                by: aside.by,
                cause: aside.cause.or(self.scope.get()),
                text: aside.text.map(String::into_boxed_str),
            };
            if let Some(recorder) = &self.recorder {
                recorder.event(number as u64, &event);
            }
            self.kept.borrow_mut().push(event);
            LAST.set(Some(number as u64));
        }
        drop(pause);
    }

    /// What the digest is now: another one after each event.
    pub(crate) fn so_far(&self) -> u64 {
        self.digest.get()
    }

    /// The digest, and the events if they were kept. What happens later leaves no trace.
    pub(crate) fn finish(&self) -> (Digest, Option<Vec<Event>>) {
        let kept = self.keeps.take().then(|| self.kept.take());
        (Digest(self.digest.get()), kept)
    }
}
