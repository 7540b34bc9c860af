//! A forwarder that lets a call overtake another, as a queue in front of a capability may.

use std::rc::Rc;

use capnp::Error;
use capnp::any_pointer;
use capnp::capability::{Client, Promise, Response};
use dismantle_sim::{Name, Phase, Question, Sim, Stopped};
use dismantle_transport::compat::{self, AnyParams, AnyResults, Serve};
use dismantle_transport::{Arrivals, CallOrder};
use futures::channel::{mpsc, oneshot};
use futures::future::join_all;
use futures::{StreamExt, TryFutureExt};

use super::{CHANCE, CLEAN, strikes};
use crate::catalogue::object::{Call, call_in_order};
use crate::check::Class;
use crate::scenario::Planted;

/// Calls of one run, forwarded two by two.
const CALLS: u32 = 4;
const TOGETHER: usize = 2;

planted!(
    /// Forwards what has queued up, the last call first.
    PlantedCallOrder,
    "planted-call-order",
    "a queue in front of an object that forwards the last call first (call-order)",
    CallOrder,
    sim => {
        let order = CallOrder::new(sim);
        let object = compat::client(Rc::new(Object(order.arrivals(Name::new("client", "object")))));
        let (queue, queued) = mpsc::unbounded();
        let forwarded = forward(queued, object, strikes(sim));
        sim.spawn_must_end(Name::new("client", "forward"), forwarded);
        let forwarder = compat::client(Rc::new(Forwarder(queue)));
        let reference = Name::new("client", "forwarder");
        let calls = (1..=CALLS).map(|number| {
            let id = Call::new(number, 0);
            call_in_order(&order, reference, &forwarder, id, "echo", None).promise
        });
        // All are polled, in the order in which they are made.
        let calls = join_all(calls);
        sim.spawn_must_end(Name::new("client", "calls"), async { drop(calls.await) });
        sim.act(Name::new("client", "drop-forwarder"), || drop(forwarder))?;
        sim.settle()
    }
);

type Answer = Promise<Response<any_pointer::Owned>, Error>;

/// A call that waits to be forwarded: what it is, and who waits for its answer.
struct Queued {
    interface_id: u64,
    method_id: u16,
    answered: oneshot::Sender<Result<(), Error>>,
}

struct Forwarder(mpsc::UnboundedSender<Queued>);

impl Serve for Forwarder {
    fn call(
        self: Rc<Self>,
        interface_id: u64,
        method_id: u16,
        _params: AnyParams,
        _results: AnyResults,
    ) -> Promise<(), Error> {
        let (answered, answer) = oneshot::channel();
        let queued = Queued {
            interface_id,
            method_id,
            answered,
        };
        if self.0.unbounded_send(queued).is_err() {
            return Promise::err(Error::disconnected("the object is gone".to_owned()));
        }
        let gone = |_| Error::disconnected("the object is gone".to_owned());
        Promise::from_future(answer.map_err(gone).and_then(std::future::ready))
    }
}

async fn forward(queued: mpsc::UnboundedReceiver<Queued>, object: Client, reversed: bool) {
    let mut together = queued.chunks(TOGETHER);
    while let Some(mut calls) = together.next().await {
        if reversed {
            calls.reverse();
        }
        let answers = calls.into_iter().map(|call| {
            let sent = compat::send(&object, call.interface_id, call.method_id, |_| Ok(()));
            let answer: Answer = sent.promise;
            async move { drop(call.answered.send(answer.await.map(drop))) }
        });
        join_all(answers).await;
    }
}

struct Object(Arrivals);

impl Serve for Object {
    fn call(
        self: Rc<Self>,
        interface_id: u64,
        _method_id: u16,
        _params: AnyParams,
        _results: AnyResults,
    ) -> Promise<(), Error> {
        self.0.arrive(Call::from_interface_id(interface_id).ticket);
        Promise::ok(())
    }
}
