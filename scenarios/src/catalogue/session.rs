//! A client's vat and a server's on one link: what the scenarios below `program` have in common.

use capnp::capability::Client;
use capnp_rpc::rpc_twoparty_capnp::Side;
use dismantle_sim::{JoinHandle, Name, Sim, Stopped};
use dismantle_transport::{AnyNetwork, Disconnector, Errors, Link, Vat};
use futures::FutureExt;

use super::waiting::waiting;

/// What the client's view of the server's bootstrap object is called in the order of calls.
pub const BOOTSTRAP: Name = Name::new("client", "bootstrap");

/// Both vats, running, with the client's view of the server's bootstrap object.
pub struct Session {
    /// Dropped first: what the owner holds of the server.
    pub server: Option<Client>,
    /// What it holds of the client, if the client serves anything.
    pub client: Option<Client>,
    /// The client's vat.
    pub client_vat: Vat,
    /// The server's vat.
    pub server_vat: Vat,
    /// Both pipes.
    pub link: Link,
    /// Judges what calls fail with.
    pub errors: Errors,
    disconnectors: [Option<Disconnector>; 2],
    sim: Sim,
}

impl Session {
    /// Connects a client to a server that serves `bootstrap`.
    pub fn new(sim: &Sim, bootstrap: Client) -> Self {
        Self::between(sim, None, bootstrap)
    }

    /// The same with a client that serves its own bootstrap object, if it has one.
    pub fn between(sim: &Sim, client: Option<Client>, server: Client) -> Self {
        Self::join(sim, client, server, |network| network)
    }

    /// The same as [`Session::new`], with `wrap` between the client's system and its network.
    pub fn through(
        sim: &Sim,
        bootstrap: Client,
        wrap: impl FnOnce(AnyNetwork) -> AnyNetwork,
    ) -> Self {
        Self::join(sim, None, bootstrap, wrap)
    }

    fn join(
        sim: &Sim,
        client: Option<Client>,
        server: Client,
        wrap: impl FnOnce(AnyNetwork) -> AnyNetwork,
    ) -> Self {
        let (link, client_end, server_end) = Link::new(sim);
        let mutual = client.is_some();
        let client_vat = Vat::through(sim, Side::Client, client_end, client, wrap);
        let server_vat = Vat::new(sim, Side::Server, server_end, Some(server));
        let errors = Errors::new(sim);
        errors.watch(&client_vat);
        errors.watch(&server_vat);
        let server = Some(client_vat.bootstrap());
        let client = mutual.then(|| server_vat.bootstrap());
        // Up to 0.19.0 those that were asked for before there was a connection did nothing.
        let disconnectors = [&client_vat, &server_vat].map(|vat| Some(vat.disconnector()));
        client_vat.start();
        server_vat.start();
        Self {
            server,
            client,
            client_vat,
            server_vat,
            link,
            errors,
            disconnectors,
            sim: sim.clone(),
        }
    }

    /// Shuts down the client and waits for it, and then the server, unless the client's end has
    /// ended it. Whether both came to their end.
    ///
    /// # Errors
    /// [`Stopped`] after a panic.
    pub fn disconnect(&mut self) -> Result<bool, Stopped> {
        let client_ended = self.disconnect_vat(0)?;
        Ok(self.disconnect_vat(1)? && client_ended)
    }

    /// Shuts down the client (0) or the server (1) and waits for it, unless it has ended. Whether
    /// it came to its end.
    ///
    /// # Errors
    /// [`Stopped`] after a panic.
    pub fn disconnect_vat(&mut self, side: usize) -> Result<bool, Stopped> {
        let Some(done) = self.begin_disconnect(side) else {
            return Ok(true);
        };
        // Upstream may report that the shutdown failed; that is an end, too.
        let ended = self.sim.run_until(&done)?.is_some();
        self.sim.settle()?;
        Ok(ended)
    }

    /// Starts what shuts down the client (0) or the server (1), unless that has ended or was
    /// asked before.
    pub fn begin_disconnect(&mut self, side: usize) -> Option<JoinHandle<()>> {
        let vat = [&self.client_vat, &self.server_vat][side];
        let disconnector = self.disconnectors[side].take();
        let disconnector = disconnector.filter(|_| !vat.has_ended())?;
        let name = Name::new(vat.name(), "disconnect");
        let disconnected = waiting(&self.sim, "end of", name, disconnector).map(drop);
        Some(self.sim.spawn_must_end(name, disconnected))
    }

    /// Destroys the client's parts, then the server's.
    ///
    /// # Errors
    /// [`Stopped`] after a panic.
    pub fn destroy(mut self) -> Result<(), Stopped> {
        self.drop_server_cap()?;
        self.client_vat.drop_system()?;
        self.sim.settle()?;
        if let Some(client) = self.client.take() {
            let action = Name::new("server", "drop-bootstrap");
            self.sim.act(action, || drop(client))?;
        }
        self.server_vat.drop_system()
    }

    /// Drops the client's view of the server's bootstrap object.
    ///
    /// # Errors
    /// [`Stopped`] after a panic.
    pub fn drop_server_cap(&mut self) -> Result<(), Stopped> {
        let server = self.server.take();
        self.sim
            .act(Name::new("client", "drop-bootstrap"), || drop(server))?;
        Ok(())
    }
}
