//! A vat: capnp-rpc's own `RpcSystem` and `twoparty::VatNetwork` on one end of a link.
//!
//! Its parts have names and can be destroyed one by one: the system's task, the disconnector,
//! the bootstrap client. The network and its connection are wrapped so that messages and the
//! connection itself are tracked; every call is passed on unchanged.

use std::cell::Cell;
use std::rc::Rc;

use capnp::Error;
use capnp::capability::{Client, Promise};
use capnp::message::ReaderOptions;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{
    Connection, Disconnector, FlowController, IncomingMessage, OutgoingMessage, RpcSystem,
    VatNetwork, twoparty,
};
use dismantle_sim::{EventKind, JoinHandle, Name, Sim, Stopped, Tracked};
use futures::{FutureExt, TryFutureExt};

use crate::compat::Untyped;
use crate::message::{Incoming, Outgoing};
use crate::pipe::{End, Reader};

const SHUTDOWN: EventKind = EventKind::new("shutdown");
const ENDED: EventKind = EventKind::new("system-ended");

/// One side of a connection, with its own tables.
pub struct Vat {
    sim: Sim,
    name: &'static str,
    peer: Side,
    /// Before [`Vat::start`].
    system: Option<RpcSystem<Side>>,
    /// After it.
    task: Option<JoinHandle<()>>,
}

impl Vat {
    /// The vat of `side` on `end`, serving `bootstrap`. Nothing runs before [`Vat::start`].
    pub fn new(sim: &Sim, side: Side, end: End, bootstrap: Option<Client>) -> Self {
        let (name, peer) = match side {
            Side::Client => ("client", Side::Server),
            Side::Server => ("server", Side::Client),
        };
        let network = Network {
            inner: twoparty::VatNetwork::new(end.reader, end.writer, side, ReaderOptions::new()),
            names: Names::new(sim, name),
            tracked: sim.track(Name::new(name, "network"), ()),
        };
        Self {
            sim: sim.clone(),
            name,
            peer,
            system: Some(RpcSystem::new(Box::new(network), bootstrap)),
            task: None,
        }
    }

    /// `client` or `server`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The peer's bootstrap capability: sends a Bootstrap message.
    ///
    /// # Panics
    /// After [`Vat::start`], when upstream's system is no longer ours to ask.
    pub fn bootstrap(&mut self) -> Client {
        let system = self.system.as_mut().expect("asked before the system runs");
        let Untyped(client) = system.bootstrap(self.peer);
        client
    }

    /// A future that disconnects when it is first polled.
    ///
    /// # Panics
    /// After [`Vat::start`], when upstream's system is no longer ours to ask.
    pub fn disconnector(&self) -> Disconnector<Side> {
        let system = self.system.as_ref().expect("asked before the system runs");
        system.get_disconnector()
    }

    /// Runs the system as a task, `client/system`.
    pub fn start(&mut self) {
        if let Some(system) = self.system.take() {
            let (sim, name) = (self.sim.clone(), Name::new(self.name, "system"));
            let task = system.map(move |result| {
                sim.event(ENDED, name, [u64::from(result.is_err()), 0]);
            });
            self.task = Some(self.sim.spawn(name, task));
        }
    }

    /// Whether the system's task has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.task.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Destroys the RpcSystem, running or not. A teardown action.
    ///
    /// # Errors
    /// [`Stopped`] after a panic in it.
    pub fn drop_system(&mut self) -> Result<(), Stopped> {
        let (system, task) = (self.system.take(), self.task.take());
        let action = move || {
            drop(system);
            if let Some(task) = task {
                task.abort();
            }
        };
        self.sim.act(Name::new(self.name, "drop-system"), action)?;
        Ok(())
    }
}

/// Names for the messages and connections of one vat, numbered in the order of their making.
struct Names {
    sim: Sim,
    message_out: Series,
    message_in: Series,
    /// Handles: upstream makes one for `connect` and one for `accept`, and drops the second.
    connection: Series,
}

impl Names {
    fn new(sim: &Sim, owner: &'static str) -> Rc<Self> {
        Rc::new(Self {
            sim: sim.clone(),
            message_out: Series::new(Name::new(owner, "message-out")),
            message_in: Series::new(Name::new(owner, "message-in")),
            connection: Series::new(Name::new(owner, "connection")),
        })
    }

    fn outgoing(&self, inner: Box<dyn OutgoingMessage>) -> Box<dyn OutgoingMessage> {
        Outgoing::new(&self.sim, self.message_out.next(), inner)
    }

    fn incoming(&self, inner: Box<dyn IncomingMessage>) -> Box<dyn IncomingMessage> {
        Incoming::new(&self.sim, self.message_in.next(), inner)
    }
}

/// One name with the numbers from 0.
struct Series {
    name: Name,
    used: Cell<u32>,
}

impl Series {
    fn new(name: Name) -> Self {
        Self {
            name,
            used: Cell::new(0),
        }
    }

    fn next(&self) -> Name {
        self.name.with_index(self.used.replace(self.used.get() + 1))
    }
}

/// Upstream's two-party network, with its connections wrapped.
struct Network {
    inner: twoparty::VatNetwork<Reader>,
    names: Rc<Names>,
    #[expect(dead_code, reason = "its drop is the record")]
    tracked: Tracked<()>,
}

impl Network {
    fn wrap(names: &Rc<Names>, inner: Box<dyn Connection<Side>>) -> Box<dyn Connection<Side>> {
        Box::new(TrackedConnection {
            inner,
            names: names.clone(),
            tracked: names.sim.track(names.connection.next(), ()),
        })
    }
}

impl VatNetwork<Side> for Network {
    fn connect(&mut self, host: Side) -> Option<Box<dyn Connection<Side>>> {
        let connection = self.inner.connect(host)?;
        Some(Self::wrap(&self.names, connection))
    }

    fn accept(&mut self) -> Promise<Box<dyn Connection<Side>>, Error> {
        let names = self.names.clone();
        let accepted = self.inner.accept();
        Promise::from_future(accepted.map_ok(move |connection| Self::wrap(&names, connection)))
    }

    fn drive_until_shutdown(&mut self) -> Promise<(), Error> {
        self.inner.drive_until_shutdown()
    }
}

/// Upstream's connection, with its messages tracked.
struct TrackedConnection {
    inner: Box<dyn Connection<Side>>,
    names: Rc<Names>,
    tracked: Tracked<()>,
}

impl Connection<Side> for TrackedConnection {
    fn get_peer_vat_id(&self) -> Side {
        self.inner.get_peer_vat_id()
    }

    fn new_outgoing_message(&mut self, first_segment_words: u32) -> Box<dyn OutgoingMessage> {
        let message = self.inner.new_outgoing_message(first_segment_words);
        self.names.outgoing(message)
    }

    fn receive_incoming_message(&mut self) -> Promise<Option<Box<dyn IncomingMessage>>, Error> {
        let names = self.names.clone();
        let received = self.inner.receive_incoming_message();
        Promise::from_future(
            received.map_ok(move |message| message.map(|message| names.incoming(message))),
        )
    }

    fn new_stream(&mut self) -> (Box<dyn FlowController>, Promise<(), Error>) {
        self.inner.new_stream()
    }

    fn shutdown(&mut self, result: capnp::Result<()>) -> Promise<(), Error> {
        let name = self.tracked.name();
        self.names
            .sim
            .event(SHUTDOWN, name, [u64::from(result.is_err()), 0]);
        self.inner.shutdown(result)
    }
}
