//! `program`: random programs of calls, ended in random ways.
//!
//! Up to 32 operations of either vat's owner, with steps of the system between them: calls,
//! pipelining, capabilities passed both ways, kept and handed back, promise capabilities that
//! resolve late, to errors or never, streaming, cancelled calls, methods that throw or never
//! answer. Then the owner takes everything apart, item by item, in an order of its own.
//!
//! An operand names the operation that made it. If that made nothing, or has lost it, the
//! nearest earlier one stands in, and at last the peer's bootstrap capability.

use std::cell::RefCell;
use std::rc::Rc;

use capnp::any_pointer;
use capnp::capability::{Client, Response};
use capnp_rpc::Disconnector;
use capnp_rpc::rpc_twoparty_capnp::Side;
use dismantle_sim::{
    Draw, EventKind, JoinHandle, Name, Part, Phase, Question, Sim, Stopped, inject_panic, share,
};
use dismantle_transport::{Link, Vat};
use futures::FutureExt;
use futures::channel::oneshot;

use super::object::{self, Call, Objects, call, call_streaming, capability, same};
use super::waiting::waiting;
use crate::scenario::Scenario;

/// The most operations of one program.
const OPERATIONS_MAX: u32 = 32;

/// A number of steps that stands for "until nothing can run".
const UNTIL_REST: u64 = 10_000;

const WHATS: [&str; 9] = [
    "nothing",
    "call",
    "stream",
    "cancel",
    "drop-cap",
    "drop-response",
    "make-promise",
    "resolve",
    "rest",
];
const SIDES: [&str; 2] = ["client", "server"];
const ARGUMENTS: [&str; 4] = ["none", "object", "bootstrap", "given"];
/// The place of `given`.
const GIVEN: u64 = 3;
const KEEPS: [&str; 4] = ["nothing", "pipelined", "response", "both"];

const OPERANDS: (u64, u64) = (0, OPERATIONS_MAX as u64);

const ANY_ARGUMENT: Draw = &[
    share(3, 0, 0),
    share(3, 1, 1),
    share(1, 2, 2),
    share(3, 3, 3),
];
/// What a promise mostly resolves to. Resolved to what was made from it, it may become a cycle,
/// which upstream follows for ever (`get_innermost_client`, `rpc.rs`, 0.27.3): a finding that
/// costs seconds each time, so that most seeds leave it out.
const FRESH_ARGUMENT: Draw = &[share(3, 0, 0), share(3, 1, 1), share(1, 2, 2)];

/// The decisions of one operation; the star is its number, from 1.
static OPERATIONS: [Question; 11] = [
    Question::word(
        "op.*.what",
        &WHATS,
        &[
            share(1, 0, 0),
            share(14, 1, 1),
            share(1, 2, 2),
            share(2, 3, 3),
            share(3, 4, 5),
            share(4, 6, 6),
            share(1, 7, 7),
            share(1, 8, 8),
        ],
    )
    .about("what the operation does"),
    Question::word("op.*.side", &SIDES, &[share(3, 0, 0), share(1, 1, 1)])
        .about("which vat's owner does it"),
    Question::count(
        "op.*.on",
        OPERANDS,
        0,
        &[share(2, 0, 0), share(5, 1, OPERATIONS_MAX as u64)],
    )
    .about("the operation that made its target; 0 is the peer's bootstrap"),
    Question::word(
        "op.*.method",
        &object::METHODS,
        &[share(1, 0, object::METHODS.len() as u64 - 2)],
    )
    .about("the method called"),
    Question::word("op.*.argument", &ARGUMENTS, ANY_ARGUMENT).about("the capability passed"),
    Question::count(
        "op.*.given",
        OPERANDS,
        0,
        &[share(1, 1, OPERATIONS_MAX as u64)],
    )
    .about("the operation that made the capability passed"),
    Question::word(
        "op.*.keep",
        &KEEPS,
        &[
            share(1, 0, 0),
            share(3, 1, 1),
            share(1, 2, 2),
            share(2, 3, 3),
        ],
    )
    .about("what the owner keeps of the call"),
    Question::count(
        "op.*.repeat",
        (1, 1_000_000),
        1,
        &[share(4, 1, 1), share(1, 2, 12)],
    )
    .about("how many times"),
    Question::word("op.*.chain", &["parallel", "chained"], &[share(1, 0, 1)])
        .about("whether a repetition calls the same target or the one before's result"),
    Question::count(
        "op.*.steps",
        (0, UNTIL_REST),
        0,
        &[
            share(5, 0, 0),
            share(5, 1, 12),
            share(1, 12, 60),
            share(2, UNTIL_REST, UNTIL_REST),
        ],
    )
    .about("steps of the system after the operation; 10000 is until it rests"),
    Question::word(
        "op.*.patience",
        &["answer", "cancelled"],
        &[share(8, 0, 0), share(1, 1, 1)],
    )
    .about("whether the owner waits for the answer or drops the promise unpolled"),
];

/// Which vats ask for their peer's bootstrap capability.
static BOOTSTRAPS: Question = Question::word("bootstraps", &["client", "both"], &[share(1, 0, 1)])
    .about("which vats ask for their peer's bootstrap capability");

/// Who catches a panic.
static PANICS: Question =
    Question::word("panics", &["caught", "unwind"], &[share(1, 0, 1)])
        .about("whether the executor catches a task's panic, as tokio does, or lets it unwind through its owner, as LocalPool does");

const ITEMS: [&str; 4] = ["disconnect", "calls", "caps", "system"];
const HOWS: [&str; 3] = ["await", "poll-once", "none"];

/// The decisions of the teardown; the stars are the vat and the item.
static TEARDOWN: [Question; 4] = [
    Question::count("teardown.*.*.when", (0, 1000), 500, &[share(1, 0, 1000)])
        .about("the item's sort key"),
    Question::count(
        "teardown.*.*.steps",
        (0, UNTIL_REST),
        UNTIL_REST,
        &[
            share(4, 0, 0),
            share(4, 1, 12),
            share(1, 12, 60),
            share(2, UNTIL_REST, UNTIL_REST),
        ],
    )
    .about("steps of the system after the item; 10000 is until it rests"),
    Question::word(
        "teardown.*.disconnect.how",
        &HOWS,
        &[share(2, 0, 0), share(1, 1, 1), share(2, 2, 2)],
    )
    .about("what is done with the disconnector"),
    Question::word(
        "teardown.*.calls.how",
        &["left", "cancelled"],
        &[share(1, 0, 1)],
    )
    .about("what is done with calls that have not ended: all of them have to, if left"),
];

/// Half of the seeds disconnect before they destroy: upstream leaks and hangs without it, and
/// a finding that is in every second run would hide the others.
const DISCONNECT_FIRST: Draw = &[share(1, 0, 200)];
const AFTER_DISCONNECT: Draw = &[share(1, 300, 1000)];
const ALWAYS_AWAIT: Draw = &[share(1, 0, 0)];
const UNTIL_DISCONNECTED: Draw = &[share(1, UNTIL_REST, UNTIL_REST)];

const FAILED: EventKind = EventKind::new("call-failed");
const ANSWERED: EventKind = EventKind::new("call-answered");

/// The scenario.
pub struct Program;

impl Scenario for Program {
    fn name(&self) -> &'static str {
        "program"
    }

    fn about(&self) -> &'static str {
        "random programs of calls between two vats, ended in random ways"
    }

    fn over(&self) -> Option<&'static str> {
        Some("op.*.repeat")
    }

    /// It reaches far more than the others, each of which tells one story.
    fn weight(&self) -> u32 {
        12
    }

    fn questions(&self) -> Vec<&'static [Question]> {
        vec![
            &OPERATIONS,
            &object::QUESTIONS,
            std::slice::from_ref(&BOOTSTRAPS),
            std::slice::from_ref(&PANICS),
            &TEARDOWN,
        ]
    }

    fn run(&self, sim: &Sim) -> Result<(), Stopped> {
        let mut world = sim.enter(Phase::Build, || Ok(World::new(sim)))?;
        let ended = sim
            .enter(Phase::Drive, || world.operate())
            .and_then(|()| sim.enter(Phase::Teardown, || world.dismantle()));
        if ended.is_err() && sim.ask(&PANICS, &[]) == 1 {
            world.unwind();
        }
        ended
    }
}

/// The response of a call, once it is there and if it is kept.
type Kept = Rc<RefCell<Option<Response<any_pointer::Owned>>>>;

/// What one operation made.
#[derive(Default)]
struct Made {
    side: usize,
    caps: Vec<Client>,
    calls: Vec<JoinHandle<()>>,
    responses: Vec<Kept>,
    resolver: Option<oneshot::Sender<Client>>,
}

/// One vat and what its owner holds beside it.
struct Party {
    vat: Vat,
    bootstrap: Option<Client>,
    disconnector: Option<Disconnector<Side>>,
}

struct World {
    sim: Sim,
    parties: [Party; 2],
    made: Vec<Made>,
    objects: Objects,
    link: Link,
    rests: u32,
}

struct Unwinding(World);

impl Drop for Unwinding {
    fn drop(&mut self) {
        // The run has stopped already; a panic in here is not caught but aborts.
        drop(self.0.sim.drop_executor());
    }
}

impl World {
    fn new(sim: &Sim) -> Self {
        let (link, client_end, server_end) = Link::new(sim);
        let both = sim.ask(&BOOTSTRAPS, &[]) == 1;
        let objects = Objects::new(sim);
        let party = |side, end, name, asks: bool| {
            let vat = Vat::new(sim, side, end, Some(objects.make(name, 0)));
            let disconnector = Some(vat.disconnector());
            let bootstrap = asks.then(|| vat.bootstrap());
            vat.start();
            Party {
                vat,
                bootstrap,
                disconnector,
            }
        };
        Self {
            sim: sim.clone(),
            parties: [
                party(Side::Client, client_end, "client", true),
                party(Side::Server, server_end, "server", both),
            ],
            made: vec![Made::default()],
            objects,
            link,
            rests: 0,
        }
    }

    /// Goes the way of an owner whose executor did not catch a panic: everything that it has,
    /// the tasks first, is dropped while the stack unwinds. A second panic aborts.
    fn unwind(self) -> ! {
        let _unwinding = Unwinding(self);
        inject_panic()
    }

    fn operate(&mut self) -> Result<(), Stopped> {
        let length = self.sim.profile("length", u64::from(OPERATIONS_MAX)) as u32 + 1;
        for number in 1..=OPERATIONS_MAX {
            let part = [number.into()];
            let what = match number > length {
                true => self.sim.ask_drawn(&OPERATIONS[0], &part, &[]),
                false => self.sim.ask(&OPERATIONS[0], &part),
            };
            self.made.push(Made::default());
            if what == 0 {
                continue;
            }
            self.sim.operation(number);
            self.link.operation(number);
            self.operation(number, WHATS[what as usize])?;
            let steps = self.sim.ask(&OPERATIONS[9], &part);
            self.wait(steps)?;
        }
        Ok(())
    }

    fn wait(&mut self, steps: u64) -> Result<(), Stopped> {
        if steps < UNTIL_REST {
            self.sim.steps(steps)?;
            return Ok(());
        }
        self.sim.settle()?;
        self.rests += 1;
        self.link.rest(self.rests);
        Ok(())
    }

    fn ask(&self, index: usize, number: u32) -> u64 {
        self.sim.ask(&OPERATIONS[index], &[number.into()])
    }

    fn operation(&mut self, number: u32, what: &str) -> Result<(), Stopped> {
        let side = self.ask(1, number) as usize;
        self.made[number as usize].side = side;
        let on = self.ask(2, number) as usize;
        let action = Name::numbered(SIDES[side], action_kind(what), number);
        let sim = self.sim.clone();
        sim.act(action, || match what {
            "call" | "stream" => self.call(number, side, on, what == "stream"),
            "cancel" => {
                let calls = self.earlier(number, side, on, |made| !made.calls.is_empty());
                if let Some(made) = calls {
                    std::mem::take(&mut made.calls)
                        .iter()
                        .for_each(JoinHandle::abort);
                }
            }
            "drop-cap" => {
                let made = self.earlier(number, side, on, |made| !made.caps.is_empty());
                if let Some(made) = made {
                    let cap = made.caps.pop();
                    drop(cap);
                }
            }
            "drop-response" => {
                let holds = |kept: &Kept| kept.borrow().is_some();
                let made = self.earlier(number, side, on, |made| made.responses.iter().any(holds));
                if let Some(made) = made {
                    let responses = std::mem::take(&mut made.responses);
                    drop(responses);
                }
            }
            "make-promise" => {
                let (sender, receiver) = oneshot::channel();
                let promise = dismantle_transport::compat::future_client(receiver.map(|result| {
                    result.map_err(|_| dismantle_transport::exception(capnp::ErrorKind::Failed))
                }));
                let made = &mut self.made[number as usize];
                made.caps.push(promise);
                made.resolver = Some(sender);
            }
            "resolve" => self.resolve(number, side, on),
            "rest" => {}
            other => unreachable!("{other} is no operation"),
        })?;
        if what == "rest" {
            self.wait(UNTIL_REST)?;
        }
        Ok(())
    }

    /// What the operation `on`, or the nearest earlier one that fits, made for this side.
    fn earlier(
        &mut self,
        number: u32,
        side: usize,
        on: usize,
        fits: impl Fn(&Made) -> bool,
    ) -> Option<&mut Made> {
        let last = on.min(number as usize - 1);
        // The first entry stands for the bootstrap capability and is always empty.
        let mut candidates = self.made[..=last].iter_mut().rev();
        candidates.find(|made| made.side == side && fits(made))
    }

    /// The capability that the operation `on` made, or what stands in for it.
    fn operand(&mut self, number: u32, side: usize, on: usize) -> Option<Client> {
        let of = |made: &Made| {
            let kept = made.responses.last();
            let answered = kept.and_then(|kept| kept.borrow().as_ref().and_then(capability));
            answered.or_else(|| made.caps.last().map(same))
        };
        let made = self.earlier(number, side, on, |made| of(made).is_some());
        let made = made.and_then(|made| of(made));
        made.or_else(|| self.parties[side].bootstrap.as_ref().map(same))
    }

    fn argument(&mut self, number: u32, side: usize, draw: Draw) -> Option<Client> {
        let argument = self.sim.ask_drawn(&OPERATIONS[4], &[number.into()], draw);
        match ARGUMENTS[argument as usize] {
            "none" => None,
            "object" => Some(self.objects.make(SIDES[side], number)),
            "bootstrap" => self.parties[side].bootstrap.as_ref().map(same),
            _ => {
                let given = self.ask(5, number) as usize;
                self.operand(number, side, given)
            }
        }
    }

    fn call(&mut self, number: u32, side: usize, on: usize, streaming: bool) {
        let Some(mut target) = self.operand(number, side, on) else {
            return;
        };
        let argument = self.argument(number, side, ANY_ARGUMENT);
        let repeat = self.ask(7, number) as u32;
        let chained = repeat > 1 && self.ask(8, number) == 1;
        for repetition in 0..repeat {
            let id = Call {
                operation: number,
                repetition,
            };
            if streaming {
                let done = call_streaming(&target, id, argument.as_ref());
                self.await_call(id, side, done.map(|result| result.map(|()| None)));
                continue;
            }
            let method = object::METHODS[self.ask(3, number) as usize];
            let promise = call(&target, id, method, argument.as_ref());
            let keep = KEEPS[self.ask(6, number) as usize];
            if chained {
                target = Client::new(promise.pipeline.as_cap());
            }
            if keep == "pipelined" || keep == "both" {
                let cap = Client::new(promise.pipeline.as_cap());
                self.made[number as usize].caps.push(cap);
            }
            drop(promise.pipeline);
            let answer = promise.promise;
            if self.ask(10, number) == 1 {
                drop(answer);
                continue;
            }
            let keeps = keep == "response" || keep == "both";
            self.await_call(
                id,
                side,
                answer.map(move |result| result.map(|response| keeps.then_some(response))),
            );
        }
    }

    /// Waits for an answer in a task that has to end.
    fn await_call(
        &mut self,
        id: Call,
        side: usize,
        answer: impl Future<Output = Result<Option<Response<any_pointer::Owned>>, capnp::Error>>
        + 'static,
    ) {
        let sim = self.sim.clone();
        let name = Name::numbered(SIDES[side], "call", id.index());
        let kept: Kept = Rc::default();
        let made = &mut self.made[id.operation as usize];
        made.responses.push(kept.clone());
        let task = async move {
            match waiting(&sim, "return of", name, answer).await {
                Ok(response) => {
                    sim.event(ANSWERED, name, [0, 0]);
                    *kept.borrow_mut() = response;
                }
                Err(error) => sim.event(FAILED, name, [exception_type(&error), 0]),
            }
        };
        made.calls.push(self.sim.spawn_must_end(name, task));
    }

    fn resolve(&mut self, number: u32, side: usize, on: usize) {
        let draw = match self.sim.profile("cycles", 64) {
            0 => ANY_ARGUMENT,
            _ => FRESH_ARGUMENT,
        };
        if self.sim.ask_drawn(&OPERATIONS[4], &[number.into()], draw) == GIVEN {
            self.sim.own_cycle();
        }
        let given = self.argument(number, side, draw);
        let made = self.earlier(number, side, on, |made| made.resolver.is_some());
        let Some(resolver) = made.and_then(|made| made.resolver.take()) else {
            return;
        };
        match given {
            // The receiver may be gone; then the capability comes back and is dropped here.
            Some(client) => drop(resolver.send(client)),
            None => drop(resolver),
        }
    }

    fn dismantle(&mut self) -> Result<(), Stopped> {
        let sim = self.sim.clone();
        let disconnects_first = sim.profile("disconnect-first", 2) == 1;
        let mut items = Vec::new();
        for (side, vat) in SIDES.into_iter().enumerate() {
            for item in ITEMS {
                let parts: [Part; 2] = [vat.into(), item.into()];
                let when = match (disconnects_first, item) {
                    (false, _) => sim.ask(&TEARDOWN[0], &parts),
                    (true, "disconnect") => sim.ask_drawn(&TEARDOWN[0], &parts, DISCONNECT_FIRST),
                    (true, _) => sim.ask_drawn(&TEARDOWN[0], &parts, AFTER_DISCONNECT),
                };
                items.push((when, items.len(), side, item));
            }
        }
        items.sort_unstable();
        for (_, _, side, item) in items {
            let parts: [Part; 2] = [SIDES[side].into(), item.into()];
            self.item(side, item, disconnects_first)?;
            let steps = match disconnects_first && item == "disconnect" {
                true => sim.ask_drawn(&TEARDOWN[1], &parts, UNTIL_DISCONNECTED),
                false => sim.ask(&TEARDOWN[1], &parts),
            };
            self.wait(steps)?;
        }
        sim.act(Name::new("owner", "forget"), || self.objects.forget())?;
        Ok(())
    }

    fn item(&mut self, side: usize, item: &str, disconnects_first: bool) -> Result<(), Stopped> {
        let sim = self.sim.clone();
        let vat = SIDES[side];
        match item {
            "disconnect" => {
                let how = match disconnects_first {
                    true => sim.ask_drawn(&TEARDOWN[2], &[vat.into()], ALWAYS_AWAIT),
                    false => sim.ask(&TEARDOWN[2], &[vat.into()]),
                };
                let disconnector = self.parties[side].disconnector.take();
                let name = Name::new(vat, "disconnect");
                sim.act(name, || {
                    disconnect(&sim, name, disconnector, HOWS[how as usize])
                })?;
            }
            "calls" => {
                let of_side = self.made.iter_mut().filter(|made| made.side == side);
                let calls: Vec<_> = of_side.flat_map(|made| made.calls.drain(..)).collect();
                if sim.ask(&TEARDOWN[3], &[vat.into()]) == 1 {
                    let action = Name::new(vat, "drop-calls");
                    sim.act(action, || calls.iter().for_each(JoinHandle::abort))?;
                }
            }
            "caps" => {
                let caps: Vec<_> = self.of(side).flat_map(|made| made.caps.drain(..)).collect();
                let kept: Vec<_> = self
                    .of(side)
                    .flat_map(|made| made.responses.drain(..))
                    .collect();
                let bootstrap = self.parties[side].bootstrap.take();
                sim.act(Name::new(vat, "drop-caps"), || {
                    drop((caps, kept, bootstrap))
                })?;
            }
            "system" => self.parties[side].vat.drop_system()?,
            other => unreachable!("{other} is no item"),
        }
        Ok(())
    }

    fn of(&mut self, side: usize) -> impl Iterator<Item = &mut Made> {
        self.made.iter_mut().filter(move |made| made.side == side)
    }
}

fn disconnect(sim: &Sim, name: Name, disconnector: Option<Disconnector<Side>>, how: &str) {
    let Some(mut disconnector) = disconnector else {
        return;
    };
    match how {
        "await" => {
            let task = waiting(sim, "end of", name, disconnector).map(drop);
            sim.spawn_must_end(name, task);
        }
        "poll-once" => {
            sim.spawn(name, async move {
                let polled = std::future::poll_fn(|context| {
                    std::task::Poll::Ready(disconnector.poll_unpin(context))
                });
                drop(polled.await);
            });
        }
        _ => drop(disconnector),
    }
}

/// An exception's type, numbered as in `rpc.capnp`; 4 is any other.
fn exception_type(error: &capnp::Error) -> u64 {
    match error.kind {
        capnp::ErrorKind::Failed => 0,
        capnp::ErrorKind::Overloaded => 1,
        capnp::ErrorKind::Disconnected => 2,
        capnp::ErrorKind::Unimplemented => 3,
        _ => 4,
    }
}

/// The kind of name under which an operation stands in the trace.
fn action_kind(what: &str) -> &'static str {
    WHATS
        .iter()
        .find(|known| **known == what)
        .expect("a known operation")
}
