//! Server objects: Rust says what their methods do, and the shim does it.

use std::rc::Weak;

use dismantle_sim::Name;

use super::capability::{Capability, Given};
use super::event_loop::{EventLoop, State};
use super::ffi;

/// The type of an exception.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Fault {
    /// `FAILED`.
    #[default]
    Failed,
    /// `OVERLOADED`.
    Overloaded,
    /// `DISCONNECTED`.
    Disconnected,
    /// `UNIMPLEMENTED`.
    Unimplemented,
}

impl Fault {
    /// All of them, by their numbers.
    pub const ALL: [Self; 4] = [
        Self::Failed,
        Self::Overloaded,
        Self::Disconnected,
        Self::Unimplemented,
    ];

    /// As kj and the RPC protocol number them; an unknown one is `FAILED`.
    pub fn from_number(number: u32) -> Self {
        let known = Self::ALL.get(number as usize);
        known.copied().unwrap_or_default()
    }
}

/// When a method does what it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum When {
    /// At once.
    #[default]
    Now,
    /// When its [`Fulfiller`] says so.
    Late,
}

/// What a method returns.
#[derive(Default)]
pub enum Result {
    /// No capability.
    #[default]
    Empty,
    /// A new object.
    Object(Box<dyn Served>),
    /// The capability that it was given.
    Argument,
    /// A capability that is a promise: see [`Served::promised`].
    Promise,
    /// What its argument answers to the same call.
    Relay,
    /// Nothing, when the argument has answered the same call.
    Callback,
    /// The object itself.
    Own,
}

/// What a method does with its call.
#[derive(Default)]
pub struct Reply {
    /// When.
    pub when: When,
    /// What it returns, unless it fails.
    pub result: Result,
    /// What it fails with.
    pub fails: Option<Fault>,
    /// It fails at once, by throwing, and not through its promise.
    pub throws: bool,
    /// It wants the capability that it was given: see [`Served::keep`].
    pub keeps: bool,
    /// The method is declared `-> stream`.
    pub streams: bool,
    /// A caller that goes away ends it.
    pub cancellable: bool,
}

/// What an object does. It is dropped with the object.
pub trait Served: 'static {
    /// Says what becomes of a call.
    fn call(&self, interface_id: u64, method_id: u16, has_argument: bool) -> Reply;

    /// Takes what ends the call that was just said to be late. Dropping it breaks the call.
    fn late(&self, fulfiller: Fulfiller) {
        drop(fulfiller);
    }

    /// Takes what resolves the promise that was just returned. Dropping it breaks the promise.
    fn promised(&self, resolver: Resolver) {
        drop(resolver);
    }

    /// Takes the capability that came with the call that was just answered.
    fn keep(&self, given: Given) {
        drop(given);
    }
}

/// What the shim's object calls.
pub(super) struct Host {
    on: Weak<State>,
    served: Box<dyn Served>,
}

impl Host {
    fn into_raw(self) -> *mut Self {
        Box::into_raw(Box::new(self))
    }

    pub(super) fn call(&self, interface_id: u64, method_id: u16, has_argument: bool) -> ffi::Reply {
        let reply = self.served.call(interface_id, method_id, has_argument);
        let mut object = std::ptr::null_mut();
        let result = match reply.result {
            Result::Empty => 0,
            // One that fails returns none.
            Result::Object(_) if reply.fails.is_some() => 0,
            Result::Object(served) => {
                let on = self.on.clone();
                object = Self { on, served }.into_raw().cast();
                1
            }
            Result::Argument => 2,
            Result::Promise => 3,
            Result::Relay => 4,
            Result::Callback => 5,
            Result::Own => 6,
        };
        ffi::Reply {
            when: reply.when as u32,
            result,
            fails: reply.fails.is_some().into(),
            fault: reply.fails.unwrap_or_default() as u32,
            throws: (reply.throws && reply.fails.is_some()).into(),
            keeps: reply.keeps.into(),
            streams: reply.streams.into(),
            cancellable: reply.cancellable.into(),
            object,
        }
    }

    pub(super) fn late(&self, raw: *mut ffi::Fulfiller) {
        if let Some(on) = self.on.upgrade() {
            let on = EventLoop(on);
            self.served.late(Fulfiller { raw, on });
        }
    }

    pub(super) fn promised(&self, raw: *mut ffi::Resolver) {
        if let Some(on) = self.on.upgrade() {
            let on = EventLoop(on);
            self.served.promised(Resolver { raw, on });
        }
    }

    pub(super) fn keep(&self, raw: *mut ffi::Capability) {
        if let Some(on) = self.on.upgrade() {
            self.served.keep(Given::new(&EventLoop(on), raw));
        }
    }
}

impl Default for ffi::Reply {
    /// No capability, at once.
    fn default() -> Self {
        Self {
            when: 0,
            result: 0,
            fails: 0,
            fault: 0,
            throws: 0,
            keeps: 0,
            streams: 0,
            cancellable: 0,
            object: std::ptr::null_mut(),
        }
    }
}

impl Capability {
    /// A capability to a new object on this loop.
    pub fn object(on: &EventLoop, name: Name, served: impl Served) -> Self {
        let served = Box::new(served);
        let weak = std::rc::Rc::downgrade(&on.0);
        let host = Host { on: weak, served }.into_raw().cast();
        // SAFETY: the shim drops the host with the object.
        let raw =
            on.0.make(|| unsafe { ffi::dk_object_new(on.0.raw.get(), host) });
        Self::own(on, name, raw)
    }

    /// A promise of a capability, and what resolves it.
    pub fn promise(on: &EventLoop, name: Name) -> (Self, Resolver) {
        let mut resolver = std::ptr::null_mut();
        // SAFETY: the shim writes the resolver, which nobody else has.
        let raw =
            on.0.make(|| unsafe { ffi::dk_promise_new(on.0.raw.get(), &raw mut resolver) });
        let resolver = Resolver {
            raw: resolver,
            on: on.clone(),
        };
        (Self::own(on, name, raw), resolver)
    }
}

/// Ends a call that is late. Dropped unused, it breaks it.
pub struct Fulfiller {
    raw: *mut ffi::Fulfiller,
    on: EventLoop,
}

impl Fulfiller {
    /// Ends it.
    pub fn fulfil(self) {
        // SAFETY: it is the only owner.
        self.on.0.run(|| unsafe { ffi::dk_fulfil(self.raw) });
    }
}

impl Drop for Fulfiller {
    fn drop(&mut self) {
        // SAFETY: it is the only owner.
        self.on
            .0
            .run(|| unsafe { ffi::dk_fulfiller_delete(self.raw) });
    }
}

/// Resolves a promise of a capability. Dropped unused, it breaks it.
pub struct Resolver {
    raw: *mut ffi::Resolver,
    on: EventLoop,
}

impl Resolver {
    /// To this capability, or to an exception.
    pub fn resolve(self, to: std::result::Result<&Capability, Fault>) {
        to.into_iter().for_each(|it| it.on().must_be(&self.on));
        let (to, fault) = match to {
            Ok(to) => (to.raw(), Fault::Failed),
            Err(fault) => (std::ptr::null_mut(), fault),
        };
        // SAFETY: it is the only owner, and the capability lives as long as this call.
        self.on
            .0
            .run(|| unsafe { ffi::dk_resolve(self.raw, to, fault as u32) });
    }

    /// Resolves it to what the call that returned it was given, or, if that was nothing, to an
    /// exception.
    pub fn resolve_to_argument(self) {
        // SAFETY: it is the only owner.
        self.on
            .0
            .run(|| unsafe { ffi::dk_resolve_to_argument(self.raw) });
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        // SAFETY: it is the only owner.
        self.on
            .0
            .run(|| unsafe { ffi::dk_resolver_delete(self.raw) });
    }
}
