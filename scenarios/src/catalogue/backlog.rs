//! `backlog`: the story of capnproto issue #2195.
//!
//! The client queues N calls, the peer does not read, and then the connection ends. In the C++
//! library before 1.0.0 the destructor of the client recursed once per queued message.

use capnp::capability::{Promise, Response};
use capnp::{Error, any_pointer};
use dismantle_sim::{Name, Phase, Question, Sim, Stopped, share};

use super::object::{Call, Objects, call_in_order};
use super::session::{BOOTSTRAP, Session};
use super::waiting::judged;
use crate::scenario::Scenario;

const ENDS: [&str; 5] = [
    "disconnect",
    "reset",
    "half-close",
    "destroy",
    "promises-first",
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
        .about("how the connection ends"),
    Question::word("promises", &["waited-for", "held"], &[share(1, 0, 1)])
        .about("whether tasks wait for the answers, or the owner holds the promises"),
    Question::word("first", &["connected", "unconnected"], &[share(1, 0, 1)])
        .about("whether the bootstrap is answered before the peer stops reading"),
];

/// The scenario.
pub struct Backlog;

impl Scenario for Backlog {
    fn name(&self) -> &'static str {
        "backlog"
    }

    fn about(&self) -> &'static str {
        "queues calls that the peer does not read, then ends the connection (capnproto #2195)"
    }

    fn parameters(&self) -> &'static [Question] {
        &PARAMETERS
    }

    fn questions(&self) -> Vec<&'static [Question]> {
        vec![&super::object::QUESTIONS]
    }

    fn over(&self) -> Option<&'static str> {
        Some("calls")
    }

    fn run(&self, sim: &Sim) -> Result<(), Stopped> {
        let objects = Objects::new(sim);
        let mut session = sim.enter(Phase::Build, || {
            Ok(Session::new(sim, objects.make("server", 0)))
        })?;
        let held = sim.enter(Phase::Drive, || {
            if sim.ask(&PARAMETERS[3], &[]) == 0 {
                sim.settle()?;
            }
            if sim.is_cut() {
                return Ok(Held::new());
            }
            session.link.to_server().clog();
            let held = queue(sim, &objects, &session);
            sim.settle()?;
            session.link.rest(1);
            Ok(held)
        })?;
        sim.enter(Phase::Teardown, || {
            match ENDS[sim.ask(&PARAMETERS[1], &[]) as usize] {
                // Nothing that it writes can leave: the owner asks, waits in vain and goes on.
                "disconnect" => {
                    session.disconnect()?;
                }
                "reset" => {
                    sim.act(Name::new("owner", "reset"), || {
                        session.link.to_server().reset()
                    })?;
                }
                "half-close" => {
                    sim.act(Name::new("owner", "half-close"), || {
                        session.link.to_client().shut()
                    })?;
                }
                "promises-first" => {
                    sim.act(Name::new("client", "drop-promises"), || drop(held))?;
                    return end(sim, session, &objects);
                }
                _ => {}
            }
            sim.settle()?;
            sim.act(Name::new("client", "drop-promises"), || drop(held))?;
            end(sim, session, &objects)
        })
    }
}

type Held = Vec<Promise<Response<any_pointer::Owned>, Error>>;

/// Queues the calls; gives the promises that no task waits for.
fn queue(sim: &Sim, objects: &Objects, session: &Session) -> Held {
    let waits = sim.ask(&PARAMETERS[2], &[]) == 0;
    let mut held = Vec::new();
    let Some(server) = &session.server else {
        return held;
    };
    for number in 1..=sim.ask(&PARAMETERS[0], &[]) as u32 {
        let id = Call::new(number, 0);
        let sent = call_in_order(objects.order(), BOOTSTRAP, server, id, "echo", None);
        drop(sent.pipeline);
        if waits {
            let name = Name::numbered("client", "call", number);
            let answer = judged(sim, &session.errors, name, sent.promise);
            sim.spawn_must_end(name, answer);
        } else {
            held.push(sent.promise);
        }
    }
    held
}

fn end(sim: &Sim, session: Session, objects: &Objects) -> Result<(), Stopped> {
    session.destroy()?;
    sim.act(Name::new("owner", "forget"), || objects.forget())?;
    Ok(())
}
