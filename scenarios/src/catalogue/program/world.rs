//! What the two owners hold, and the operations of a program.

use std::cell::RefCell;
use std::rc::Rc;

use capnp::any_pointer;
use capnp::capability::{Client, Response};
use dismantle_sim::{Draw, JoinHandle, Name, Sim, Stopped, inject_panic};
use futures::FutureExt;
use futures::channel::oneshot;

use super::net::Net;
use super::script::{self, Passed};
use super::{
    ANSWERED, ANY_ARGUMENT, ARGUMENTS, CONNECTIONS, FAILED, FRESH_ARGUMENT, GIVEN, HOWS, KEEPS,
    OPERATIONS, OPERATIONS_MAX, SIDES, UNTIL_REST, WHATS,
};
use crate::catalogue::act::watched;
use crate::catalogue::object::{
    self, Call, Objects, call, call_in_order, capability, same, stream_in_order,
};
use crate::catalogue::script::place;
use crate::catalogue::waiting::waiting;

/// The response of a call, once it is there and if it is kept.
pub type Kept = Rc<RefCell<Option<Response<any_pointer::Owned>>>>;

/// What one operation made.
#[derive(Default)]
pub struct Made {
    pub number: u32,
    pub side: usize,
    /// Whether the responses are kept.
    pub keeps: bool,
    pub caps: Vec<Client>,
    pub calls: Vec<JoinHandle<()>>,
    pub responses: Vec<Kept>,
    pub resolver: Option<oneshot::Sender<Client>>,
}

/// The run: both owners and what they share.
pub struct World {
    pub sim: Sim,
    pub net: Rc<Net>,
    pub made: Vec<Made>,
    pub objects: Objects,
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
    /// Makes the connections that there are from the start.
    pub fn new(sim: &Sim) -> Self {
        let objects = Objects::new(sim);
        let net = Net::new(sim, &objects, sim.ask(&CONNECTIONS, &[]));
        objects.act(net.reach());
        Self {
            sim: sim.clone(),
            net,
            made: vec![Made::default()],
            objects,
            rests: 0,
        }
    }

    /// Goes the way of an owner whose executor did not catch a panic: everything that it has,
    /// the tasks first, is dropped while the stack unwinds. A second panic aborts.
    pub fn unwind(self) -> ! {
        let _unwinding = Unwinding(self);
        inject_panic()
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
            self.made.push(Made {
                number,
                ..Made::default()
            });
            if what == 0 {
                continue;
            }
            self.sim.operation(number);
            for connection in self.net.all() {
                connection.link.operation(number);
            }
            self.operation(number, WHATS[what as usize])?;
            let steps = self.sim.ask(&OPERATIONS[9], &part);
            self.wait(steps)?;
        }
        Ok(())
    }

    /// Runs so many steps, or until nothing can run.
    ///
    /// # Errors
    /// [`Stopped`] after a panic.
    pub fn wait(&mut self, steps: u64) -> Result<(), Stopped> {
        if steps < UNTIL_REST {
            self.script_steps(Some(steps));
            let made = self.sim.steps(steps)?;
            self.sim.script(place::MADE, || made.to_string());
            return Ok(());
        }
        self.script_steps(None);
        let before = self.sim.steps_done();
        self.sim.settle()?;
        let made = || (self.sim.steps_done() - before).to_string();
        self.sim.script(place::MADE, made);
        self.rests += 1;
        for connection in self.net.all() {
            connection.link.rest(self.rests);
        }
        Ok(())
    }

    pub fn ask(&self, index: usize, number: u32) -> u64 {
        self.sim.ask(&OPERATIONS[index], &[number.into()])
    }

    fn operation(&mut self, number: u32, what: &'static str) -> Result<(), Stopped> {
        let side = self.ask(1, number) as usize;
        self.made[number as usize].side = side;
        let on = self.ask(2, number) as usize;
        let action = Name::numbered(SIDES[side], what, number);
        let sim = self.sim.clone();
        sim.act(action, || match what {
            "call" | "stream" => self.call(number, side, on, what == "stream"),
            "cancel" => {
                self.net.errors.cancelled();
                let calls = self.earlier(number, side, on, |made| !made.calls.is_empty());
                if let Some(made) = calls {
                    let calls = std::mem::take(&mut made.calls);
                    self.script_aborts(&calls);
                    calls.iter().for_each(JoinHandle::abort);
                }
            }
            "drop-cap" => {
                let made = self.earlier(number, side, on, |made| !made.caps.is_empty());
                if let Some(made) = made {
                    let cap = made.caps.pop();
                    let gone = || script::cap(made.number, made.caps.len());
                    sim.script(place::MAIN, || format!("drop({});", gone()));
                    drop(cap);
                }
            }
            "drop-response" => {
                let holds = |kept: &Kept| kept.borrow().is_some();
                let made = self.earlier(number, side, on, |made| made.responses.iter().any(holds));
                if let Some(made) = made {
                    sim.script(place::MAIN, || script::drop_all(script::kept(made)));
                    let responses = std::mem::take(&mut made.responses);
                    drop(responses);
                }
            }
            "make-promise" => {
                let (sender, receiver) = oneshot::channel();
                let promise = dismantle_transport::compat::future_client(receiver.map(|result| {
                    result.map_err(|_| dismantle_transport::exception(capnp::ErrorKind::Failed))
                }));
                self.sim.script(place::MAIN, || script::promise(number));
                let made = &mut self.made[number as usize];
                made.caps.push(promise);
                made.resolver = Some(sender);
            }
            "resolve" => self.resolve(number, side, on),
            "bootstrap" => {
                let connection = self.net.number(self.ask(11, number) as usize);
                let idle = connection.as_ref();
                if idle.is_some_and(|it| !it.parties[side].vat.has_started()) {
                    let idle = || "a bootstrap of a system that does not run yet".to_owned();
                    self.sim.script(place::CANNOT, idle);
                }
                let vat = connection.as_ref().map(|it| it.parties[side].vat.name());
                self.sim.script(place::MAIN, || {
                    vat.map_or_else(String::new, |vat| script::late_bootstrap(number, vat))
                });
                let bootstrap = connection.and_then(|it| it.parties[side].vat.try_bootstrap());
                self.made[number as usize].caps.extend(bootstrap);
            }
            "disconnect" => {
                if let Some(connection) = self.net.number(self.ask(11, number) as usize) {
                    let how = HOWS[self.ask(12, number) as usize];
                    let party = &connection.parties[side];
                    self.net.disconnect(party, place::MAIN, action, how);
                }
            }
            "connect" => drop(self.net.connect()),
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

    /// The capability that the operation `on` made, or what stands in for it, with its name in
    /// the order of calls.
    fn operand(&mut self, number: u32, side: usize, on: usize) -> Option<(Name, Client)> {
        let of = |made: &Made| {
            let kept = made.responses.last();
            let answered = kept.and_then(|kept| kept.borrow().as_ref().and_then(capability));
            let answered = answered.map(|cap| ("response", made.responses.len(), cap));
            answered.or_else(|| Some(("cap", made.caps.len(), made.caps.last().map(same)?)))
        };
        let last = on.min(number as usize - 1);
        for (place, made) in self.made[..=last].iter().enumerate().rev() {
            if made.side != side {
                continue;
            }
            if let Some((kind, count, cap)) = of(made) {
                // The last of so many: whatever is made behind it has another number.
                let id = Call::new(place as u32, count as u32 - 1);
                return Some((Name::numbered(SIDES[side], kind, id.index()), cap));
            }
        }
        let connection = self.ask(11, number) as usize;
        let bootstrap = self.net.bootstrap(side, connection)?;
        let place = self.net.place(connection) as u32;
        Some((Name::numbered(SIDES[side], "bootstrap", place), bootstrap))
    }

    /// The capability to be passed, and how a program would say which.
    fn argument(&mut self, number: u32, side: usize, draw: Draw) -> Option<(Client, Passed)> {
        let argument = self.sim.ask_drawn(&OPERATIONS[4], &[number.into()], draw);
        let (given, passed) = match ARGUMENTS[argument as usize] {
            "none" => return None,
            "object" => {
                let object = self.objects.make(SIDES[side], number);
                (object, Passed::Object)
            }
            "bootstrap" => {
                let connection = self.ask(11, number) as usize;
                let bootstrap = self.net.bootstrap(side, connection)?;
                (bootstrap, Passed::Bootstrap(self.net.place(connection)))
            }
            _ => {
                let given = self.ask(5, number) as usize;
                let (reference, cap) = self.operand(number, side, given)?;
                (cap, Passed::Made(reference))
            }
        };
        let reach = self.net.reach();
        Some((
            watched(&self.sim, &reach, SIDES[side], number, given),
            passed,
        ))
    }

    fn call(&mut self, number: u32, side: usize, on: usize, streaming: bool) {
        let Some((reference, mut target)) = self.operand(number, side, on) else {
            return;
        };
        let order = self.objects.order().clone();
        let argument = self.argument(number, side, ANY_ARGUMENT);
        let (argument, passed) = argument.unzip();
        let repeat = self.ask(7, number) as u32;
        let chained = repeat > 1 && self.ask(8, number) == 1;
        self.script_calls(number, reference, passed, (repeat, chained, streaming));
        for repetition in 0..repeat {
            let id = Call::new(number, repetition);
            let argument = argument.as_ref();
            if streaming {
                let done = stream_in_order(&order, reference, &target, id, argument);
                self.await_call(id, side, done.map(|result| result.map(|()| None)));
                continue;
            }
            let method = object::METHODS[self.ask(3, number) as usize];
            let promise = match chained && repetition > 0 {
                // Its target is a reference of its own.
                true => call(&target, id, method, argument),
                false => call_in_order(&order, reference, &target, id, method, argument),
            };
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
                self.net.errors.cancelled();
                drop(answer);
                continue;
            }
            let keeps = keep == "response" || keep == "both";
            self.made[number as usize].keeps = keeps;
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
        let errors = self.net.errors.clone();
        let made = &mut self.made[id.operation as usize];
        made.responses.push(kept.clone());
        let task = async move {
            match waiting(&sim, "return of", name, answer).await {
                Ok(response) => {
                    sim.event(ANSWERED, name, [0, 0]);
                    *kept.borrow_mut() = response;
                }
                Err(error) => {
                    let numbers = [exception_type(&error), 0];
                    sim.event_saying(FAILED, name, numbers, || error.to_string());
                    errors.failed(name, &error);
                }
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
        let (given, passed) = self.argument(number, side, draw).unzip();
        let made = self.earlier(number, side, on, |made| made.resolver.is_some());
        let Some((of, resolver)) = made.and_then(|made| Some((made.number, made.resolver.take()?)))
        else {
            return;
        };
        self.script_resolve(number, side, of, passed);
        match given {
            // The receiver may be gone; then the capability comes back and is dropped here.
            Some(client) => drop(resolver.send(client)),
            None => drop(resolver),
        }
    }
}

/// An exception's type, numbered as in `rpc.capnp`; 4 is any other.
fn exception_type(error: &capnp::Error) -> u64 {
    use capnp::ErrorKind::{Disconnected, Failed, Overloaded, Unimplemented};
    let types = [Failed, Overloaded, Disconnected, Unimplemented];
    let place = types.iter().position(|kind| *kind == error.kind);
    place.unwrap_or(types.len()) as u64
}
