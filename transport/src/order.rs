//! Do calls on one capability arrive in the order in which they were made?
//!
//! E-order, as `rpc.capnp` states it at `Disembargo`: two calls on the same capability reference
//! are delivered in the order in which they were made, also if the reference is a promise that
//! resolves in between. A reference is one client and its copies (`add_ref`). Nothing is promised
//! between two references, even if they lead to one object; a call may be lost, none may be
//! overtaken.
//!
//! Whoever makes a call takes a [`Ticket`] for it and sends it along, in a parameter or in an id;
//! the object that serves the call hands it in. In capnp-rpc a call on an object of the same vat
//! begins when its promise is first polled (`local::Client::call`, `local.rs`, 0.27.3), so that
//! two calls have an order only if they were made *and* first polled in it; a call that leaves
//! through a connection needs no poll.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use capnp::capability::Client;
use dismantle_sim::heap::uncounted;
use dismantle_sim::{EventKind, Name, Sim};

const MADE: EventKind = EventKind::new("call-made");
const ARRIVED: EventKind = EventKind::new("call-arrived");

/// The check that a call in the wrong place belongs to.
const PROPERTY: &str = "call-order";

/// Resolutions of a promise that are followed, lest one that resolves to itself never ends.
const RESOLVED_MAX: usize = 64;

/// Which call it is: a number that the call takes to the object that serves it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticket(u32);

impl Ticket {
    /// That of a call whose place in the order does not matter.
    pub const NONE: Self = Self(0);
    /// The greatest number: the calls behind it get [`Ticket::NONE`].
    pub const NUMBER_MAX: u32 = (1 << 20) - 1;

    /// The number to send along; 0 is [`Ticket::NONE`].
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The ticket of a number that was sent along.
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }
}

/// When something was done: from a tick of the order's own clock to another.
#[derive(Clone, Copy)]
struct Span {
    begin: u64,
    end: u64,
}

struct Made {
    reference: Name,
    /// Made it was while the span lasted, which is not a moment: what it carries may call too.
    made: Span,
    /// Its start, if it has begun.
    started: Option<Span>,
    /// It left through a connection.
    sent: bool,
    streaming: bool,
    arrived: bool,
}

/// A call that has arrived: whatever was made and started before these moments had to be first.
#[derive(Clone, Copy)]
struct Bound {
    made: u64,
    started: u64,
    ticket: Ticket,
}

#[derive(Default)]
struct State {
    clock: u64,
    calls: Vec<Made>,
}

/// The order of a run's calls. Clones are the same.
#[derive(Clone)]
pub struct CallOrder {
    sim: Sim,
    state: Rc<RefCell<State>>,
}

impl CallOrder {
    /// No calls yet.
    pub fn new(sim: &Sim) -> Self {
        Self {
            sim: sim.clone(),
            state: Rc::default(),
        }
    }

    /// Makes the next call on `reference`, which is `client`; `make` sends it with its ticket.
    ///
    /// `reference` has to name one client and its copies, for as long as the run lasts; its owner
    /// is the vat that it is held in.
    pub fn make<T>(
        &self,
        reference: Name,
        client: &Client,
        make: impl FnOnce(Ticket) -> T,
    ) -> (Ticket, T) {
        self.made(reference, client, false, make)
    }

    /// The same for a streaming call.
    pub fn stream<T>(
        &self,
        reference: Name,
        client: &Client,
        make: impl FnOnce(Ticket) -> T,
    ) -> (Ticket, T) {
        self.made(reference, client, true, make)
    }

    fn made<T>(
        &self,
        reference: Name,
        client: &Client,
        streaming: bool,
        make: impl FnOnce(Ticket) -> T,
    ) -> (Ticket, T) {
        let sent = leaves(client);
        let ticket = self.state.borrow_mut().begin(reference, sent, streaming);
        if ticket == Ticket::NONE {
            return (ticket, make(ticket));
        }
        self.sim
            .event(MADE, reference, [u64::from(ticket.0), u64::from(sent)]);
        let made = make(ticket);
        self.state.borrow_mut().end(ticket);
        (ticket, made)
    }

    /// The promise of a call, whose first poll starts it.
    pub fn follow<F: Future + Unpin>(&self, ticket: Ticket, promise: F) -> Followed<F> {
        Followed {
            order: self.clone(),
            ticket: Some(ticket),
            promise,
        }
    }

    /// Where the calls on one object arrive; its owner is the vat that serves it.
    pub fn arrivals(&self, object: Name) -> Arrivals {
        Arrivals {
            order: self.clone(),
            object,
            bounds: RefCell::default(),
        }
    }
}

/// The calls that have arrived at one object.
pub struct Arrivals {
    order: CallOrder,
    object: Name,
    /// By reference, those that no other one of them bounds as well.
    bounds: RefCell<BTreeMap<Name, Vec<Bound>>>,
}

impl Arrivals {
    /// The call with this ticket begins. A ticket that was never given out is somebody else's.
    pub fn arrive(&self, ticket: Ticket) {
        if ticket == Ticket::NONE {
            return;
        }
        let sim = &self.order.sim;
        sim.event(ARRIVED, self.object, [u64::from(ticket.number()), 0]);
        let pause = uncounted();
        let broken = self.note(ticket);
        drop(pause);
        if let Some((rule, reference, detail)) = broken {
            sim.breach(PROPERTY, rule, reference, detail);
        }
    }

    fn note(&self, ticket: Ticket) -> Option<Broken> {
        let (object, mut state) = (self.object, self.order.state.borrow_mut());
        if ticket.0 as usize > state.calls.len() {
            return None;
        }
        let call = state.call(ticket);
        let (reference, sent, streaming) = (call.reference, call.sent, call.streaming);
        if std::mem::replace(&mut call.arrived, true) {
            let detail = format!("call {} reaches {object} again", ticket.0);
            return Some(("a call arrives twice", reference, detail));
        }
        let (made, started) = (call.made, call.started?);
        let mut bounds = self.bounds.borrow_mut();
        let bounds = bounds.entry(reference).or_default();
        let late = bounds
            .iter()
            .find(|other| made.end < other.made && started.end < other.started);
        let broken = late.map(|other| {
            let home = reference.owner() == object.owner();
            let rule = match (home, sent) {
                _ if streaming && other.made < started.begin => {
                    "a streaming call is overtaken before its first poll"
                }
                (true, false) => "a call is overtaken within its vat",
                (true, true) => "a call is overtaken on its way home",
                (false, _) => "a call is overtaken between vats",
            };
            let detail = format!(
                "call {} reaches {object} behind call {}, which was made and started after it",
                ticket.0, other.ticket.0
            );
            (rule, reference, detail)
        });
        let bound = Bound {
            made: made.begin,
            started: started.begin,
            ticket,
        };
        if !bounds.iter().any(|other| bound.is_within(other)) {
            bounds.retain(|other| !other.is_within(&bound));
            bounds.push(bound);
        }
        broken
    }
}

impl Bound {
    /// Whether the other one bounds whatever this one does.
    fn is_within(&self, other: &Self) -> bool {
        self.made <= other.made && self.started <= other.started
    }
}

type Broken = (&'static str, Name, String);

impl State {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn begin(&mut self, reference: Name, sent: bool, streaming: bool) -> Ticket {
        if self.calls.len() >= Ticket::NUMBER_MAX as usize {
            return Ticket::NONE;
        }
        let begin = self.tick();
        let made = Span {
            begin,
            end: u64::MAX,
        };
        let pause = uncounted();
        self.calls.push(Made {
            reference,
            made,
            started: sent.then_some(made),
            sent,
            streaming,
            arrived: false,
        });
        drop(pause);
        Ticket(self.calls.len() as u32)
    }

    fn call(&mut self, ticket: Ticket) -> &mut Made {
        let place = ticket.0.checked_sub(1).expect("a ticket of a call");
        self.calls
            .get_mut(place as usize)
            .expect("a ticket that was given out")
    }

    fn end(&mut self, ticket: Ticket) {
        let end = self.tick();
        let call = self.call(ticket);
        call.made.end = end;
        if let Some(started) = &mut call.started {
            started.end = end;
        }
    }
}

/// Whether a call on `client` leaves through a connection as soon as it is made.
///
/// Upstream's local objects, broken capabilities and promises of no connection have the brand 0.
/// What such a promise has resolved to is not asked for: its calls count as started when they
/// are polled.
fn leaves(client: &Client) -> bool {
    if client.hook.get_brand() == 0 {
        return false;
    }
    let mut resolved = client.hook.get_resolved();
    for _ in 0..RESOLVED_MAX {
        match resolved {
            None => return true,
            Some(hook) if hook.get_brand() == 0 => return false,
            Some(hook) => resolved = hook.get_resolved(),
        }
    }
    false
}

/// A promise of a call whose first poll is noted.
pub struct Followed<F> {
    order: CallOrder,
    /// Until it was polled.
    ticket: Option<Ticket>,
    promise: F,
}

impl<F: Future + Unpin> Future for Followed<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let ticket = self.ticket.take().filter(|ticket| *ticket != Ticket::NONE);
        let Some(ticket) = ticket else {
            return Pin::new(&mut self.promise).poll(context);
        };
        let starts = {
            let mut state = self.order.state.borrow_mut();
            let begin = state.tick();
            let call = state.call(ticket);
            let starts = call.started.is_none();
            call.started.get_or_insert(Span {
                begin,
                end: u64::MAX,
            });
            starts
        };
        let polled = Pin::new(&mut self.promise).poll(context);
        if starts {
            let mut state = self.order.state.borrow_mut();
            let end = state.tick();
            if let Some(started) = &mut state.call(ticket).started {
                started.end = end;
            }
        }
        polled
    }
}
