//! `promise`: promise capabilities that cross the wire and resolve late, while calls wait on them.
//!
//! One vat makes a chain of N promises, each of which becomes the next, and passes the first to
//! the other vat, in a parameter or a result. That one calls it before and after it resolves: to
//! an object of the vat that made it, to one of the caller's own (the calls are sent back, behind
//! an embargo), to an error, or never. What must hold: calls arrive in the order in which they
//! were made, and every call ends once the connection is gone and its promise is given up.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::Poll;

use capnp::capability::{Client, Promise};
use capnp::{Error, ErrorKind};
use dismantle_sim::{Name, Phase, Question, Sim, Stopped, Tracked, share};
use dismantle_transport::compat::{self, AnyParams, AnyResults, Serve, Untyped};
use dismantle_transport::exception;
use futures::channel::oneshot;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};

use super::ending::{self, Held};
use super::object::{capability, same};
use super::session::Session;
use super::waiting::waiting;
use crate::scenario::Scenario;

const BECOMES: [&str; 4] = ["object", "peer", "error", "never"];
const VIAS: [&str; 2] = ["parameter", "result"];
const ORDERS: [&str; 2] = ["first-to-last", "last-to-first"];
const RESOLVES: [&str; 3] = ["before-end", "at-end", "after-end"];
const BUGS: [&str; 2] = ["none", "swaps"];

static PARAMETERS: [Question; 14] = [
    Question::count(
        "length",
        (1, 1_000_000),
        1,
        &[share(4, 1, 1), share(2, 2, 8), share(1, 8, 80)],
    )
    .about("promises in the chain"),
    Question::count("calls", (0, 1_000_000), 3, &[share(1, 0, 12)])
        .about("calls made before the promise resolves"),
    Question::count("later", (0, 1_000_000), 2, &[share(1, 0, 6)])
        .about("calls made after it has been resolved, known or not"),
    Question::count("own", (0, 1_000_000), 0, &[share(2, 0, 0), share(1, 1, 6)])
        .about("calls that the vat that made the promise makes on it before"),
    Question::word(
        "becomes",
        &BECOMES,
        &[share(2, 0, 0), share(3, 1, 1), share(2, 2, 3)],
    )
    .about("what the last promise becomes; peer is an object of the vat that calls it"),
    Question::word("via", &VIAS, &[share(1, 0, 1)])
        .about("how it crosses the wire: the client's in a parameter, or the server's in a result"),
    Question::word("order", &ORDERS, &[share(1, 0, 1)]).about("in which the promises resolve"),
    Question::count(
        "wait",
        (0, 10_000),
        10_000,
        &[share(4, 0, 40), share(1, 10_000, 10_000)],
    )
    .counts_steps()
    .about("steps of the system before they do; 10000 is until it rests"),
    Question::count(
        "between",
        (0, 10_000),
        0,
        &[share(1, 0, 0), share(1, 0, 10)],
    )
    .counts_steps()
    .about("steps of the system between one and the next"),
    Question::word("resolve", &RESOLVES, &[share(3, 0, 0), share(1, 1, 2)])
        .about("when the promises resolve"),
    Question::word("bug", &BUGS, &[]).about("a planted bug: a caller that swaps two calls"),
    ending::END,
    ending::STEPS,
    ending::PAUSE,
];

/// Keeps the promise that it is given and calls it.
const USE: u16 = 0;
/// Answers with the promise.
const GIVE: u16 = 1;
/// Is counted.
const COUNT: u16 = 2;

/// The scenario.
pub struct Promised;

impl Scenario for Promised {
    fn name(&self) -> &'static str {
        "promise"
    }

    fn about(&self) -> &'static str {
        "promise capabilities that cross the wire and resolve late, with calls waiting on them"
    }

    fn parameters(&self) -> &'static [Question] {
        &PARAMETERS
    }

    fn over(&self) -> Option<&'static str> {
        Some("length")
    }

    fn run(&self, sim: &Sim) -> Result<(), Stopped> {
        let ask = |index: usize| sim.ask(&PARAMETERS[index], &[]);
        let story = Rc::new(Story::new(sim));
        let session = sim.enter(Phase::Build, || {
            Ok(Session::new(sim, story.object("server", 0)))
        })?;
        let resolve = RESOLVES[ask(9) as usize];
        let held = sim.enter(Phase::Drive, || {
            sim.operation(1);
            session.link.operation(1);
            let held = story.begin(&session);
            ending::wait(sim, &session, ask(7))?;
            if resolve == "before-end" {
                sim.operation(2);
                session.link.operation(2);
                story.resolve()?;
                ending::wait(sim, &session, ask(12))?;
            }
            Ok(held)
        })?;
        sim.enter(Phase::Teardown, || {
            if resolve == "at-end" {
                story.resolve()?;
            }
            ending::end(sim, session, held, (ask(11), ask(13)))?;
            if resolve == "after-end" {
                story.resolve()?;
            }
            sim.settle()?;
            // Whoever gives a promise up ends the calls on it that never left the vat.
            story.give_up()
        })
    }
}

/// The promises and those who hold their other ends.
struct Story {
    sim: Sim,
    /// The first promise, until it is passed on.
    promise: RefCell<Option<Client>>,
    /// What each promise becomes once it is told. Kept side by side: promises that own one
    /// another, unpolled, would be a chain of the program's own making.
    nexts: Rc<RefCell<Vec<Option<Client>>>>,
    /// Tells each promise to become the next.
    resolvers: RefCell<Vec<oneshot::Sender<()>>>,
    /// The caller's own object, for the last one to become.
    peer: RefCell<Option<Client>>,
    /// Tells the caller that the promise is resolved.
    resolved: RefCell<Option<oneshot::Sender<()>>>,
    waits_for_it: RefCell<Option<oneshot::Receiver<()>>>,
}

impl Story {
    fn new(sim: &Sim) -> Self {
        let length = sim.ask(&PARAMETERS[0], &[]) as usize;
        let nexts = Rc::new(RefCell::new(Vec::new()));
        let (mut promises, mut resolvers) = (Vec::new(), Vec::new());
        for place in 0..length {
            let (sender, receiver) = oneshot::channel();
            resolvers.push(sender);
            promises.push(compat::future_client(become_next(
                receiver,
                Rc::downgrade(&nexts),
                place,
            )));
        }
        let mut promises = promises.into_iter();
        let first = promises.next();
        nexts.borrow_mut().extend(promises.map(Some));
        let (resolved, waits_for_it) = oneshot::channel();
        Self {
            sim: sim.clone(),
            promise: RefCell::new(first),
            nexts,
            resolvers: RefCell::new(resolvers),
            peer: RefCell::default(),
            resolved: RefCell::new(Some(resolved)),
            waits_for_it: RefCell::new(Some(waits_for_it)),
        }
    }

    fn ask(&self, index: usize) -> u64 {
        self.sim.ask(&PARAMETERS[index], &[])
    }

    /// A capability to a new object.
    fn object(self: &Rc<Self>, vat: &'static str, number: u32) -> Client {
        compat::client(Rc::new(Object {
            story: self.clone(),
            vat,
            last: Cell::new(0),
            tracked: self.sim.track(Name::numbered(vat, "object", number), ()),
        }))
    }

    /// Passes the promise to the other vat and has that call it.
    fn begin(self: &Rc<Self>, session: &Session) -> Held {
        let mut held = Held::default();
        let Some(server) = &session.server else {
            return held;
        };
        if VIAS[self.ask(5) as usize] == "parameter" {
            let promise = self.promise.take();
            *self.peer.borrow_mut() = Some(same(server));
            let used = send(server, USE, 0, promise.as_ref());
            let name = Name::new("client", "call");
            held.tasks.push(self.ended(name, used.promise.map(drop)));
            held.tasks
                .extend(promise.map(|promise| self.own_calls("client", promise)));
        } else {
            let object = self.object("client", 0);
            let given = send(server, GIVE, 0, Some(&object));
            let promise = Client::new(given.pipeline.as_cap());
            drop(given.pipeline);
            let name = Name::new("client", "call");
            let answer = given
                .promise
                .map(|answer| answer.ok().as_ref().and_then(capability));
            held.tasks.push(self.ended(name, answer.map(drop)));
            held.tasks.push(self.use_promise("client", promise));
            held.caps.push(object);
        }
        held
    }

    /// A task that has to end and waits for `answers`.
    fn ended(&self, name: Name, answers: impl Future<Output = ()> + 'static) -> Task {
        let answers = waiting(&self.sim, "return of", name, answers);
        self.sim.spawn_must_end(name, answers)
    }

    /// The calls of the vat that made the promise.
    fn own_calls(self: &Rc<Self>, vat: &'static str, promise: Client) -> Task {
        let calls = self.ask(3);
        let name = Name::new(vat, "own-calls");
        self.ended(name, async move {
            let mut sent = Calls::default();
            // Without a number: they are not ordered against those from the other vat.
            (1..=calls).for_each(|_| sent.send(&promise, 0));
            drop(promise);
            sent.answered().await;
        })
    }

    /// The calls of the vat that was given it: some now, some when it is resolved.
    fn use_promise(self: &Rc<Self>, vat: &'static str, promise: Client) -> Task {
        let (calls, later) = (self.ask(1), self.ask(2));
        let swaps = BUGS[self.ask(10) as usize] == "swaps";
        let resolved = self.waits_for_it.take();
        let name = Name::new(vat, "calls");
        self.ended(name, async move {
            let mut sent = Calls::default();
            for number in 1..=calls {
                let number = match (swaps, number) {
                    (true, 1) => 2,
                    (true, 2) => 1,
                    _ => number,
                };
                sent.send(&promise, number);
            }
            if let Some(mut resolved) = resolved {
                // Given up is as good as resolved.
                poll_fn(|context| {
                    sent.progress(context);
                    resolved.poll_unpin(context).map(drop)
                })
                .await;
                for number in calls + 1..=calls + later {
                    sent.send(&promise, number);
                    sent.turn().await;
                }
            }
            drop(promise);
            sent.answered().await;
        })
    }

    /// Resolves every promise of the chain, as the plan says.
    fn resolve(self: &Rc<Self>) -> Result<(), Stopped> {
        let (sim, between) = (&self.sim, self.ask(8));
        let maker = match VIAS[self.ask(5) as usize] {
            "parameter" => "client",
            _ => "server",
        };
        let becomes = BECOMES[self.ask(4) as usize];
        if becomes == "never" {
            return Ok(());
        }
        let last = match becomes {
            "error" => None,
            "peer" => self.peer.take().or_else(|| Some(self.object(maker, 1))),
            _ => Some(self.object(maker, 1)),
        };
        self.nexts.borrow_mut().push(last);
        let mut resolvers = self.resolvers.take();
        if ORDERS[self.ask(6) as usize] == "last-to-first" {
            resolvers.reverse();
        }
        let resolved = self.resolved.take();
        for resolver in resolvers {
            // The promise may be gone.
            sim.act(Name::new(maker, "resolve"), || resolver.send(()).ok())?;
            sim.steps(between)?;
        }
        if let Some(resolved) = resolved {
            // The caller may be gone.
            resolved.send(()).ok();
        }
        Ok(())
    }

    fn give_up(&self) -> Result<(), Stopped> {
        let rest = (
            self.promise.take(),
            self.nexts.take(),
            self.resolvers.take(),
            self.peer.take(),
            self.resolved.take(),
        );
        let owner = Name::new("owner", "give-up");
        self.sim.act(owner, || drop(rest))?;
        Ok(())
    }
}

/// What a promise is made of: waits to be told, and takes what is in its place.
async fn become_next(
    told: oneshot::Receiver<()>,
    nexts: Weak<RefCell<Vec<Option<Client>>>>,
    place: usize,
) -> Result<Client, Error> {
    let given_up = || exception(ErrorKind::Failed);
    told.await.map_err(|_| given_up())?;
    let nexts = nexts.upgrade().ok_or_else(given_up)?;
    let next = nexts.borrow_mut().get_mut(place).and_then(Option::take);
    next.ok_or_else(given_up)
}

type Task = dismantle_sim::JoinHandle<()>;

fn send(
    target: &Client,
    method: u16,
    number: u64,
    cap: Option<&Client>,
) -> capnp::capability::RemotePromise<capnp::any_pointer::Owned> {
    compat::send(target, number, method, |mut params| {
        if let Some(cap) = cap {
            params.set_as_capability(cap.hook.add_ref());
        }
        Ok(())
    })
}

/// Calls under way, polled in the order in which they were made: a local call of upstream's is
/// made when its promise is first polled.
#[derive(Default)]
struct Calls(FuturesUnordered<LocalBoxFuture<'static, ()>>);

impl Calls {
    fn send(&mut self, target: &Client, number: u64) {
        let answer = send(target, COUNT, number, None).promise;
        self.0.push(answer.map(drop).boxed_local());
    }

    fn progress(&mut self, context: &mut std::task::Context<'_>) {
        while let Poll::Ready(Some(())) = self.0.poll_next_unpin(context) {}
    }

    /// Polls the calls once, and lets others run.
    async fn turn(&mut self) {
        let mut turned = false;
        poll_fn(|context| {
            self.progress(context);
            if std::mem::replace(&mut turned, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    async fn answered(mut self) {
        while self.0.next().await.is_some() {}
    }
}

/// Serves all three methods, in either vat.
struct Object {
    story: Rc<Story>,
    vat: &'static str,
    /// The last of the numbered calls.
    last: Cell<u64>,
    tracked: Tracked<()>,
}

impl Serve for Object {
    fn call(
        self: Rc<Self>,
        number: u64,
        method: u16,
        params: AnyParams,
        mut results: AnyResults,
    ) -> Promise<(), Error> {
        let story = &self.story;
        let served = match method {
            USE => given(&params).map(|promise| {
                // Goes on beyond the call.
                drop(story.use_promise(self.vat, promise));
            }),
            GIVE => given(&params).map(|peer| {
                *story.peer.borrow_mut() = Some(peer);
                if let Some(promise) = story.promise.take() {
                    results.get().set_as_capability(promise.hook.add_ref());
                    drop(story.own_calls(self.vat, promise));
                }
            }),
            _ => {
                self.count(number);
                Ok(())
            }
        };
        drop((params, results));
        served.map_or_else(Promise::err, Promise::ok)
    }
}

impl Object {
    fn count(&self, number: u64) {
        if number == 0 {
            return;
        }
        let before = self.last.replace(number);
        if number <= before {
            let rule = "calls on a promise capability arrive in order";
            let detail = format!("call {number} arrives behind call {before}");
            let name = self.tracked.name();
            self.story.sim.breach("call-order", rule, name, detail);
        }
    }
}

/// The capability in the parameters.
fn given(params: &AnyParams) -> Result<Client, Error> {
    let Untyped(cap) = params.get()?.get_as_capability()?;
    Ok(cap)
}
