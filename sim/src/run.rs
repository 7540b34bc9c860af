//! One run: a plan and a body in, a report out.
//!
//! A run lives on a fresh thread (the standard library's hash keys are per thread and advance
//! with each map) and on the measured stack. Its body goes through the phases `build`, `drive`
//! and `teardown`; panics are caught, recorded and end the run, but do not unwind through the
//! body, so that what is left is dropped in order and not in flight.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use serde::Serialize;

use crate::breach::{BREACH, BREACHES_MAX, Breach};
use crate::clock::{Clock, Sleep};
use crate::cut::{self, Cut};
use crate::decision::{self, Decisions, Draw, Part, Question, Seed, Value, share};
use crate::entropy;
use crate::executor::{self, Executor, JoinHandle, Pending, Spawner};
use crate::fault::Guarded;
use crate::heap::{self, uncounted};
use crate::last_words::LastWords;
use crate::name::{Name, hash};
use crate::outside::Outside;
use crate::panics::{self, Panic};
use crate::plan::{Limits, Plan};
use crate::report::{ByPhase, Held, Report, StackBytes};
use crate::rule::Rule;
use crate::stack::{Mark, Region};
use crate::trace::{EventKind, Trace};
use crate::track::{Tracked, Tracker};

/// The hash keys that the run's maps get: the order in which capnp-rpc 0.27 disconnects.
static HASH_KEYS: Question = Question::count(
    "hash_keys",
    (0, u32::MAX as u64),
    0,
    &[share(1, 0, u32::MAX as u64)],
)
.about("keys of the standard library's hash maps");

const PHASE: EventKind = EventKind::new("phase");
const OPERATION: EventKind = EventKind::new("operation");
const ACTION: EventKind = EventKind::new("action");
const CUT: EventKind = EventKind::new("cut");
const HEAL: EventKind = EventKind::new("heal");
const TIME: EventKind = EventKind::new("time");
const PANIC: EventKind = EventKind::new("panic");
const INJECTED_PANIC: EventKind = EventKind::new("injected-panic");

/// The questions that every run may ask.
pub fn questions() -> [&'static [Question]; 3] {
    [
        std::slice::from_ref(&HASH_KEYS),
        &executor::QUESTIONS,
        &cut::QUESTIONS,
    ]
}

/// A part of a run, with a high-water mark of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Both ends are made.
    Build,
    /// The workload runs.
    Drive,
    /// From the owner's first teardown action to quiescence.
    Teardown,
}

/// The run has ended early, by a panic; the body returns and drops what it has.
#[derive(Debug)]
pub struct Stopped;

/// Where a run that did not come to rest was stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    /// The plan's limit of steps.
    Steps,
    /// The plan's limit of virtual time.
    Seconds,
}

impl Limit {
    /// `steps` or `seconds`, as in a plan's `[limits]`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Steps => "steps",
            Self::Seconds => "seconds",
        }
    }
}

/// Sees what a run gives away while it runs, so that it is known even if the process dies.
pub trait Recorder: Send + Sync {
    /// A decision was answered, for the first time, with something other than the default.
    fn answer(&self, path: &str, value: &Value);
    /// A panic was raised; the process may be about to abort.
    fn panic(&self, panic: &Panic);
    /// It is the turn of `who` after `step` steps: of a task that is polled, or of an action of the
    /// owner, which may never return. `None`: of the owner's own code.
    fn turn(&self, step: u64, phase: Phase, who: Option<Name>);
}

/// How to run a plan.
#[derive(Clone, Default)]
pub struct Options {
    /// Answers what the plan does not.
    pub seed: Option<Seed>,
    /// Keep the events, not only their digest.
    pub trace: bool,
    /// Keep the answers that are not the default: the report's plan.
    pub record: bool,
    /// Told of answers and panics as they come.
    pub recorder: Option<Arc<dyn Recorder>>,
    /// Written to standard error if the run aborts the process; end it with a line feed.
    pub last_words: Option<Arc<str>>,
    /// List what is left of the heap, block by block, with the return addresses of these
    /// allocations, which ascend. Needs memory for every block that lives.
    pub list_left: Option<Arc<[u64]>>,
    /// Leaves the process's own entropy in place: for the canary that shows what the pin is for.
    pub unpinned: bool,
    /// Input and output are real, where a layer above has both kinds, and the schedule is plain:
    /// first in, first out, whatever the plan says. Two such runs need not be equal.
    pub real_io: bool,
}

/// Runs plans one after the other on one measured stack.
pub struct Runner {
    region: Option<Arc<Region>>,
}

impl Default for Runner {
    fn default() -> Self {
        Self::new()
    }
}

/// Bytes of the run's own thread stack: it only switches to the region.
const THREAD_STACK_BYTES: usize = 256 << 10;
/// The same where there is no region and the body runs on the thread's stack.
const PLAIN_STACK_BYTES: usize = 256 << 20;

impl Runner {
    /// Maps the stack. Where none can be measured, runs use a plain one and report no bytes.
    pub fn new() -> Self {
        Self {
            region: Region::new().map(Arc::new),
        }
    }

    /// The size of the measured stack in bytes; `None` if stacks are not measured here.
    pub fn stack_size_bytes(&self) -> Option<usize> {
        self.region.as_ref().map(|region| region.size_bytes())
    }

    /// Runs `body` once, as `plan` and `options` say.
    ///
    /// # Panics
    /// If the simulation itself is broken; a panic of the body is data in the report.
    pub fn run(
        &self,
        plan: &Plan,
        options: &Options,
        body: impl FnOnce(&Sim) -> Result<(), Stopped> + Send,
    ) -> Report {
        let size = match self.region {
            Some(_) => THREAD_STACK_BYTES,
            None => PLAIN_STACK_BYTES,
        };
        let account = heap::Account::open(options.list_left.clone());
        let mut report = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(size);
            let run = || {
                account.iter().for_each(heap::Account::begin);
                on_this_thread(self.region.as_ref(), plan, options, body)
            };
            let handle = thread.spawn_scoped(scope, run);
            let handle = handle.expect("a thread can be started");
            handle
                .join()
                .unwrap_or_else(|payload| std::panic::resume_unwind(payload))
        });
        // Only now: what a thread keeps for itself is given back when it ends.
        report.left = account.and_then(heap::Account::close);
        report
    }
}

/// Runs `body` once as `plan` says, on a runner of its own.
pub fn run(plan: &Plan, body: impl FnOnce(&Sim) -> Result<(), Stopped> + Send) -> Report {
    Runner::new().run(plan, &Options::default(), body)
}

fn on_this_thread(
    region: Option<&Arc<Region>>,
    plan: &Plan,
    options: &Options,
    body: impl FnOnce(&Sim) -> Result<(), Stopped>,
) -> Report {
    let pause = uncounted();
    let recording = options.record || options.recorder.is_some();
    let answers = Rc::new(RefCell::new(Vec::new()));
    let recorder = recording.then(|| -> decision::Recorder {
        let (answers, recorder) = (answers.clone(), options.recorder.clone());
        Box::new(move |path, value| {
            if let Some(recorder) = &recorder {
                recorder.answer(path, value);
            }
            answers.borrow_mut().push((path.to_owned(), value.clone()));
        })
    });
    let sim = Sim(Rc::new(World {
        region: region.cloned(),
        limits: plan.limits,
        decisions: RefCell::new(Decisions::new(plan.given(), options.seed, recorder)),
        trace: Trace::new(options.trace),
        detailed: options.trace,
        recorder: options.recorder.clone(),
        phase: Cell::new(Phase::Build),
        step: Cell::new(0),
        stack: Cell::default(),
        heap_bytes: Cell::default(),
        allocations: Cell::default(),
        polls: Cell::default(),
        mark: Cell::new(None),
        healed: Cell::new(false),
        own_cycle: Cell::new(false),
        own_panic: Cell::new(false),
        wakes: Cell::new(0),
        cut: Cell::new(Cut::None),
        drive_steps: Cell::new(None),
        owner_steps: Cell::new(0),
        carried: RefCell::default(),
        stopped: Cell::new(false),
        limit: Cell::new(None),
        panics: RefCell::default(),
        breaches: RefCell::default(),
        pending: RefCell::default(),
        held: RefCell::default(),
        clock: Clock::default(),
        executor: Executor::default(),
        outside: Outside::new(options.real_io),
        tracker: Tracker::default(),
    }));
    if sim.ask(&cut::QUESTIONS[0], &[]) == 1 {
        let steps = sim.ask(&cut::QUESTIONS[1], &[]);
        sim.0.cut.set(Cut::After(steps));
    }
    let keys = sim.ask(&HASH_KEYS, &[]);
    if !options.unpinned {
        entropy::pin(keys);
    }
    panics::collect(options.recorder.clone());
    let last_words = options.last_words.clone().map(LastWords::new);
    drop(pause);
    match region {
        Some(region) => region.enter(|| sim.live(body)),
        None => {
            let guarded = Guarded::thread();
            sim.live(body);
            drop(guarded);
        }
    }
    drop(last_words);
    let pause = uncounted();
    let mut report = sim.report();
    report.never_asked = plan.unused(|id| sim.0.decisions.borrow().used(id));
    report.answers = options.record.then(|| answers.take());
    drop(pause);
    report
}

/// The context of one run: everything that is asked, spawned, tracked and recorded goes here.
///
/// Cloning it is cheap; all clones are the same run.
#[derive(Clone)]
pub struct Sim(Rc<World>);

struct World {
    region: Option<Arc<Region>>,
    limits: Limits,
    decisions: RefCell<Decisions>,
    trace: Trace,
    /// Measure the owner's actions in teardown one by one.
    detailed: bool,
    recorder: Option<Arc<dyn Recorder>>,
    phase: Cell<Phase>,
    step: Cell<u64>,
    stack: Cell<StackBytes>,
    heap_bytes: Cell<ByPhase>,
    allocations: Cell<ByPhase>,
    polls: Cell<ByPhase>,
    /// Where the measurement of the current phase began.
    mark: Cell<Option<Mark>>,
    healed: Cell<bool>,
    own_cycle: Cell<bool>,
    own_panic: Cell<bool>,
    /// Calls under way of wakers that say so.
    wakes: Cell<u32>,
    cut: Cell<Cut>,
    drive_steps: Cell<Option<u64>>,
    owner_steps: Cell<u64>,
    carried: RefCell<Vec<(Name, Rc<Cell<u64>>)>>,
    stopped: Cell<bool>,
    limit: Cell<Option<Limit>>,
    panics: RefCell<Vec<Panic>>,
    breaches: RefCell<Vec<Breach>>,
    pending: RefCell<Vec<Pending>>,
    held: RefCell<Vec<Held>>,
    clock: Clock,
    executor: Executor,
    outside: Outside,
    tracker: Tracker,
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

    /// Whether this run's input and output are to be real; see [`Options::real_io`].
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
        self.turn(Some(name));
        let stopped = self.0.stopped.get();
        let result = if self.0.detailed && self.phase() == Phase::Teardown {
            self.measured(|stack| &mut stack.teardown_actions, || self.catch(action))
        } else {
            self.catch(action)
        };
        self.turn(self.current_task());
        if stopped { Err(Stopped) } else { result }
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

    // ---- running

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
    fn step(&self) -> Result<bool, Stopped> {
        let world = &self.0;
        if world.stopped.get() {
            return Err(Stopped);
        }
        world.outside.look();
        while !world.executor.has_ready(self) {
            match world.clock.next_us() {
                None => return Ok(false),
                Some(us) if us > world.limits.seconds.saturating_mul(1_000_000) => {
                    world.limit.set(Some(Limit::Seconds));
                    return Ok(false);
                }
                Some(_) if self.cut() => return Ok(false),
                Some(us) => {
                    world.clock.advance();
                    self.event(TIME, Name::new("sim", "clock"), [us, 0]);
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

    /// Whether the step that could be made now is cut off.
    fn cut(&self) -> bool {
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
    fn end_of_drive(&self) {
        let world = &self.0;
        if world.drive_steps.get().is_none() {
            world.drive_steps.set(Some(world.step.get()));
            if self.is_cut() {
                world.cut.set(Cut::None);
            }
        }
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
        self.event(ACTION, Name::new("owner", "executor"), [0, 0]);
        self.0.executor.close(self)
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
        let at = || (self.0.step.get(), self.now_us());
        self.0.trace.record(kind, subject, numbers, at);
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
        self.event(BREACH, subject, [hash(rule.as_bytes()), 0]);
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

    /// The run's own code has made a cycle of references, as a program may by mistake: objects
    /// that are never destroyed are then no finding.
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
            recorder.turn(self.0.step.get(), self.phase(), who);
            drop(pause);
        }
    }

    /// What was counted until now belongs to the phase that was; `phase` begins.
    fn begin_phase(&self, phase: Phase) {
        self.end_phase();
        self.0.phase.set(phase);
        let mut polls = self.0.polls.get();
        polls[phase].get_or_insert(0);
        self.0.polls.set(polls);
    }

    fn end_phase(&self) {
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
                self.event(PANIC, self.culprit(), [0, 0]);
                let pause = uncounted();
                self.0.panics.borrow_mut().extend(panics::take());
                drop(pause);
                self.0.stopped.set(true);
                Err(Stopped)
            }
        }
    }

    fn culprit(&self) -> Name {
        self.current_task().unwrap_or(Name::new("owner", "action"))
    }

    /// Runs `body` on a clean stack and raises the mark that `mark` points at.
    fn measured<T>(
        &self,
        mark: impl FnOnce(&mut StackBytes) -> &mut Option<u64>,
        body: impl FnOnce() -> T,
    ) -> T {
        let Some(region) = &self.0.region else {
            return body();
        };
        // A measurement within a phase clears the stack: what the phase needed so far is kept.
        let outer = self.0.mark.get();
        if let Some(outer) = outer {
            self.raise(|stack| &mut stack[self.phase()], region.bytes_since(outer));
        }
        let inner = region.begin();
        self.0.mark.set(Some(inner));
        let result = body();
        self.raise(mark, region.bytes_since(inner));
        self.0.mark.set(outer);
        result
    }

    fn raise(&self, mark: impl FnOnce(&mut StackBytes) -> &mut Option<u64>, bytes: u64) {
        let mut stack = self.0.stack.get();
        let mark = mark(&mut stack);
        *mark = Some(mark.unwrap_or(0).max(bytes));
        self.0.stack.set(stack);
    }

    /// The whole life of the run: the body, the healed phase, the end of all that is left.
    fn live(&self, body: impl FnOnce(&Sim) -> Result<(), Stopped>) {
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

    fn report(&self) -> Report {
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
