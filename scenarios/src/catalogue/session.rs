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
    disconnector: Option<Disconnector<Side>>,
    sim: Sim,
}

impl Session {
    /// Connects a client to a server that serves `bootstrap`.
    pub fn new(sim: &Sim, bootstrap: Client) -> Self {
        let (link, client_end, server_end) = Link::new(sim);
        let mut client_vat = Vat::new(sim, Side::Client, client_end, None);
        let mut server_vat = Vat::new(sim, Side::Server, server_end, Some(bootstrap));
        let disconnector = Some(client_vat.disconnector());
        let server = Some(client_vat.bootstrap());
        client_vat.start();
        server_vat.start();
        Self {
            server,
            client_vat,
            server_vat,
            link,
            disconnector,
            sim: sim.clone(),
        }
    }

    /// Shuts down and waits for it; whether it came. If not, the report says which stall kept it.
    ///
    /// # Errors
    /// [`Stopped`] after a panic.
    pub fn disconnect(&mut self) -> Result<bool, Stopped> {
        let name = Name::new("client", "disconnect");
        let Some(disconnector) = self.disconnector.take() else {
            return Ok(true);
        };
        let done = self
            .sim
            .spawn_must_end(name, waiting(&self.sim, "end of", name, disconnector));
        // Upstream reports a shutdown that failed; that is an end, too.
        let ended = self.sim.run_until(&done)?.is_some();
        self.sim.settle()?;
        if !ended {
            self.link.report_stalls(&self.sim);
        }
        Ok(ended)
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
