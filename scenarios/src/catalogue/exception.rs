//! `exception`: the server throws in some calls, then the program tries to end.
//!
//! What becomes of each call is injected around the server, without its help: an exception of
//! each type, before or after the work, no answer, a late answer, a panic.

use std::rc::Rc;

use capnp::Error;
use capnp::capability::Promise;
use dismantle_sim::{Name, Phase, Question, Sim, Stopped, Tracked, share};
use dismantle_transport::compat::{self, AnyParams, AnyResults, Interpose, Serve};
use dismantle_transport::{Arrivals, CallOrder, Injector};

use super::object::{Call, call_in_order};
use super::session::{BOOTSTRAP, Session};
use super::waiting::judged;
use crate::scenario::Scenario;

static PARAMETERS: [Question; 2] = [
    Question::count("calls", (0, 1_000_000), 3, &[share(1, 1, 12)])
        .about("calls, each of which the plan may disturb"),
    Question::word("end", &["graceful", "abrupt"], &[share(1, 0, 1)])
        .about("whether the owner disconnects and waits, or just destroys"),
];

static STEPS: Question = Question::count(
    "call.*.steps",
    (0, 10_000),
    10_000,
    &[share(1, 0, 12), share(1, 10_000, 10_000)],
)
.counts_steps()
.about("steps of the system after that call; 10000 is until it rests");

/// The scenario.
pub struct Exception;

impl Scenario for Exception {
    fn name(&self) -> &'static str {
        "exception"
    }

    fn about(&self) -> &'static str {
        "a server that throws, never answers or panics, then a graceful or an abrupt end"
    }

    fn parameters(&self) -> &'static [Question] {
        &PARAMETERS
    }

    fn questions(&self) -> Vec<&'static [Question]> {
        vec![std::slice::from_ref(&STEPS)]
    }

    fn over(&self) -> Option<&'static str> {
        Some("calls")
    }

    fn run(&self, sim: &Sim) -> Result<(), Stopped> {
        let order = CallOrder::new(sim);
        let mut session = sim.enter(Phase::Build, || {
            let name = Name::new("server", "thrower");
            let thrower = Thrower {
                injector: Injector::new(sim, name),
                arrivals: order.arrivals(name),
                tracked: sim.track(name, ()),
            };
            Ok(Session::new(sim, compat::client(Rc::new(thrower))))
        })?;
        sim.enter(Phase::Drive, || {
            for number in 1..=sim.ask(&PARAMETERS[0], &[]) as u32 {
                if sim.is_cut() {
                    break;
                }
                sim.operation(number);
                session.link.operation(number);
                if let Some(server) = &session.server {
                    let id = Call::new(number, 0);
                    let sent = call_in_order(&order, BOOTSTRAP, server, id, "echo", None);
                    drop(sent.pipeline);
                    let name = Name::numbered("client", "call", number);
                    let answer = judged(sim, &session.errors, name, sent.promise);
                    sim.spawn_must_end(name, answer);
                }
                match sim.ask(&STEPS, &[number.into()]) {
                    10_000 => sim.settle()?,
                    steps => drop(sim.steps(steps)?),
                }
            }
            Ok(())
        })?;
        sim.enter(Phase::Teardown, || {
            if sim.ask(&PARAMETERS[1], &[]) == 0 && !session.disconnect()? {
                session.link.report_stalls(sim);
            }
            session.destroy()
        })
    }
}

/// A server that does nothing but what is injected into it.
struct Thrower {
    injector: Injector,
    arrivals: Arrivals,
    #[expect(dead_code, reason = "its drop is the record")]
    tracked: Tracked<()>,
}

impl Serve for Thrower {
    fn call(
        self: Rc<Self>,
        interface_id: u64,
        method_id: u16,
        params: AnyParams,
        results: AnyResults,
    ) -> Promise<(), Error> {
        self.arrivals
            .arrive(Call::from_interface_id(interface_id).ticket);
        let work = Box::new(move || {
            drop((params, results));
            Promise::ok(())
        });
        self.injector.around(interface_id, method_id, work)
    }
}
