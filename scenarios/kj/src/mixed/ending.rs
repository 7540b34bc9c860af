//! The ends of a mixed connection: what the owners do first, and in which order they destroy.

use std::rc::Rc;

use dismantle::waiting;
use dismantle_sim::{JoinHandle, Name, Question, Sim, Stopped, share};
use dismantle_transport::{Disconnector, Link, Vat, nothing_left};
use futures::FutureExt;

use super::client::{Caller, Owner, UNTIL_REST};
use super::shared::Shared;
use crate::bridge;

const ENDS: [&str; 11] = [
    "orderly",
    "rust-disconnects",
    "kj-shuts",
    "both",
    "kj-destroyed",
    "promises-first",
    "caps-first",
    "reset",
    "half-close",
    "half-close-back",
    "rust-destroyed",
];

const LASTS: [&str; 3] = ["caps-first", "client-first", "server-first"];

/// The scenario's parameters about its end.
pub static QUESTIONS: [Question; 4] = [
    // capnp-rpc loses what is on its way in a system that is destroyed without a disconnect; no
    // seed asks for that.
    Question::word("end", &ENDS, &[share(1, 0, ENDS.len() as u64 - 2)])
        .about("what the owners do first; then the Rust vat disconnects, and both are destroyed"),
    Question::count(
        "pause",
        (0, UNTIL_REST),
        UNTIL_REST,
        &[share(3, 0, 12), share(1, UNTIL_REST, UNTIL_REST)],
    )
    .counts_steps()
    .about("steps of the system after that; 10000 is until it rests"),
    Question::word("last", &LASTS, &[share(1, 0, LASTS.len() as u64 - 1)])
        .about("what the owners destroy first, when the connection is no more"),
    Question::word(
        "on_disconnect",
        &["waited-for", "ignored"],
        &[share(2, 0, 0), share(1, 1, 1)],
    )
    .about("whether the owner of the C++ vat waits for the disconnect before it destroys that"),
];

/// Both vats with what the owners hold.
pub struct World<C: Caller> {
    /// What both share.
    pub shared: Rc<Shared>,
    /// Both pipes.
    pub link: Link,
    /// The client's owner.
    pub owner: Owner<C>,
    /// The Rust vat.
    pub rust: Vat,
    /// Until it is asked for.
    pub disconnector: Option<Disconnector>,
    /// The C++ vat, until it is destroyed.
    pub kj: Option<bridge::Vat>,
    /// What the C++ vat is called: `client` or `server`.
    pub kj_is: &'static str,
}

impl<C: Caller> World<C> {
    fn sim(&self) -> Sim {
        self.shared.sim.clone()
    }

    /// Takes everything apart.
    ///
    /// # Errors
    /// [`Stopped`] after a panic.
    pub fn end(mut self) -> Result<(), Stopped> {
        let sim = self.sim();
        let ask = |index: usize| sim.ask(&QUESTIONS[index], &[]);
        let owner = |what| Name::new("owner", what);
        let end = ENDS[ask(0) as usize];
        let mut begun = Vec::new();
        match end {
            "orderly" => {
                sim.settle()?;
                self.release()?;
            }
            "rust-disconnects" => begun.extend(self.begin_disconnect()),
            "kj-shuts" => begun.extend(self.shut_kj()?),
            "both" => {
                begun.extend(self.shut_kj()?);
                begun.extend(self.begin_disconnect());
            }
            "kj-destroyed" => self.destroy_kj()?,
            "promises-first" => self.owner.drop_promises()?,
            "caps-first" => self.owner.drop_caps()?,
            "reset" => drop(sim.act(owner("reset"), || self.link.to_server().reset())?),
            "half-close" => {
                sim.act(owner("half-close"), || self.link.to_client().shut())?;
            }
            "half-close-back" => {
                sim.act(owner("half-close"), || self.link.to_server().shut())?;
            }
            "rust-destroyed" => self.rust.drop_system()?,
            other => unreachable!("{other} is no end"),
        }
        match ask(1) {
            UNTIL_REST => sim.settle()?,
            steps => drop(sim.steps(steps)?),
        }
        if end != "rust-destroyed" {
            begun.extend(self.begin_disconnect());
        }
        if ask(3) == 0 {
            begun.extend(self.wait_for_kj());
        }
        sim.settle()?;
        if !begun.iter().all(JoinHandle::is_finished) {
            self.link.report_stalls(&sim);
        }
        self.owner.drop_held()?;
        self.destroy(LASTS[ask(2) as usize])?;
        while self.forget()? {}
        Ok(())
    }

    /// Gives up everything while the connection is up, and waits until both vats have told each
    /// other: then nothing may be left in their tables.
    fn release(&mut self) -> Result<(), Stopped> {
        while self.forget()? {}
        self.owner.drop_promises()?;
        self.owner.drop_caps()?;
        self.sim().settle()?;
        while self.forget()? {}
        let is_done = self.link.is_quiet() && !self.shared.is_something_kept();
        if is_done && !self.sim().is_limited() {
            nothing_left([&self.rust]);
        }
        Ok(())
    }

    /// Has what was never to be answered be answered; whether there was anything.
    fn forget(&self) -> Result<bool, Stopped> {
        let forget = Name::new("owner", "forget");
        let forgot = self.sim().act(forget, || self.shared.forget())?;
        self.sim().settle()?;
        Ok(forgot == Some(true))
    }

    fn begin_disconnect(&mut self) -> Option<JoinHandle<()>> {
        let disconnector = self.disconnector.take();
        let disconnector = disconnector.filter(|_| !self.rust.has_ended())?;
        let name = Name::new(self.rust.name(), "disconnect");
        // Upstream may report that the shutdown failed; that is an end, too.
        let done = waiting(&self.sim(), "end of", name, disconnector).map(drop);
        Some(self.sim().spawn_must_end(name, done))
    }

    /// `shutdownWrite`, which may throw, and `onDisconnect`.
    fn shut_kj(&mut self) -> Result<Option<JoinHandle<()>>, Stopped> {
        if let Some(kj) = &self.kj {
            let action = Name::new(self.kj_is, "shut-write");
            self.sim().act(action, || drop(kj.shut_write()))?;
        }
        Ok(self.wait_for_kj())
    }

    fn wait_for_kj(&self) -> Option<JoinHandle<()>> {
        let name = Name::new(self.kj_is, "on-disconnect");
        let disconnected = self.kj.as_ref()?.disconnected(name);
        let done = waiting(&self.sim(), "end of", name, disconnected).map(drop);
        Some(self.sim().spawn_must_end(name, done))
    }

    fn destroy_kj(&mut self) -> Result<(), Stopped> {
        let kj = self.kj.take();
        let action = Name::new(self.kj_is, "drop-system");
        self.sim().act(action, || drop(kj))?;
        Ok(())
    }

    fn destroy(&mut self, last: &str) -> Result<(), Stopped> {
        if last == "caps-first" {
            self.owner.drop_caps()?;
        }
        let sides = match last {
            "server-first" => ["server", "client"],
            _ => ["client", "server"],
        };
        for side in sides {
            match side == self.kj_is {
                true => self.destroy_kj()?,
                false => self.rust.drop_system()?,
            }
            self.sim().settle()?;
        }
        self.owner.drop_caps()?;
        self.sim().settle()
    }
}
