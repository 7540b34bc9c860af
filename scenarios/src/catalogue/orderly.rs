//! `orderly`: the recommended end. Shut down, wait for the disconnect, then destroy.
//!
//! Whatever the pipe does to it, this order has to be clean: no panic, no hang, no leak.

use dismantle_sim::{JoinHandle, Name, Phase, Question, Rule, Sim, Stopped, share};
use dismantle_transport::compat::Feature;

use super::object::{Call, METHODS, Objects, call_in_order};
use super::session::{BOOTSTRAP, Session};
use super::waiting::judged;
use crate::scenario::Scenario;

static PARAMETERS: [Question; 2] = [
    Question::count(
        "calls",
        (0, 1_000_000),
        3,
        &[share(1, 0, 8), share(1, 8, 40)],
    )
    .about("calls that are made before the end"),
    Question::word("finish", &["answered", "in-flight"], &[share(1, 0, 1)])
        .about("whether the owner waits for the answers before it shuts down"),
];

static METHOD: Question = Question::word(
    "call.*.method",
    &METHODS,
    &[share(1, 0, METHODS.len() as u64 - 2)],
)
.without(&["early"], Feature::EarlyPipeline.missing())
.about("the method of that call");

/// The scenario.
pub struct Orderly;

impl Scenario for Orderly {
    fn name(&self) -> &'static str {
        "orderly"
    }

    fn about(&self) -> &'static str {
        "shuts down, waits for the disconnect, then destroys: always has to be clean"
    }

    fn parameters(&self) -> &'static [Question] {
        &PARAMETERS
    }

    fn questions(&self) -> Vec<&'static [Question]> {
        vec![std::slice::from_ref(&METHOD), &super::object::QUESTIONS]
    }

    fn over(&self) -> Option<&'static str> {
        Some("calls")
    }

    /// An object has the number of the call that makes it: a second one of that number comes from
    /// a call that was made once and served twice.
    fn rules(&self) -> Vec<Rule> {
        vec![Rule::once("server/object")]
    }

    fn run(&self, sim: &Sim) -> Result<(), Stopped> {
        let objects = Objects::new(sim);
        let (mut session, server) = sim.enter(Phase::Build, || {
            let mut session = Session::new(sim, objects.make("server", 0));
            let server = session.server.take();
            Ok((session, server))
        })?;
        let calls = sim.enter(Phase::Drive, || {
            let calls: Vec<JoinHandle<()>> = (1..=sim.ask(&PARAMETERS[0], &[]) as u32)
                .filter_map(|number| {
                    let method = METHODS[sim.ask(&METHOD, &[number.into()]) as usize];
                    let id = Call::new(number, 0);
                    let sent = call_in_order(
                        objects.order(),
                        BOOTSTRAP,
                        server.as_ref()?,
                        id,
                        method,
                        None,
                    );
                    drop(sent.pipeline);
                    let name = Name::numbered("client", "call", number);
                    let answer = judged(sim, &session.errors, name, sent.promise);
                    sim.operation(number);
                    session.link.operation(number);
                    Some(sim.spawn_must_end(name, answer))
                })
                .collect();
            if sim.ask(&PARAMETERS[1], &[]) == 0 {
                sim.settle()?;
                session.link.rest(1);
            }
            Ok(calls)
        })?;
        sim.enter(Phase::Teardown, || {
            session.server = server;
            if !session.disconnect()? {
                session.link.report_stalls(sim);
            }
            drop(calls);
            session.destroy()?;
            sim.act(Name::new("owner", "forget"), || objects.forget())?;
            Ok(())
        })
    }
}
