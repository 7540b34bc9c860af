//! The virtual clock: time that moves only when nothing can run, and then to the next timer.
//!
//! Nothing here reads a real clock. Timers with one deadline fire in the order of their making.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::heap::uncounted;
use crate::name::Name;
use crate::run::Sim;

/// Timers by (deadline in microseconds, sequence number).
#[derive(Default)]
pub(crate) struct Clock {
    now_us: Cell<u64>,
    sequence: Cell<u64>,
    timers: RefCell<BTreeMap<(u64, u64), Waker>>,
}

impl Clock {
    pub(crate) fn now_us(&self) -> u64 {
        self.now_us.get()
    }

    /// The next deadline, in microseconds, if there is a timer.
    pub(crate) fn next_us(&self) -> Option<u64> {
        let timers = self.timers.borrow();
        timers.first_key_value().map(|((deadline, _), _)| *deadline)
    }

    /// Moves to the next timer, if there is one; whom it wakes.
    pub(crate) fn advance(&self) -> Option<Waker> {
        let ((deadline, _), waker) = self.timers.borrow_mut().pop_first()?;
        self.now_us.set(deadline);
        Some(waker)
    }

    fn insert(&self, deadline_us: u64, made: Option<(u64, u64)>, waker: Waker) -> (u64, u64) {
        let key = made.unwrap_or_else(|| {
            let sequence = self.sequence.get();
            self.sequence.set(sequence + 1);
            (deadline_us, sequence)
        });
        let pause = uncounted();
        let replaced = self.timers.borrow_mut().insert(key, waker);
        drop(pause);
        drop(replaced);
        key
    }
}

/// Sleeps in virtual time. Dropping it forgets the timer.
pub struct Sleep {
    sim: Sim,
    deadline_us: u64,
    timer: Option<(u64, u64)>,
}

impl Sleep {
    pub(crate) fn new(sim: &Sim, duration_us: u64) -> Self {
        Self {
            deadline_us: sim.clock().now_us().saturating_add(duration_us),
            sim: sim.clone(),
            timer: None,
        }
    }

    fn forget(&mut self) {
        if let Some(key) = self.timer.take() {
            self.sim.clock().timers.borrow_mut().remove(&key);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let clock = self.sim.clock();
        if clock.now_us() >= self.deadline_us {
            self.forget();
            return Poll::Ready(());
        }
        let waker = context.waker().clone();
        // Polled again it keeps its place among the timers of its deadline.
        let key = clock.insert(self.deadline_us, self.timer, waker);
        self.sim.waits_for("timer", Name::new("sim", "clock"));
        self.timer = Some(key);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.forget();
    }
}

/// The time was up before the future was ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Elapsed;

/// Runs `future` for at most `duration_us` microseconds of virtual time.
///
/// # Errors
/// [`Elapsed`] if the time is up first; the future is dropped with the call.
pub async fn timeout<F: Future>(
    sim: &Sim,
    duration_us: u64,
    future: F,
) -> Result<F::Output, Elapsed> {
    let sleep = std::pin::pin!(sim.sleep_us(duration_us));
    let future = std::pin::pin!(future);
    match futures::future::select(future, sleep).await {
        futures::future::Either::Left((output, _)) => Ok(output),
        futures::future::Either::Right(((), _)) => Err(Elapsed),
    }
}
