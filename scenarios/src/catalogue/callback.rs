//! `callback`: the server calls the client back, which calls back in turn, and so on.
//!
//! The client passes an object to the server, which calls it N times; each call passes an object
//! of the caller's, which is called back, down to a depth. The server may answer first and keep
//! what it was given for later. What must hold: every call ends once the connection is gone, and
//! everything is destroyed, however many calls were on their way back and forth.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use capnp::capability::{Client, Promise};
use capnp::{Error, ErrorKind};
use dismantle_sim::{Name, Phase, Question, Sim, Stopped, Tracked, share};
use dismantle_transport::compat::{self, AnyParams, AnyResults, Serve, Untyped};
use dismantle_transport::exception;
use futures::future::join_all;

use super::ending::{self, Held};
use super::object::same;
use super::session::Session;
use super::waiting::waiting;
use crate::scenario::Scenario;

const ORDERS: [&str; 2] = ["parallel", "in-turn"];
const WHENS: [&str; 2] = ["during", "beyond"];
const BOTTOMS: [&str; 4] = ["answers", "late", "fails", "never"];
const KEEPS: [&str; 3] = ["nothing", "first", "all"];

static PARAMETERS: [Question; 9] = [
    Question::count("calls", (0, 1_000_000), 3, &[share(1, 1, 12)])
        .about("how many times the server calls back"),
    Question::count("depth", (1, 1_000_000), 2, &[share(1, 1, 8)])
        .about("how deep the calls back and forth are nested; 1 is a callback alone"),
    Question::word("order", &ORDERS, &[share(1, 0, 1)])
        .about("whether the server calls back all at once or one after the other"),
    Question::word("when", &WHENS, &[share(1, 0, 1)])
        .about("whether it calls back before it answers, or keeps the capability beyond the call"),
    Question::word("bottom", &BOTTOMS, &[share(1, 0, 3)]).about("what the innermost call comes to"),
    Question::word("keeps", &KEEPS, &[share(2, 0, 0), share(1, 1, 2)])
        .about("which of the capabilities that it was given an object keeps"),
    ending::END,
    ending::STEPS,
    ending::PAUSE,
];

/// Calls back the argument, all in all as often as the story says.
const BEGIN: u16 = 0;
/// Calls back the argument once, unless it is the innermost call.
const BACK: u16 = 1;

/// The scenario.
pub struct Callback;

impl Scenario for Callback {
    fn name(&self) -> &'static str {
        "callback"
    }

    fn about(&self) -> &'static str {
        "the server calls the client back, nested across the wire, during a call or beyond it"
    }

    fn parameters(&self) -> &'static [Question] {
        &PARAMETERS
    }

    fn over(&self) -> Option<&'static str> {
        Some("depth")
    }

    fn run(&self, sim: &Sim) -> Result<(), Stopped> {
        let ask = |index: usize| sim.ask(&PARAMETERS[index], &[]);
        let party = |vat| Party::new(sim, vat);
        let (client, server) = (party("client"), party("server"));
        let session = sim.enter(Phase::Build, || Ok(Session::new(sim, server.cap())))?;
        let held = sim.enter(Phase::Drive, || {
            sim.operation(1);
            session.link.operation(1);
            let mut held = Held::default();
            if let Some(target) = &session.server {
                let name = Name::new("client", "call");
                let cap = client.cap();
                let begun = call(target, BEGIN, 0, &cap);
                let begun = waiting(sim, "return of", name, begun);
                held.caps.push(cap);
                held.tasks
                    .push(sim.spawn_must_end(name, async { drop(begun.await) }));
            }
            ending::wait(sim, &session, ask(7))?;
            Ok(held)
        })?;
        // The objects live by their capabilities from here on.
        let parties = [client, server].map(|party| Rc::downgrade(&party));
        sim.enter(Phase::Teardown, || {
            ending::end(sim, session, held, (ask(6), ask(8)))?;
            let kept: Vec<_> = parties.iter().filter_map(Weak::upgrade).collect();
            let forget = || kept.iter().for_each(|party| drop(party.kept.take()));
            sim.act(Name::new("owner", "forget"), forget)?;
            Ok(())
        })
    }
}

/// Calls `method` of `target` and passes `cap`; ends with the call.
fn call(
    target: &Client,
    method: u16,
    depth: u64,
    cap: &Client,
) -> impl Future<Output = Result<(), Error>> + use<> {
    let sent = compat::send(target, depth, method, |mut params| {
        params.set_as_capability(cap.hook.add_ref());
        Ok(())
    });
    async { sent.promise.await.map(drop) }
}

/// The object of one vat, which calls back what it is given.
struct Party {
    sim: Sim,
    vat: &'static str,
    kept: RefCell<Vec<Client>>,
    #[expect(dead_code, reason = "its drop is the record")]
    tracked: Tracked<()>,
}

impl Party {
    fn new(sim: &Sim, vat: &'static str) -> Rc<Self> {
        Rc::new(Self {
            sim: sim.clone(),
            vat,
            kept: RefCell::default(),
            tracked: sim.track(Name::new(vat, "object"), ()),
        })
    }

    /// A capability to it, another one each time.
    fn cap(self: &Rc<Self>) -> Client {
        compat::client(self.clone())
    }

    fn ask(&self, index: usize) -> u64 {
        self.sim.ask(&PARAMETERS[index], &[])
    }

    /// Calls `target` back `calls` times, and ends with the last.
    async fn call_back(self: Rc<Self>, target: Client) -> Result<(), Error> {
        let (calls, inner) = (self.ask(0), self.ask(1) - 1);
        if ORDERS[self.ask(2) as usize] == "parallel" {
            let caps = (0..calls).map(|_| self.cap());
            let called = caps.map(|cap| call(&target, BACK, inner, &cap));
            let called: Vec<_> = called.collect();
            return join_all(called).await.into_iter().collect();
        }
        for _ in 0..calls {
            call(&target, BACK, inner, &self.cap()).await?;
        }
        Ok(())
    }

    async fn bottom(&self) -> Result<(), Error> {
        match BOTTOMS[self.ask(4) as usize] {
            "late" => self.sim.sleep_us(500).await,
            "fails" => return Err(exception(ErrorKind::Failed)),
            "never" => std::future::pending().await,
            _ => {}
        }
        Ok(())
    }

    async fn serve(self: Rc<Self>, method: u16, depth: u64, given: Client) -> Result<(), Error> {
        let keeps = match KEEPS[self.ask(5) as usize] {
            "all" => true,
            "first" => self.kept.borrow().is_empty(),
            _ => false,
        };
        if keeps {
            self.kept.borrow_mut().push(same(&given));
        }
        match (method, WHENS[self.ask(3) as usize]) {
            (BEGIN, "during") => self.call_back(given).await,
            (BEGIN, _) => {
                let name = Name::new(self.vat, "callbacks");
                let sim = self.sim.clone();
                let called = waiting(&sim, "returns of", name, self.call_back(given));
                sim.spawn_must_end(name, async { drop(called.await) });
                Ok(())
            }
            _ if depth == 0 => self.bottom().await,
            _ => {
                let cap = self.cap();
                call(&given, BACK, depth - 1, &cap).await
            }
        }
    }
}

impl Serve for Party {
    fn call(
        self: Rc<Self>,
        depth: u64,
        method: u16,
        params: AnyParams,
        results: AnyResults,
    ) -> Promise<(), Error> {
        Promise::from_future(async move {
            let Untyped(given) = params.get()?.get_as_capability()?;
            let served = self.serve(method, depth, given).await;
            drop((params, results));
            served
        })
    }
}
