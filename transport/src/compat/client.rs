//! Clients: made of anything, and called.

// What is a conversion in one release is none in another.
#![allow(clippy::useless_conversion)]

use std::future::Future;

use capnp::Error;
use capnp::any_pointer;
use capnp::capability::{Client, FromClientHook, Promise, RemotePromise};
use capnp::private::capability::ClientHook;

#[cfg(not(all(capnp_streaming, capnp_rpc_reconnect)))]
use super::Feature;
use super::server::AnyResults;

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

    #[cfg(not(capnp_hook_in_only))]
    fn into_client_hook(self) -> Box<dyn ClientHook> {
        self.0.hook
    }

    #[cfg(not(capnp_hook_in_only))]
    fn as_client_hook(&self) -> &dyn ClientHook {
        &*self.0.hook
    }
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
#[cfg(capnp_rpc_reconnect)]
pub fn reconnecting(
    mut connect: impl FnMut() -> Result<Client, Error> + 'static,
) -> Result<Client, Error> {
    let (client, _): (Untyped, _) = capnp_rpc::auto_reconnect(move || connect().map(Untyped))?;
    Ok(client.0)
}

/// The same, which calls `connect` for the first time when it is first used.
#[cfg(capnp_rpc_reconnect)]
pub fn lazily_reconnecting(mut connect: impl FnMut() -> Result<Client, Error> + 'static) -> Client {
    let (client, _): (Untyped, _) = capnp_rpc::lazy_auto_reconnect(move || connect().map(Untyped));
    client.0
}

/// Upstream has no such client: [`Feature::Reconnecting`].
///
/// # Panics
/// Always.
#[cfg(not(capnp_rpc_reconnect))]
pub fn reconnecting(
    connect: impl FnMut() -> Result<Client, Error> + 'static,
) -> Result<Client, Error> {
    drop(connect);
    Feature::Reconnecting.is_absent()
}

/// Upstream has no such client: [`Feature::Reconnecting`].
///
/// # Panics
/// Always.
#[cfg(not(capnp_rpc_reconnect))]
pub fn lazily_reconnecting(connect: impl FnMut() -> Result<Client, Error> + 'static) -> Client {
    drop(connect);
    Feature::Reconnecting.is_absent()
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
#[cfg(capnp_streaming)]
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

/// Upstream has no streaming: [`Feature::Streaming`].
///
/// # Panics
/// Always.
#[cfg(not(capnp_streaming))]
pub fn send_streaming(
    client: &Client,
    interface_id: u64,
    method_id: u16,
    fill: impl FnOnce(any_pointer::Builder<'_>) -> capnp::Result<()>,
) -> Promise<(), Error> {
    let _ = (client, interface_id, method_id, fill);
    Feature::Streaming.is_absent()
}

/// Lets calls go on to the capabilities that are in `results`, before the call returns.
///
/// # Errors
/// Upstream's own; and always where it cannot do that ([`Feature::EarlyPipeline`]).
///
/// [`Feature::EarlyPipeline`]: super::Feature::EarlyPipeline
pub fn set_pipeline(results: &mut AnyResults) -> capnp::Result<()> {
    #[cfg(capnp_early_pipeline)]
    return results.set_pipeline();
    #[cfg(not(capnp_early_pipeline))]
    {
        let _ = results;
        Err(Error::unimplemented("no early pipelines".to_owned()))
    }
}
