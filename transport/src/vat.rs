//! A vat: capnp-rpc's own `RpcSystem` and `twoparty::VatNetwork` on one end of a link.
//!
//! Its parts have names and can be destroyed one by one: the system's task, the disconnector,
//! the bootstrap client. The network and its connection are wrapped so that messages and the
//! connection itself are tracked; every call is passed on unchanged.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::Poll;

use capnp::Error;
use capnp::capability::{Client, Promise};
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{Connection, IncomingMessage, OutgoingMessage, RpcSystem, VatNetwork};
use dismantle_sim::{EventKind, JoinHandle, Name, Question, Sim, Stopped, Tracked, share};
use futures::{FutureExt, TryFutureExt};

use crate::compat::{AnyNetwork, Untyped, two_party};
use crate::ending::{Disconnector, Ending};
use crate::message::{Incoming, Outgoing};
use crate::pipe::{CONNECTIONS_MAX, End};
use crate::protocol::{Rule, Watch};
use crate::with_streaming;

/// The decisions of every vat; the star is `client` or `server`.
pub static QUESTIONS: [Question; 1] = [Question::count(
    "vat.*.window_bytes",
    (1, 1 << 30),
    65_536,
    &[share(2, 65_536, 65_536), share(1, 1, 2000)],
)
.about("what a stream may have on its way before its writer waits; upstream's default is 64 KiB")];

const SHUTDOWN: EventKind = EventKind::new("shutdown");
const ENDED: EventKind = EventKind::new("system-ended");

/// One side of a connection, with its own tables.
pub struct Vat {
    sim: Sim,
    name: &'static str,
    window_bytes: u64,
    peer: Side,
    ending: Rc<Ending>,
    system: Weak<System>,
    /// Before [`Vat::start`]; then its task owns it.
    idle: RefCell<Option<Rc<System>>>,
    /// After it.
    task: RefCell<Option<JoinHandle<()>>>,
    watch: Option<Rc<Watch>>,
}

/// Upstream's system, until it has ended.
type System = RefCell<Option<RpcSystem<Side>>>;

/// Names of the vats of each connection of a run.
const VATS: [[&str; 2]; CONNECTIONS_MAX] = [
    ["client", "server"],
    ["client-2", "server-2"],
    ["client-3", "server-3"],
];

impl Vat {
    /// The vat of `side` on `end`, serving `bootstrap`. Nothing runs before [`Vat::start`].
    pub fn new(sim: &Sim, side: Side, end: End, bootstrap: Option<Client>) -> Self {
        Self::numbered(sim, 0, side, end, bootstrap)
    }

    /// The same on the run's connection `number`, from 0: `client`, then `client-2`, and so on.
    ///
    /// # Panics
    /// If there is no such connection; there are [`CONNECTIONS_MAX`].
    pub fn numbered(
        sim: &Sim,
        number: usize,
        side: Side,
        end: End,
        bootstrap: Option<Client>,
    ) -> Self {
        let upstream = |network| network;
        Self::make(sim, number, side, (end, bootstrap), upstream, upstream)
    }

    /// The vat of `side` with `wrap` between its system and the network: what wraps it sees and
    /// may change all that the system says, and what comes out is what is tracked and checked.
    pub fn through(
        sim: &Sim,
        side: Side,
        end: End,
        bootstrap: Option<Client>,
        wrap: impl FnOnce(AnyNetwork) -> AnyNetwork,
    ) -> Self {
        Self::make(sim, 0, side, (end, bootstrap), |network| network, wrap)
    }

    /// The vat of `side` with another network in the place of upstream's, which it is given: what
    /// is tracked and checked lies above it, so that one that does not keep its word is found out.
    pub fn upon(
        sim: &Sim,
        side: Side,
        end: End,
        bootstrap: Option<Client>,
        replace: impl FnOnce(AnyNetwork) -> AnyNetwork,
    ) -> Self {
        Self::make(sim, 0, side, (end, bootstrap), replace, |network| network)
    }

    fn make(
        sim: &Sim,
        number: usize,
        side: Side,
        (end, bootstrap): (End, Option<Client>),
        replace: impl FnOnce(AnyNetwork) -> AnyNetwork,
        wrap: impl FnOnce(AnyNetwork) -> AnyNetwork,
    ) -> Self {
        let [client, server] = VATS[number];
        let (name, peer) = match side {
            Side::Client => (client, Side::Server),
            Side::Server => (server, Side::Client),
        };
        let ending = Ending::new(sim, name, &end);
        let window_bytes = sim.ask(&QUESTIONS[0], &[name.into()]);
        let inner = two_party(end, side, window_bytes as usize);
        let watch = Watch::new(sim, name);
        let network = Network {
            inner: replace(inner),
            names: Names::new(sim, name, &ending, watch.clone()),
            tracked: sim.track(Name::new(name, "network"), ()),
        };
        let system = RpcSystem::new(wrap(Box::new(network)), bootstrap);
        let system = Rc::new(RefCell::new(Some(system)));
        Self {
            sim: sim.clone(),
            name,
            window_bytes,
            peer,
            ending,
            system: Rc::downgrade(&system),
            idle: RefCell::new(Some(system)),
            task: RefCell::default(),
            watch,
        }
    }

    /// Ends the judgement of what the vat says: its peer is about to break a rule, in a way that
    /// the judge may not see.
    pub fn peer_lies(&self) {
        self.watch.iter().for_each(|watch| watch.be_silent());
    }

    /// Has the peer be judged here as well, because it is no vat of this crate: what it says and
    /// leaves undone counts as a breach of `library`'s.
    pub fn judge_peer(&self, library: &'static str) {
        let watch = self.watch.iter();
        watch.for_each(|watch| watch.judge_peer(library));
    }

    /// `client` or `server`, with the number of a further connection.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The window of each stream that it writes.
    pub fn window_bytes(&self) -> u64 {
        self.window_bytes
    }

    /// The peer's bootstrap capability: sends a Bootstrap message, if there is no connection
    /// yet or still.
    ///
    /// `None` once the system has ended or is destroyed, and from inside its own poll.
    pub fn try_bootstrap(&self) -> Option<Client> {
        let system = self.system.upgrade()?;
        let mut system = system.try_borrow_mut().ok()?;
        let Untyped(client) = system.as_mut()?.bootstrap(self.peer);
        Some(client)
    }

    /// The peer's bootstrap capability, as [`Vat::try_bootstrap`].
    ///
    /// # Panics
    /// If the system has ended or is destroyed.
    pub fn bootstrap(&self) -> Client {
        self.try_bootstrap()
            .expect("asked while the system is there")
    }

    /// A future that disconnects when it is first polled.
    ///
    /// `None` once the system has ended or is destroyed, and from inside its own poll.
    pub fn try_disconnector(&self) -> Option<Disconnector> {
        let system = self.system.upgrade()?;
        let system = system.try_borrow().ok()?;
        let disconnector = system.as_ref()?.get_disconnector();
        Some(Disconnector::new(disconnector, self.ending.clone()))
    }

    /// A future that disconnects when it is first polled, as [`Vat::try_disconnector`].
    ///
    /// # Panics
    /// If the system has ended or is destroyed.
    pub fn disconnector(&self) -> Disconnector {
        self.try_disconnector()
            .expect("asked while the system is there")
    }

    pub(crate) fn ending(&self) -> &Rc<Ending> {
        &self.ending
    }

    /// Runs the system as a task, `client/system`. Once: a second call does nothing.
    pub fn start(&self) {
        let Some(system) = self.idle.take() else {
            return;
        };
        let (sim, name) = (self.sim.clone(), Name::new(self.name, "system"));
        let ending = self.ending.clone();
        let task = async move {
            let ended = poll_fn(|context| match &mut *system.borrow_mut() {
                Some(system) => system.poll_unpin(context),
                None => Poll::Ready(Ok(())),
            });
            let result = ended.await;
            ending.ended(result.is_ok());
            sim.event(ENDED, name, [u64::from(result.is_err()), 0]);
            // As for whoever gives the system to an executor, its end is the end of it.
            let ended = system.take();
            drop(ended);
        };
        self.task.replace(Some(self.sim.spawn(name, task)));
    }

    /// Whether the system was given to a task.
    pub fn has_started(&self) -> bool {
        self.idle.borrow().is_none()
    }

    /// Whether the system's task has ended by itself.
    pub fn has_ended(&self) -> bool {
        let task = self.task.borrow();
        task.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Destroys the RpcSystem, running or not. A teardown action.
    ///
    /// # Errors
    /// [`Stopped`] after a panic in it.
    pub fn drop_system(&self) -> Result<(), Stopped> {
        let name = Name::new(self.name, "drop-system");
        self.sim.act(name, || self.abort_system())?;
        Ok(())
    }

    /// Destroys the RpcSystem from inside something that runs, a destructor for one; after its
    /// poll if that is what runs.
    pub fn abort_system(&self) {
        self.ending.destroyed();
        let (system, task) = (self.idle.take(), self.task.take());
        drop(system);
        if let Some(task) = task {
            task.abort();
        }
    }
}

/// Says of these vats what they have left undone: to be asked when nobody holds a capability of
/// the connection, waits for a call or serves one, and all that was sent has been received.
///
/// A cancelled question that was not returned keeps nothing else. Of the other rules only the
/// first is reported: what one vat leaves undone leaves the other's tables full.
pub fn nothing_left<'a>(vats: impl IntoIterator<Item = &'a Vat>) {
    let watches = vats.into_iter().filter_map(|vat| vat.watch.as_ref());
    let left = watches.flat_map(|watch| {
        let left = watch.left_undone().into_iter();
        left.map(move |(library, offence)| (watch, library, offence))
    });
    let (canceled, others): (Vec<_>, Vec<_>) =
        left.partition(|(_, _, offence)| offence.rule == Rule::NeverCanceled);
    let first = others
        .into_iter()
        .min_by_key(|(_, _, offence)| offence.rule);
    for (watch, library, offence) in canceled.into_iter().chain(first) {
        watch.breach_of(library, offence);
    }
}

/// Names for the messages and connections of one vat, numbered in the order of their making.
struct Names {
    sim: Sim,
    ending: Rc<Ending>,
    message_out: Series,
    message_in: Series,
    /// Handles: upstream makes one for `connect` and one for `accept`, and drops the second.
    connection: Series,
    watch: Option<Rc<Watch>>,
}

impl Names {
    fn new(
        sim: &Sim,
        owner: &'static str,
        ending: &Rc<Ending>,
        watch: Option<Rc<Watch>>,
    ) -> Rc<Self> {
        Rc::new(Self {
            sim: sim.clone(),
            ending: ending.clone(),
            message_out: Series::new(Name::new(owner, "message-out")),
            message_in: Series::new(Name::new(owner, "message-in")),
            connection: Series::new(Name::new(owner, "connection")),
            watch,
        })
    }

    fn outgoing(&self, inner: Box<dyn OutgoingMessage>) -> Box<dyn OutgoingMessage> {
        Outgoing::new(
            &self.sim,
            self.message_out.next(),
            self.watch.clone(),
            self.ending.clone(),
            inner,
        )
    }

    fn incoming(&self, inner: Box<dyn IncomingMessage>) -> Box<dyn IncomingMessage> {
        Incoming::new(
            &self.sim,
            self.message_in.next(),
            self.watch.as_deref(),
            inner,
        )
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

/// A network, mostly upstream's own two-party one, with its connections wrapped.
struct Network {
    inner: AnyNetwork,
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
        self.names.ending.connected();
        Some(Self::wrap(&self.names, connection))
    }

    fn accept(&mut self) -> Promise<Box<dyn Connection<Side>>, Error> {
        let names = self.names.clone();
        let accepted = self.inner.accept();
        Promise::from_future(accepted.map_ok(move |connection| {
            names.ending.accepted();
            Self::wrap(&names, connection)
        }))
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
        Promise::from_future(received.map(move |received| {
            if let (Some(watch), Err(_) | Ok(None)) = (&names.watch, &received) {
                watch.cannot_receive();
            }
            let received = received.inspect_err(|error| names.ending.stopped_reading(error));
            Ok(received?.map(|message| names.incoming(message)))
        }))
    }

    with_streaming! {
        fn new_stream(&mut self) -> (Box<dyn capnp_rpc::FlowController>, Promise<(), Error>) {
            self.inner.new_stream()
        }
    }

    fn shutdown(&mut self, result: capnp::Result<()>) -> Promise<(), Error> {
        let name = self.tracked.name();
        self.names
            .sim
            .event(SHUTDOWN, name, [u64::from(result.is_err()), 0]);
        if let Some(watch) = &self.names.watch {
            watch.shut_down();
        }
        let ending = self.names.ending.clone();
        let owed = ending.shut();
        let shutdown = self.inner.shutdown(result);
        Promise::from_future(shutdown.inspect(move |result| {
            ending.shut_down(owed, result.is_ok(), name);
        }))
    }
}
