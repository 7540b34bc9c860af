//! What both parties of a run share: what is not answered, the order of calls, the judge.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use capnp::Error;
use dismantle_sim::{Name, Sim};
use dismantle_transport::compat;
use dismantle_transport::{Arrivals, CallOrder, Errors, Ticket, injected_kind};

use super::deed::When;
use crate::bridge::{Failure, Fault};

/// One a run.
pub struct Shared {
    /// The run.
    pub sim: Sim,
    /// The order of the client's calls.
    pub order: Order,
    /// Of what calls fail with in the Rust library.
    pub errors: Errors,
    cancelled: Cell<bool>,
    keeps_for_good: Cell<bool>,
    unanswered: RefCell<Vec<Box<dyn FnOnce()>>>,
}

impl Shared {
    /// Nothing has happened.
    pub fn new(sim: &Sim, order: Order) -> Rc<Self> {
        Rc::new(Self {
            sim: sim.clone(),
            order,
            errors: Errors::new(sim),
            cancelled: Cell::new(false),
            keeps_for_good: Cell::new(false),
            unanswered: RefCell::default(),
        })
    }

    /// Has `end` called when it is time.
    pub fn at(&self, when: When, task: Name, end: impl FnOnce() + 'static) {
        match when {
            When::Now => end(),
            When::Never => self.unanswered.borrow_mut().push(Box::new(end)),
            When::Late(late_us) => {
                let sleep = self.sim.sleep_us(late_us);
                self.sim.spawn(task, async move {
                    sleep.await;
                    end();
                });
            }
        }
    }

    /// An object keeps what it was given for as long as it lives.
    pub fn keep_for_good(&self) {
        self.keeps_for_good.set(true);
    }

    /// Whether one does.
    pub fn is_something_kept(&self) -> bool {
        self.keeps_for_good.get()
    }

    /// Has what was never to be answered be answered. Whether there was anything.
    pub fn forget(&self) -> bool {
        let unanswered = self.unanswered.take();
        let any = !unanswered.is_empty();
        unanswered.into_iter().for_each(|end| end());
        any
    }

    /// Somebody has cancelled a call: what hung on it may fail as it likes.
    pub fn cancelled(&self) {
        self.cancelled.set(true);
        self.errors.cancelled();
    }

    /// A call has failed in the Rust library; `fails` is whether it has to, of what it is called on
    /// or passes.
    pub fn failed(&self, call: Name, error: &Error, fails: bool) {
        self.errors.failed(call, error);
        let text = compat::text(error);
        if injected_kind(text).is_none() && !fails {
            self.not_injected(call, &format!("{:?}", error.kind), text);
        }
    }

    /// The same in the C++ library.
    pub fn failed_in_kj(&self, call: Name, failure: &Failure, fails: bool) {
        let Failure { fault, text } = failure;
        let is = format!("{fault:?}");
        match injected_kind(text) {
            None if fails => {}
            None => self.not_injected(call, &is, text),
            Some(was) if was == is => {}
            Some(_) => {
                let rule = "an exception changes its type on the way to the C++ library";
                self.wrong(call, rule.to_owned(), format!("{is}: {text}"));
            }
        }
    }

    /// No exception that a server threw: the connection is gone, then, or one of its pipes fails.
    fn not_injected(&self, call: Name, is: &str, text: &str) {
        let of_pipe = text.contains("injected ") || text.contains("input or output failed");
        let right = is == "Disconnected" || of_pipe || self.cancelled.get();
        if !right {
            let mut said = text.lines().next().unwrap_or_default();
            while let Some(rest) = said.strip_prefix("remote exception: ") {
                said = rest;
            }
            let plain: String = said.chars().filter(|c| !c.is_ascii_digit()).collect();
            let rule = format!("a call that nobody cancelled fails as {is}: {plain}");
            self.wrong(call, rule, format!("{is}: {text}"));
        }
    }

    fn wrong(&self, call: Name, rule: String, detail: String) {
        self.sim.breach("wrong-error", rule, call, detail);
    }
}

/// The `ErrorKind` of a fault.
pub fn error_kind(fault: Fault) -> capnp::ErrorKind {
    match fault {
        Fault::Failed => capnp::ErrorKind::Failed,
        Fault::Overloaded => capnp::ErrorKind::Overloaded,
        Fault::Disconnected => capnp::ErrorKind::Disconnected,
        Fault::Unimplemented => capnp::ErrorKind::Unimplemented,
    }
}

/// The order in which the client's calls have to arrive, whichever library it is of.
pub enum Order {
    /// The Rust library's, in which some calls start only when they are polled.
    Rust(CallOrder),
    /// The C++ library's.
    Kj(Sequence),
}

/// The calls of a C++ client: those on one capability arrive in the order in which they were made.
pub struct Sequence {
    sim: Sim,
    /// On which reference each was made.
    made: Rc<RefCell<Vec<Name>>>,
}

impl Sequence {
    /// None yet.
    pub fn new(sim: &Sim) -> Self {
        Self {
            sim: sim.clone(),
            made: Rc::default(),
        }
    }

    /// The number of the next call, on `reference`.
    pub fn make(&self, reference: Name) -> u32 {
        let mut made = self.made.borrow_mut();
        if made.len() >= Ticket::NUMBER_MAX as usize {
            return 0;
        }
        made.push(reference);
        made.len() as u32
    }
}

impl Order {
    /// Where the calls on one object arrive.
    pub fn arrivals(&self, object: Name) -> Arrived {
        match self {
            Self::Rust(order) => Arrived::Rust(order.arrivals(object)),
            Self::Kj(sequence) => Arrived::Kj {
                sim: sequence.sim.clone(),
                made: sequence.made.clone(),
                object,
                last: RefCell::default(),
            },
        }
    }
}

/// The calls that have arrived at one object.
pub enum Arrived {
    /// Of a Rust client.
    Rust(Arrivals),
    /// Of a C++ client.
    Kj {
        /// The run.
        sim: Sim,
        /// On which reference each call was made.
        made: Rc<RefCell<Vec<Name>>>,
        /// Where they arrive.
        object: Name,
        /// The last of each reference.
        last: RefCell<BTreeMap<Name, u32>>,
    },
}

impl Arrived {
    /// The call with this ticket begins; 0 is none.
    pub fn arrive(&self, ticket: u32) {
        let (sim, made, object, last) = match self {
            Self::Rust(arrivals) => return arrivals.arrive(Ticket::from_number(ticket)),
            Self::Kj {
                sim,
                made,
                object,
                last,
            } => (sim, made, object, last),
        };
        let Some(place) = ticket.checked_sub(1) else {
            return;
        };
        let Some(reference) = made.borrow().get(place as usize).copied() else {
            return;
        };
        let before = last.borrow_mut().insert(reference, ticket).unwrap_or(0);
        if before >= ticket {
            let rule = "a call of a C++ client is overtaken";
            let detail = format!("call {ticket} reaches {object} behind call {before}");
            sim.breach("call-order", rule, reference, detail);
        }
    }
}
