//! `kj-backlog`: the story of capnproto issue #2195, with the library that it happened in.
//!
//! The client queues N calls, the peer does not read, and then the client is destroyed. Before
//! 1.0.0 its destructor recursed once per queued message.

use dismantle::Scenario;
use dismantle_sim::{Name, Phase, Question, Sim, Stopped, share};

use crate::bridge::Shutdown;
use crate::session::{Accepts, CALLS, PROMISES, Session};

const ENDS: [&str; 8] = [
    "destroy",
    "promises-first",
    "capability-first",
    "reset",
    "half-close",
    "write-error",
    "server-first",
    "unsettled",
];

static PARAMETERS: [Question; 4] = [
    CALLS.about("calls that are queued while the peer does not read"),
    Question::word("end", &ENDS, &[share(1, 0, ENDS.len() as u64 - 1)])
        .about("what comes before the client is destroyed; unsettled is before its first write"),
    PROMISES,
    Question::word("first", &["connected", "unconnected"], &[share(1, 0, 1)])
        .about("whether the bootstrap is answered before the peer stops reading"),
];

/// The scenario.
pub struct Backlog;

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
        let mut session = sim.enter(Phase::Build, || {
            Ok(Session::new(sim, Shutdown::Fails, Accepts::One))
        })?;
        let end = ENDS[sim.ask(&PARAMETERS[1], &[]) as usize];
        sim.enter(Phase::Drive, || {
            if sim.ask(&PARAMETERS[3], &[]) == 0 {
                sim.settle()?;
            }
            if sim.is_cut() {
                return Ok(());
            }
            session.link.to_server().clog();
            let waits = sim.ask(&PARAMETERS[2], &[]) == 1;
            session.call(sim.ask(&PARAMETERS[0], &[]), waits);
            if end != "unsettled" {
                sim.settle()?;
                session.link.rest(1);
            }
            Ok(())
        })?;
        sim.enter(Phase::Teardown, || {
            let owner = |action| Name::new("owner", action);
            let link = &session.link;
            match end {
                "promises-first" => session.drop_promises()?,
                "capability-first" => session.drop_bootstrap()?,
                "reset" => session.reset()?,
                "half-close" => {
                    sim.act(owner("half-close"), || link.to_client().shut())?;
                }
                "write-error" => {
                    sim.act(owner("write-error"), || link.to_server().fail_writes())?;
                }
                "server-first" => session.drop_server()?,
                _ => {}
            }
            if ["reset", "half-close", "write-error", "server-first"].contains(&end) {
                sim.settle()?;
            }
            session.destroy()
        })
    }
}
