//! Stands in for the generated code of an interface, as every release of upstream has it.

#[cfg(not(capnp_server = "mut"))]
use std::rc::Rc;

use capnp::capability::{Client, DispatchCallResult, FromClientHook, FromServer, Server};
use capnp::private::capability::ClientHook;
use dismantle_transport::compat::{AnyParams, AnyResults};

/// The generated client.
pub struct Typed(pub Client);

impl FromClientHook for Typed {
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

/// The generated trait of servers.
pub trait Served: 'static {
    /// A call of one of the interface's methods.
    fn served(&self, method: u16, params: AnyParams, results: AnyResults) -> DispatchCallResult;
}

/// The generated `ServerDispatch`.
pub struct ServerDispatch<S> {
    #[cfg(capnp_server = "value")]
    server: Rc<S>,
    #[cfg(not(capnp_server = "value"))]
    server: S,
}

#[cfg(capnp_server = "value")]
impl<S> Clone for ServerDispatch<S> {
    fn clone(&self) -> Self {
        let server = self.server.clone();
        Self { server }
    }
}

impl<S: Served> FromServer<S> for Typed {
    type Dispatch = ServerDispatch<S>;

    #[cfg(capnp_server = "value")]
    fn from_server(server: Rc<S>) -> ServerDispatch<S> {
        ServerDispatch { server }
    }

    #[cfg(not(capnp_server = "value"))]
    fn from_server(server: S) -> ServerDispatch<S> {
        ServerDispatch { server }
    }
}

impl<S> std::ops::Deref for ServerDispatch<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.server
    }
}

#[cfg(not(capnp_server = "value"))]
impl<S> std::ops::DerefMut for ServerDispatch<S> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.server
    }
}

impl<S: Served> Server for ServerDispatch<S> {
    #[cfg(capnp_server = "mut")]
    fn dispatch_call(&mut self, _: u64, m: u16, p: AnyParams, r: AnyResults) -> DispatchCallResult {
        self.server.served(m, p, r)
    }

    #[cfg(capnp_server = "rc")]
    fn dispatch_call(
        self: Rc<Self>,
        _: u64,
        m: u16,
        p: AnyParams,
        r: AnyResults,
    ) -> DispatchCallResult {
        self.server.served(m, p, r)
    }

    #[cfg(capnp_server = "value")]
    fn dispatch_call(self, _: u64, m: u16, p: AnyParams, r: AnyResults) -> DispatchCallResult {
        self.server.served(m, p, r)
    }

    #[cfg(capnp_server = "value")]
    fn as_ptr(&self) -> usize {
        Rc::as_ptr(&self.server) as usize
    }
}
