//! The owner of the honest vat: calls what the raw peer offers, and keeps what comes back.

use std::cell::RefCell;
use std::rc::Rc;

use capnp::any_pointer;
use capnp::capability::{Client, Response};
use capnp::message::Builder;
use capnp::traits::ImbueMut;
use dismantle_sim::{EventKind, JoinHandle, Name, Sim};

use super::super::object::{self, Call, Objects, call, capability, same};
use super::super::program::script as program;
use super::super::script::{self, place};
use super::super::waiting::waiting;
use super::tables::pick;

/// The vat whose owner it is.
pub const VAT: &str = "server";

const FAILED: EventKind = EventKind::new("call-failed");
const ANSWERED: EventKind = EventKind::new("call-answered");

/// The response of a call, once it is there and if it is kept.
type Kept = Rc<RefCell<Option<Response<any_pointer::Owned>>>>;

/// What one call left.
struct Made {
    /// Which call it is.
    id: Call,
    operation: u32,
    cap: Option<Client>,
    pipeline: Option<any_pointer::Pipeline>,
    response: Kept,
    /// Whether it is kept when it is there.
    keeps: bool,
    call: Option<JoinHandle<()>>,
}

/// What the owner has beside the vat.
pub struct Owner {
    sim: Sim,
    pub objects: Objects,
    pub bootstrap: Option<Client>,
    made: Vec<Made>,
}

/// How a call is made.
pub struct Order {
    /// Which call it is.
    pub call: Call,
    /// The message that made its target.
    pub on: u32,
    /// The method.
    pub method: &'static str,
    /// Which capability is passed.
    pub argument: &'static str,
    /// The message that made it.
    pub given: u32,
    /// What is kept: bit 0 the pipelined capability, bit 1 the response.
    pub keep: u64,
}

impl Owner {
    pub fn new(sim: &Sim, objects: Objects, bootstrap: Client) -> Self {
        Self {
            sim: sim.clone(),
            objects,
            bootstrap: Some(bootstrap),
            made: Vec::new(),
        }
    }

    /// Calls a capability that the peer gave, and waits for the answer in a task that must end.
    pub fn call(&mut self, order: &Order) {
        let Some((target, text)) = self.operand(order.on) else {
            return;
        };
        self.send(order, &target, &text);
    }

    /// Gets a capability out of a call's pipeline, answered or not, and calls it.
    pub fn call_pipelined(&mut self, order: &Order, field: Option<u16>) {
        let made = |made: &Made| made.operation;
        let index = pick(&self.made, order.on, made, |made| made.pipeline.is_some());
        let pipeline = index.and_then(|index| self.made[index].pipeline.as_ref());
        let taken = self.text(|| format!("taken_{}", self.made.len()));
        if let Some(index) = index {
            let pipeline = || numbered("pipeline", self.made[index].id);
            self.sim.script(place::MAIN, || {
                let field =
                    field.map_or_else(String::new, |it| format!(".get_pointer_field({it})"));
                format!("let {taken} = Client::new({}{field}.as_cap());", pipeline())
            });
        }
        let cap = pipeline.map(|pipeline| match field {
            Some(field) => pipeline.get_pointer_field(field).as_cap(),
            None => pipeline.as_cap(),
        });
        if let Some(cap) = cap {
            self.send(order, &Client::new(cap), &taken);
            self.sim.script(place::MAIN, || format!("drop({taken});"));
        }
    }

    fn send(&mut self, order: &Order, target: &Client, text: &str) {
        let argument = match order.argument {
            "none" => None,
            "hosted" | "promise" => {
                let index = order.call.index();
                let text = self.text(|| script::object(VAT, index));
                Some((self.objects.make(VAT, index), text))
            }
            _ => self.operand(order.given),
        };
        let (argument, passed) = argument.unzip();
        self.script_send(order, text, passed);
        let sent = call(target, order.call, order.method, argument.as_ref());
        let response = Kept::default();
        let (keeps_cap, keeps_response) = (order.keep & 1 == 1, order.keep & 2 == 2);
        let name = Name::numbered(VAT, "call", order.call.index());
        let task = {
            let (sim, response) = (self.sim.clone(), response.clone());
            async move {
                match waiting(&sim, "return of", name, sent.promise).await {
                    Ok(answer) => {
                        sim.event(ANSWERED, name, [read(&answer), 0]);
                        *response.borrow_mut() = keeps_response.then_some(answer);
                    }
                    Err(error) => sim.event_saying(FAILED, name, [0, 0], || error.to_string()),
                }
            }
        };
        self.made.push(Made {
            id: order.call,
            operation: order.call.operation,
            cap: keeps_cap.then(|| Client::new(sent.pipeline.as_cap())),
            pipeline: keeps_cap.then_some(sent.pipeline),
            response,
            keeps: keeps_response,
            call: Some(self.sim.spawn_must_end(name, task)),
        });
    }

    /// The capability that a call brought, or what stands in for it.
    ///
    /// With how a program would say which.
    fn operand(&self, on: u32) -> Option<(Client, String)> {
        let of = |made: &Made| {
            let answered = made.response.borrow().as_ref().and_then(capability);
            let response = || format!("capability(&{})", numbered("response", made.id));
            let answered = answered.map(|cap| (cap, self.text(response)));
            let cap = || self.text(|| numbered("cap", made.id));
            answered.or_else(|| Some((same(made.cap.as_ref()?), cap())))
        };
        let earlier = |made: &&Made| made.operation <= on;
        let made = self.made.iter().filter(earlier).rev().find_map(of);
        let text = || self.text(|| format!("{VAT}_bootstrap"));
        made.or_else(|| Some((same(self.bootstrap.as_ref()?), text())))
    }

    /// What is only said to whoever wants the run's script.
    fn text(&self, text: impl FnOnce() -> String) -> String {
        match self.sim.is_scripted() {
            true => text(),
            false => String::new(),
        }
    }

    /// Says how a call is made.
    fn script_send(&self, order: &Order, target: &str, passed: Option<String>) {
        if !self.sim.is_scripted() {
            return;
        }
        let number = numbered("", order.call);
        let id = self
            .objects
            .ids()
            .of(order.call.operation, object::method_id(order.method));
        let passed = passed.map_or_else(|| "None".to_owned(), |cap| format!("Some(&{cap})"));
        let sent = format!("call(&{target}, {id}, {passed})");
        let lines = match order.keep {
            0 => format!("let call{number} = answer({sent});"),
            2 => format!("let (call{number}, response{number}) = answer({sent});"),
            keep => {
                let wait = match keep {
                    1 => format!("let call{number} = spawn(sent.promise.map(drop));"),
                    _ => format!(
                        "let (sender, response{number}) = oneshot::channel();\n\
                         let done = sent.promise.map(|it| drop(sender.send(it)));\n\
                         let call{number} = spawn(done);"
                    ),
                };
                format!(
                    "let sent = {sent};\n\
                     let cap{number} = Client::new(sent.pipeline.as_cap());\n\
                     let pipeline{number} = sent.pipeline;\n{wait}"
                )
            }
        };
        self.sim.script(place::MAIN, || lines);
    }

    /// Says that what one call left goes.
    fn script_gone(&self, made: &[Made], bootstrap: bool) {
        let of = |made: &Made| {
            let cap = made.cap.as_ref().map(|_| numbered("cap", made.id));
            let pipeline = made.pipeline.as_ref();
            let pipeline = pipeline.map(|_| numbered("pipeline", made.id));
            let response = made.keeps.then(|| numbered("response", made.id));
            [cap, pipeline, response]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
        };
        let gone = made.iter().flat_map(of);
        let gone = gone.chain(bootstrap.then(|| format!("{VAT}_bootstrap")));
        self.sim
            .script(place::MAIN, || program::drop_all(gone.collect()));
    }

    fn script_abort(&self, made: &Made) {
        if made.call.as_ref().is_some_and(|call| !call.is_finished()) {
            let gone = || format!("abort({});", numbered("call", made.id));
            self.sim.script(place::MAIN, gone);
        }
    }

    /// Gives up a call that has not ended.
    pub fn cancel(&mut self, on: u32) {
        let made = |made: &Made| made.operation;
        if let Some(index) = pick(&self.made, on, made, |made| made.call.is_some()) {
            self.script_abort(&self.made[index]);
            self.made[index]
                .call
                .take()
                .iter()
                .for_each(JoinHandle::abort);
        }
    }

    /// Drops what one call left; the call goes on.
    pub fn drop_one(&mut self, on: u32) {
        let keeps = |made: &Made| made.cap.is_some() || made.response.borrow().is_some();
        if let Some(index) = pick(&self.made, on, |made| made.operation, keeps) {
            self.script_gone(&self.made[index..=index], false);
            let made = &mut self.made[index];
            made.keeps = false;
            let gone = (made.cap.take(), made.pipeline.take(), made.response.take());
            drop(gone);
        }
    }

    /// Drops the calls, or goes on waiting for them in tasks that nobody holds.
    pub fn let_calls_go(&mut self, cancelled: bool) {
        if cancelled {
            self.made.iter().for_each(|made| self.script_abort(made));
        }
        let calls: Vec<_> = self
            .made
            .iter_mut()
            .filter_map(|made| made.call.take())
            .collect();
        if cancelled {
            calls.iter().for_each(JoinHandle::abort);
        }
    }

    /// Drops everything that the peer gave.
    pub fn drop_caps(&mut self) {
        self.script_gone(&self.made, self.bootstrap.is_some());
        let bootstrap = self.bootstrap.take();
        let kept: Vec<_> = self
            .made
            .iter_mut()
            .map(|made| (made.cap.take(), made.pipeline.take(), made.response.take()))
            .collect();
        drop((kept, bootstrap));
    }
}

/// A variable of a call.
fn numbered(kind: &str, id: Call) -> String {
    match id.repetition {
        0 => format!("{kind}_{}", id.operation),
        repetition => format!("{kind}_{}_{repetition}", id.operation),
    }
}

/// Reads a response as an application does that trusts nobody; its size in words.
fn read(response: &Response<any_pointer::Owned>) -> u64 {
    let Ok(content) = response.get() else {
        return 0;
    };
    let size = content.target_size().map_or(0, |size| size.word_count);
    let mut copy = Builder::new_default();
    let mut table = Vec::new();
    let mut root: any_pointer::Builder<'_> = copy.init_root();
    root.imbue_mut(&mut table);
    // Whatever a peer sent may be copied or refused, nothing else.
    drop(root.set_as(content));
    drop(object::capability(response));
    size
}
