//! Destructors and client hooks that act, as user code may: while upstream holds its tables.
//!
//! A destructor runs where the last reference goes, and a client hook of the program's own (a
//! membrane) is asked in the midst of whatever upstream does with capabilities. Upstream says
//! that it expects this (`ConnectionState::disconnect`, `rpc.rs`, 0.27.3: "their destructors
//! could come back and mess with the tables").

use std::cell::Cell;
use std::rc::{Rc, Weak};

use capnp::any_pointer;
use capnp::capability::{Client, Promise, Request};
use capnp::private::capability::{ClientHook, ParamsHook, ResultsHook};
use capnp::{Error, MessageSize};
use dismantle_sim::{Question, Sim, share};

use super::script::place;

/// What an acting destructor or hook does.
const ACTS: [&str; 9] = [
    "nothing",
    "call",
    "give",
    "disconnect",
    "poll-disconnect",
    "drop-bootstrap",
    "drop-kept",
    "drop-system",
    "panic",
];

/// Which look at a capability its hook acts upon.
const LOOKS: [&str; 7] = [
    "none", "add-ref", "resolved", "more", "pointer", "call", "drop",
];

/// The decisions of what an operation makes or passes; the star is its number.
pub static QUESTIONS: [Question; 3] = [
    Question::word(
        "op.*.on_drop",
        &ACTS,
        &[share(8, 0, 0), share(8, 1, 7), share(1, 8, 8)],
    )
    .about("what the destructors of the objects do that the operation makes"),
    Question::word("op.*.look", &LOOKS, &[share(9, 0, 0), share(6, 1, 6)])
        .about("the look that the hook of the capability passed acts upon, if it has one"),
    Question::word("op.*.on_look", &ACTS, &[share(1, 1, 7)]).about("what that look does"),
];

/// Asks whether something acts: in most seeds nothing does, so that it hides nothing else.
fn ask(sim: &Sim, question: &'static Question, operation: u32) -> usize {
    let answer = match sim.profile("acts", 3) {
        0 => sim.ask(question, &[operation.into()]),
        _ => sim.ask_drawn(question, &[operation.into()], &[]),
    };
    answer as usize
}

/// What code that acts can reach: the parts of its own side.
pub trait Reach {
    /// Does `act` in the name of the owner of `vat`; `operation` is whose object or hook acts.
    fn act(&self, vat: &'static str, operation: u32, act: &'static str);
}

/// The destructor of the object of this number, which `operation` made.
pub fn on_drop(
    sim: &Sim,
    reach: &Weak<dyn Reach>,
    vat: &'static str,
    (object, operation): (u32, u32),
) {
    // One that acts while a panic unwinds says more of the program than of upstream.
    if std::thread::panicking() {
        return;
    }
    let Some(reach) = reach.upgrade() else {
        return;
    };
    let act = ACTS[ask(sim, &QUESTIONS[0], operation)];
    if act != ACTS[0] {
        sim.script(place::DROP, || format!("{vat}/object/{object}"));
    }
    reach.act(vat, operation, act);
}

/// `client` behind a hook of the program's own, if the plan gives the operation one.
pub fn watched(
    sim: &Sim,
    reach: &Weak<dyn Reach>,
    vat: &'static str,
    operation: u32,
    client: Client,
) -> Client {
    let look = ask(sim, &QUESTIONS[1], operation);
    if look == 0 {
        return client;
    }
    sim.script(place::CANNOT, || format!("`op.{operation}.look`"));
    let act = sim.ask(&QUESTIONS[2], &[operation.into()]);
    let watch = Watch {
        reach: reach.clone(),
        vat,
        operation,
        look: LOOKS[look],
        act: ACTS[act as usize],
        done: Cell::new(false),
    };
    Client::new(Box::new(Watched {
        inner: client.hook,
        watch: Rc::new(watch),
    }))
}

/// What all references to one watched capability share; its address is the capability's.
struct Watch {
    reach: Weak<dyn Reach>,
    vat: &'static str,
    operation: u32,
    look: &'static str,
    act: &'static str,
    done: Cell<bool>,
}

/// A capability that is settled and passes everything on, and acts once.
struct Watched {
    inner: Box<dyn ClientHook>,
    watch: Rc<Watch>,
}

impl Watched {
    fn look(&self, look: &str) {
        let watch = &*self.watch;
        if watch.look != look || std::thread::panicking() || watch.done.replace(true) {
            return;
        }
        if let Some(reach) = watch.reach.upgrade() {
            reach.act(watch.vat, watch.operation, watch.act);
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.look("drop");
    }
}

impl ClientHook for Watched {
    fn add_ref(&self) -> Box<dyn ClientHook> {
        self.look("add-ref");
        Box::new(Self {
            inner: self.inner.add_ref(),
            watch: self.watch.clone(),
        })
    }

    fn new_call(
        &self,
        interface_id: u64,
        method_id: u16,
        size_hint: Option<MessageSize>,
    ) -> Request<any_pointer::Owned, any_pointer::Owned> {
        self.look("call");
        self.inner.new_call(interface_id, method_id, size_hint)
    }

    fn call(
        &self,
        interface_id: u64,
        method_id: u16,
        params: Box<dyn ParamsHook>,
        results: Box<dyn ResultsHook>,
    ) -> Promise<(), Error> {
        self.look("call");
        self.inner.call(interface_id, method_id, params, results)
    }

    fn get_brand(&self) -> usize {
        0
    }

    fn get_ptr(&self) -> usize {
        self.look("pointer");
        Rc::as_ptr(&self.watch) as usize
    }

    fn get_resolved(&self) -> Option<Box<dyn ClientHook>> {
        self.look("resolved");
        None
    }

    fn when_more_resolved(&self) -> Option<Promise<Box<dyn ClientHook>, Error>> {
        self.look("more");
        None
    }

    fn when_resolved(&self) -> Promise<(), Error> {
        Promise::ok(())
    }
}
