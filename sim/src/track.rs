//! Tracked objects: who was destroyed, when, and inside whose destruction.
//!
//! The destruction order is an output of a run. A tracked object records its own drop; drops
//! that happen while it is being dropped are its children, so the record is a forest.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use serde::Serialize;
use slab::Slab;

use crate::fault::Kind;
use crate::heap::uncounted;
use crate::name::Name;
use crate::probe;
use crate::rule::{Judge, Moment, PROPERTY, Rule};
use crate::run::{Phase, Sim};
use crate::trace::{EventKind, Trace};

const CREATED: EventKind = EventKind::new("created");
const DESTROYED: EventKind = EventKind::new("destroyed");

/// The greatest number of destructions that are kept one by one; the rest are only counted.
pub const DESTROYED_MAX: usize = 10_000;

/// One destruction, in the order of its start.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Destroyed {
    /// Who.
    pub name: Name,
    /// The place, in the list, of the destruction that this one happened in.
    pub inside: Option<usize>,
    /// How many destructions it happened in: 0 for none.
    pub depth: u32,
    /// The task that was being polled; `None` for an action of the owner.
    pub task: Option<Name>,
    /// The phase of the run.
    pub phase: Phase,
    /// The step, from 1; 0 before the first.
    pub step: u64,
    /// Whether a waker was being called that says so ([`Sim::waking`]).
    pub in_wake: bool,
}

/// A value whose destruction is part of the report.
///
/// Dropping it drops the value inside its own destruction: what the value owns and is tracked
/// too shows as its child.
pub struct Tracked<T> {
    value: Option<T>,
    /// Its place among those that are alive, where its name is.
    key: usize,
    sim: Sim,
}

impl<T> Tracked<T> {
    pub(crate) fn new(sim: &Sim, name: Name, value: T) -> Self {
        Self {
            value: Some(value),
            key: sim.tracker().begin(sim, name),
            sim: sim.clone(),
        }
    }

    /// The name in the report.
    pub fn name(&self) -> Name {
        self.sim.tracker().0.borrow().live[self.key].0
    }

    /// The run that it is part of.
    pub fn sim(&self) -> &Sim {
        &self.sim
    }
}

impl<T> Deref for Tracked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("present until the drop")
    }
}

impl<T> DerefMut for Tracked<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("present until the drop")
    }
}

impl<T> Drop for Tracked<T> {
    fn drop(&mut self) {
        let value = self.value.take();
        let destruction = self.sim.tracker().end(&self.sim, self.key);
        drop(value);
        drop(destruction);
    }
}

/// What one run's tracked objects came to.
pub(crate) struct Tracker(RefCell<State>);

impl Default for Tracker {
    fn default() -> Self {
        let state = State {
            live: Slab::with_capacity(USUAL),
            destroyed: Vec::with_capacity(USUAL),
            ..State::default()
        };
        Self(RefCell::new(state))
    }
}

/// Destructions of a small session: room for so many is made beforehand.
const USUAL: usize = 128;

#[derive(Default)]
struct State {
    /// Who, and since when, counted as `events` is.
    live: Slab<(Name, u64)>,
    destroyed: Vec<Destroyed>,
    destroyed_count: u64,
    /// The destructions under way: who, and their places in `destroyed`, if they were kept.
    open: Vec<(Name, Option<usize>)>,
    depth_max: u32,
    /// Creations and destructions so far.
    events: u64,
    rules: Vec<Judge>,
}

/// Ends a destruction when it is dropped, in a panic too.
pub(crate) struct Destruction<'a> {
    tracker: &'a Tracker,
    trace: &'a Trace,
    /// The event that it happens inside of.
    outer: Option<u64>,
}

impl Drop for Destruction<'_> {
    fn drop(&mut self) {
        self.tracker.0.borrow_mut().open.pop();
        self.trace.leave(self.outer);
    }
}

/// The outcome of a [`Tracker`].
pub(crate) struct Outcome {
    pub destroyed: Vec<Destroyed>,
    pub destroyed_count: u64,
    pub depth_max: u32,
    pub never_destroyed: BTreeMap<Name, u32>,
}

impl Tracker {
    /// From here on destructions are judged by `rule`.
    pub(crate) fn rule(&self, rule: Rule) {
        let pause = uncounted();
        self.0.borrow_mut().rules.push(Judge::new(rule));
        drop(pause);
    }

    /// From here on nothing is judged.
    pub(crate) fn forget_rules(&self) {
        self.0.borrow_mut().rules.clear();
    }

    /// Counts a creation that is recorded elsewhere, by an event of its own; gives its number.
    pub(crate) fn born(&self) -> u64 {
        let mut state = self.0.borrow_mut();
        state.events += 1;
        state.events
    }

    /// Records a creation; returns the new object's place.
    fn begin(&self, sim: &Sim, name: Name) -> usize {
        sim.event(CREATED, name, [0, 0]);
        let born = self.born();
        let pause = uncounted();
        let key = self.0.borrow_mut().live.insert((name, born));
        drop(pause);
        key
    }

    /// Records the destruction of the object at `key`.
    fn end<'a>(&'a self, sim: &'a Sim, key: usize) -> Destruction<'a> {
        let (name, born) = self.0.borrow_mut().live.remove(key);
        self.destroy(sim, name, born)
    }

    /// Records the destruction of something that is there since `born`.
    pub(crate) fn destroy<'a>(&'a self, sim: &'a Sim, name: Name, born: u64) -> Destruction<'a> {
        let pause = uncounted();
        let mut guard = self.0.borrow_mut();
        let state = &mut *guard;
        let depth = state.open.len() as u32;
        state.depth_max = state.depth_max.max(depth + 1);
        state.destroyed_count += 1;
        state.events += 1;
        let destroyed = Destroyed {
            name,
            inside: state.open.iter().rev().find_map(|(_, place)| *place),
            depth,
            task: sim.current_task(),
            phase: sim.phase(),
            step: sim.steps_done(),
            in_wake: sim.in_wake(),
        };
        let mut broken = Vec::new();
        if !sim.is_limited() {
            for rule in &mut state.rules {
                broken.extend(rule.judge(&Moment {
                    destroyed: &destroyed,
                    born,
                    now: state.events,
                    open: &state.open,
                }));
            }
        }
        let kept = (state.destroyed.len() < DESTROYED_MAX).then(|| {
            state.destroyed.push(destroyed);
            state.destroyed.len() - 1
        });
        state.open.push((name, kept));
        drop(guard);
        if probe::takes_notes() {
            probe::note(Kind::Destroyed, u64::from(depth), &name.to_string());
        }
        drop(pause);
        sim.event(DESTROYED, name, [u64::from(depth), 0]);
        let outer = sim.trace().enter();
        for (rule, detail) in broken {
            sim.breach(PROPERTY, rule, name, detail);
        }
        Destruction {
            tracker: self,
            trace: sim.trace(),
            outer,
        }
    }

    pub(crate) fn finish(&self) -> Outcome {
        let mut state = self.0.borrow_mut();
        let mut never_destroyed = BTreeMap::new();
        // They stay: what was leaked may still be dropped after the run.
        for (_, (name, _)) in &state.live {
            *never_destroyed.entry(*name).or_default() += 1;
        }
        Outcome {
            destroyed: std::mem::take(&mut state.destroyed),
            destroyed_count: state.destroyed_count,
            depth_max: state.depth_max,
            never_destroyed,
        }
    }
}
