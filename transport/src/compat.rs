//! One face for every upstream release within the supported range.
//!
//! Everything that depends on the release of `capnp` and `capnp-rpc` is here; the build script
//! finds out which ones they are. All payloads are untyped, so that no generated code is needed.

// What is a conversion in one release is none in another.
#![allow(clippy::useless_conversion)]

use capnp::Error;
use capnp::any_pointer;
use capnp::capability::{
    Client, DispatchCallResult, FromClientHook, FromServer, Params, Promise, RemotePromise,
    Results, Server,
};
use capnp::private::capability::ClientHook;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;

/// The release of `capnp` that this was built against.
pub const CAPNP_VERSION: &str = env!("DISMANTLE_RESOLVED_CAPNP");
/// The release of `capnp-rpc` that this was built against.
pub const CAPNP_RPC_VERSION: &str = env!("DISMANTLE_RESOLVED_CAPNP_RPC");

/// The parameters of an untyped call.
pub type AnyParams = Params<any_pointer::Owned>;
/// The results of an untyped call.
pub type AnyResults = Results<any_pointer::Owned>;

/// A client for where upstream wants a generated one.
///
/// Upstream's own `Client` can stand there, and be cloned, only in later releases than 0.21.0.
pub struct Untyped(pub Client);

impl Clone for Untyped {
    fn clone(&self) -> Self {
        Self::new(self.0.hook.add_ref())
    }
}

impl FromClientHook for Untyped {
    fn new(hook: Box<dyn ClientHook>) -> Self {
        Self(Client::new(hook))
    }

    fn into_client_hook(self) -> Box<dyn ClientHook> {
        self.0.hook
    }

    fn as_client_hook(&self) -> &dyn ClientHook {
        &*self.0.hook
    }
}

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
        DispatchCallResult::new(promise, is_streaming)
    })
}

/// Returns a promise capability: calls are queued until `f` is ready.
pub fn future_client(f: impl Future<Output = Result<Client, Error>> + 'static) -> Client {
    #[cfg(capnp_rpc_promise_client)]
    let client: Untyped = capnp_rpc::new_promise_client(Box::pin(f));
    #[cfg(not(capnp_rpc_promise_client))]
    let client: Untyped = capnp_rpc::new_future_client(async { f.await.map(Untyped) });
    client.0
}

/// Returns upstream's client that calls `connect` now, and again after each lost connection.
///
/// # Errors
/// Those of the first `connect`.
pub fn reconnecting(
    mut connect: impl FnMut() -> Result<Client, Error> + 'static,
) -> Result<Client, Error> {
    let (client, _): (Untyped, _) = capnp_rpc::auto_reconnect(move || connect().map(Untyped))?;
    Ok(client.0)
}

/// The same, which calls `connect` for the first time when it is first used.
pub fn lazily_reconnecting(mut connect: impl FnMut() -> Result<Client, Error> + 'static) -> Client {
    let (client, _): (Untyped, _) = capnp_rpc::lazy_auto_reconnect(move || connect().map(Untyped));
    client.0
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
            return DispatchCallResult::new(Promise::err(error.clone()), false);
        }
        let streaming = Rc::new(Cell::new(false));
        let (dispatch, seen) = (dispatch.clone(), streaming.clone());
        let work = Box::new(move || {
            #[cfg(capnp_server = "mut")]
            let mut dispatch = dispatch.borrow_mut();
            #[cfg(capnp_server = "value")]
            let dispatch = (*dispatch).clone();
            let result = dispatch.dispatch_call(interface_id, method_id, params, results);
            seen.set(result.is_streaming);
            result.promise
        });
        let promise = interposer.around(interface_id, method_id, work);
        if streaming.get() {
            return DispatchCallResult::new(promise, true);
        }
        let broken = broken.clone();
        let promise = Promise::from_future(async move {
            let result = promise.await;
            if let (true, Err(error)) = (streaming.get(), &result) {
                *broken.borrow_mut() = Some(error.clone());
            }
            result
        });
        DispatchCallResult::new(promise, false)
    });
    C::new(client.hook)
}

/// Sends a call; `fill` writes its parameters.
///
/// If `fill` fails, then nothing is sent, and the promise fails with its error.
pub fn send(
    client: &Client,
    interface_id: u64,
    method_id: u16,
    fill: impl FnOnce(any_pointer::Builder<'_>) -> capnp::Result<()>,
) -> RemotePromise<any_pointer::Owned> {
    let mut request = client.hook.new_call(interface_id, method_id, None);
    match fill(request.get()) {
        Ok(()) => request.hook.send(),
        Err(error) => {
            let broken = future_client(std::future::ready(Err(error)));
            broken
                .hook
                .new_call(interface_id, method_id, None)
                .hook
                .send()
        }
    }
}

/// Sends a streaming call; `fill` writes its parameters.
pub fn send_streaming(
    client: &Client,
    interface_id: u64,
    method_id: u16,
    fill: impl FnOnce(any_pointer::Builder<'_>) -> capnp::Result<()>,
) -> Promise<(), Error> {
    let mut request = client.hook.new_call(interface_id, method_id, None);
    match fill(request.get()) {
        Ok(()) => request.hook.send_streaming(),
        Err(error) => Promise::err(error),
    }
}

/// How upstream calls, takes and keeps a server (and how `interposed` does).
mod generation {
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
}

/// One function as a server.
trait Handle: Fn(u64, u16, AnyParams, AnyResults) -> DispatchCallResult + 'static {}
impl<F: Fn(u64, u16, AnyParams, AnyResults) -> DispatchCallResult + 'static> Handle for F {}

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
    ) -> DispatchCallResult {
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
