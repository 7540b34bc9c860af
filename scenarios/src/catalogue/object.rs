//! The object that the built-in scenarios serve: every way in which a method can treat the
//! capability that it is given.
//!
//! Payloads are untyped, so that one source serves every release of capnp-rpc: a call's method
//! is its method id, the operation that made it and its place in the order of calls its interface
//! id, its one argument the root pointer.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::{Rc, Weak};

use capnp::capability::{Client, Promise, RemotePromise, Response};
use capnp::{Error, ErrorKind, any_pointer};
use dismantle_sim::{Name, Question, Sim, Tracked, share};
use dismantle_transport::compat::{self, AnyParams, AnyResults, Serve, Untyped};
use dismantle_transport::{Arrivals, Behaviour, CallOrder, Ticket, behave, exception};
use futures::channel::oneshot;

use super::act::{self, Reach};
use super::script::{self, Ids, Method, place};

/// What a method does with its argument.
pub const METHODS: [&str; 11] = [
    "echo", "keep", "kept", "new", "own", "slow", "promise", "early", "callback", "relay", "sink",
];

/// What becomes of a promise capability.
const RESOLUTIONS: [&str; 4] = ["object", "argument", "error", "never"];

/// What the server does to the call itself.
const OUTCOMES: [&str; 7] = [
    "answers",
    "failed",
    "overloaded",
    "disconnected",
    "unimplemented",
    "never",
    "late",
];

/// Decisions about one call, by its operation; asked where the call is served.
pub static QUESTIONS: [Question; 4] = [
    Question::word(
        "op.*.outcome",
        &OUTCOMES,
        &[
            share(10, 0, 0),
            share(3, 1, 4),
            share(2, 5, 5),
            share(2, 6, 6),
        ],
    )
    .about("what the server does to the call"),
    Question::word("op.*.outcome_when", &["before", "after"], &[share(1, 0, 1)])
        .about("whether it does so before or after the method's own work"),
    Question::word(
        "op.*.resolution",
        &RESOLUTIONS,
        &[share(3, 0, 0), share(2, 1, 1), share(1, 2, 3)],
    )
    .about("what the promise capability becomes"),
    Question::count(
        "op.*.late_us",
        (0, 60_000_000),
        1000,
        &[share(1, 0, 0), share(3, 1, 5000)],
    )
    .about("how late the answer or the resolution is, in virtual time"),
];

/// Which call of a run it is: what its decisions and its objects are filed under.
#[derive(Clone, Copy)]
pub struct Call {
    /// The operation, from 1.
    pub operation: u32,
    /// Which of its repetitions, from 0.
    pub repetition: u32,
    /// Its place in the order of calls.
    pub ticket: Ticket,
}

/// Repetitions are numbered behind operations, so that a name tells both: `client/call/3` is
/// operation 3, `client/call/67` its first repetition.
const OPERATIONS_STRIDE: u32 = 64;

/// An interface id has 64 bits: from the top, 20 of a ticket, 20 of a repetition and 24 of an
/// operation, of all of which there are at most a million.
const REPETITION_SHIFT: u32 = 24;
const TICKET_SHIFT: u32 = 44;

impl Call {
    /// A call whose place in the order does not matter.
    pub const fn new(operation: u32, repetition: u32) -> Self {
        Self {
            operation,
            repetition,
            ticket: Ticket::NONE,
        }
    }

    /// One number for operation and repetition.
    pub fn index(self) -> u32 {
        // A peer may have made both up.
        let stride = self.repetition.wrapping_mul(OPERATIONS_STRIDE);
        self.operation.wrapping_add(stride)
    }

    /// The interface id under which it is made.
    pub fn interface_id(self) -> u64 {
        u64::from(self.ticket.number()) << TICKET_SHIFT
            | u64::from(self.repetition) << REPETITION_SHIFT
            | u64::from(self.operation)
    }

    /// The call that an interface id stands for.
    pub fn from_interface_id(id: u64) -> Self {
        let bits = |from: u32, to: u32| (id >> from & ((1 << (to - from)) - 1)) as u32;
        Self {
            operation: bits(0, REPETITION_SHIFT),
            repetition: bits(REPETITION_SHIFT, TICKET_SHIFT),
            ticket: Ticket::from_number(bits(TICKET_SHIFT, 64)),
        }
    }
}

/// What an object consists of, destroyed inside the object's own destruction.
struct State {
    objects: Objects,
    vat: &'static str,
    number: u32,
    /// The operation that made it, if its destructor may act.
    acts: Option<u32>,
    kept: RefCell<Option<Client>>,
    arrivals: Arrivals,
}

impl Drop for State {
    fn drop(&mut self) {
        if let (Some(operation), Some(reach)) = (self.acts, self.objects.reach.get()) {
            let object = (self.number, operation);
            act::on_drop(&self.objects.sim, reach, self.vat, object);
        }
    }
}

/// A server object of one vat.
struct Object(Tracked<State>);

/// A call under way, until it is dropped.
struct Serving(Rc<Cell<u32>>);

impl Serving {
    fn begin(calls: &Rc<Cell<u32>>) -> Self {
        calls.set(calls.get() + 1);
        Self(calls.clone())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Makes the server objects of a run, and knows those that are alive.
#[derive(Clone)]
pub struct Objects {
    sim: Sim,
    order: CallOrder,
    made: Rc<RefCell<Vec<Weak<Object>>>>,
    /// What their destructors reach, where they act.
    reach: Rc<OnceCell<Weak<dyn Reach>>>,
    /// Calls under way.
    serving: Rc<Cell<u32>>,
    /// What keeps waiting those that never answer.
    unanswered: Rc<RefCell<Vec<oneshot::Sender<()>>>>,
    /// What their methods are called in a program.
    ids: Ids,
}

impl Objects {
    /// None yet.
    pub fn new(sim: &Sim) -> Self {
        Self {
            sim: sim.clone(),
            order: CallOrder::new(sim),
            made: Rc::default(),
            reach: Rc::default(),
            serving: Rc::default(),
            unanswered: Rc::default(),
            ids: Ids::default(),
        }
    }

    /// The order of the calls on all of them.
    pub fn order(&self) -> &CallOrder {
        &self.order
    }

    /// The ids of their methods in a program.
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    /// From here on destructors act: the plan says which, `reach` what they can get at.
    pub fn act(&self, reach: Weak<dyn Reach>) {
        let told = self.reach.set(reach);
        assert!(told.is_ok(), "a run says once what destructors reach");
    }

    /// A capability to a new object, `vat/object/N`, made by an operation.
    pub fn make(&self, vat: &'static str, number: u32) -> Client {
        self.make_with(vat, number, Some(number % OPERATIONS_STRIDE))
    }

    /// The same whose destructor does nothing of its own.
    pub fn make_plain(&self, vat: &'static str, number: u32) -> Client {
        self.make_with(vat, number, None)
    }

    fn make_with(&self, vat: &'static str, number: u32, acts: Option<u32>) -> Client {
        let name = Name::numbered(vat, "object", number);
        let state = State {
            objects: self.clone(),
            vat,
            number,
            acts,
            kept: RefCell::new(None),
            arrivals: self.order.arrivals(name),
        };
        let object = Rc::new(Object(self.sim.track(name, state)));
        self.made.borrow_mut().push(Rc::downgrade(&object));
        compat::client(object)
    }

    /// Makes every object drop what it keeps, and those that never answer give up.
    ///
    /// An object may keep itself, or what keeps it: a cycle of the program's own making, which
    /// is no leak of upstream's. A call may have stayed within its vat, where no connection ends
    /// it: that it is never answered is no hang of upstream's. An owner that wants both gone
    /// says so. What upstream has lost hears nothing of it, because nobody polls it any more.
    ///
    /// Whether there was anything to forget.
    pub fn forget(&self) -> bool {
        let kept = self.drop_kept(None);
        let unanswered = self.unanswered.take();
        kept | unanswered.iter().any(|sender| !sender.is_canceled())
    }

    /// Whether a call is being served: one may wait for itself, through what it was given.
    pub fn is_serving(&self) -> bool {
        self.serving.get() > 0
    }

    /// Makes every object, or those of one vat, drop what it keeps; whether one kept anything.
    pub fn drop_kept(&self, vat: Option<&str>) -> bool {
        let made = self.made.borrow().clone();
        let mut any = false;
        for object in made.iter().filter_map(Weak::upgrade) {
            if vat.is_none_or(|vat| vat == object.0.vat) {
                let kept = object.0.kept.take();
                any |= kept.is_some();
                drop(kept);
            }
        }
        any
    }

    /// Waits for [`Objects::forget`].
    async fn never(&self) -> Error {
        let (sender, receiver) = oneshot::channel();
        self.unanswered.borrow_mut().push(sender);
        // Nothing is ever sent: the sender is dropped.
        receiver.await.err();
        exception(ErrorKind::Failed)
    }

    /// A promise capability that becomes what the plan says for the operation.
    fn promise(&self, vat: &'static str, call: Call, argument: Option<Client>) -> Client {
        let objects = self.clone();
        let resolution = self.sim.ask(&QUESTIONS[2], &[call.operation.into()]);
        let resolution = RESOLUTIONS[resolution as usize];
        compat::future_client(async move {
            objects.late(call).await;
            objects.resolve(vat, call, resolution, argument).await
        })
    }

    /// Sleeps for as long as the plan has the operation be late.
    async fn late(&self, call: Call) {
        let late_us = self.sim.ask(&QUESTIONS[3], &[call.operation.into()]);
        self.sim.sleep_us(late_us).await;
    }

    async fn resolve(
        &self,
        vat: &'static str,
        call: Call,
        resolution: &str,
        argument: Option<Client>,
    ) -> Result<Client, Error> {
        match (resolution, argument) {
            ("argument", Some(argument)) => Ok(argument),
            ("object" | "argument", _) => Ok(self.make(vat, call.index())),
            ("error", _) => Err(exception(ErrorKind::Failed)),
            _ => Err(self.never().await),
        }
    }
}

/// Another reference to the same capability.
pub fn same(client: &Client) -> Client {
    Client::new(client.hook.add_ref())
}

/// Calls `method` of `target` and passes `argument`; returns what upstream returns.
pub fn call(
    target: &Client,
    call: Call,
    method: &str,
    argument: Option<&Client>,
) -> RemotePromise<any_pointer::Owned> {
    compat::send(target, call.interface_id(), method_id(method), |params| {
        set(params, argument);
        Ok(())
    })
}

/// Calls as the next call on `reference`, by which name `target` is known to `order`.
pub fn call_in_order(
    order: &CallOrder,
    reference: Name,
    target: &Client,
    id: Call,
    method: &str,
    argument: Option<&Client>,
) -> RemotePromise<any_pointer::Owned> {
    let (ticket, sent) = order.make(reference, target, |ticket| {
        call(target, Call { ticket, ..id }, method, argument)
    });
    RemotePromise {
        promise: Promise::from_future(order.follow(ticket, sent.promise)),
        pipeline: sent.pipeline,
    }
}

/// The same as a streaming call: its promise is for the flow, not for an answer.
pub fn stream_in_order(
    order: &CallOrder,
    reference: Name,
    target: &Client,
    id: Call,
    argument: Option<&Client>,
) -> Promise<(), Error> {
    let (ticket, promise) = order.stream(reference, target, |ticket| {
        let id = Call { ticket, ..id }.interface_id();
        compat::send_streaming(target, id, method_id("sink"), |params| {
            set(params, argument);
            Ok(())
        })
    });
    Promise::from_future(order.follow(ticket, promise))
}

/// The capability in a response, if there is one.
pub fn capability(response: &Response<any_pointer::Owned>) -> Option<Client> {
    let untyped: Untyped = response.get().ok()?.get_as_capability().ok()?;
    Some(untyped.0)
}

fn set(mut pointer: any_pointer::Builder<'_>, capability: Option<&Client>) {
    if let Some(capability) = capability {
        pointer.set_as_capability(capability.hook.add_ref());
    }
}

/// The id of a method of the object.
pub fn method_id(method: &str) -> u16 {
    let place = METHODS.iter().position(|known| *known == method);
    place.expect("a method of the object") as u16
}

impl Serve for Object {
    fn call(
        self: Rc<Self>,
        interface_id: u64,
        method_id: u16,
        params: AnyParams,
        results: AnyResults,
    ) -> Promise<(), Error> {
        let sim = self.0.objects.sim.clone();
        let call = Call::from_interface_id(interface_id);
        self.0.arrivals.arrive(call.ticket);
        // What it calls itself, it calls on other references.
        let call = Call::new(call.operation, call.repetition);
        let part = [call.operation.into()];
        let after_work = sim.ask(&QUESTIONS[1], &part) == 1;
        let outcome = OUTCOMES[sim.ask(&QUESTIONS[0], &part) as usize];
        if sim.is_scripted() {
            self.script(call, method_id, &params, (outcome, after_work));
        }
        let behaviour = Behaviour::from_word(outcome, || sim.ask(&QUESTIONS[3], &part));
        if behaviour == Behaviour::Never {
            return Promise::from_future(async move {
                if after_work {
                    self.clone().serve(call, method_id, params, results).await?;
                    return Err(self.0.objects.never().await);
                }
                let error = self.0.objects.never().await;
                drop((params, results));
                Err(error)
            });
        }
        let work = move || Promise::from_future(self.serve(call, method_id, params, results));
        behave(&sim, behaviour, after_work, Box::new(work))
    }

    fn is_streaming(&self, _interface_id: u64, method_id: u16) -> bool {
        METHODS.get(usize::from(method_id)) == Some(&"sink")
    }
}

impl Object {
    /// Says how a program would serve this call.
    fn script(&self, call: Call, method_id: u16, params: &AnyParams, outcome: (&str, bool)) {
        let State { objects, vat, .. } = &*self.0;
        let (sim, part) = (&objects.sim, [call.operation.into()]);
        let id = objects.ids.of(call.operation, method_id);
        let late_us = || sim.ask(&QUESTIONS[3], &part);
        script::outcome(sim, id, outcome.0, outcome.1, late_us);
        if self.is_streaming(0, method_id) {
            sim.script(place::STREAM, || id.to_string());
        }
        let name = METHODS.get(usize::from(method_id)).copied().unwrap_or("");
        if !outcome.1 && !["answers", "late"].contains(&outcome.0) {
            return;
        }
        let pointer = params.get();
        let given = pointer.and_then(|it| it.get_as_capability::<Untyped>());
        let argument = given.is_ok();
        drop(given);
        let is_late = ["slow", "promise", "early"].contains(&name);
        let resolution = match name {
            "promise" => RESOLUTIONS[sim.ask(&QUESTIONS[2], &part) as usize],
            _ => "",
        };
        let method = Method {
            name,
            call,
            id,
            vat,
            argument,
            resolution,
            late_us: if is_late { late_us() } else { 0 },
        };
        script::method(sim, &objects.ids, &method);
    }

    async fn serve(
        self: Rc<Self>,
        call: Call,
        method_id: u16,
        params: AnyParams,
        mut results: AnyResults,
    ) -> Result<(), Error> {
        let State {
            objects, vat, kept, ..
        } = &*self.0;
        let serving = Serving::begin(&objects.serving);
        let argument = params.get()?.get_as_capability::<Untyped>().ok();
        let argument = argument.map(|untyped| untyped.0);
        match METHODS.get(usize::from(method_id)).copied() {
            Some("echo") => set(results.get(), argument.as_ref()),
            Some("keep") => {
                let before = kept.replace(argument);
                drop(before);
            }
            Some("kept") => {
                let cap = kept.borrow().as_ref().map(same);
                set(results.get(), cap.as_ref());
            }
            Some("new") => set(results.get(), Some(&objects.make(vat, call.index()))),
            Some("own") => set(results.get(), Some(&compat::client(self.clone()))),
            Some("slow") => {
                objects.late(call).await;
                set(results.get(), Some(&compat::client(self.clone())));
            }
            Some("promise") => set(results.get(), Some(&objects.promise(vat, call, argument))),
            Some("early") => {
                set(results.get(), Some(&objects.make(vat, call.index())));
                compat::set_pipeline(&mut results)?;
                objects.late(call).await;
            }
            Some("callback") => {
                if let Some(argument) = argument {
                    self::call(&argument, call, "echo", None).promise.await?;
                }
            }
            Some("relay") => {
                let target = kept.borrow().as_ref().map(same).or(argument);
                if let Some(target) = target {
                    let response = self::call(&target, call, "new", None).promise.await?;
                    set(results.get(), capability(&response).as_ref());
                }
            }
            Some("sink") => {}
            _ => return Err(Error::unimplemented("no such method".to_owned())),
        }
        drop(serving);
        Ok(())
    }
}
