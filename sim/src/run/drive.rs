//! How a run moves: steps and where they stop, panics caught, phases measured, the end.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use super::{Limit, Phase, Sim, Stopped};
use crate::cut::Cut;
use crate::executor::JoinHandle;
use crate::heap::{self, uncounted};
use crate::name::Name;
use crate::panics;
use crate::probe;
use crate::report::{Report, StackBytes};
use crate::stack::{Mark, Region};
use crate::trace::EventKind;

const CUT: EventKind = EventKind::new("cut");
const REST: EventKind = EventKind::new("at-rest");
const TIME: EventKind = EventKind::new("time");
const PANIC: EventKind = EventKind::new("panic");
const INJECTED_PANIC: EventKind = EventKind::new("injected-panic");

/// Steps of tasks that only wake themselves before the clock moves to the next timer: a guess, so
/// few that the time does not matter.
const TURNS_PER_TIMER: u64 = 1000;

/// The same before nothing is expected of them any more: a guess, far above what a task that
/// yields does without anything to be seen.
const TURNS_TO_REST: u64 = 10_000;

impl Sim {
    /// Whether the plan has ended the drive here: what a scenario would still do in it, it leaves
    /// out, and goes on to the teardown. Nothing runs before that, whether or not it asks this.
    pub fn is_cut(&self) -> bool {
        self.0.cut.get() == Cut::On
    }

    /// Runs up to `count` steps; returns how many there were.
    ///
    /// # Errors
    /// [`Stopped`] after a panic.
    pub fn steps(&self, count: u64) -> Result<u64, Stopped> {
        for done in 0..count {
            if !self.step()? {
                return Ok(done);
            }
        }
        Ok(count)
    }

    /// Runs until nothing can: no ready task and no timer, or until a limit.
    ///
    /// # Errors
    /// [`Stopped`] after a panic.
    pub fn settle(&self) -> Result<(), Stopped> {
        while self.step()? {}
        Ok(())
    }

    /// Runs until `handle` has its output, or nothing can run. Gives the output.
    ///
    /// # Errors
    /// [`Stopped`] after a panic.
    pub fn run_until<T: 'static>(&self, handle: &JoinHandle<T>) -> Result<Option<T>, Stopped> {
        while !handle.is_finished() && self.step()? {}
        Ok(handle.take())
    }

    /// Polls one task, or moves the clock to the next timer and then polls one.
    pub(super) fn step(&self) -> Result<bool, Stopped> {
        let world = &self.0;
        if world.stopped.get() {
            return Err(Stopped);
        }
        world.outside.look();
        while !world.executor.has_ready(self) || self.is_idle() {
            match world.clock.next_us() {
                None => {
                    world.executor.rouse();
                    return Ok(false);
                }
                Some(us) if us > world.limits.seconds.saturating_mul(1_000_000) => {
                    world.limit.set(Some(Limit::Seconds));
                    return Ok(false);
                }
                Some(_) if self.cut() => return Ok(false),
                Some(us) => {
                    world.executor.rouse();
                    let timer = world.clock.advance();
                    self.event(TIME, Name::new("sim", "clock"), [us, 0]);
                    timer.into_iter().for_each(Waker::wake);
                }
            }
        }
        if self.cut() {
            return Ok(false);
        }
        if world.step.get() >= world.limits.steps {
            world.limit.set(Some(Limit::Steps));
            return Ok(false);
        }
        world.executor.step(self);
        if world.stopped.get() {
            Err(Stopped)
        } else {
            Ok(true)
        }
    }

    /// Whether all that is ready asks again and again for what does not come: then time goes on,
    /// and where it cannot, the run is at rest. Upstream's disconnector waited like that up to
    /// 0.26.3 (`Disconnector::poll`, `rpc.rs`). What the kernel does takes a time of its own.
    fn is_idle(&self) -> bool {
        let turns = match self.0.clock.next_us() {
            Some(_) => TURNS_PER_TIMER,
            None => TURNS_TO_REST,
        };
        !self.real_io() && self.0.executor.is_idle(turns)
    }

    /// Whether the step that could be made now is cut off.
    pub(super) fn cut(&self) -> bool {
        let world = &self.0;
        if let Cut::After(steps) = world.cut.get()
            && world.step.get() >= steps
        {
            world.cut.set(Cut::On);
            self.event(CUT, Name::new("owner", "schedule"), [world.step.get(), 0]);
        }
        self.is_cut()
    }

    /// The teardown begins: the drive was as long as it was, and a cut of it has done its part.
    pub(super) fn end_of_drive(&self) {
        let world = &self.0;
        if world.drive_steps.get().is_none() {
            world.drive_steps.set(Some(world.step.get()));
            if self.is_cut() {
                world.cut.set(Cut::None);
            }
        }
    }

    /// What was counted until now belongs to the phase that was; `phase` begins.
    pub(super) fn begin_phase(&self, phase: Phase) {
        self.end_phase();
        self.0.phase.set(phase);
        if phase == Phase::Teardown && self.0.notes {
            probe::take_notes(true);
        }
        let mut polls = self.0.polls.get();
        polls[phase].get_or_insert(0);
        self.0.polls.set(polls);
    }

    pub(super) fn end_phase(&self) {
        let Some(lap) = heap::lap() else {
            return;
        };
        let (mut bytes, mut allocations) = (self.0.heap_bytes.get(), self.0.allocations.get());
        let phase = self.phase();
        bytes[phase] = bytes[phase].max(Some(lap.peak_bytes));
        *allocations[phase].get_or_insert(0) += lap.allocations;
        self.0.heap_bytes.set(bytes);
        self.0.allocations.set(allocations);
    }

    /// Drops `value` as the destruction of `name`, which is there since `born`.
    pub(crate) fn destroy<T>(&self, name: Name, born: u64, value: T) {
        let destruction = self.0.tracker.destroy(self, name, born);
        drop(value);
        drop(destruction);
    }

    /// Runs `body`; a panic is recorded and stops the run, an injected one gives `None`.
    ///
    /// While a panic unwinds through an owner nothing is caught, as in a program of its own.
    pub(crate) fn catch<T>(&self, body: impl FnOnce() -> T) -> Result<Option<T>, Stopped> {
        if std::thread::panicking() {
            return Ok(Some(body()));
        }
        match catch_unwind(AssertUnwindSafe(body)) {
            Ok(value) => Ok(Some(value)),
            Err(payload) if panics::is_injected(payload.as_ref()) => {
                self.event(INJECTED_PANIC, self.culprit(), [0, 0]);
                Ok(None)
            }
            Err(_) => {
                self.stop();
                Err(Stopped)
            }
        }
    }

    /// What code under test in another language has thrown where it must not, out of a destructor
    /// say: a panic with this place, `capnproto-0.9.2/src/kj/async.c++:99`. It ends the run.
    pub fn threw(&self, site: String, message: String) {
        panics::raised_elsewhere(site, message);
        self.stop();
    }

    /// The panics until now end the run.
    fn stop(&self) {
        self.event(PANIC, self.culprit(), [0, 0]);
        let pause = uncounted();
        self.0.panics.borrow_mut().extend(panics::take());
        drop(pause);
        self.0.stopped.set(true);
    }

    pub(super) fn culprit(&self) -> Name {
        self.current_task().unwrap_or(Name::new("owner", "action"))
    }

    /// Runs `body` on a clean stack and raises the mark that `mark` points at.
    pub(super) fn measured<T>(
        &self,
        mark: impl FnOnce(&mut StackBytes) -> &mut Option<u64>,
        body: impl FnOnce() -> T,
    ) -> T {
        let Some(region) = &self.0.region else {
            return body();
        };
        // A measurement within a phase clears the stack: what the phase needed so far is kept.
        let outer = self.0.mark.get();
        self.disarm();
        if let Some(outer) = outer {
            self.raise(|stack| &mut stack[self.phase()], region, outer);
        }
        let inner = region.begin();
        self.0.mark.set(Some(inner));
        self.arm(region);
        let result = body();
        self.disarm();
        self.raise(mark, region, inner);
        self.0.mark.set(outer);
        if outer.is_some() {
            self.arm(region);
        }
        result
    }

    /// Has the run caught where the stack of this phase is deepest, if it is to be and was not yet.
    fn arm(&self, region: &Region) {
        if let Some((phase, depth)) = self.0.deepest.get()
            && phase == self.phase()
        {
            region.arm(depth);
            self.0.armed.set(true);
        }
    }

    fn disarm(&self) {
        if self.0.armed.take() && !probe::clear_trap() {
            self.0.deepest.set(None);
        }
    }

    fn raise(
        &self,
        mark: impl FnOnce(&mut StackBytes) -> &mut Option<u64>,
        region: &Region,
        from: Mark,
    ) {
        let bytes = region.bytes_since(from);
        let (mut stack, mut depth) = (self.0.stack.get(), self.0.stack_depth.get());
        let mark = mark(&mut stack);
        *mark = (*mark).max(Some(bytes));
        let deepest = &mut depth[self.phase()];
        *deepest = (*deepest).max(Some(region.depth(from, bytes)));
        self.0.stack.set(stack);
        self.0.stack_depth.set(depth);
    }

    /// The whole life of the run: the body, the healed phase, the end of all that is left.
    pub(super) fn live(&self, body: impl FnOnce(&Sim) -> Result<(), Stopped>) {
        let world = &self.0;
        // Its locals are dropped on a return, or, if the body itself panics, by unwinding.
        drop(self.catch(|| body(self)));
        self.begin_phase(Phase::Teardown);
        self.turn(None);
        self.end_of_drive();
        world.owner_steps.set(world.step.get());
        self.measured(
            |stack| &mut stack.teardown,
            || {
                self.heal();
                let settled = self.settle();
                if settled.is_ok() {
                    self.remark(REST, Name::new("owner", "schedule"), String::new);
                    let pause = uncounted();
                    world.pending.replace(world.executor.pending());
                    drop(pause);
                }
                // What is left goes in our order, not in one that anybody chose.
                world.tracker.forget_rules();
                // A panic among the last drops is recorded by `catch`; nothing is left to stop.
                drop(world.executor.close(self));
            },
        );
        self.end_phase();
    }

    pub(super) fn report(&self) -> Report {
        let world = &self.0;
        let (digest, trace) = world.trace.finish();
        let outcome = world.tracker.finish();
        let mut stack = world.stack.get();
        let panics = world.panics.take();
        if !panics.is_empty() {
            // The panic machinery itself needs 5 KiB: no verdict on a run that panicked.
            stack = StackBytes::default();
        }
        let mut carried = BTreeMap::new();
        for (by, count) in world.carried.take() {
            let most: &mut u64 = carried.entry(by).or_default();
            *most = count.get().max(*most);
        }
        Report {
            digest,
            drive_steps: world.drive_steps.get().unwrap_or(0),
            owner_steps: world.owner_steps.get(),
            carried,
            steps: world.step.get(),
            time_us: world.clock.now_us(),
            limit: world.limit.get(),
            panics,
            breaches: world.breaches.take(),
            pending: world.pending.take(),
            held: world.held.take(),
            stack_bytes: stack,
            stack_depth: world.stack_depth.get(),
            heap_bytes: world.heap_bytes.get(),
            allocations: world.allocations.get(),
            polls: world.polls.get(),
            left: None,
            drop_depth: outcome.depth_max,
            destroyed: outcome.destroyed,
            destroyed_count: outcome.destroyed_count,
            never_destroyed: outcome.never_destroyed,
            own_cycle: world.own_cycle.get(),
            own_panic: world.own_panic.get(),
            never_asked: Vec::new(),
            ignored: world.outside.ignored(),
            answers: None,
            trace,
        }
    }
}
