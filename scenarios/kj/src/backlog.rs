//! `kj-backlog`: the story of capnproto issue #2195, with the library that it happened in.
//!
//! The client queues N calls, the peer does not read, and then the client is destroyed. Before
//! 1.0.0 its destructor recursed once per queued message.

use dismantle::Scenario;
use dismantle_sim::{Name, Phase, Question, Sim, Stopped, share};
use dismantle_transport::Link;

use crate::bridge::{Call, Capability, EventLoop, Reply, Served, Shutdown, Side, Stream, Vat};

const ENDS: [&str; 5] = [
    "destroy",
    "promises-first",
    "capability-first",
    "reset",
    "half-close",
];

static PARAMETERS: [Question; 4] = [
    Question::count(
        "calls",
        (0, 1_000_000),
        10,
        &[share(1, 0, 40), share(1, 40, 200)],
    )
    .about("calls that are queued while the peer does not read"),
    Question::word("end", &ENDS, &[share(1, 0, ENDS.len() as u64 - 1)])
        .about("what the owner does first; then it destroys the client and the server"),
    Question::word("promises", &["held", "waited-for"], &[share(1, 0, 1)])
        .about("whether the owner holds the promises, or tasks wait for the answers"),
    Question::word("first", &["connected", "unconnected"], &[share(1, 0, 1)])
        .about("whether the bootstrap is answered before the peer stops reading"),
];

/// The scenario.
pub struct Backlog;

struct Echo;

impl Served for Echo {
    fn call(&self, _: u64, _: u16, _: bool) -> Reply {
        Reply::default()
    }
}

impl Scenario for Backlog {
    fn name(&self) -> &'static str {
        "kj-backlog"
    }

    fn about(&self) -> &'static str {
        "queues calls that the peer does not read, then destroys the client (capnproto #2195)"
    }

    fn upstream(&self) -> String {
        crate::upstream()
    }

    fn parameters(&self) -> &'static [Question] {
        &PARAMETERS
    }

    fn over(&self) -> Option<&'static str> {
        Some("calls")
    }

    fn run(&self, sim: &Sim) -> Result<(), Stopped> {
        let (link, client, server, remote) = sim.enter(Phase::Build, || {
            let (link, client_end, server_end) = Link::new(sim);
            let on = EventLoop::new(sim, "server");
            let object = Capability::object(&on, Name::new("server", "bootstrap"), Echo);
            let stream = Stream::new(&on, server_end, Shutdown::Fails);
            let name = Name::new("server", "system");
            let server = Vat::new(&on, name, stream, Side::Server, Some(&object));
            let on = EventLoop::new(sim, "client");
            let stream = Stream::new(&on, client_end, Shutdown::Fails);
            let client = Vat::new(
                &on,
                Name::new("client", "system"),
                stream,
                Side::Client,
                None,
            );
            let remote = client.bootstrap(Name::new("client", "bootstrap"));
            Ok((link, client, server, remote))
        })?;
        let held = sim.enter(Phase::Drive, || {
            if sim.ask(&PARAMETERS[3], &[]) == 0 {
                sim.settle()?;
            }
            if sim.is_cut() {
                return Ok(Vec::new());
            }
            link.to_server().clog();
            let waits = sim.ask(&PARAMETERS[2], &[]) == 1;
            let mut held: Vec<Call> = Vec::new();
            for number in 1..=sim.ask(&PARAMETERS[0], &[]) as u32 {
                let name = Name::numbered("client", "call", number);
                let call = remote.call(name, (1, 0), None);
                call.drop_pipeline();
                match waits {
                    false => held.push(call),
                    true => drop(sim.spawn(name, call.answer())),
                }
            }
            sim.settle()?;
            link.rest(1);
            Ok(held)
        })?;
        sim.enter(Phase::Teardown, || {
            let mut remote = Some(remote);
            let mut held = Some(held);
            let drop_promises = Name::new("client", "drop-promises");
            match ENDS[sim.ask(&PARAMETERS[1], &[]) as usize] {
                "promises-first" => drop(sim.act(drop_promises, || held.take())?),
                "capability-first" => {
                    sim.act(Name::new("client", "drop-bootstrap"), || remote.take())?;
                }
                "reset" => {
                    sim.act(Name::new("owner", "reset"), || link.to_server().reset())?;
                    sim.settle()?;
                }
                "half-close" => {
                    sim.act(Name::new("owner", "half-close"), || link.to_client().shut())?;
                    sim.settle()?;
                }
                _ => {}
            }
            sim.act(Name::new("client", "drop-system"), || drop(client))?;
            sim.act(drop_promises, || drop(held))?;
            sim.act(Name::new("client", "drop-bootstrap"), || drop(remote))?;
            sim.act(Name::new("server", "drop-system"), || drop(server))?;
            Ok(())
        })
    }
}
