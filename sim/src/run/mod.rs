//! One run: a plan and a body in, a report out.
//!
//! A run lives on a fresh thread (the standard library's hash keys are per thread and advance
//! with each map) and on the measured stack. Its body goes through the phases `build`, `drive`
//! and `teardown`; panics are caught, recorded and end the run, but do not unwind through the
//! body, so that what is left is dropped in order and not in flight.

mod drive;
mod sim;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

pub use self::sim::Sim;
use self::sim::World;
use crate::clock::Clock;
use crate::cut::{self, Cut};
use crate::decision::{self, Decisions, Question, Seed, Value, share};
use crate::entropy;
use crate::executor::{self, Executor};
use crate::fault::Guarded;
use crate::heap::{self, uncounted};
use crate::last_words::LastWords;
use crate::name::Name;
use crate::outside::Outside;
use crate::panics::{self, Panic};
use crate::plan::Plan;
use crate::probe::{self, Probe};
use crate::report::Report;
use crate::stack::Region;
use crate::trace::{Event, EventKind, Trace};
use crate::track::Tracker;

/// The hash keys that the run's maps get: the order in which capnp-rpc 0.27 disconnects.
static HASH_KEYS: Question = Question::count(
    "hash_keys",
    (0, u32::MAX as u64),
    0,
    &[share(1, 0, u32::MAX as u64)],
)
.always_moving()
.about("keys of the standard library's hash maps");

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
    fn turn(&self, step: u64, time_us: u64, phase: Phase, who: Option<Name>);
    /// This event is kept, under this number.
    fn event(&self, _number: u64, _event: &Event) {}
    /// The run is over.
    fn over(&self) {}
    /// Whether it wants the run's script: see [`Sim::script`].
    fn scripts(&self) -> bool {
        false
    }
    /// A line of the script.
    fn line(&self, place: &'static str, line: &str) {
        let _ = (place, line);
    }
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
    /// What it leaves for its explanation.
    pub probe: Probe,
    /// Leaves the process's own entropy in place: for the canary that shows what the pin is for.
    pub unpinned: bool,
    /// Input and output are real, where a layer above has both kinds, and the schedule is plain:
    /// first in, first out, whatever the plan says. Two such runs need not be equal.
    pub real_io: bool,
}

/// Runs plans one after the other on one measured stack.
pub struct Runner {
    region: Option<Arc<Region>>,
    /// That of the last plan with a stack of its own.
    own: Mutex<Option<Arc<Region>>>,
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
            own: Mutex::default(),
        }
    }

    /// The stack for a plan: its own, if it has one.
    fn region(&self, plan: &Plan) -> Option<Arc<Region>> {
        let Some(bytes) = plan.limits.stack_bytes else {
            return self.region.clone();
        };
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let known = own.clone().filter(|region| region.is_for(bytes));
        *own = known.or_else(|| Region::with_stack(bytes).map(Arc::new));
        own.clone()
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
        let region = self.region(plan);
        let size = match (&region, plan.limits.stack_bytes) {
            (Some(_), _) => THREAD_STACK_BYTES,
            (None, Some(bytes)) => bytes as usize,
            (None, None) => PLAIN_STACK_BYTES,
        };
        let account = heap::Account::open(options.list_left.clone(), options.probe.destructions);
        let mut report = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(size);
            let run = || {
                account.iter().for_each(heap::Account::begin);
                on_this_thread(region.as_ref(), plan, options, body)
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

/// Keeps an event where a panic is raised: that of its end is behind all that it unwinds.
fn told(sim: &Sim) -> panics::Told {
    const RAISED: EventKind = EventKind::new("panic-raised");
    let world = Rc::downgrade(&sim.0);
    Box::new(move |panic| {
        if let Some(sim) = world.upgrade().map(Sim) {
            let text = || format!("{}: {}", panic.site, panic.message);
            sim.remark(RAISED, sim.culprit(), text);
        }
    })
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
        trace: Trace::new(options.trace, options.recorder.clone()),
        detailed: options.trace,
        recorder: options.recorder.clone(),
        phase: Cell::new(Phase::Build),
        step: Cell::new(0),
        stack: Cell::default(),
        stack_depth: Cell::default(),
        deepest: Cell::new(options.probe.deepest),
        armed: Cell::new(false),
        notes: options.probe.destructions,
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
        acting: Cell::new(None),
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
    panics::collect(options.recorder.clone(), options.trace.then(|| told(&sim)));
    let last_words = options.last_words.clone().map(LastWords::new);
    drop(pause);
    sim.script("run", String::new);
    match region {
        Some(region) => {
            let deepest = options.probe.deepest.map(|(_, depth)| depth);
            region.enter(deepest, || sim.live(body));
        }
        None => {
            let guarded = Guarded::thread();
            sim.live(body);
            drop(guarded);
        }
    }
    drop(last_words);
    if let Some(recorder) = &options.recorder {
        let pause = uncounted();
        recorder.over();
        drop(pause);
    }
    probe::take_notes(false);
    let pause = uncounted();
    let mut report = sim.report();
    report.never_asked = plan.unused(|id| sim.0.decisions.borrow().used(id));
    report.answers = options.record.then(|| answers.take());
    drop(pause);
    report
}
