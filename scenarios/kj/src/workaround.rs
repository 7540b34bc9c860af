//! `kj-workaround`: the advice of issue #2195 for releases before 1.0.0, followed to the letter.
//!
//! Shut down the writing side of the stream, wait for `onDisconnect`, then destroy the client.
//! That the teardown is flat then is one half of it; the other is that one gets there: that
//! `shutdownWrite` does not throw, and that `onDisconnect` comes.

use dismantle::Scenario;
use dismantle_sim::{Name, Phase, Question, Sim, Stopped, share};

use crate::bridge::Shutdown;
use crate::session::{Accepts, CALLS, Session};

const TRANSPORTS: [(&str, Shutdown); 3] = [
    ("tcp", Shutdown::Fails),
    ("socketpair", Shutdown::Waits),
    ("pipe", Shutdown::Throws),
];
const WORDS: [&str; 3] = [TRANSPORTS[0].0, TRANSPORTS[1].0, TRANSPORTS[2].0];

const PEERS: [&str; 7] = [
    "stuck",
    "reads",
    "closes",
    "resets",
    "closed",
    "reset",
    "half-closed",
];

/// More steps than there are.
const TO_REST: u64 = 1_000_000;

static PARAMETERS: [Question; 5] = [
    CALLS.about("calls that are queued before the end"),
    Question::word("transport", &WORDS, &[share(1, 0, WORDS.len() as u64 - 1)])
        .about("what the stream is: what shutdownWrite does to a write that is under way"),
    Question::word("peer", &PEERS, &[share(1, 0, PEERS.len() as u64 - 1)]).about(
        "reads, or does not; then ends the connection, before shutdownWrite (closed, reset, \
         half-closed) or behind it (closes, resets)",
    ),
    Question::count(
        "steps",
        (0, TO_REST),
        0,
        &[share(1, 0, 0), share(2, 1, 30), share(1, TO_REST, TO_REST)],
    )
    .about("steps between what the peer has done and shutdownWrite; the most is until rest"),
    Question::word("failed", &["stops", "destroys"], &[share(1, 0, 1)])
        .about("what the owner does if it throws or never ends: no more, or destroys the client"),
];

/// The scenario.
pub struct Workaround;

impl Scenario for Workaround {
    fn name(&self) -> &'static str {
        "kj-workaround"
    }

    fn about(&self) -> &'static str {
        "shutdownWrite, wait for onDisconnect, destroy: what was advised before 1.0.0"
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
        let ask = |index: usize| sim.ask(&PARAMETERS[index], &[]);
        let mut session = sim.enter(Phase::Build, || {
            let (_, mut shutdown) = TRANSPORTS[ask(1) as usize];
            if sim.real_io() && shutdown != Shutdown::Waits {
                // Real input and output are a socketpair's.
                sim.ignore(&PARAMETERS[1], &[]);
                shutdown = Shutdown::Waits;
            }
            Ok(Session::new(sim, shutdown, Accepts::One))
        })?;
        let peer = PEERS[ask(2) as usize];
        sim.enter(Phase::Drive, || {
            sim.settle()?;
            if sim.is_cut() {
                return Ok(());
            }
            if peer != "reads" {
                session.link.to_server().clog();
            }
            session.call(ask(0), false);
            if peer != "reads" {
                sim.settle()?;
                session.link.rest(1);
            }
            Ok(())
        })?;
        sim.enter(Phase::Teardown, || {
            match peer {
                "closed" => session.drop_server()?,
                "reset" => session.reset()?,
                "half-closed" => {
                    let name = Name::new("owner", "half-close");
                    sim.act(name, || session.link.to_client().shut())?;
                }
                _ => {}
            }
            sim.steps(ask(3))?;
            follow(sim, session, peer, ask(4) == 1)
        })
    }
}

/// Follows the advice; an owner that does not give up then destroys the client all the same.
fn follow(sim: &Sim, mut session: Session, peer: &str, goes_on: bool) -> Result<(), Stopped> {
    let Some(client) = &session.client else {
        return Ok(());
    };
    let shut = sim.act(Name::new("client", "shut-write"), || client.shut_write())?;
    if let Some(Err(thrown)) = shut {
        if goes_on {
            return session.destroy();
        }
        sim.threw(thrown.site, thrown.text);
        return Err(Stopped);
    }
    let disconnected = client.disconnected(Name::new("client", "disconnect"));
    match peer {
        "closes" => session.drop_server()?,
        "resets" => session.reset()?,
        _ => {}
    }
    // It holds all that there is, so that nothing but the wait can end the wait.
    let name = Name::new("client", "workaround");
    let waiting = sim.spawn_must_end(name, async move {
        drop(disconnected.await);
        session
    });
    match sim.run_until(&waiting)? {
        Some(session) => session.destroy(),
        None if goes_on => {
            sim.act(Name::new("client", "give-up"), || waiting.abort())?;
            Ok(())
        }
        None => Ok(()),
    }
}
