//! The ends of a story: the orders in which an owner takes a session apart while it is busy.
//!
//! Whatever comes first, both vats are disconnected before they are destroyed, so that what
//! upstream leaves behind then is no consequence of a missing disconnect. The two orders without
//! one are for a user to ask for; no seed draws them.

use capnp::capability::Client;
use dismantle_sim::{JoinHandle, Name, Question, Sim, Stopped, share};

use super::session::Session;

const ENDS: [&str; 11] = [
    "orderly",
    "disconnect",
    "peer-disconnects",
    "both-disconnect",
    "caps-first",
    "tasks-first",
    "reset",
    "half-close",
    "half-close-back",
    "destroy",
    "peer-destroyed",
];

/// Where the orders begin that disconnect neither vat.
const ABRUPT: usize = 9;

/// A number of steps that stands for "until nothing can run".
const UNTIL_REST: u64 = 10_000;

/// A story's parameter: how it ends.
pub const END: Question = Question::word("end", &ENDS, &[share(1, 0, ABRUPT as u64 - 1)])
    .about("what the owner does first; then it disconnects both vats and destroys them");

/// A story's parameter: when that begins.
pub const STEPS: Question = Question::count(
    "steps",
    (0, UNTIL_REST),
    UNTIL_REST,
    &[share(5, 0, 60), share(1, UNTIL_REST, UNTIL_REST)],
)
.counts_steps()
.about("steps of the system before the end begins; 10000 is until it rests");

/// A story's parameter: what time there is between the first action and the others.
pub const PAUSE: Question = Question::count(
    "pause",
    (0, UNTIL_REST),
    UNTIL_REST,
    &[share(3, 0, 12), share(1, UNTIL_REST, UNTIL_REST)],
)
.counts_steps()
.about("steps of the system after the end's first action; 10000 is until it rests");

/// What the owner holds beside the session.
#[derive(Default)]
pub struct Held {
    /// They have to end by themselves, unless the end is `tasks-first`.
    pub tasks: Vec<JoinHandle<()>>,
    /// Dropped once the vats are disconnected, unless the end is `caps-first`.
    pub caps: Vec<Client>,
}

/// Runs `steps` steps of the system, or until it rests.
///
/// # Errors
/// [`Stopped`] after a panic.
pub fn wait(sim: &Sim, session: &Session, steps: u64) -> Result<(), Stopped> {
    if steps < UNTIL_REST {
        sim.steps(steps)?;
        return Ok(());
    }
    sim.settle()?;
    session.link.rest(1);
    Ok(())
}

/// Takes `session` apart: the answers of [`END`] and [`PAUSE`] say how.
///
/// # Errors
/// [`Stopped`] after a panic.
pub fn end(
    sim: &Sim,
    mut session: Session,
    mut held: Held,
    (end, pause): (u64, u64),
) -> Result<(), Stopped> {
    let owner = |what| Name::new("owner", what);
    let mut begun = Vec::new();
    match ENDS[end as usize] {
        "orderly" => sim.settle()?,
        "disconnect" => begun.extend(session.begin_disconnect(0)),
        "peer-disconnects" => begun.extend(session.begin_disconnect(1)),
        "both-disconnect" => {
            begun.extend(
                [0, 1]
                    .into_iter()
                    .filter_map(|side| session.begin_disconnect(side)),
            );
        }
        "caps-first" => {
            let caps = (session.server.take(), session.client.take());
            let all = (caps, std::mem::take(&mut held.caps));
            sim.act(owner("drop-caps"), || drop(all))?;
        }
        "tasks-first" => {
            let tasks = std::mem::take(&mut held.tasks);
            let abort = || tasks.iter().for_each(JoinHandle::abort);
            sim.act(owner("drop-tasks"), abort)?;
        }
        "reset" => {
            sim.act(owner("reset"), || session.link.to_server().reset())?;
        }
        "half-close" => {
            sim.act(owner("half-close"), || session.link.to_client().shut())?;
        }
        "half-close-back" => {
            sim.act(owner("half-close"), || session.link.to_server().shut())?;
        }
        "destroy" => session.client_vat.drop_system()?,
        "peer-destroyed" => session.server_vat.drop_system()?,
        other => unreachable!("{other} is no end"),
    }
    wait(sim, &session, pause)?;
    if (end as usize) < ABRUPT {
        let ended = session.disconnect()?;
        // An end that was begun above may have some way to go.
        sim.settle()?;
        if !ended || !begun.iter().all(JoinHandle::is_finished) {
            session.link.report_stalls(sim);
        }
    }
    let caps = std::mem::take(&mut held.caps);
    sim.act(owner("drop-caps"), || drop(caps))?;
    session.destroy()?;
    sim.settle()
}
