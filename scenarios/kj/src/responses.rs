//! `kj-responses`: the story of `kj-backlog` at the other end.
//!
//! The server has answered N calls, the client does not read, and then the server is destroyed.

use dismantle::Scenario;
use dismantle_sim::{Name, Phase, Question, Sim, Stopped, share};

use crate::bridge::Shutdown;
use crate::session::{Accepts, CALLS, PROMISES, Session};

const ENDS: [&str; 7] = [
    "destroy",
    "promises-first",
    "capability-first",
    "reset",
    "half-close",
    "write-error",
    "client-first",
];

static PARAMETERS: [Question; 4] = [
    CALLS.about("calls that are answered while the client does not read"),
    Question::word("end", &ENDS, &[share(1, 0, ENDS.len() as u64 - 1)])
        .about("what comes before the server is destroyed"),
    PROMISES,
    Question::word("server", &["client", "server"], &[share(1, 0, 1)])
        .about("whether it is a TwoPartyClient of the server's side, or a TwoPartyServer"),
];

/// The scenario.
pub struct Responses;

impl Scenario for Responses {
    fn name(&self) -> &'static str {
        "kj-responses"
    }

    fn about(&self) -> &'static str {
        "answers calls of a client that does not read, then destroys the server"
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
        let mut session = sim.enter(Phase::Build, || {
            let accepts = match sim.ask(&PARAMETERS[3], &[]) {
                0 => Accepts::One,
                _ => Accepts::All,
            };
            Ok(Session::new(sim, Shutdown::Fails, accepts))
        })?;
        sim.enter(Phase::Drive, || {
            sim.settle()?;
            if sim.is_cut() {
                return Ok(());
            }
            session.link.to_client().clog();
            let waits = sim.ask(&PARAMETERS[2], &[]) == 1;
            session.call(sim.ask(&PARAMETERS[0], &[]), waits);
            sim.settle()?;
            session.link.rest(1);
            Ok(())
        })?;
        sim.enter(Phase::Teardown, || {
            let owner = |action| Name::new("owner", action);
            let link = &session.link;
            match ENDS[sim.ask(&PARAMETERS[1], &[]) as usize] {
                "promises-first" => session.drop_promises()?,
                "capability-first" => session.drop_bootstrap()?,
                "reset" => session.reset()?,
                "half-close" => {
                    sim.act(owner("half-close"), || link.to_server().shut())?;
                }
                "write-error" => {
                    sim.act(owner("write-error"), || link.to_client().fail_writes())?;
                }
                "client-first" => session.drop_client()?,
                _ => {}
            }
            // The server hears of it.
            sim.settle()?;
            session.drop_server()?;
            session.destroy()
        })
    }
}
