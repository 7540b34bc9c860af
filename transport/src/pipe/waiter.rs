//! An end of a pipe while it waits: woken for a reason, and before that perhaps in vain.

use std::task::{Context, Poll, Waker};

use dismantle_sim::{EventKind, Name, Sim};

const IN_VAIN: EventKind = EventKind::new("woken-in-vain");

/// The reader or the writer of a pipe, as one that waits.
pub(super) struct Waiter {
    waker: Option<Waker>,
    /// How often it is woken in vain before each true wake-up.
    spurious: u64,
    /// How often it still is before the next one: a bound, or it would never rest.
    spurious_left: u64,
}

impl Waiter {
    pub(super) fn new(spurious: u64) -> Self {
        Self {
            waker: None,
            spurious,
            spurious_left: spurious,
        }
    }

    /// Whether it waits.
    pub(super) fn waits(&self) -> bool {
        self.waker.is_some()
    }

    /// Wakes it, if it waits, because something may have come.
    pub(super) fn wake(&mut self) {
        self.spurious_left = self.spurious;
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Has the polling task wait for `what` `on`.
    pub(super) fn wait<T>(
        &mut self,
        sim: &Sim,
        what: &'static str,
        on: Name,
        context: &Context<'_>,
    ) -> Poll<T> {
        if self.spurious_left > 0 && !sim.healed() {
            self.spurious_left -= 1;
            sim.event(IN_VAIN, on, [self.spurious_left, 0]);
            context.waker().wake_by_ref();
        }
        self.waker = Some(context.waker().clone());
        sim.waits_for(what, on);
        Poll::Pending
    }
}
