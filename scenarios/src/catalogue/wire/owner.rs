//! The owner of the honest vat: calls what the raw peer offers, and keeps what comes back.

use std::cell::RefCell;
use std::rc::Rc;

use capnp::any_pointer;
use capnp::capability::{Client, Response};
use capnp::message::Builder;
use capnp::traits::ImbueMut;
use dismantle_sim::{EventKind, JoinHandle, Name, Sim};

use super::super::object::{self, Call, Objects, call, capability, same};
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
    operation: u32,
    cap: Option<Client>,
    pipeline: Option<any_pointer::Pipeline>,
    response: Kept,
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
        let Some(target) = self.operand(order.on) else {
            return;
        };
        self.send(order, &target);
    }

    /// Gets a capability out of a call's pipeline, answered or not, and calls it.
    pub fn call_pipelined(&mut self, order: &Order, field: Option<u16>) {
        let made = |made: &Made| made.operation;
        let index = pick(&self.made, order.on, made, |made| made.pipeline.is_some());
        let pipeline = index.and_then(|index| self.made[index].pipeline.as_ref());
        let cap = pipeline.map(|pipeline| match field {
            Some(field) => pipeline.get_pointer_field(field).as_cap(),
            None => pipeline.as_cap(),
        });
        if let Some(cap) = cap {
            self.send(order, &Client::new(cap));
        }
    }

    fn send(&mut self, order: &Order, target: &Client) {
        let argument = match order.argument {
            "none" => None,
            "hosted" | "promise" => Some(self.objects.make(VAT, order.call.index())),
            _ => self.operand(order.given),
        };
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
            operation: order.call.operation,
            cap: keeps_cap.then(|| Client::new(sent.pipeline.as_cap())),
            pipeline: keeps_cap.then_some(sent.pipeline),
            response,
            call: Some(self.sim.spawn_must_end(name, task)),
        });
    }

    /// The capability that a call brought, or what stands in for it.
    fn operand(&self, on: u32) -> Option<Client> {
        let of = |made: &Made| {
            let answered = made.response.borrow().as_ref().and_then(capability);
            answered.or_else(|| made.cap.as_ref().map(same))
        };
        let earlier = |made: &&Made| made.operation <= on;
        let made = self.made.iter().filter(earlier).rev().find_map(of);
        made.or_else(|| self.bootstrap.as_ref().map(same))
    }

    /// Gives up a call that has not ended.
    pub fn cancel(&mut self, on: u32) {
        let made = |made: &Made| made.operation;
        if let Some(index) = pick(&self.made, on, made, |made| made.call.is_some()) {
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
            let made = &mut self.made[index];
            let gone = (made.cap.take(), made.pipeline.take(), made.response.take());
            drop(gone);
        }
    }

    /// Drops the calls, or goes on waiting for them in tasks that nobody holds.
    pub fn let_calls_go(&mut self, cancelled: bool) {
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
        let bootstrap = self.bootstrap.take();
        let kept: Vec<_> = self
            .made
            .iter_mut()
            .map(|made| (made.cap.take(), made.pipeline.take(), made.response.take()))
            .collect();
        drop((kept, bootstrap));
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
