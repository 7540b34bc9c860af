//! Servers: what upstream dispatches calls to, from any release's way of doing so to one.

// What is a conversion in one release is none in another.
#![allow(clippy::useless_conversion)]

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use capnp::Error;
use capnp::any_pointer;
use capnp::capability::{Client, FromServer, Params, Promise, Results, Server};

use super::client::Untyped;
use generation::{Dispatched, dispatched, taken};

/// The parameters of an untyped call.
pub type AnyParams = Params<any_pointer::Owned>;
/// The results of an untyped call.
pub type AnyResults = Results<any_pointer::Owned>;

/// A server of untyped calls.
pub trait Serve: 'static {
    /// Serves one call; `params` and `results` are upstream's own untyped ones.
    fn call(
        self: Rc<Self>,
        interface_id: u64,
        method_id: u16,
        params: AnyParams,
        results: AnyResults,
    ) -> Promise<(), Error>;

    /// Whether this method is declared `-> stream`.
    fn is_streaming(&self, interface_id: u64, method_id: u16) -> bool {
        let _ = (interface_id, method_id);
        false
    }
}

/// Observes or replaces every call of an interposed server.
pub trait Interpose: 'static {
    /// Stands in for one call; `work` runs the real method.
    ///
    /// If `work` is not called, then the method never starts (and counts as not streaming).
    /// It may be called later, but not within another call of the same server.
    fn around(
        &self,
        interface_id: u64,
        method_id: u16,
        work: Box<dyn FnOnce() -> Promise<(), Error>>,
    ) -> Promise<(), Error>;
}

/// Returns a capability served by `server`, dropped with its last reference.
pub fn client<S: Serve>(server: Rc<S>) -> Client {
    local_client(move |interface_id, method_id, params, results| {
        let is_streaming = server.is_streaming(interface_id, method_id);
        let promise = server
            .clone()
            .call(interface_id, method_id, params, results);
        dispatched(promise, is_streaming)
    })
}

/// Returns a client of `server` whose every call goes through `interposer`.
///
/// `server` is any implementation of a generated server trait, and `C` the generated client.
pub fn interposed<C, S, I>(server: S, interposer: I) -> C
where
    C: FromServer<S> + 'static,
    S: 'static,
    I: Interpose,
{
    let dispatch = C::from_server(server.into());
    let dispatch: Rc<generation::Shared<C::Dispatch>> = Rc::new(dispatch.into());
    // Like upstream's own: the error of a streaming call, which fails all later calls. It is
    // needed here if the real method starts later, as upstream wants to know at once.
    let broken = Rc::new(RefCell::new(None::<Error>));
    let client = local_client(move |interface_id, method_id, params, results| {
        if let Some(error) = &*broken.borrow() {
            return dispatched(Promise::err(error.clone()), false);
        }
        let streaming = Rc::new(Cell::new(false));
        let (dispatch, seen) = (dispatch.clone(), streaming.clone());
        let work = Box::new(move || {
            #[cfg(capnp_server = "mut")]
            let mut dispatch = dispatch.borrow_mut();
            #[cfg(capnp_server = "value")]
            let dispatch = (*dispatch).clone();
            let result = dispatch.dispatch_call(interface_id, method_id, params, results);
            let (promise, is_streaming) = taken(result);
            seen.set(is_streaming);
            promise
        });
        let promise = interposer.around(interface_id, method_id, work);
        if streaming.get() {
            return dispatched(promise, true);
        }
        let broken = broken.clone();
        let promise = Promise::from_future(async move {
            let result = promise.await;
            if let (true, Err(error)) = (streaming.get(), &result) {
                *broken.borrow_mut() = Some(error.clone());
            }
            result
        });
        dispatched(promise, false)
    });
    C::new(client.hook)
}

/// How upstream calls, takes and keeps a server (and how `interposed` does).
mod generation {
    use capnp::Error;
    use capnp::capability::Promise;

    #[cfg(capnp_server = "mut")]
    pub(super) type Receiver<'a, T> = &'a mut T;
    #[cfg(capnp_server = "rc")]
    pub(super) type Receiver<'a, T> = std::rc::Rc<T>;
    #[cfg(capnp_server = "value")]
    pub(super) type Receiver<'a, T> = T;

    #[cfg(not(capnp_server = "value"))]
    pub(super) type Given<S> = S;
    #[cfg(capnp_server = "value")]
    pub(super) type Given<S> = std::rc::Rc<S>;

    #[cfg(not(capnp_server = "value"))]
    pub(super) type Kept<S> = Box<S>;
    #[cfg(capnp_server = "value")]
    pub(super) type Kept<S> = std::rc::Rc<S>;

    #[cfg(capnp_server = "mut")]
    pub(super) type Shared<D> = std::cell::RefCell<D>;
    #[cfg(not(capnp_server = "mut"))]
    pub(super) type Shared<D> = D;

    /// What dispatching a call gives: before 0.20 there are no streaming methods.
    #[cfg(capnp_streaming)]
    pub(super) type Dispatched = capnp::capability::DispatchCallResult;
    #[cfg(not(capnp_streaming))]
    pub(super) type Dispatched = Promise<(), Error>;

    #[cfg(capnp_streaming)]
    pub(super) fn dispatched(promise: Promise<(), Error>, is_streaming: bool) -> Dispatched {
        Dispatched::new(promise, is_streaming)
    }
    #[cfg(not(capnp_streaming))]
    pub(super) fn dispatched(promise: Promise<(), Error>, _is_streaming: bool) -> Dispatched {
        promise
    }

    /// The promise of a call, and whether its method is a streaming one.
    #[cfg(capnp_streaming)]
    pub(super) fn taken(dispatched: Dispatched) -> (Promise<(), Error>, bool) {
        (dispatched.promise, dispatched.is_streaming)
    }
    #[cfg(not(capnp_streaming))]
    pub(super) fn taken(dispatched: Dispatched) -> (Promise<(), Error>, bool) {
        (dispatched, false)
    }
}

/// One function as a server.
trait Handle: Fn(u64, u16, AnyParams, AnyResults) -> Dispatched + 'static {}
impl<F: Fn(u64, u16, AnyParams, AnyResults) -> Dispatched + 'static> Handle for F {}

fn local_client(call: impl Handle) -> Client {
    let client: Untyped = capnp_rpc::new_client(Local(call));
    client.0
}

struct Local<F>(F);

struct Dispatch<F>(generation::Kept<Local<F>>);

impl<F: Handle> FromServer<Local<F>> for Untyped {
    type Dispatch = Dispatch<F>;

    fn from_server(server: generation::Given<Local<F>>) -> Dispatch<F> {
        Dispatch(server.into())
    }
}

impl<F: Handle> Server for Dispatch<F> {
    fn dispatch_call(
        self: generation::Receiver<'_, Self>,
        interface_id: u64,
        method_id: u16,
        params: AnyParams,
        results: AnyResults,
    ) -> Dispatched {
        (self.0.0)(interface_id, method_id, params, results)
    }

    #[cfg(capnp_server = "value")]
    fn as_ptr(&self) -> usize {
        Rc::as_ptr(&self.0) as usize
    }
}

impl<F> std::ops::Deref for Dispatch<F> {
    type Target = Local<F>;

    fn deref(&self) -> &Local<F> {
        &self.0
    }
}

#[cfg(not(capnp_server = "value"))]
impl<F> std::ops::DerefMut for Dispatch<F> {
    fn deref_mut(&mut self) -> &mut Local<F> {
        &mut self.0
    }
}

#[cfg(capnp_server = "value")]
impl<F> Clone for Dispatch<F> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}
