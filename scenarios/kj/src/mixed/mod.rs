//! `kj-mixed`: a Rust vat at one end of a connection and a C++ vat at the other.
//!
//! The client, of either library, makes calls on the server's bootstrap object and on what those
//! return; the plan says what becomes of each. What must hold: the two libraries keep to one
//! protocol (what the C++ vat says is judged, too), every call ends once the connection is gone,
//! an exception arrives as the type that it was thrown as, calls on one capability arrive in
//! order, and everything is destroyed.

mod client;
mod cpp;
mod deed;
mod ending;
mod rust;
mod shared;

use capnp_rpc::rpc_twoparty_capnp::Side;
use dismantle::Scenario;
use dismantle_sim::{Name, Phase, Question, Sim, Stopped, share};
use dismantle_transport::compat::CAPNP_RPC_VERSION;
use dismantle_transport::{CallOrder, Link, Vat};

use self::client::{Caller, Owner};
use self::cpp::Kj;
use self::ending::World;
use self::rust::Rust;
use self::shared::{Order, Sequence, Shared};
use crate::bridge::{self, EventLoop, Shutdown, Stream};

const SHUTDOWNS: [Shutdown; 2] = [Shutdown::Fails, Shutdown::Waits];

static OWN: [Question; 3] = [
    Question::word("client", &["kj", "rust"], &[share(1, 0, 1)])
        .about("which library the client is of; the server is of the other"),
    Question::count("calls", (0, 64), 3, &[share(1, 1, 12)]).about("operations of the client"),
    Question::word("shutdown", &["fails", "waits"], &[share(1, 0, 1)])
        .about("what `shutdownWrite` does to a write of C++ that is under way: TCP or Unix socket"),
];

/// All parameters: its own, those of the objects and those of the end.
static PARAMETERS: [Question; 10] = [
    OWN[0],
    OWN[1],
    OWN[2],
    deed::TAIL_CALLS,
    deed::KEPT,
    ending::QUESTIONS[0],
    ending::QUESTIONS[1],
    ending::QUESTIONS[2],
    ending::QUESTIONS[3],
    deed::BUG,
];

const BOOTSTRAP: Name = Name::new("server", "bootstrap");

/// The scenario.
pub struct Mixed;

impl Scenario for Mixed {
    fn name(&self) -> &'static str {
        "kj-mixed"
    }

    fn about(&self) -> &'static str {
        "a Rust vat and a C++ vat on one connection, either way round: calls of all sorts, then an end"
    }

    fn upstream(&self) -> String {
        format!("capnp-rpc-{CAPNP_RPC_VERSION} and {}", crate::upstream())
    }

    fn parameters(&self) -> &'static [Question] {
        &PARAMETERS
    }

    fn questions(&self) -> Vec<&'static [Question]> {
        vec![&deed::QUESTIONS, &client::QUESTIONS]
    }

    fn over(&self) -> Option<&'static str> {
        Some("op.*.repeat")
    }

    fn run(&self, sim: &Sim) -> Result<(), Stopped> {
        match sim.ask(&OWN[0], &[]) {
            0 => run(sim.enter(Phase::Build, || Ok(kj_client(sim)))?),
            _ => run(sim.enter(Phase::Build, || Ok(rust_client(sim)))?),
        }
    }
}

/// The C++ end of the connection.
fn stream(sim: &Sim, on: &EventLoop, end: dismantle_transport::End) -> Stream {
    Stream::new(on, end, SHUTDOWNS[sim.ask(&OWN[2], &[]) as usize])
}

fn kj_client(sim: &Sim) -> World<Kj> {
    let shared = Shared::new(sim, Order::Kj(Sequence::new(sim)));
    let (link, client, server) = Link::new(sim);
    let rust = Vat::new(
        sim,
        Side::Server,
        server,
        Some(rust::object(&shared, BOOTSTRAP)),
    );
    let disconnector = Some(rust.disconnector());
    rust.judge_peer("kj");
    shared.errors.watch(&rust);
    rust.start();
    let on = EventLoop::new(sim, "client");
    let stream = stream(sim, &on, client);
    let name = Name::new("client", "system");
    let kj = bridge::Vat::new(&on, name, stream, bridge::Side::Client, None);
    let bootstrap = kj.bootstrap(Name::new("client", "bootstrap"));
    let caller = Kj {
        shared: shared.clone(),
        on,
    };
    World {
        owner: Owner::new(&shared, caller, bootstrap),
        shared,
        link,
        rust,
        disconnector,
        kj: Some(kj),
        kj_is: "client",
    }
}

fn rust_client(sim: &Sim) -> World<Rust> {
    let shared = Shared::new(sim, Order::Rust(CallOrder::new(sim)));
    let (link, client, server) = Link::new(sim);
    let on = EventLoop::new(sim, "server");
    let stream = stream(sim, &on, server);
    let object = cpp::object(&shared, &on, BOOTSTRAP);
    let name = Name::new("server", "system");
    let kj = bridge::Vat::new(&on, name, stream, bridge::Side::Server, Some(&object));
    drop(object);
    let rust = Vat::new(sim, Side::Client, client, None);
    rust.judge_peer("kj");
    shared.errors.watch(&rust);
    let bootstrap = rust.bootstrap();
    // Up to 0.19.0 those that were asked for before there was a connection did nothing.
    let disconnector = Some(rust.disconnector());
    rust.start();
    World {
        owner: Owner::new(&shared, Rust(shared.clone()), bootstrap),
        shared,
        link,
        rust,
        disconnector,
        kj: Some(kj),
        kj_is: "server",
    }
}

fn run<C: Caller>(mut world: World<C>) -> Result<(), Stopped> {
    let sim = world.shared.sim.clone();
    let calls = sim.ask(&OWN[1], &[]) as u32;
    sim.enter(Phase::Drive, || world.owner.operate(&world.link, calls))?;
    sim.enter(Phase::Teardown, || world.end())
}
