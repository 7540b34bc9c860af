//! Capabilities, calls, and what is waited for.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use dismantle_sim::{Name, Tracked};

use super::event_loop::{EventLoop, State};
use super::ffi;
use super::object::Fault;

/// What a call or a wait failed with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The exception's type.
    pub fault: Fault,
    /// What it says.
    pub text: String,
}

/// A capability of the library's, destroyed when it is dropped.
pub struct Capability(Tracked<Raw>);

struct Raw {
    raw: *mut ffi::Capability,
    on: EventLoop,
}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: it is the only owner.
        self.on
            .0
            .run(|| unsafe { ffi::dk_capability_delete(self.raw) });
    }
}

/// A capability that has no name yet.
pub struct Given(Raw);

impl Given {
    /// Owns what the shim made.
    pub(super) fn new(on: &EventLoop, raw: *mut ffi::Capability) -> Self {
        let on = on.clone();
        Self(Raw { raw, on })
    }

    /// Names it.
    pub fn named(self, name: Name) -> Capability {
        let sim = self.0.on.sim().clone();
        Capability(sim.track(name, self.0))
    }
}

impl Capability {
    /// Owns what the shim made.
    pub(super) fn own(on: &EventLoop, name: Name, raw: *mut ffi::Capability) -> Self {
        Given::new(on, raw).named(name)
    }

    pub(super) fn raw(&self) -> *mut ffi::Capability {
        self.0.raw
    }

    /// The loop that it lives on.
    pub fn on(&self) -> &EventLoop {
        &self.0.on
    }

    /// Another reference.
    pub fn clone_as(&self, name: Name) -> Self {
        let on = self.on();
        // SAFETY: it lives as long as this.
        let raw =
            on.0.make(|| unsafe { ffi::dk_capability_clone(self.raw()) });
        Self::own(on, name, raw)
    }

    /// Makes an untyped call, with a capability as its argument perhaps.
    pub fn call(
        &self,
        name: Name,
        (interface_id, method_id): (u64, u16),
        argument: Option<&Self>,
    ) -> Call {
        let on = self.on();
        argument.into_iter().for_each(|it| it.on().must_be(on));
        let argument = argument.map_or(std::ptr::null_mut(), Self::raw);
        // SAFETY: both live as long as this call.
        let raw =
            on.0.make(|| unsafe { ffi::dk_call(self.raw(), interface_id, method_id, argument) });
        let raw = RawCall {
            raw,
            on: on.clone(),
        };
        Call(on.sim().track(name, raw))
    }

    /// Makes a call to a streaming method; what it waits for is that the next one may be made.
    pub fn call_streaming(&self, name: Name, (interface_id, method_id): (u64, u16)) -> Waiting {
        let on = self.on();
        Waiting::on(on, name, |waiter| {
            // SAFETY: it lives as long as this.
            unsafe { ffi::dk_call_streaming(self.raw(), interface_id, method_id, waiter) }
        })
    }

    /// Waits until it is no promise any more.
    pub fn resolved(&self, name: Name) -> Waiting {
        Waiting::on(self.on(), name, |waiter| {
            // SAFETY: it lives as long as this.
            unsafe { ffi::dk_capability_resolved(self.raw(), waiter) }
        })
    }
}

/// A call that was sent; dropping it gives up the answer and what is pipelined on it.
pub struct Call(Tracked<RawCall>);

struct RawCall {
    raw: *mut ffi::Call,
    on: EventLoop,
}

impl Drop for RawCall {
    fn drop(&mut self) {
        // SAFETY: it is the only owner.
        self.on.0.run(|| unsafe { ffi::dk_call_delete(self.raw) });
    }
}

impl Call {
    /// The capability that it will have returned.
    pub fn pipelined(&self, name: Name) -> Capability {
        let on = &self.0.on;
        // SAFETY: it lives as long as this.
        let raw = on.0.make(|| unsafe { ffi::dk_call_pipelined(self.0.raw) });
        Capability::own(on, name, raw)
    }

    /// Gives up what can be pipelined on it, not the answer.
    pub fn drop_pipeline(&self) {
        let on = &self.0.on;
        // SAFETY: it lives as long as this.
        on.0.run(|| unsafe { ffi::dk_call_drop_pipeline(self.0.raw) });
    }

    /// Waits for the answer.
    pub fn answer(self) -> Answer {
        let name = self.0.name();
        let on = self.0.on.clone();
        let waiting = Waiting::on(&on, name, |waiter| {
            // SAFETY: it lives as long as this.
            unsafe { ffi::dk_call_answer(self.0.raw, waiter) }
        });
        Answer {
            waiting,
            call: self,
        }
    }
}

/// The answer of a call: a capability perhaps, or what it failed with. Dropping it cancels it.
pub struct Answer {
    waiting: Waiting,
    /// What can be pipelined goes behind.
    #[expect(dead_code, reason = "destroyed with the answer")]
    call: Call,
}

impl Future for Answer {
    type Output = Result<Option<Capability>, Failure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.waiting).poll(context)
    }
}

/// A promise of the library's that is waited for. Dropping it destroys the promise.
pub struct Waiting {
    raw: Tracked<RawWait>,
    waiter: Rc<Waiter>,
}

struct RawWait {
    raw: *mut ffi::Wait,
    on: EventLoop,
}

impl Drop for RawWait {
    fn drop(&mut self) {
        if !self.raw.is_null() {
            // SAFETY: it is the only owner.
            self.on.0.run(|| unsafe { ffi::dk_wait_delete(self.raw) });
        }
    }
}

/// What is told when it has come; the shim has a reference of its own.
pub(super) struct Waiter {
    on: std::rc::Weak<State>,
    name: Name,
    outcome: RefCell<Option<Result<Option<Capability>, Failure>>>,
    waker: RefCell<Option<Waker>>,
}

impl Waiting {
    pub(super) fn on(
        on: &EventLoop,
        name: Name,
        begin: impl FnOnce(*mut std::ffi::c_void) -> *mut ffi::Wait,
    ) -> Self {
        let waiter = Rc::new(Waiter {
            on: Rc::downgrade(&on.0),
            name,
            outcome: RefCell::new(None),
            waker: RefCell::new(None),
        });
        let given = Rc::into_raw(waiter.clone()).cast_mut().cast();
        let raw = on.0.make(|| begin(given));
        let raw = RawWait {
            raw,
            on: on.clone(),
        };
        Self {
            raw: on.sim().track(name.with_kind("wait"), raw),
            waiter,
        }
    }
}

impl Future for Waiting {
    type Output = Result<Option<Capability>, Failure>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(outcome) = self.waiter.outcome.take() {
            return Poll::Ready(outcome);
        }
        self.raw.on.sim().waits_for("the end of", self.waiter.name);
        self.waiter.waker.replace(Some(context.waker().clone()));
        Poll::Pending
    }
}

impl Waiter {
    pub(super) fn settled(&self, with: *mut ffi::Capability) {
        let on = self.on.upgrade().map(EventLoop);
        let on = on.expect("the loop turns");
        let name = self.name.with_kind("capability");
        let with = (!with.is_null()).then(|| Capability::own(&on, name, with));
        self.told(Ok(with));
    }

    pub(super) fn failed(&self, failure: Failure) {
        self.told(Err(failure));
    }

    fn told(&self, outcome: Result<Option<Capability>, Failure>) {
        self.outcome.replace(Some(outcome));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}
