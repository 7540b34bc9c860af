//! A client and a server of the library on one link, and what their owner can take from them.

use std::any::Any;

use dismantle_sim::{JoinHandle, Name, Question, Sim, Stopped, share};
use dismantle_transport::Link;

use crate::bridge::{
    Call, Capability, EventLoop, Reply, Served, Server, Shutdown, Side, Stream, Vat,
};

/// How many calls there are.
pub const CALLS: Question = Question::count(
    "calls",
    (0, 1_000_000),
    10,
    &[share(1, 0, 40), share(1, 40, 200)],
);

/// What becomes of the calls' promises.
pub const PROMISES: Question =
    Question::word("promises", &["held", "waited-for"], &[share(1, 0, 1)])
        .about("whether the owner holds the promises, or tasks wait for the answers");

/// What the server is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accepts {
    /// A `TwoPartyClient` of the other side: one connection.
    One,
    /// A `TwoPartyServer`, which destroys a connection when it has ended.
    All,
}

/// Both vats, running. What the owner has not destroyed goes client first.
pub struct Session {
    /// The client's vat.
    pub client: Option<Vat>,
    calls: Vec<Asked>,
    remote: Option<Capability>,
    /// A [`Vat`] or a [`Server`], to be destroyed.
    server: Option<Box<dyn Any>>,
    /// Both pipes.
    pub link: Link,
    sim: Sim,
}

/// The promise of an answer.
enum Asked {
    /// Nobody waits for it.
    Held(Call),
    /// A task does, which has to end, because no promise is left behind: what a connection owed
    /// is rejected when it is lost or destroyed (`RpcConnectionState::disconnect`, `rpc.c++`).
    WaitedFor(JoinHandle<()>),
}

struct Echo;

impl Served for Echo {
    fn call(&self, _: u64, _: u16, _: bool) -> Reply {
        Reply::default()
    }
}

impl Session {
    /// Connects a client to a server that answers every call; `shutdown` is the manner of both
    /// streams.
    pub fn new(sim: &Sim, shutdown: Shutdown, accepts: Accepts) -> Self {
        let (link, client_end, server_end) = Link::new(sim);
        let on = EventLoop::new(sim, "server");
        let object = Capability::object(&on, Name::new("server", "bootstrap"), Echo);
        let stream = Stream::new(&on, server_end, shutdown);
        let name = Name::new("server", "system");
        let server: Box<dyn Any> = match accepts {
            Accepts::One => Box::new(Vat::new(&on, name, stream, Side::Server, Some(&object))),
            Accepts::All => {
                let server = Server::new(name, &object);
                server.accept(stream);
                Box::new(server)
            }
        };
        let on = EventLoop::new(sim, "client");
        let stream = Stream::new(&on, client_end, shutdown);
        let name = Name::new("client", "system");
        let client = Vat::new(&on, name, stream, Side::Client, None);
        let remote = client.bootstrap(Name::new("client", "bootstrap"));
        Self {
            client: Some(client),
            calls: Vec::new(),
            remote: Some(remote),
            server: Some(server),
            link,
            sim: sim.clone(),
        }
    }

    /// Makes so many calls, and waits for their answers or only holds their promises.
    pub fn call(&mut self, count: u64, waits: bool) {
        for number in 1..=count as u32 {
            let Some(remote) = &self.remote else { return };
            let name = Name::numbered("client", "call", number);
            let call = remote.call(name, (1, 0), None);
            call.drop_pipeline();
            self.calls.push(match waits {
                false => Asked::Held(call),
                true => {
                    let answer = call.answer();
                    let waited = async move { drop(answer.await) };
                    Asked::WaitedFor(self.sim.spawn_must_end(name, waited))
                }
            });
        }
    }

    /// Kills both directions.
    ///
    /// # Errors
    /// [`Stopped`] after a panic.
    pub fn reset(&self) -> Result<(), Stopped> {
        let name = Name::new("owner", "reset");
        self.sim.act(name, || self.link.to_server().reset())?;
        Ok(())
    }

    /// Destroys the client's vat.
    ///
    /// # Errors
    /// [`Stopped`] after a panic.
    pub fn drop_client(&mut self) -> Result<(), Stopped> {
        let client = self.client.take();
        self.destroyed(Name::new("client", "drop-system"), client)
    }

    /// Gives up the calls: destroys their promises, and what waits for them.
    ///
    /// # Errors
    /// [`Stopped`] after a panic.
    pub fn drop_promises(&mut self) -> Result<(), Stopped> {
        let calls = std::mem::take(&mut self.calls);
        self.sim.act(Name::new("client", "drop-promises"), || {
            for call in calls {
                match call {
                    Asked::Held(call) => drop(call),
                    Asked::WaitedFor(task) => task.abort(),
                }
            }
        })?;
        Ok(())
    }

    /// Destroys the client's view of the server's bootstrap object.
    ///
    /// # Errors
    /// [`Stopped`] after a panic.
    pub fn drop_bootstrap(&mut self) -> Result<(), Stopped> {
        let remote = self.remote.take();
        self.destroyed(Name::new("client", "drop-bootstrap"), remote)
    }

    /// Destroys the server with its connection.
    ///
    /// # Errors
    /// [`Stopped`] after a panic.
    pub fn drop_server(&mut self) -> Result<(), Stopped> {
        let server = self.server.take();
        self.destroyed(Name::new("server", "drop-system"), server)
    }

    /// Destroys what is left, the client first. What is waited for ends by itself.
    ///
    /// # Errors
    /// [`Stopped`] after a panic.
    pub fn destroy(mut self) -> Result<(), Stopped> {
        self.drop_client()?;
        let calls = std::mem::take(&mut self.calls);
        let name = Name::new("client", "drop-promises");
        self.sim.act(name, || drop(calls))?;
        self.drop_bootstrap()?;
        self.drop_server()
    }

    fn destroyed<T>(&self, name: Name, part: Option<T>) -> Result<(), Stopped> {
        if let Some(part) = part {
            self.sim.act(name, || drop(part))?;
        }
        Ok(())
    }
}
