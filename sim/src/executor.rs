//! The executor: named tasks on one thread, one poll at a time.
//!
//! A step is one poll of one task. Which task comes next is decided by its priority (a decision
//! of the plan, 0 by default) and then by who was woken first; a task that wakes itself while it
//! is polled goes behind its peers. The executor knows no connection and injects no fault.
//!
//! States of a task: *queued* (woken, in a ready queue; never twice), *running* (its future is
//! out of the slab, being polled), *waiting* (neither). A wake while running queues it again
//! after the poll. Removal while running takes effect after the poll.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures::FutureExt;
use futures::task::{LocalFutureObj, LocalSpawn, SpawnError};
use serde::Serialize;
use slab::Slab;

use crate::decision::{Part, Question, share};
use crate::heap::uncounted;
use crate::name::Name;
use crate::run::{Sim, Stopped};
use crate::trace::{self, EventKind};

/// Priorities are numbers below this.
const PRIORITIES: usize = 16;

/// How many times the priorities of all tasks may be drawn again in one run.
const CHANGES_MAX: u32 = 3;

/// The schedule's decisions.
pub(crate) static QUESTIONS: [Question; 3] = [
    Question::count(
        "task.*.priority",
        (0, PRIORITIES as u64 - 1),
        0,
        &[share(3, 0, 0), share(1, 0, 15)],
    )
    .about("whose turn it is among ready tasks: the lowest number first"),
    Question::count(
        "schedule.change.*.operation",
        (0, 10_000),
        0,
        &[share(3, 0, 0), share(1, 1, 40)],
    )
    .about("the owner's operation from which all priorities are others; 0 is never"),
    Question::count(
        "task.*.priority_after.*",
        (0, PRIORITIES as u64 - 1),
        0,
        &[share(1, 0, 0), share(1, 0, 15)],
    )
    .about("a task's priority after that change"),
];

const POLL: EventKind = EventKind::new("poll");
const WAKE: EventKind = EventKind::new("wake");
const SPAWN: EventKind = EventKind::new("spawn");
const WAITS: EventKind = EventKind::new("waits");
const DONE: EventKind = EventKind::new("done");
const CHANGE: EventKind = EventKind::new("priorities-change");

type BoxFuture = Pin<Box<dyn Future<Output = ()>>>;

/// Why a task is still pending at the end of a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Pending {
    /// The task.
    pub task: Name,
    /// What it waits for: `return of`, `bytes from`, `timer`.
    pub waits_for: &'static str,
    /// On whom, if that is known.
    pub on: Option<Name>,
    /// The step of its last poll; 0 if it was never polled.
    pub since_step: u64,
    /// Whether its end was promised: then its pending is a hang.
    pub must_end: bool,
}

/// What a task said that it waits for, at its last poll.
type Wait = (&'static str, Option<Name>);

struct Task {
    name: Name,
    sequence: u64,
    /// When it was made, as the tracker counts.
    born: u64,
    /// `None` while it is being polled.
    future: Option<BoxFuture>,
    waker: Waker,
    queued: bool,
    must_end: bool,
    since_step: u64,
    wait: Wait,
    /// The event of its last wake.
    woken: Option<u64>,
    priority: u32,
    epoch: u32,
}

/// The ready tasks: a queue for each priority, twice, because what wakes itself goes behind.
#[derive(Default)]
struct Ready {
    queues: [VecDeque<TaskKey>; 2 * PRIORITIES],
    /// A bit for each queue that is not empty.
    filled: u32,
}

impl Ready {
    fn push(&mut self, behind: bool, priority: u32, task: TaskKey) {
        let queue = usize::from(behind) * PRIORITIES + priority as usize;
        self.queues[queue].push_back(task);
        self.filled |= 1 << queue;
    }

    /// The next one: of the lowest priority, who was woken first.
    fn peek(&self) -> Option<TaskKey> {
        let queue = self.filled.trailing_zeros() as usize;
        self.queues.get(queue)?.front().copied()
    }

    /// Whether the next one, if any, woke itself: no other is ready.
    fn is_behind(&self) -> bool {
        self.filled.trailing_zeros() as usize >= PRIORITIES
    }

    fn pop(&mut self) -> Option<TaskKey> {
        let queue = self.filled.trailing_zeros() as usize;
        let tasks = self.queues.get_mut(queue)?;
        let task = tasks.pop_front();
        if tasks.is_empty() {
            self.filled ^= 1 << queue;
        }
        task
    }
}

struct TaskWaker {
    key: usize,
    task: u64,
    inbox: Arc<Mutex<Vec<Woken>>>,
}

/// A task's place and number, and the last event before its waker was called.
type Woken = (usize, u64, Option<u64>);

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let pause = uncounted();
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        inbox.push((self.key, self.task, trace::last()));
        drop(inbox);
        drop(pause);
    }
}

/// The tasks of one run.
#[derive(Default)]
pub(crate) struct Executor {
    tasks: RefCell<Slab<Task>>,
    ready: RefCell<Ready>,
    inbox: Arc<Mutex<Vec<Woken>>>,
    /// Wakes taken from the inbox, kept to reuse its memory.
    drained: RefCell<Vec<Woken>>,
    sequence: Cell<u64>,
    /// How many tasks each owner's spawners have made.
    spawned: RefCell<BTreeMap<&'static str, u32>>,
    epoch: Cell<u32>,
    running: Cell<Option<(TaskKey, Name)>>,
    /// The running task was aborted from inside its own poll.
    aborted: Cell<bool>,
    closed: Cell<bool>,
    wait: Cell<Option<Wait>>,
    /// The last steps in which nothing happened but that tasks woke themselves.
    idle_turns: Cell<u64>,
}

impl Executor {
    /// Whether so many steps in a row were of tasks that only woke themselves, and no other task
    /// is ready: they wait for something, and ask again and again.
    pub(crate) fn is_idle(&self, turns: u64) -> bool {
        self.idle_turns.get() >= turns && self.ready.borrow().is_behind()
    }

    /// Something may have happened.
    pub(crate) fn rouse(&self) {
        self.idle_turns.set(0);
    }

    pub(crate) fn running(&self) -> Option<Name> {
        self.running.get().map(|(_, name)| name)
    }

    fn is_running(&self, task: TaskKey) -> bool {
        self.running
            .get()
            .is_some_and(|(running, _)| running == task)
    }

    pub(crate) fn note_wait(&self, what: &'static str, on: Option<Name>) {
        self.wait.set(Some((what, on)));
    }

    fn next_sequence(&self) -> u64 {
        let sequence = self.sequence.get() + 1;
        self.sequence.set(sequence);
        sequence
    }

    /// Adds a task and queues it; returns its place, or `None` once the executor is gone.
    fn spawn(&self, sim: &Sim, name: Name, must_end: bool, future: BoxFuture) -> Option<TaskKey> {
        if self.closed.get() {
            drop(future);
            return None;
        }
        sim.event(SPAWN, name, [0, 0]);
        let sequence = self.next_sequence();
        let pause = uncounted();
        let mut tasks = self.tasks.borrow_mut();
        let entry = tasks.vacant_entry();
        let key = entry.key();
        let waker = Waker::from(Arc::new(TaskWaker {
            key,
            task: sequence,
            inbox: self.inbox.clone(),
        }));
        waker.wake_by_ref();
        entry.insert(Task {
            name,
            sequence,
            born: sim.tracker().born(),
            future: Some(future),
            waker,
            queued: false,
            must_end,
            since_step: 0,
            wait: ("its first poll", None),
            woken: None,
            priority: 0,
            epoch: u32::MAX,
        });
        drop(pause);
        Some((key, sequence))
    }

    /// The owner's operation `number` begins: priorities may change here.
    pub(crate) fn operation(&self, sim: &Sim, number: u32) {
        for change in 0..CHANGES_MAX {
            let at = sim.ask(&QUESTIONS[1], &[change.into()]);
            if at != 0 && at == u64::from(number) {
                self.epoch.set(change + 1);
                sim.event(
                    CHANGE,
                    Name::new("owner", "schedule"),
                    [u64::from(change), 0],
                );
            }
        }
    }

    fn priority(sim: &Sim, name: Name, epoch: u32) -> u32 {
        if sim.healed() {
            return 0;
        }
        let (question, parts): (_, &[Part]) = match epoch {
            0 => (&QUESTIONS[0], &[name.into()]),
            _ => (&QUESTIONS[2], &[name.into(), epoch.into()]),
        };
        // Half of the seeds keep to first in, first out.
        let answer = match epoch == 0 && sim.profile("priorities", 2) == 0 {
            true => sim.ask_drawn(question, parts, &[]),
            false => sim.ask(question, parts),
        };
        if answer != 0 && sim.real_io() {
            sim.ignore(question, parts);
            return 0;
        }
        answer as u32
    }

    /// Moves the wakes since the last call into the ready queues; `polled` is the task that could
    /// have woken itself.
    fn drain(&self, sim: &Sim, polled: Option<TaskKey>) {
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        if inbox.is_empty() {
            return;
        }
        let mut wakes = self.drained.take();
        std::mem::swap(&mut wakes, &mut inbox);
        drop(inbox);
        let epoch = if sim.healed() {
            u32::MAX - 1
        } else {
            self.epoch.get()
        };
        let mut tasks = self.tasks.borrow_mut();
        let mut ready = self.ready.borrow_mut();
        let pause = uncounted();
        for (key, sequence, cause) in wakes.drain(..) {
            let Some(task) = tasks
                .get_mut(key)
                .filter(|t| t.sequence == sequence && !t.queued)
            else {
                continue;
            };
            task.queued = true;
            if task.epoch != epoch {
                task.epoch = epoch;
                task.priority = Self::priority(sim, task.name, epoch);
            }
            let behind = polled == Some((key, sequence));
            ready.push(behind, task.priority, (key, sequence));
            sim.event_due_to(cause, WAKE, task.name, [0, 0]);
            task.woken = trace::last();
        }
        drop((tasks, ready));
        drop(pause);
        self.drained.replace(wakes);
    }

    /// Whether a task can be polled.
    pub(crate) fn has_ready(&self, sim: &Sim) -> bool {
        self.drain(sim, None);
        let (tasks, mut ready) = (self.tasks.borrow(), self.ready.borrow_mut());
        // A task that was aborted while it was ready has left its place in a queue.
        while let Some((key, sequence)) = ready.peek() {
            let task = tasks.get(key);
            if task.is_some_and(|task| task.sequence == sequence) {
                return true;
            }
            ready.pop();
        }
        false
    }

    /// Polls the next ready task; [`Executor::has_ready`] has just said that there is one.
    pub(crate) fn step(&self, sim: &Sim) {
        let behind = self.ready.borrow().is_behind();
        let next = self.ready.borrow_mut().pop();
        let (key, sequence) = next.expect("a task is ready");
        let (name, born, waker, woken, mut future) = {
            let mut tasks = self.tasks.borrow_mut();
            let task = tasks.get_mut(key).expect("a ready task is there");
            task.queued = false;
            let future = task.future.take().expect("only one task runs at a time");
            let waker = task.waker.clone();
            (task.name, task.born, waker, task.woken, future)
        };
        let step = sim.begin_step(name);
        sim.event_due_to(woken, POLL, name, [0, 0]);
        let before = sim.trace().so_far();
        let outer = sim.trace().enter();
        self.running.set(Some(((key, sequence), name)));
        self.wait.set(None);
        let mut context = Context::from_waker(&waker);
        let polled = sim.catch(|| future.as_mut().poll(&mut context));
        let idle = behind && sim.trace().so_far() == before;
        self.idle_turns
            .set(if idle { self.idle_turns.get() + 1 } else { 0 });
        // A destructor that the end of the task runs is still the task's doing.
        let ended = !matches!(polled, Ok(Some(Poll::Pending))) || self.aborted.take();
        if ended {
            sim.event(DONE, name, [0, 0]);
            self.tasks.borrow_mut().remove(key);
            drop(sim.catch(|| sim.destroy(name, born, future)));
            self.aborted.set(false);
        } else {
            let mut tasks = self.tasks.borrow_mut();
            let task = tasks.get_mut(key).expect("removed only here while it runs");
            task.future = Some(future);
            task.since_step = step;
            task.wait = self.wait.take().unwrap_or(("a wake", None));
            let (what, on) = task.wait;
            sim.remark(WAITS, name, || match on {
                Some(on) => format!("{what} {on}"),
                None => what.to_owned(),
            });
        }
        self.running.set(None);
        sim.trace().leave(outer);
        sim.turn(None);
        self.drain(sim, Some((key, sequence)));
    }

    /// Drops one task's future now, or after its poll if it is running.
    fn abort(&self, sim: &Sim, (key, sequence): TaskKey) {
        if self.is_running((key, sequence)) {
            self.aborted.set(true);
            return;
        }
        let mut tasks = self.tasks.borrow_mut();
        if tasks.get(key).is_some_and(|task| task.sequence == sequence) {
            let task = tasks.remove(key);
            drop(tasks);
            sim.destroy(task.name, task.born, task.future);
        }
    }

    /// Drops all tasks, oldest first, and takes no new ones. The running one goes after its poll.
    pub(crate) fn close(&self, sim: &Sim) -> Result<(), Stopped> {
        self.closed.set(true);
        let pause = uncounted();
        let mut oldest_first: Vec<_> = {
            let tasks = self.tasks.borrow();
            tasks
                .iter()
                .map(|(key, task)| (task.sequence, key))
                .collect()
        };
        drop(pause);
        oldest_first.sort_unstable();
        let mut result = Ok(());
        for (sequence, key) in oldest_first {
            if self.is_running((key, sequence)) {
                self.aborted.set(true);
                continue;
            }
            let mut tasks = self.tasks.borrow_mut();
            if tasks.get(key).is_some_and(|task| task.sequence == sequence) {
                let task = tasks.remove(key);
                drop(tasks);
                let dropped = sim.catch(|| sim.destroy(task.name, task.born, task.future));
                result = result.and(dropped.map(drop));
            }
        }
        result
    }

    /// The tasks that have not ended, oldest first.
    pub(crate) fn pending(&self) -> Vec<Pending> {
        let tasks = self.tasks.borrow();
        let mut pending: Vec<_> = tasks.iter().map(|(_, task)| task).collect();
        pending.sort_by_key(|task| task.sequence);
        let report = |task: &Task| Pending {
            task: task.name,
            waits_for: task.wait.0,
            on: task.wait.1,
            since_step: task.since_step,
            must_end: task.must_end,
        };
        pending.into_iter().map(report).collect()
    }
}

/// A task's place in the slab, and its number, which no other task of the run has.
type TaskKey = (usize, u64);

struct Join<T> {
    output: RefCell<Option<T>>,
    waker: RefCell<Option<Waker>>,
    finished: Cell<bool>,
}

/// Waits for a task's output. Dropping it lets the task go on.
pub struct JoinHandle<T> {
    sim: Sim,
    name: Name,
    task: Option<TaskKey>,
    join: Rc<Join<T>>,
}

impl<T: 'static> JoinHandle<T> {
    pub(crate) fn spawn(
        sim: &Sim,
        name: Name,
        must_end: bool,
        future: impl Future<Output = T> + 'static,
    ) -> Self {
        let join = Rc::new(Join {
            output: RefCell::new(None),
            waker: RefCell::new(None),
            finished: Cell::new(false),
        });
        let inner = join.clone();
        // Not an async block, which would have room for `future` twice.
        let body = Box::pin(future.map(move |output| {
            *inner.output.borrow_mut() = Some(output);
            inner.finished.set(true);
            if let Some(waker) = inner.waker.take() {
                waker.wake();
            }
        }));
        Self {
            task: sim.executor().spawn(sim, name, must_end, body),
            sim: sim.clone(),
            name,
            join,
        }
    }

    /// The task's name.
    pub fn name(&self) -> Name {
        self.name
    }

    /// Whether the task has ended by itself.
    pub fn is_finished(&self) -> bool {
        self.join.finished.get()
    }

    /// The output, once, if the task has ended.
    pub fn take(&self) -> Option<T> {
        self.join.output.take()
    }

    /// Drops the task's future: now, or after its poll if it is the running one.
    pub fn abort(&self) {
        if let Some(task) = self.task {
            self.sim.executor().abort(&self.sim, task);
        }
    }
}

impl<T: 'static> Future for JoinHandle<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        match self.join.output.take() {
            Some(output) => Poll::Ready(output),
            None => {
                *self.join.waker.borrow_mut() = Some(context.waker().clone());
                self.sim.waits_for("end of", self.name);
                Poll::Pending
            }
        }
    }
}

/// Spawns tasks of one owner for code that takes a [`LocalSpawn`]; they are named by number.
#[derive(Clone)]
pub struct Spawner {
    pub(crate) sim: Sim,
    pub(crate) owner: &'static str,
}

impl LocalSpawn for Spawner {
    fn spawn_local_obj(&self, future: LocalFutureObj<'static, ()>) -> Result<(), SpawnError> {
        let executor = self.sim.executor();
        let number = {
            let pause = uncounted();
            let mut spawned = executor.spawned.borrow_mut();
            let next = spawned.entry(self.owner).or_default();
            let number = std::mem::replace(next, *next + 1);
            drop(pause);
            number
        };
        let name = Name::numbered(self.owner, "task", number);
        match executor.spawn(&self.sim, name, false, Box::pin(future)) {
            Some(_) => Ok(()),
            None => Err(SpawnError::shutdown()),
        }
    }
}
