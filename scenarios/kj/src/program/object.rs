//! The object that both vats of a program serve: every way in which a method can treat the
//! capability that it is given.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use dismantle_sim::{Name, Question, Sim, Tracked, share};

use super::SERVED;
use crate::bridge::{
    Capability, EventLoop, Fault, Fulfiller, Given, Reply, Resolver, Result, Served, When,
};

/// What a method does with its argument.
pub const METHODS: [&str; 8] = [
    "echo", "keep", "new", "own", "promise", "callback", "relay", "sink",
];

/// What becomes of a promise capability.
const RESOLUTIONS: [&str; 5] = ["object", "argument", "error", "promise", "never"];

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
pub static QUESTIONS: [Question; 5] = [
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
    Question::word("op.*.fails", &["promise", "method"], &[share(1, 0, 1)])
        .about("whether the exception comes through the method's promise, or leaves the method"),
    Question::word("op.*.cancellable", &["no", "yes"], &[share(1, 0, 1)])
        .about("whether a caller that goes away ends the method"),
    Question::word(
        "op.*.resolution",
        &RESOLUTIONS,
        &[share(3, 0, 0), share(2, 1, 1), share(1, 2, 4)],
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

/// Repetitions are numbered behind operations, so that a name tells both: `client/call/3` is
/// operation 3, `client/call/67` its first repetition.
const OPERATIONS_STRIDE: u32 = 64;

/// Where an interface id has the repetition; below it is the operation.
const REPETITION_SHIFT: u32 = 24;

/// Which call of a run it is: what its decisions and its objects are filed under.
#[derive(Clone, Copy, Default)]
pub struct Call {
    /// The operation, from 1.
    pub operation: u32,
    /// Which of its repetitions, from 0.
    pub repetition: u32,
}

impl Call {
    /// One number for operation and repetition.
    pub fn index(self) -> u32 {
        self.operation + self.repetition * OPERATIONS_STRIDE
    }

    /// The interface id under which it is made.
    pub fn interface_id(self) -> u64 {
        u64::from(self.repetition) << REPETITION_SHIFT | u64::from(self.operation)
    }

    fn from_interface_id(id: u64) -> Self {
        let operation = id & ((1 << REPETITION_SHIFT) - 1);
        Self {
            operation: operation as u32,
            repetition: (id >> REPETITION_SHIFT) as u32,
        }
    }
}

/// Makes the server objects of a run, and knows what goes on in them.
#[derive(Clone)]
pub struct Objects {
    sim: Sim,
    made: Rc<RefCell<Vec<Weak<State>>>>,
    /// Calls and promises that never end.
    never: Rc<RefCell<Vec<Fulfiller>>>,
    unresolved: Rc<RefCell<Vec<Resolver>>>,
}

/// What an object consists of.
struct State {
    objects: Objects,
    on: EventLoop,
    number: u32,
    /// The call that is being answered, and its method.
    answers: Cell<(Call, &'static str)>,
    kept: RefCell<Option<Capability>>,
    /// The argument of a call whose promise may become it.
    given: RefCell<Option<Capability>>,
}

struct Object(Tracked<Rc<State>>);

impl Objects {
    /// None yet.
    pub fn new(sim: &Sim) -> Self {
        Self {
            sim: sim.clone(),
            made: Rc::default(),
            never: Rc::default(),
            unresolved: Rc::default(),
        }
    }

    /// A capability to a new object on this loop, `vat/object/N`.
    pub fn make(&self, on: &EventLoop, name: Name, number: u32) -> Capability {
        Capability::object(on, name, self.served(on, number))
    }

    fn served(&self, on: &EventLoop, number: u32) -> Object {
        let state = Rc::new(State {
            objects: self.clone(),
            on: on.clone(),
            number,
            answers: Cell::new((Call::default(), METHODS[0])),
            kept: RefCell::new(None),
            given: RefCell::new(None),
        });
        self.made.borrow_mut().push(Rc::downgrade(&state));
        let name = Name::numbered(on.owner(), "object", number);
        Object(self.sim.track(name, state))
    }

    /// Has every object drop what it keeps, and what never ends given up.
    ///
    /// An object may keep what keeps it, and a call may wait for itself: that is the program's own
    /// doing, and no leak or hang of the library's. Whether there was anything to forget.
    pub fn forget(&self) -> bool {
        let made = self.made.borrow().clone();
        let kept = made.iter().filter_map(Weak::upgrade);
        let kept: Vec<_> = kept.map(|state| state.kept.take()).collect();
        let never = self.never.take();
        let unresolved = self.unresolved.take();
        let any = kept.iter().any(Option::is_some) || !never.is_empty() || !unresolved.is_empty();
        drop((kept, never, unresolved));
        any
    }
}

impl State {
    fn named(&self, kind: &'static str) -> Name {
        let index = self.answers.get().0.index();
        Name::numbered(self.on.owner(), kind, index)
    }
}

impl Served for Object {
    fn call(&self, interface_id: u64, method_id: u16, has_argument: bool) -> Reply {
        let state = &self.0;
        let objects = &state.objects;
        let call = Call::from_interface_id(interface_id);
        let method = METHODS[usize::from(method_id)];
        state.answers.set((call, method));
        let name = Name::numbered(state.on.owner(), "object", state.number);
        let numbers = [u64::from(method_id), call.index().into()];
        objects.sim.event(SERVED, name, numbers);
        let outcome = objects.ask(0, call) as usize;
        let fails = outcome.checked_sub(1);
        let fails = fails.and_then(|place| Fault::ALL.get(place).copied());
        let promises = method == "promise" && fails.is_none();
        let when = match OUTCOMES[outcome] {
            // The promise that it returns is, then.
            _ if promises => When::Now,
            "never" | "late" => When::Late,
            _ => When::Now,
        };
        let result = match method {
            "echo" => Result::Argument,
            "new" => Result::Object(Box::new(objects.served(&state.on, call.index()))),
            "own" => Result::Own,
            "promise" => Result::Promise,
            "callback" => Result::Callback,
            "relay" => Result::Relay,
            _ => Result::Empty,
        };
        Reply {
            when,
            result,
            fails,
            throws: fails.is_some() && objects.ask(1, call) == 1,
            keeps: has_argument && (method == "keep" || promises),
            streams: method == "sink",
            cancellable: objects.ask(2, call) == 1,
        }
    }

    fn keep(&self, given: Given) {
        let state = &self.0;
        let kept = Some(given.named(state.named("kept")));
        match state.answers.get().1 {
            "keep" => drop(state.kept.replace(kept)),
            _ => drop(state.given.replace(kept)),
        }
    }

    fn late(&self, fulfiller: Fulfiller) {
        let state = &self.0;
        let (objects, call) = (state.objects.clone(), state.answers.get().0);
        if OUTCOMES[objects.ask(0, call) as usize] == "never" {
            objects.never.borrow_mut().push(fulfiller);
            return;
        }
        let sim = objects.sim.clone();
        sim.spawn(state.named("late"), async move {
            objects.late(call).await;
            fulfiller.fulfil();
        });
    }

    fn promised(&self, resolver: Resolver) {
        let state = &self.0;
        let (objects, call) = (state.objects.clone(), state.answers.get().0);
        let argument = state.given.take();
        let resolution = RESOLUTIONS[objects.ask(3, call) as usize];
        if resolution == "never" || OUTCOMES[objects.ask(0, call) as usize] == "never" {
            objects.unresolved.borrow_mut().push(resolver);
            return;
        }
        let (on, sim) = (state.on.clone(), objects.sim.clone());
        sim.spawn(state.named("resolution"), async move {
            objects.late(call).await;
            objects
                .resolve(&on, call, resolver, (resolution, argument))
                .await;
        });
    }
}

impl Objects {
    fn ask(&self, index: usize, call: Call) -> u64 {
        self.sim.ask(&QUESTIONS[index], &[call.operation.into()])
    }

    /// Sleeps for as long as the plan has the operation be late.
    async fn late(&self, call: Call) {
        self.sim.sleep_us(self.ask(4, call)).await;
    }

    async fn resolve(
        &self,
        on: &EventLoop,
        call: Call,
        resolver: Resolver,
        (resolution, argument): (&str, Option<Capability>),
    ) {
        let named = |kind| Name::numbered(on.owner(), kind, call.index());
        let object = || self.make(on, named("result"), call.index());
        match (resolution, argument) {
            ("argument", Some(argument)) => resolver.resolve(Ok(&argument)),
            ("error", _) => resolver.resolve(Err(Fault::Failed)),
            ("promise", _) => {
                let (promise, becomes) = Capability::promise(on, named("promise"));
                resolver.resolve(Ok(&promise));
                drop(promise);
                self.late(call).await;
                becomes.resolve(Ok(&object()));
            }
            _ => resolver.resolve(Ok(&object())),
        }
    }
}
