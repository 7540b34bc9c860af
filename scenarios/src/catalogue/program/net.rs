//! The connections of a program: made at the start, later or by a client that reconnects.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use capnp::Error;
use capnp::capability::Client;
use capnp_rpc::rpc_twoparty_capnp::Side;
use dismantle_sim::{JoinHandle, Name, Sim, inject_panic};
use dismantle_transport::{CONNECTIONS_MAX, Disconnector, Errors, Link, Vat, compat};
use futures::FutureExt;

use super::script::Source;
use super::{BOOTSTRAPS, DISCONNECTORS, RECONNECTING, SERVER_RUNS, SIDES, script};
use crate::catalogue::act::Reach;
use crate::catalogue::object::{Call, Objects, call, method_id, same};
use crate::catalogue::script::place;
use crate::catalogue::waiting::{judged, waiting};

/// When an owner asks for its disconnector.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Of the peer's bootstrap capability first, if it asks for that.
    After,
    /// Before that.
    Before,
    /// Only to use it, while the system runs.
    WhenUsed,
}

impl Order {
    /// In the order of the question's words.
    const ALL: [Self; 3] = [Self::After, Self::Before, Self::WhenUsed];
}

/// One vat and what its owner holds beside it.
pub struct Party {
    pub vat: Vat,
    pub bootstrap: RefCell<Option<Client>>,
    disconnector: RefCell<Option<Disconnector>>,
}

/// One connection: the client's vat and the server's.
pub struct Connection {
    pub link: Link,
    pub parties: [Party; 2],
}

/// All connections of a run, by number.
pub struct Net {
    sim: Sim,
    objects: Objects,
    connections: RefCell<Vec<Rc<Connection>>>,
    /// Judges what calls fail with.
    pub errors: Errors,
    /// Calls that destructors and hooks have made.
    acted: Cell<u32>,
}

impl Net {
    /// The first `count` connections.
    pub fn new(sim: &Sim, objects: &Objects, count: u64) -> Rc<Self> {
        let net = Rc::new(Self {
            sim: sim.clone(),
            objects: objects.clone(),
            connections: RefCell::default(),
            errors: Errors::new(sim),
            acted: Cell::new(0),
        });
        for _ in 0..count {
            net.connect();
        }
        net.reconnect();
        net
    }

    /// Makes one more connection, if there may be one.
    pub fn connect(&self) -> Option<Rc<Connection>> {
        let number = self.connections.borrow().len();
        if number == CONNECTIONS_MAX {
            return None;
        }
        let sim = &self.sim;
        let (link, client_end, server_end) = Link::numbered(sim, number);
        let both = sim.ask(&BOOTSTRAPS, &[]) == 1;
        let starts = sim.ask(&SERVER_RUNS, &[]) == 0;
        let order = Order::ALL[sim.ask(&DISCONNECTORS, &[]) as usize];
        script::connection(sim, number);
        let party = |side, end, place: usize, asks: bool, starts: bool| {
            let served = self.objects.make(SIDES[place], 0);
            let vat = Vat::numbered(sim, number, side, end, Some(served));
            let before = (order == Order::Before).then(|| vat.disconnector());
            let bootstrap = RefCell::new(asks.then(|| vat.bootstrap()));
            let after = (order == Order::After).then(|| vat.disconnector());
            let disconnector = RefCell::new(before.or(after));
            script::vat(sim, number, place, asks, order);
            if number == 0 && place == 0 && sim.ask(&RECONNECTING, &[]) == 1 {
                script::first(sim);
            }
            if starts {
                script::start(sim, vat.name());
                vat.start();
            }
            Party {
                vat,
                bootstrap,
                disconnector,
            }
        };
        let connection = Rc::new(Connection {
            link,
            parties: [
                party(Side::Client, client_end, 0, true, true),
                party(Side::Server, server_end, 1, both, starts),
            ],
        });
        for party in &connection.parties {
            self.errors.watch(&party.vat);
        }
        self.connections.borrow_mut().push(connection.clone());
        Some(connection)
    }

    /// Puts a client that reconnects before the first connection's bootstrap, if the plan says so.
    fn reconnect(self: &Rc<Self>) {
        let how = self.sim.ask(&RECONNECTING, &[]);
        let Some(first) = self.number(0).filter(|_| how != 0) else {
            return;
        };
        let (net, mut used) = (Rc::downgrade(self), false);
        let connect = move || {
            let net: Rc<Self> = net.upgrade().ok_or_else(unreachable)?;
            let connection = match std::mem::replace(&mut used, true) {
                false => net.number(0),
                true => {
                    script::again(&net.sim, true);
                    let connection = net.connect();
                    script::again(&net.sim, false);
                    connection
                }
            };
            let bootstrap = &connection.ok_or_else(unreachable)?.parties[0];
            bootstrap.vat.try_bootstrap().ok_or_else(unreachable)
        };
        let client = match how {
            1 => compat::reconnecting(connect).ok(),
            _ => Some(compat::lazily_reconnecting(connect)),
        };
        script::reconnecting(&self.sim, how == 1);
        let before = first.parties[0].bootstrap.replace(client);
        drop(before);
    }

    /// Connection `number`, or the last one if there are fewer.
    pub fn number(&self, number: usize) -> Option<Rc<Connection>> {
        let connections = self.connections.borrow();
        connections.get(number).or(connections.last()).cloned()
    }

    /// All of them.
    pub fn all(&self) -> Vec<Rc<Connection>> {
        self.connections.borrow().clone()
    }

    /// Which connection number `number` is, or stands for.
    pub fn place(&self, number: usize) -> usize {
        number.min(self.connections.borrow().len().saturating_sub(1))
    }

    /// The side's view of its peer's bootstrap object.
    pub fn bootstrap(&self, side: usize, number: usize) -> Option<Client> {
        let connection = self.number(number)?;
        let bootstrap = connection.parties[side].bootstrap.borrow();
        bootstrap.as_ref().map(same)
    }

    /// Ends a connection from one side: `await`, `poll-once`, or drops the disconnector.
    ///
    /// `into` is where it belongs in a script.
    pub fn disconnect(&self, party: &Party, into: &'static str, name: Name, how: &str) {
        // The one taken before the system ran, then those that can be had late.
        let early = party.disconnector.take();
        let source = match (&early, party.vat.has_started()) {
            (Some(_), _) => Source::Taken,
            (None, false) => Source::Idle,
            (None, true) => Source::Running,
        };
        let Some(mut disconnector) = early.or_else(|| party.vat.try_disconnector()) else {
            return;
        };
        if source == Source::Idle && into == place::ACT {
            let idle = || "a destructor that asks a system that does not run yet".to_owned();
            self.sim.script(place::CANNOT, idle);
        }
        self.sim
            .script(into, || script::disconnect(party.vat.name(), source, how));
        match how {
            "await" => {
                let task = waiting(&self.sim, "end of", name, disconnector).map(drop);
                self.sim.spawn_must_end(name, task);
            }
            "poll-once" => {
                self.sim.spawn(name, async move {
                    let polled = std::future::poll_fn(|context| {
                        std::task::Poll::Ready(disconnector.poll_unpin(context))
                    });
                    drop(polled.await);
                });
            }
            _ => drop(disconnector),
        }
    }

    /// As what destructors reach, without keeping it alive.
    pub fn reach(self: &Rc<Self>) -> Weak<dyn Reach> {
        let weak: Weak<Self> = Rc::downgrade(self);
        weak
    }

    /// A call on the bootstrap object from inside something that runs.
    fn call_from_within(&self, side: usize, operation: u32, given: Option<Client>) {
        let Some(target) = self.bootstrap(side, 0) else {
            return;
        };
        let id = Call::new(operation, 0);
        self.sim.script(place::ACT, || {
            let id = self.objects.ids().of(operation, method_id("echo"));
            let given = given.as_ref().map_or_else(
                || "None".to_owned(),
                // Not by the name of one whose destructor acts.
                |_| "Some(&object(\"given\"))".to_owned(),
            );
            format!(
                "answer(call(&{}, {id}, {given}));",
                script::bootstrap(side, 0)
            )
        });
        let sent = call(&target, id, "echo", given.as_ref());
        drop(sent.pipeline);
        let number = self.acted.replace(self.acted.get() + 1);
        let name = Name::numbered(SIDES[side], "inner-call", number);
        let answer = judged(&self.sim, &self.errors, name, sent.promise);
        let task: JoinHandle<()> = self.sim.spawn_must_end(name, answer);
        drop(task);
    }
}

fn unreachable() -> Error {
    Error::disconnected("no further connection".to_owned())
}

impl Reach for Net {
    fn act(&self, vat: &'static str, operation: u32, act: &'static str) {
        let side = usize::from(vat == SIDES[1]);
        let Some(connection) = self.number(0) else {
            return;
        };
        let party = &connection.parties[side];
        let name = Name::numbered(vat, act, operation);
        match act {
            "call" => self.call_from_within(side, operation, None),
            "give" => {
                let given = self.objects.make_plain(vat, operation);
                self.call_from_within(side, operation, Some(given));
            }
            "disconnect" => self.disconnect(party, place::ACT, name, "await"),
            "poll-disconnect" => {
                let disconnector = party.disconnector.take();
                if let Some(mut disconnector) = disconnector {
                    let poll = || script::disconnect(vat, Source::Taken, "now");
                    self.sim.script(place::ACT, poll);
                    drop((&mut disconnector).now_or_never());
                }
            }
            "drop-bootstrap" => {
                let bootstrap = party.bootstrap.take();
                if bootstrap.is_some() {
                    let gone = || format!("drop({});", script::bootstrap(side, 0));
                    self.sim.script(place::ACT, gone);
                }
                drop(bootstrap);
            }
            "drop-kept" => {
                self.sim.script(place::CANNOT, || {
                    "a destructor that drops what objects keep".to_owned()
                });
                self.objects.drop_kept(Some(vat));
            }
            "drop-system" => {
                let gone = || script::drop_system(vat, party.vat.has_started());
                self.sim.script(place::ACT, gone);
                party.vat.abort_system();
            }
            "panic" => {
                self.sim
                    .script(place::CANNOT, || "a destructor that panics".to_owned());
                self.sim.own_panic();
                inject_panic()
            }
            _ => {}
        }
    }
}
