//! A program under way: both owners, and what they hold.

use std::cell::RefCell;
use std::rc::Rc;

use dismantle::waiting;
use dismantle_sim::{JoinHandle, Name, Sim, Stopped};
use dismantle_transport::Link;

use super::object::{Call, METHODS, Objects};
use super::{
    ANSWERED, ARGUMENTS, BOOTSTRAPS, FAILED, KEEPS, MANY, OPERATIONS, OPERATIONS_MAX, PATIENCES,
    SERVER, SHUTDOWN, SIDES, THREW, UNTIL_REST, WHATS,
};
use crate::bridge::{
    self, Answer, Capability, EventLoop, Failure, Fault, Resolver, Server, Shutdown, Side, Stream,
    Vat,
};

/// The results of a call, once they are there and if they are kept: what is in them, and they.
type Kept = Rc<RefCell<Option<(Option<Capability>, Answer)>>>;

/// What one operation made.
#[derive(Default)]
pub struct Made {
    pub side: usize,
    pub caps: Vec<Rc<Capability>>,
    pub calls: Vec<JoinHandle<()>>,
    /// Calls whose promises are held, and nobody waits.
    pub held: Vec<bridge::Call>,
    pub responses: Vec<Kept>,
    pub resolvers: Vec<Resolver>,
}

/// What runs one end of the connection.
pub enum System {
    Vat(Vat),
    Server(Server),
}

/// One vat, and what its owner holds beside it.
pub struct Party {
    pub on: EventLoop,
    pub system: Option<System>,
    pub bootstrap: Option<Rc<Capability>>,
}

/// The run.
pub struct World {
    pub sim: Sim,
    pub link: Link,
    pub parties: [Party; 2],
    pub made: Vec<Made>,
    pub objects: Objects,
    rests: u32,
}

impl World {
    /// Makes the connection.
    pub fn new(sim: &Sim) -> Self {
        let objects = Objects::new(sim);
        let (link, client_end, server_end) = Link::new(sim);
        let shutdowns = [Shutdown::Fails, Shutdown::Waits, Shutdown::Throws];
        let shutdown = shutdowns[sim.ask(&SHUTDOWN, &[]) as usize];
        let is_server = sim.ask(&SERVER, &[]) == 1;
        let both = sim.ask(&BOOTSTRAPS, &[]) == 1;
        let party = |place: usize, side, end| {
            let owner = SIDES[place];
            let on = EventLoop::new(sim, owner);
            let served = objects.make(&on, Name::new(owner, "served"), 0);
            let stream = Stream::new(&on, end, shutdown);
            let name = Name::new(owner, "system");
            let (bootstrap, system);
            if side == Side::Server && is_server {
                let server = Server::new(name, &served);
                server.accept(stream);
                (bootstrap, system) = (None, System::Server(server));
            } else {
                let vat = Vat::new(&on, name, stream, side, Some(&served));
                let asks = side == Side::Client || both;
                let asked = || Rc::new(vat.bootstrap(Name::new(owner, "bootstrap")));
                bootstrap = asks.then(asked);
                system = System::Vat(vat);
            }
            Party {
                on,
                system: Some(system),
                bootstrap,
            }
        };
        let parties = [
            party(0, Side::Client, client_end),
            party(1, Side::Server, server_end),
        ];
        Self {
            sim: sim.clone(),
            link,
            parties,
            made: vec![Made::default()],
            objects,
            rests: 0,
        }
    }

    /// Runs the operations.
    ///
    /// # Errors
    /// [`Stopped`] after a panic.
    pub fn operate(&mut self) -> Result<(), Stopped> {
        let length = self.sim.profile("length", u64::from(OPERATIONS_MAX)) as u32 + 1;
        for number in 1..=OPERATIONS_MAX {
            if self.sim.is_cut() {
                break;
            }
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
            self.wait(self.ask(9, number))?;
        }
        Ok(())
    }

    /// Runs so many steps, or until nothing can run.
    ///
    /// # Errors
    /// [`Stopped`] after a panic.
    pub fn wait(&mut self, steps: u64) -> Result<(), Stopped> {
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

    fn operation(&mut self, number: u32, what: &'static str) -> Result<(), Stopped> {
        let side = self.ask(1, number) as usize;
        self.made[number as usize].side = side;
        let on = self.ask(2, number) as usize;
        let action = Name::numbered(SIDES[side], what, number);
        let sim = self.sim.clone();
        sim.act(action, || match what {
            "call" => self.call(number, side, on),
            "stream" => self.stream(number, side, on),
            "clone" => self.clones(number, side, on),
            "when-resolved" => self.when_resolved(number, side, on),
            "make-promise" => self.make_promise(number, side),
            "resolve" => self.resolve(number, side, on),
            "cancel" => {
                let waits = |made: &Made| !made.calls.is_empty() || !made.held.is_empty();
                if let Some(place) = self.earlier(number, side, on, waits) {
                    let made = &mut self.made[place];
                    let (calls, held) = (made.calls.split_off(0), made.held.split_off(0));
                    calls.iter().for_each(JoinHandle::abort);
                    drop(held);
                }
            }
            "drop-cap" => {
                let holds = |made: &Made| !made.caps.is_empty();
                if let Some(place) = self.earlier(number, side, on, holds) {
                    drop(self.made[place].caps.pop());
                }
            }
            "drop-response" => {
                let is_there = |kept: &Kept| kept.borrow().is_some();
                let holds = |made: &Made| made.responses.iter().any(is_there);
                if let Some(place) = self.earlier(number, side, on, holds) {
                    drop(self.made[place].responses.split_off(0));
                }
            }
            "bootstrap" => {
                if let Some(System::Vat(vat)) = &self.parties[side].system {
                    let name = Name::numbered(SIDES[side], "cap", number);
                    // It throws where the connection is shut down already.
                    match vat.try_bootstrap(name) {
                        Ok(cap) => self.made[number as usize].caps.push(Rc::new(cap)),
                        Err(thrown) => {
                            let text = || thrown.to_string();
                            self.sim.event_saying(THREW, name, [0, 0], text);
                        }
                    }
                }
            }
            "rest" => {}
            other => unreachable!("{other} is no operation"),
        })?;
        if what == "rest" {
            self.wait(UNTIL_REST)?;
        }
        Ok(())
    }

    /// The operation `on`, or the nearest earlier one of this side that fits.
    fn earlier(
        &self,
        number: u32,
        side: usize,
        on: usize,
        fits: impl Fn(&Made) -> bool,
    ) -> Option<usize> {
        let last = on.min(number as usize - 1);
        (0..=last)
            .rev()
            .find(|place| self.made[*place].side == side && fits(&self.made[*place]))
    }

    /// The capability that the operation `on` made, or what stands in for it.
    fn operand(&self, number: u32, side: usize, on: usize) -> Option<Operand> {
        let of = |made: &Made| {
            let kept = made.responses.last().cloned();
            let answered = kept.filter(|kept| matches!(&*kept.borrow(), Some((Some(_), _))));
            let held = || made.caps.last().cloned().map(Operand::Held);
            answered.map(Operand::Answered).or_else(held)
        };
        let last = on.min(number as usize - 1);
        let of_side = self.made[..=last].iter().rev();
        let mut made = of_side.filter(|made| made.side == side);
        let bootstrap = || self.parties[side].bootstrap.clone().map(Operand::Held);
        made.find_map(of).or_else(bootstrap)
    }

    /// The capability to be passed, if there is one; what was given is of no later operation than
    /// `last`.
    fn argument(&self, number: u32, side: usize, last: usize) -> Option<Operand> {
        match ARGUMENTS[self.ask(4, number) as usize] {
            "none" => None,
            "object" => {
                let name = Name::numbered(SIDES[side], "argument", number);
                let object = self.objects.make(&self.parties[side].on, name, number);
                Some(Operand::Held(Rc::new(object)))
            }
            "bootstrap" => self.parties[side].bootstrap.clone().map(Operand::Held),
            _ => {
                let given = self.ask(5, number) as usize;
                self.operand(number, side, given.min(last))
            }
        }
    }

    fn call(&mut self, number: u32, side: usize, on: usize) {
        let Some(mut target) = self.operand(number, side, on) else {
            return;
        };
        let argument = self.argument(number, side, number as usize);
        let method = self.ask(3, number) as u16;
        let keep = KEEPS[self.ask(6, number) as usize];
        let repeat = self.ask(7, number) as u32;
        let chained = repeat > 1 && self.ask(8, number) == 1;
        let patience = PATIENCES[self.ask(10, number) as usize];
        for repetition in 0..repeat {
            let id = Call {
                operation: number,
                repetition,
            };
            let name = Name::numbered(SIDES[side], "call", id.index());
            let method = (id.interface_id(), method);
            let call = target.with(|target| match &argument {
                Some(argument) => argument.with(|it| target.call(name, method, Some(it))),
                None => target.call(name, method, None),
            });
            let keeps_cap = keep == "pipelined" || keep == "both";
            if chained || keeps_cap {
                let cap = Rc::new(call.pipelined(name.with_kind("cap")));
                if keeps_cap {
                    self.made[number as usize].caps.push(cap.clone());
                }
                if chained {
                    target = Operand::Held(cap);
                }
            }
            match patience {
                "cancelled" => drop(call),
                "held" => self.made[number as usize].held.push(call),
                _ => {
                    let keeps = keep == "response" || keep == "both";
                    self.wait_for(number, name, call, keeps);
                }
            }
        }
    }

    /// Waits for an answer in a task that has to end.
    fn wait_for(&mut self, number: u32, name: Name, call: bridge::Call, keeps: bool) {
        let kept: Kept = Rc::default();
        let made = &mut self.made[number as usize];
        if keeps {
            made.responses.push(kept.clone());
        }
        call.drop_pipeline();
        let mut answer = call.answer();
        let sim = self.sim.clone();
        let task = async move {
            let answered = waiting(&sim, "return of", name, &mut answer).await;
            said(&sim, name, &answered);
            if let (true, Ok(capability)) = (keeps, answered) {
                kept.replace(Some((capability, answer)));
            }
        };
        made.calls.push(self.sim.spawn_must_end(name, task));
    }

    fn stream(&mut self, number: u32, side: usize, on: usize) {
        let Some(target) = self.operand(number, side, on) else {
            return;
        };
        let sink = METHODS.len() as u16 - 1;
        for repetition in 0..self.ask(7, number) as u32 {
            let id = Call {
                operation: number,
                repetition,
            };
            let name = Name::numbered(SIDES[side], "stream", id.index());
            let method = (id.interface_id(), sink);
            let waits = target.with(|target| target.call_streaming(name, method));
            match PATIENCES[self.ask(10, number) as usize] {
                "cancelled" => drop(waits),
                _ => self.wait_until(number, name, "turn after", waits),
            }
        }
    }

    fn when_resolved(&mut self, number: u32, side: usize, on: usize) {
        let Some(target) = self.operand(number, side, on) else {
            return;
        };
        for repetition in 0..self.ask(7, number) as u32 {
            let id = Call {
                operation: number,
                repetition,
            };
            let name = Name::numbered(SIDES[side], "resolved", id.index());
            let waits = target.with(|target| target.resolved(name));
            self.wait_until(number, name, "resolution", waits);
        }
    }

    /// Waits in a task that has to end.
    pub fn wait_until(
        &mut self,
        number: u32,
        name: Name,
        what: &'static str,
        until: bridge::Waiting,
    ) {
        let sim = self.sim.clone();
        let task = async move {
            let came = waiting(&sim, what, name, until).await;
            said(&sim, name, &came);
        };
        let task = self.sim.spawn_must_end(name, task);
        self.made[number as usize].calls.push(task);
    }

    fn clones(&mut self, number: u32, side: usize, on: usize) {
        let Some(target) = self.operand(number, side, on) else {
            return;
        };
        for repetition in 0..self.ask(7, number) as u32 {
            let id = Call {
                operation: number,
                repetition,
            };
            let name = Name::numbered(SIDES[side], "cap", id.index());
            let clone = target.with(|target| target.clone_as(name));
            self.made[number as usize].caps.push(Rc::new(clone));
        }
    }

    /// Makes promises of capabilities. Of a chain the owner has the first and what resolves the
    /// last.
    fn make_promise(&mut self, number: u32, side: usize) {
        let chained = self.ask(8, number) == 1;
        let repeat = self.sim.ask_drawn(&OPERATIONS[7], &[number.into()], MANY) as u32;
        let mut before: Option<Resolver> = None;
        for repetition in 0..repeat {
            let id = Call {
                operation: number,
                repetition,
            };
            let name = Name::numbered(SIDES[side], "cap", id.index());
            let (promise, resolver) = Capability::promise(&self.parties[side].on, name);
            let made = &mut self.made[number as usize];
            match (chained, before.take()) {
                (true, Some(before)) => before.resolve(Ok(&promise)),
                _ => made.caps.push(Rc::new(promise)),
            }
            match chained && repetition + 1 < repeat {
                true => before = Some(resolver),
                false => made.resolvers.push(resolver),
            }
        }
    }

    /// Resolves what an operation has made to something that is older, so that nothing ever
    /// resolves to itself.
    fn resolve(&mut self, number: u32, side: usize, on: usize) {
        let holds = |made: &Made| !made.resolvers.is_empty();
        let Some(place) = self.earlier(number, side, on, holds) else {
            return;
        };
        let argument = self.argument(number, side, place.saturating_sub(1));
        let fails = PATIENCES[self.ask(10, number) as usize] != "answer";
        for resolver in self.made[place].resolvers.split_off(0) {
            match &argument {
                Some(argument) => argument.with(|to| resolver.resolve(Ok(to))),
                None if fails => resolver.resolve(Err(Fault::Disconnected)),
                None => drop(resolver),
            }
        }
    }
}

/// A capability that an operation uses.
enum Operand {
    Held(Rc<Capability>),
    /// One that is in the results of a call.
    Answered(Kept),
}

impl Operand {
    fn with<T>(&self, body: impl FnOnce(&Capability) -> T) -> T {
        match self {
            Self::Held(capability) => body(capability),
            Self::Answered(kept) => {
                let kept = kept.borrow();
                let capability = kept
                    .as_ref()
                    .and_then(|(capability, _)| capability.as_ref());
                body(capability.expect("it was there when the operation began"))
            }
        }
    }
}

fn said<T>(sim: &Sim, name: Name, outcome: &Result<T, Failure>) {
    match outcome {
        Ok(_) => sim.event(ANSWERED, name, [0, 0]),
        Err(failure) => {
            let numbers = [failure.fault as u64, 0];
            sim.event_saying(FAILED, name, numbers, || failure.text.clone());
        }
    }
}
