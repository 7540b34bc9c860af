//! An event loop of the library, turned by a task of the simulation.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};

use dismantle_sim::{EventKind, Name, Sim};

use super::{ffi, host};

const LOG: EventKind = EventKind::new("log");
/// A turn that was not the last one: a loop that has more to do is not idle, however often it
/// turns before anything else is to be seen.
const TURN: EventKind = EventKind::new("turn");

/// An exception that the library threw at its caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Thrown {
    /// `capnproto-0.9.2/src/capnp/rpc.c++:123`.
    pub site: String,
    /// What it says.
    pub text: String,
}

impl fmt::Display for Thrown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.site, self.text)
    }
}

/// One event loop, of one vat. All clones are the same.
#[derive(Clone)]
pub struct EventLoop(pub(super) Rc<State>);

pub(super) struct State {
    pub(super) sim: Sim,
    /// The vat: what its tasks are called.
    pub(super) owner: &'static str,
    pub(super) raw: Cell<*mut ffi::Loop>,
    /// Of the task that turns it.
    waker: RefCell<Option<Waker>>,
}

impl EventLoop {
    /// A loop for the vat `owner`, with a task that turns it: `owner/loop`.
    pub fn new(sim: &Sim, owner: &'static str) -> Self {
        let state = Rc::new(State {
            sim: sim.clone(),
            owner,
            raw: Cell::new(std::ptr::null_mut()),
            waker: RefCell::new(None),
        });
        // SAFETY: the state outlives the loop, which it deletes when it is dropped.
        let raw = state.make(|| unsafe { ffi::dk_loop_new(Rc::as_ptr(&state).cast_mut().cast()) });
        state.raw.set(raw);
        let weak = Rc::downgrade(&state);
        sim.spawn(Name::new(owner, "loop"), turn(weak));
        Self(state)
    }

    /// The run that it is part of.
    pub fn sim(&self) -> &Sim {
        &self.0.sim
    }

    /// What is on one loop keeps no other alive.
    pub(super) fn must_be(&self, on: &Self) {
        assert!(Rc::ptr_eq(&self.0, &on.0), "all on one loop");
    }

    /// The vat that it belongs to.
    pub fn owner(&self) -> &'static str {
        self.0.owner
    }
}

/// Turns the loop, one turn a poll, until it is destroyed.
fn turn(state: Weak<State>) -> impl Future<Output = ()> {
    poll_fn(move |context| {
        let Some(state) = state.upgrade() else {
            return Poll::Ready(());
        };
        state.waker.replace(Some(context.waker().clone()));
        // SAFETY: it lives as long as the state.
        if state.run(|| unsafe { ffi::dk_loop_turn(state.raw.get()) }) != 0 {
            let name = Name::new(state.owner, "loop");
            state.sim.event(TURN, name, [0, 0]);
            context.waker().wake_by_ref();
        }
        Poll::Pending
    })
}

impl State {
    /// Calls into the shim; what it throws is a value.
    pub(super) fn call<T>(&self, body: impl FnOnce() -> T) -> std::result::Result<T, Thrown> {
        let value = body();
        for line in host::take_logged() {
            self.sim.remark(LOG, Name::new(self.owner, "loop"), || line);
        }
        let thrown = host::take_thrown();
        host::resume_panic();
        match thrown {
            Some(thrown) => Err(thrown),
            None => Ok(value),
        }
    }

    /// Calls into the shim; what it throws is a finding, and ends the run.
    pub(super) fn run<T>(&self, body: impl FnOnce() -> T) -> T {
        let value = body();
        if let Err(Thrown { site, text }) = self.call(|| ()) {
            self.sim.threw(site, text);
        }
        value
    }

    /// Calls a function of the shim that makes something. If it throws, that is a finding, and what
    /// is under way unwinds up to the simulation: there is nothing to go on with.
    pub(super) fn make<T>(&self, body: impl FnOnce() -> *mut T) -> *mut T {
        let made = self.run(body);
        if made.is_null() {
            std::panic::resume_unwind(Box::new("nothing was made"));
        }
        made
    }

    /// There is something to do.
    pub(super) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // SAFETY: it was made by `dk_loop_new`, and all that was made on it kept the state alive.
        self.run(|| unsafe { ffi::dk_loop_delete(self.raw.get()) });
        // Its task has nothing to turn any more, and ends.
        self.wake();
    }
}
