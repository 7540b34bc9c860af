//! A client's vat and a server's on one link: what the scenarios below `program` have in common.

use capnp::capability::Client;
use capnp_rpc::Disconnector;
use capnp_rpc::rpc_twoparty_capnp::Side;
use dismantle_sim::{Name, Sim, Stopped};
use dismantle_transport::{Link, Vat};

use super::waiting::waiting;

/// Both vats, running, with the client's view of the server's bootstrap object.
pub struct Session {
    /// Dropped first: what the owner holds of the server.
    pub server: Option<Client>,
    /// The client's vat.
    pub client_vat: Vat,
    /// The server's vat.
    pub server_vat: Vat,
    /// Both pipes.
    pub link: Link,
    disconnectors: [Option<Disconnector<Side>>; 2],
    sim: Sim,
}

impl Session {
    /// Connects a client to a server that serves `bootstrap`.
    pub fn new(sim: &Sim, bootstrap: Client) -> Self {
        let (link, client_end, server_end) = Link::new(sim);
        let client_vat = Vat::new(sim, Side::Client, client_end, None);
        let server_vat = Vat::new(sim, Side::Server, server_end, Some(bootstrap));
        let disconnectors = [&client_vat, &server_vat].map(|vat| Some(vat.disconnector()));
        let server = Some(client_vat.bootstrap());
        client_vat.start();
        server_vat.start();
        Self {
            server,
            client_vat,
            server_vat,
            link,
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
        let mut all_ended = true;
        for side in 0..2 {
            let vat = [&self.client_vat, &self.server_vat][side];
            let Some(disconnector) = self.disconnectors[side].take().filter(|_| !vat.has_ended())
            else {
                continue;
            };
            let name = Name::new(vat.name(), "disconnect");
            let disconnected = waiting(&self.sim, "end of", name, disconnector);
            let done = self.sim.spawn_must_end(name, disconnected);
            // Upstream may report that the shutdown failed; that is an end, too.
            all_ended &= self.sim.run_until(&done)?.is_some();
            self.sim.settle()?;
        }
        Ok(all_ended)
    }

    /// Destroys the client's parts, then the server's.
    ///
    /// # Errors
    /// [`Stopped`] after a panic.
    pub fn destroy(mut self) -> Result<(), Stopped> {
        self.drop_server_cap()?;
        self.client_vat.drop_system()?;
        self.sim.settle()?;
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
