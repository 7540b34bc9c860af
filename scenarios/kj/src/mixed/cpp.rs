//! The C++ party: objects of Cap'n Proto for C++, and a client that calls through it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use dismantle::waiting;
use dismantle_sim::{Name, Tracked};
use futures::FutureExt;

use super::client::{Caller, Making, Sent};
use super::deed::{self, Deed, Id, Resolution, resolution};
use super::shared::{Arrived, Order, Shared};
use crate::bridge::{
    Capability, EventLoop, Fault, Fulfiller, Given, Reply, Resolver, Result, Served, When,
};

/// A server object of the C++ vat.
struct Object {
    shared: Rc<Shared>,
    on: EventLoop,
    arrived: Arrived,
    /// The call that is just being told what becomes of it.
    current: Cell<Option<(Id, deed::When)>>,
    kept: Rc<RefCell<Option<Capability>>>,
    #[expect(dead_code, reason = "its drop is the record")]
    tracked: Tracked<()>,
}

impl Object {
    fn new(shared: &Rc<Shared>, on: &EventLoop, name: Name) -> Self {
        Self {
            shared: shared.clone(),
            on: on.clone(),
            arrived: shared.order.arrivals(name),
            current: Cell::new(None),
            kept: Rc::default(),
            tracked: shared.sim.track(name, ()),
        }
    }

    fn current(&self) -> (Id, deed::When) {
        self.current.take().expect("within a call")
    }
}

/// A capability to a new object.
pub fn object(shared: &Rc<Shared>, on: &EventLoop, name: Name) -> Capability {
    let reference = name.with_kind("local");
    Capability::object(on, reference, Object::new(shared, on, name))
}

impl Served for Object {
    fn call(&self, interface_id: u64, method_id: u16, has_argument: bool) -> Reply {
        let id = Id::from_interface(interface_id);
        self.arrived.arrive(id.ticket);
        let deed = Deed::of(&self.shared.sim, id, method_id, has_argument);
        self.current.set(Some((id, deed.when)));
        let object = || {
            let name = Name::numbered(self.on.owner(), "object", id.index());
            Result::Object(Box::new(Object::new(&self.shared, &self.on, name)))
        };
        Reply {
            when: match deed.when {
                deed::When::Now => When::Now,
                deed::When::Late(_) | deed::When::Never => When::Late,
            },
            result: match deed.method {
                _ if deed.fails.is_some() => Result::Empty,
                "object" => object(),
                "argument" => Result::Argument,
                "promise" => Result::Promise,
                "relay" if deed::makes_tail_calls(&self.shared.sim) => Result::Relay,
                "relay" | "callback" => Result::Callback,
                _ => Result::Empty,
            },
            fails: deed.fails,
            throws: deed.at_once,
            keeps: deed.method == "keep",
            streams: deed.method == "stream",
            cancellable: deed::is_cancellable(&self.shared.sim, id),
        }
    }

    fn keep(&self, given: Given) {
        let (id, _) = self.current.get().expect("within a call");
        let given = given.named(Name::numbered(self.on.owner(), "kept", id.index()));
        let before = self.kept.replace(Some(given));
        drop(before);
        if !deed::gives_up(&self.shared.sim) {
            return self.shared.keep_for_good();
        }
        let kept = Rc::downgrade(&self.kept);
        let task = Name::new(self.on.owner(), "kept");
        self.shared.at(deed::When::Never, task, move || {
            drop(kept.upgrade().and_then(|kept| kept.take()));
        });
    }

    fn late(&self, fulfiller: Fulfiller) {
        let (id, when) = self.current();
        let task = Name::numbered(self.on.owner(), "late", id.index());
        self.shared.at(when, task, || fulfiller.fulfil());
    }

    fn promised(&self, resolver: Resolver) {
        let (id, _) = self.current();
        let (becomes, when) = resolution(&self.shared.sim, id);
        let (shared, on) = (self.shared.clone(), self.on.clone());
        let task = Name::numbered(on.owner(), "resolve", id.index());
        self.shared.at(when, task, move || match becomes {
            Resolution::Object => {
                let object = object(&shared, &on, task.with_kind("object"));
                resolver.resolve(Ok(&object));
            }
            Resolution::Argument => resolver.resolve_to_argument(),
            Resolution::Error => resolver.resolve(Err(Fault::Failed)),
        });
    }
}

/// A client of the C++ library.
pub struct Kj {
    /// The run's.
    pub shared: Rc<Shared>,
    /// Of its vat.
    pub on: EventLoop,
}

impl Caller for Kj {
    type Cap = Capability;

    fn object(&self, name: Name) -> Capability {
        object(&self.shared, &self.on, name)
    }

    fn call(&self, making: Making<'_, Capability>) -> Sent<Capability> {
        let (shared, name) = (self.shared.clone(), making.name);
        let Order::Kj(sequence) = &shared.order else {
            unreachable!("the client is the C++ library's");
        };
        let ticket = match sequence.make(making.reference) {
            // 2, 1, 4, 3 and so on.
            ticket @ 1.. if deed::has_bug(&shared.sim, "swaps") => ((ticket - 1) ^ 1) + 1,
            ticket => ticket,
        };
        let method = (making.numbered(ticket).to_interface(), making.method.0);
        let (sim, fails) = (&shared.sim, making.fails);
        if making.is_streaming() {
            let flow = waiting(sim, "flow of", name, making.on.call_streaming(name, method));
            let shared = shared.clone();
            let answer = async move {
                if let Err(failure) = flow.await {
                    shared.failed_in_kj(name, &failure, fails);
                }
                None
            };
            return Sent {
                pipelined: None,
                answer: answer.boxed_local(),
            };
        }
        let call = making.on.call(name, method, making.argument);
        let pipelined = making.pipelines().map(|name| call.pipelined(name));
        call.drop_pipeline();
        let shared = shared.clone();
        let answer = async move {
            // It is asked for where it is first waited for; a call that nobody waits for is held.
            let answer = waiting(&shared.sim, "return of", name, call.answer());
            match answer.await {
                Ok(capability) => capability,
                Err(failure) => {
                    shared.failed_in_kj(name, &failure, fails);
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
