//! `pipeline`: N calls, each on the result of the one before.
//!
//! `side=remote` pipelines them behind a call that the server has not answered, and lets the
//! answer come: the server recurses once per call while it is polled. `side=local` makes the
//! chain out of capabilities of the same vat and drops it.

use capnp::capability::Client;
use dismantle_sim::{Name, Phase, Question, Sim, Stopped, share};

use super::object::{Call, Objects, call};
use super::session::Session;
use super::waiting::waiting;
use crate::scenario::Scenario;

const SIDES: [&str; 2] = ["remote", "local"];

static PARAMETERS: [Question; 2] = [
    // Upstream takes O(n^2) time for a remote chain: a seed draws short ones.
    Question::count("calls", (1, 1_000_000), 3, &[share(1, 1, 60)]).about("length of the chain"),
    Question::word("side", &SIDES, &[share(1, 0, 1)])
        .about("whether the calls go to the peer or stay in the vat"),
];

/// The scenario.
pub struct Pipeline;

impl Scenario for Pipeline {
    fn name(&self) -> &'static str {
        "pipeline"
    }

    fn about(&self) -> &'static str {
        "calls that are each pipelined on the one before, to the peer or within the vat"
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
        match SIDES[sim.ask(&PARAMETERS[1], &[]) as usize] {
            "remote" => remote(sim, &objects)?,
            _ => local(sim, &objects)?,
        }
        sim.enter(Phase::Teardown, || {
            objects.forget();
            Ok(())
        })
    }
}

/// Calls down the chain from `target`, whose first call is answered late; gives the last result.
fn chain(sim: &Sim, mut target: Client) -> Client {
    for number in 1..=sim.ask(&PARAMETERS[0], &[]) as u32 {
        let id = Call::new(number, 0);
        let method = if number == 1 { "slow" } else { "own" };
        let sent = call(&target, id, method, None);
        target = Client::new(sent.pipeline.as_cap());
        drop(sent.pipeline);
        let name = Name::numbered("client", "call", number);
        let answer = waiting(sim, "return of", name, sent.promise);
        sim.spawn_must_end(name, async { drop(answer.await) });
    }
    target
}

fn remote(sim: &Sim, objects: &Objects) -> Result<(), Stopped> {
    let (mut session, server) = sim.enter(Phase::Build, || {
        let mut session = Session::new(sim, objects.make("server", 0));
        let server = session.server.take().expect("a new session has it");
        Ok((session, server))
    })?;
    let last = sim.enter(Phase::Drive, || {
        let last = chain(sim, server);
        sim.settle()?;
        Ok(last)
    })?;
    sim.enter(Phase::Teardown, || {
        session.server = Some(last);
        if !session.disconnect()? {
            session.link.report_stalls(sim);
        }
        session.destroy()
    })
}

fn local(sim: &Sim, objects: &Objects) -> Result<(), Stopped> {
    let object = sim.enter(Phase::Build, || Ok(objects.make("client", 0)))?;
    let last = sim.enter(Phase::Drive, || Ok(local_chain(sim, object)))?;
    sim.enter(Phase::Teardown, || {
        sim.act(Name::new("client", "drop-chain"), || drop(last))?;
        Ok(())
    })
}

/// The same without anyone who waits: the promises are dropped unpolled.
fn local_chain(sim: &Sim, mut target: Client) -> Client {
    for number in 1..=sim.ask(&PARAMETERS[0], &[]) as u32 {
        let id = Call::new(number, 0);
        let sent = call(&target, id, "own", None);
        target = Client::new(sent.pipeline.as_cap());
    }
    target
}
