//! The context of one run: what code under simulation asks, spawns, tracks and records with.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use super::{Limit, Phase, Recorder, Stopped};
use crate::breach::{BREACH, BREACHES_MAX, Breach};
use crate::clock::{Clock, Sleep};
use crate::cut::Cut;
use crate::decision::{self, Decisions, Draw, Part, Question};
use crate::executor::{Executor, JoinHandle, Pending, Spawner};
use crate::fault::Kind;
use crate::heap::uncounted;
use crate::name::{Name, hash};
use crate::outside::Outside;
use crate::panics::Panic;
use crate::plan::Limits;
use crate::probe;
use crate::report::{ByPhase, Held, StackBytes};
use crate::rule::Rule;
use crate::stack::{Mark, Region};
use crate::trace::{Aside, EventKind, Trace};
use crate::track::{Tracked, Tracker};

const PHASE: EventKind = EventKind::new("phase");
const OPERATION: EventKind = EventKind::new("operation");
const ACTION: EventKind = EventKind::new("action");
const HEAL: EventKind = EventKind::new("heal");

/// The context of one run: everything that is asked, spawned, tracked and recorded goes here.
///
/// Cloning it is cheap; all clones are the same run.
#[derive(Clone)]
pub struct Sim(pub(super) Rc<World>);

pub(super) struct World {
    pub(super) region: Option<Arc<Region>>,
    pub(super) limits: Limits,
    pub(super) decisions: RefCell<Decisions>,
    pub(super) trace: Trace,
    /// Measure the owner's actions in teardown one by one.
    pub(super) detailed: bool,
    pub(super) recorder: Option<Arc<dyn Recorder>>,
    pub(super) phase: Cell<Phase>,
    pub(super) step: Cell<u64>,
    pub(super) stack: Cell<StackBytes>,
    /// The same from the start of the stack on.
    pub(super) stack_depth: Cell<ByPhase>,
    /// The phase and the depth at which the run is still to be caught.
    pub(super) deepest: Cell<Option<(Phase, u64)>>,
    /// It is about to be.
    pub(super) armed: Cell<bool>,
    /// Leave notes of the teardown.
    pub(super) notes: bool,
    pub(super) heap_bytes: Cell<ByPhase>,
    pub(super) allocations: Cell<ByPhase>,
    pub(super) polls: Cell<ByPhase>,
    /// Where the measurement of the current phase began.
    pub(super) mark: Cell<Option<Mark>>,
    pub(super) healed: Cell<bool>,
    pub(super) own_cycle: Cell<bool>,
    pub(super) own_panic: Cell<bool>,
    /// Calls under way of wakers that say so.
    pub(super) wakes: Cell<u32>,
    pub(super) cut: Cell<Cut>,
    pub(super) drive_steps: Cell<Option<u64>>,
    pub(super) owner_steps: Cell<u64>,
    pub(super) carried: RefCell<Vec<(Name, Rc<Cell<u64>>)>>,
    pub(super) stopped: Cell<bool>,
    /// The owner's action that is under way.
    pub(super) acting: Cell<Option<Name>>,
    pub(super) limit: Cell<Option<Limit>>,
    pub(super) panics: RefCell<Vec<Panic>>,
    pub(super) breaches: RefCell<Vec<Breach>>,
    pub(super) pending: RefCell<Vec<Pending>>,
    pub(super) held: RefCell<Vec<Held>>,
    pub(super) clock: Clock,
    pub(super) executor: Executor,
    pub(super) outside: Outside,
    pub(super) tracker: Tracker,
}

impl Sim {
    // ---- decisions

    /// Asks `question`; `parts` fill the stars of its name. A word answers with its place.
    pub fn ask(&self, question: &'static Question, parts: &[Part]) -> u64 {
        self.0.decisions.borrow_mut().ask(question, parts, None)
    }

    /// Asks `question`, and has a seed draw from `draw` and not from the question's own.
    pub fn ask_drawn(&self, question: &'static Question, parts: &[Part], draw: Draw) -> u64 {
        self.0
            .decisions
            .borrow_mut()
            .ask(question, parts, Some(draw))
    }

    /// A number below `bound` that shapes what a seed draws; 0 under a plan.
    pub fn profile(&self, name: &'static str, bound: u64) -> u64 {
        self.0.decisions.borrow().profile(name, bound)
    }

    // ---- the outside

    /// Whether this run's input and output are to be real; see [`crate::Options::real_io`].
    pub fn real_io(&self) -> bool {
        self.0.outside.real
    }

    /// Has `look` called before each step: it wakes the tasks that something outside lets go on,
    /// and returns false once there can be none. The run is at rest when nothing can run after
    /// it, so what it does not see at once is never waited for.
    pub fn look_outside(&self, look: impl FnMut() -> bool + 'static) {
        let pause = uncounted();
        self.0.outside.add(Box::new(look));
        drop(pause);
    }

    /// Says in the report that this answer of the plan is not followed: real input and output
    /// cannot.
    pub fn ignore(&self, question: &'static Question, parts: &[Part]) {
        let pause = uncounted();
        self.0.outside.ignore(decision::path(question, parts));
        drop(pause);
    }

    // ---- phases

    /// Runs a phase and keeps its high-water mark of stack. Phases may not be nested.
    ///
    /// # Errors
    /// [`Stopped`] after a panic.
    pub fn enter<T>(
        &self,
        phase: Phase,
        body: impl FnOnce() -> Result<T, Stopped>,
    ) -> Result<T, Stopped> {
        self.begin_phase(phase);
        if phase == Phase::Teardown {
            self.end_of_drive();
        }
        self.event(PHASE, Name::new("owner", "phase"), [phase as u64, 0]);
        self.turn(self.current_task());
        self.measured(|stack| &mut stack[phase], || self.catch(body))
            .and_then(|result| result.unwrap_or(Err(Stopped)))
    }

    /// An action of the owner: a drop, a shutdown. What it drops is told apart from what polls
    /// drop; a panic in it ends the run.
    ///
    /// # Errors
    /// [`Stopped`] after a panic, now or before; the action is run all the same.
    pub fn act<T>(&self, name: Name, action: impl FnOnce() -> T) -> Result<Option<T>, Stopped> {
        self.event(ACTION, name, [0, 0]);
        let (outer, acted) = (self.0.trace.enter(), self.0.acting.replace(Some(name)));
        self.turn(Some(name));
        let stopped = self.0.stopped.get();
        let result = if self.0.detailed && self.phase() == Phase::Teardown {
            self.measured(|stack| &mut stack.teardown_actions, || self.catch(action))
        } else {
            self.catch(action)
        };
        self.0.trace.leave(outer);
        self.0.acting.set(acted);
        self.turn(self.current_task());
        // What was thrown in another language stops the run, too.
        match stopped || self.0.stopped.get() {
            true => Err(Stopped),
            false => result,
        }
    }

    /// The owner begins its operation `number` (from 1): what other decisions are timed by.
    pub fn operation(&self, number: u32) {
        self.event(
            OPERATION,
            Name::numbered("owner", "operation", number),
            [0, 0],
        );
        self.0.executor.operation(self, number);
    }

    /// Ends the faults: from here on tasks run first in, first out, and nothing new breaks.
    pub fn heal(&self) {
        self.0.healed.set(true);
        self.0.cut.set(Cut::None);
        self.event(HEAL, Name::new("owner", "schedule"), [0, 0]);
    }

    /// Whether [`Sim::heal`] was called. Whoever injects faults asks this first.
    pub fn healed(&self) -> bool {
        self.0.healed.get()
    }

    // ---- tasks

    /// Starts a task that may go on for ever.
    pub fn spawn<T: 'static>(
        &self,
        name: Name,
        future: impl Future<Output = T> + 'static,
    ) -> JoinHandle<T> {
        JoinHandle::spawn(self, name, false, future)
    }

    /// Starts a task that has to end: if it is still pending at the end of the run, after the
    /// healed phase, that is a hang.
    pub fn spawn_must_end<T: 'static>(
        &self,
        name: Name,
        future: impl Future<Output = T> + 'static,
    ) -> JoinHandle<T> {
        JoinHandle::spawn(self, name, true, future)
    }

    /// A [`futures::task::LocalSpawn`] for code that takes one.
    pub fn spawner(&self, owner: &'static str) -> Spawner {
        Spawner {
            sim: self.clone(),
            owner,
        }
    }

    /// Sleeps in virtual time.
    pub fn sleep_us(&self, duration_us: u64) -> Sleep {
        Sleep::new(self, duration_us)
    }

    /// Virtual time since the start, in microseconds.
    pub fn now_us(&self) -> u64 {
        self.0.clock.now_us()
    }

    /// Says what the running task waits for, in case it is still pending at the end.
    pub fn waits_for(&self, what: &'static str, on: Name) {
        self.0.executor.note_wait(what, Some(on));
    }

    /// The tasks that have not ended.
    pub fn pending(&self) -> Vec<Pending> {
        self.0.executor.pending()
    }

    /// Drops all tasks, oldest first; from then on none is taken. A teardown action.
    ///
    /// # Errors
    /// [`Stopped`] after a panic in one of them; the others are dropped all the same.
    pub fn drop_executor(&self) -> Result<(), Stopped> {
        let name = Name::new("owner", "executor");
        self.event(ACTION, name, [0, 0]);
        let (outer, acted) = (self.0.trace.enter(), self.0.acting.replace(Some(name)));
        let closed = self.0.executor.close(self);
        self.0.trace.leave(outer);
        self.0.acting.set(acted);
        closed
    }

    pub(crate) fn recorder(&self) -> Option<&dyn Recorder> {
        self.0.recorder.as_deref()
    }

    // ---- what is recorded

    /// Makes the destruction of `value` part of the report.
    pub fn track<T>(&self, name: Name, value: T) -> Tracked<T> {
        Tracked::new(self, name, value)
    }

    /// States a rule of destruction order, from here on: a breach of it is in the report.
    pub fn rule(&self, rule: Rule) {
        self.0.tracker.rule(rule);
    }

    /// Calls `body`, which is what a waker does when it is called: what is destroyed meanwhile is
    /// destroyed inside a wake. For wakers that do more than take a note.
    pub fn waking<T>(&self, body: impl FnOnce() -> T) -> T {
        struct Waking<'a>(&'a Cell<u32>);
        impl Drop for Waking<'_> {
            fn drop(&mut self) {
                self.0.update(|wakes| wakes - 1);
            }
        }
        self.0.wakes.update(|wakes| wakes + 1);
        let waking = Waking(&self.0.wakes);
        let result = body();
        drop(waking);
        result
    }

    /// Records an event; `numbers` mean what `kind` says.
    #[inline]
    pub fn event(&self, kind: EventKind, subject: Name, numbers: [u64; 2]) {
        let aside = || self.aside();
        self.0.trace.record(kind, subject, numbers, aside);
    }

    /// Records an event, with `text` for people if events are kept. It must do nothing else: with
    /// and without a trace a run is the same.
    #[inline]
    pub fn event_saying(
        &self,
        kind: EventKind,
        subject: Name,
        numbers: [u64; 2],
        text: impl FnOnce() -> String,
    ) {
        self.0
            .trace
            .record(kind, subject, numbers, || self.saying(text));
    }

    /// Keeps an event that is no part of the digest, if events are kept: for what people want to
    /// know and what follows from other events.
    #[inline]
    pub fn remark(&self, kind: EventKind, subject: Name, text: impl FnOnce() -> String) {
        self.0.trace.remark(kind, subject, || self.saying(text));
    }

    /// Whether events are kept: whether to find out more for them.
    pub fn is_traced(&self) -> bool {
        self.0.trace.keeps()
    }

    /// An injected fault holds something up for good: `count` of what it keeps back.
    pub fn hold(&self, by: Name, fault: &'static str, count: u64) {
        let pause = uncounted();
        self.0.held.borrow_mut().push(Held { by, fault, count });
        drop(pause);
    }

    /// Says in the report how many units (bytes) `by` has carried: the counter is its own to
    /// raise. Of several of one name the report gives the most.
    pub fn carrier(&self, by: Name) -> Rc<Cell<u64>> {
        let pause = uncounted();
        let counter = Rc::new(Cell::new(0));
        self.0.carried.borrow_mut().push((by, counter.clone()));
        drop(pause);
        counter
    }

    /// A property of the system under test is broken; `rule` says which, without names and
    /// numbers, and `detail` the rest.
    pub fn breach(
        &self,
        property: &'static str,
        rule: impl Into<String>,
        subject: Name,
        detail: impl Into<String>,
    ) {
        let (given, detail) = (rule.into(), detail.into());
        // The report's copies are not the run's.
        let pause = uncounted();
        let rule = given.clone();
        let text = || format!("{property} {rule}: {detail}");
        self.event_saying(BREACH, subject, [hash(rule.as_bytes()), 0], text);
        let mut breaches = self.0.breaches.borrow_mut();
        if breaches.len() < BREACHES_MAX {
            breaches.push(Breach {
                property,
                rule,
                subject,
                detail: detail.clone(),
                step: self.steps_done(),
            });
        }
        drop(pause);
    }

    /// The run's own code has made a cycle, of references or of promises, as a program may by
    /// mistake: objects that are never destroyed and calls that never end are then no finding.
    pub fn own_cycle(&self) {
        self.0.own_cycle.set(true);
    }

    /// A destructor of the run's own is about to panic within the code under test: whatever
    /// comes after that, short of the end of the process, is no finding.
    pub fn own_panic(&self) {
        self.0.own_panic.set(true);
    }

    /// Whether [`Sim::own_cycle`] was called.
    pub fn has_own_cycle(&self) -> bool {
        self.0.own_cycle.get()
    }

    /// Whether a limit has cut the run short, or the plan does: nothing runs that is not at rest.
    pub fn is_limited(&self) -> bool {
        self.0.limit.get().is_some() || self.is_cut()
    }

    /// The current phase.
    pub fn phase(&self) -> Phase {
        self.0.phase.get()
    }

    /// Steps so far.
    pub fn steps_done(&self) -> u64 {
        self.0.step.get()
    }

    /// The task that is being polled.
    pub fn current_task(&self) -> Option<Name> {
        self.0.executor.running()
    }

    // ---- for the modules beside this one

    /// Records an event that another one, which is not what it happens inside of, brought about.
    #[inline]
    pub(crate) fn event_due_to(
        &self,
        cause: Option<u64>,
        kind: EventKind,
        subject: Name,
        numbers: [u64; 2],
    ) {
        self.0.trace.record(kind, subject, numbers, || Aside {
            cause,
            ..self.aside()
        });
    }

    fn aside(&self) -> Aside {
        Aside {
            step: self.0.step.get(),
            time_us: self.now_us(),
            by: self.current_task().or(self.0.acting.get()),
            ..Aside::default()
        }
    }

    fn saying(&self, text: impl FnOnce() -> String) -> Aside {
        Aside {
            text: Some(text()),
            ..self.aside()
        }
    }

    pub(crate) fn trace(&self) -> &Trace {
        &self.0.trace
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(crate) fn executor(&self) -> &Executor {
        &self.0.executor
    }

    pub(crate) fn tracker(&self) -> &Tracker {
        &self.0.tracker
    }

    pub(crate) fn in_wake(&self) -> bool {
        self.0.wakes.get() > 0
    }

    pub(crate) fn begin_step(&self, task: Name) -> u64 {
        let step = self.0.step.get() + 1;
        self.0.step.set(step);
        let mut polls = self.0.polls.get();
        *polls[self.phase()].get_or_insert(0) += 1;
        self.0.polls.set(polls);
        self.turn(Some(task));
        step
    }

    /// Whose turn it is, for whoever wants to know why a run never comes back.
    pub(crate) fn turn(&self, who: Option<Name>) {
        if let Some(recorder) = &self.0.recorder {
            let pause = uncounted();
            let (step, time_us) = (self.0.step.get(), self.now_us());
            recorder.turn(step, time_us, self.phase(), who);
            drop(pause);
        }
        if probe::takes_notes() {
            let pause = uncounted();
            let who = who.map_or_else(String::new, |who| who.to_string());
            probe::note(Kind::Turn, self.0.step.get(), &who);
            drop(pause);
        }
    }
}
