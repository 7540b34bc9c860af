//! The Rust party: objects of capnp-rpc, and a client that calls through it.

use std::cell::RefCell;
use std::rc::Rc;

use capnp::capability::{Client, Promise};
use capnp::{Error, ErrorKind};
use dismantle::waiting;
use dismantle_sim::{Name, Tracked};
use dismantle_transport::compat::{self, AnyParams, AnyResults, Serve, Untyped};
use dismantle_transport::exception;
use futures::FutureExt;
use futures::channel::oneshot;

use super::client::{Caller, Making, Sent};
use super::deed::{Deed, Id, METHODS, Resolution, When, gives_up, has_bug, resolution};
use super::shared::{Arrived, Order, Shared, error_kind};
use crate::bridge::Fault;

/// A server object of the Rust vat.
struct Object {
    shared: Rc<Shared>,
    vat: &'static str,
    arrived: Arrived,
    kept: RefCell<Option<Tracked<Client>>>,
    #[expect(dead_code, reason = "its drop is the record")]
    tracked: Tracked<()>,
}

/// A capability to a new object.
pub fn object(shared: &Rc<Shared>, name: Name) -> Client {
    compat::client(Rc::new(Object {
        shared: shared.clone(),
        vat: name.owner(),
        arrived: shared.order.arrivals(name),
        kept: RefCell::default(),
        tracked: shared.sim.track(name, ()),
    }))
}

/// The exception of this type that a method throws.
fn thrown(shared: &Shared, fault: Fault) -> Error {
    let error = exception(error_kind(fault));
    if !has_bug(&shared.sim, "lies") {
        return error;
    }
    let kind = match fault {
        Fault::Failed => ErrorKind::Overloaded,
        _ => ErrorKind::Failed,
    };
    compat::error(kind, compat::text(&error).to_owned())
}

/// Ends when it is time.
async fn wait(shared: Rc<Shared>, when: When, task: Name) {
    let (sender, receiver) = oneshot::channel();
    shared.at(when, task, || {
        // Whoever waits may be gone.
        sender.send(()).ok();
    });
    receiver.await.ok();
}

impl Serve for Object {
    fn call(
        self: Rc<Self>,
        interface_id: u64,
        method_id: u16,
        params: AnyParams,
        results: AnyResults,
    ) -> Promise<(), Error> {
        let id = Id::from_interface(interface_id);
        self.arrived.arrive(id.ticket);
        let pointer = params.get();
        let argument = pointer.and_then(|it| it.get_as_capability::<Untyped>());
        let argument = argument.ok().map(|untyped| untyped.0);
        let deed = Deed::of(&self.shared.sim, id, method_id, argument.is_some());
        match deed.fails {
            Some(fault) if deed.at_once => Promise::err(thrown(&self.shared, fault)),
            _ => Promise::from_future(async move {
                let served = self.serve(deed, id, method_id, argument, results).await;
                drop(params);
                served
            }),
        }
    }

    fn is_streaming(&self, _interface_id: u64, method_id: u16) -> bool {
        METHODS.get(usize::from(method_id)) == Some(&"stream")
    }
}

impl Object {
    async fn serve(
        self: Rc<Self>,
        deed: Deed,
        id: Id,
        method_id: u16,
        argument: Option<Client>,
        mut results: AnyResults,
    ) -> Result<(), Error> {
        if deed.when != When::Now {
            let task = Name::numbered(self.vat, "late", id.index());
            wait(self.shared.clone(), deed.when, task).await;
        }
        if let Some(fault) = deed.fails {
            return Err(thrown(&self.shared, fault));
        }
        let object = || Name::numbered(self.vat, "object", id.index());
        let returned = match (deed.method, argument) {
            ("object", _) => Some(self::object(&self.shared, object())),
            ("argument", argument) => argument,
            ("promise", argument) => Some(promise(self.shared.clone(), object(), id, argument)),
            ("keep", argument) => {
                let kept = Name::numbered(self.vat, "kept", id.index());
                let kept = argument.map(|argument| self.shared.sim.track(kept, argument));
                let before = self.kept.replace(kept);
                drop(before);
                self.give_up();
                None
            }
            ("relay", Some(argument)) => {
                let answer = again(&argument, id, method_id).await?;
                capability(&answer)
            }
            ("callback", Some(argument)) => {
                again(&argument, id, method_id).await?;
                None
            }
            _ => None,
        };
        if let Some(returned) = returned {
            results.get().set_as_capability(returned.hook);
        }
        Ok(())
    }
}

impl Object {
    /// Has the object drop what it keeps in the end. What the bootstrap object keeps of the peer
    /// keeps the connection's state, which keeps that object.
    fn give_up(self: &Rc<Self>) {
        if !gives_up(&self.shared.sim) {
            return self.shared.keep_for_good();
        }
        let kept = Rc::downgrade(self);
        let task = Name::new(self.vat, "kept");
        self.shared.at(When::Never, task, move || {
            drop(kept.upgrade().and_then(|object| object.kept.take()));
        });
    }
}

type Response = capnp::capability::Response<capnp::any_pointer::Owned>;

/// Makes the same call again, without an argument.
fn again(
    target: &Client,
    id: Id,
    method_id: u16,
) -> impl Future<Output = Result<Response, Error>> + use<> {
    let id = Id { ticket: 0, ..id };
    let sent = compat::send(target, id.to_interface(), method_id, |_| Ok(()));
    sent.promise
}

fn capability(response: &Response) -> Option<Client> {
    let untyped: Untyped = response.get().ok()?.get_as_capability().ok()?;
    Some(untyped.0)
}

fn promise(shared: Rc<Shared>, object: Name, id: Id, argument: Option<Client>) -> Client {
    compat::future_client(async move {
        let (becomes, when) = resolution(&shared.sim, id);
        wait(shared.clone(), when, object.with_kind("resolve")).await;
        match (becomes, argument) {
            (Resolution::Object, _) => Ok(self::object(&shared, object)),
            (Resolution::Argument, Some(argument)) => Ok(argument),
            _ => Err(exception(ErrorKind::Failed)),
        }
    })
}

/// A client of the Rust library.
pub struct Rust(pub Rc<Shared>);

impl Caller for Rust {
    type Cap = Client;

    fn object(&self, name: Name) -> Client {
        object(&self.0, name)
    }

    fn call(&self, making: Making<'_, Client>) -> Sent<Client> {
        let shared = self.0.clone();
        let Order::Rust(order) = &shared.order else {
            unreachable!("the client is the Rust library's");
        };
        let (name, reference, method) = (making.name, making.reference, making.method.0);
        let fails = making.fails;
        let fill = |mut params: capnp::any_pointer::Builder<'_>| {
            if let Some(argument) = making.argument {
                params.set_as_capability(argument.hook.add_ref());
            }
            Ok(())
        };
        let numbered = |ticket: u32| making.numbered(ticket).to_interface();
        if making.is_streaming() {
            let (ticket, flow) = order.stream(reference, making.on, |ticket| {
                compat::send_streaming(making.on, numbered(ticket.number()), method, fill)
            });
            let flow = order.follow(ticket, flow);
            let flow = waiting(&shared.sim, "flow of", name, flow);
            let shared = shared.clone();
            let answer = async move {
                if let Err(error) = flow.await {
                    shared.failed(name, &error, fails);
                }
                None
            };
            return Sent {
                pipelined: None,
                answer: answer.boxed_local(),
            };
        }
        let (ticket, sent) = order.make(reference, making.on, |ticket| {
            compat::send(making.on, numbered(ticket.number()), method, fill)
        });
        let pipelined = making.pipelines();
        let pipelined = pipelined.map(|_| Client::new(sent.pipeline.as_cap()));
        drop(sent.pipeline);
        let answer = order.follow(ticket, sent.promise);
        let answer = waiting(&shared.sim, "return of", name, answer);
        let shared = shared.clone();
        let answer = async move {
            match answer.await {
                Ok(response) => capability(&response),
                Err(error) => {
                    shared.failed(name, &error, fails);
                    None
                }
            }
        };
        Sent {
            pipelined,
            answer: answer.boxed_local(),
        }
    }
}
