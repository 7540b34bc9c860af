//! Messages as tracked objects: built, queued, sent or dropped unsent, received, freed.
//!
//! capnp-rpc drops the promise of almost every send at once (`let _ = message.send()`), so the
//! fate of a queued message is learnt from the promise itself, kept here and polled once, by a
//! waker of our own, when upstream's write queue lets go of the message.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use capnp::Error;
use capnp::any_pointer;
use capnp::capability::Promise;
use capnp::message::{Builder, HeapAllocator};
use capnp_rpc::{IncomingMessage, OutgoingMessage};
use dismantle_sim::{EventKind, Name, Sim, Tracked};
use slab::Slab;

const QUEUED: EventKind = EventKind::new("queued");
const SENT: EventKind = EventKind::new("sent");
const UNSENT: EventKind = EventKind::new("dropped-unsent");
const RECEIVED: EventKind = EventKind::new("received");

/// A message in a vat's send queue, until the queue lets go of it.
struct Queued {
    fate: Promise<(), Error>,
    message: Tracked<()>,
    sim: Sim,
}

thread_local! {
    /// The queued messages of the run on this thread. Wakers cannot hold them: they must be
    /// `Send`, and a run is not.
    static QUEUE: RefCell<Slab<Queued>> = const { RefCell::new(Slab::new()) };
}

struct Released(usize);

impl Wake for Released {
    fn wake(self: Arc<Self>) {
        let queued = QUEUE.with_borrow_mut(|queue| queue.try_remove(self.0));
        let Some(mut queued) = queued else {
            return;
        };
        let mut context = Context::from_waker(Waker::noop());
        let sent = match std::pin::Pin::new(&mut queued.fate).poll(&mut context) {
            Poll::Ready(result) => result.is_ok(),
            Poll::Pending => unreachable!("woken because its fate is known"),
        };
        let event = if sent { SENT } else { UNSENT };
        queued.sim.event(event, queued.message.name(), [0, 0]);
    }
}

fn watch(queued: Queued) {
    let key = QUEUE.with_borrow_mut(|queue| queue.insert(queued));
    let released = Arc::new(Released(key));
    let waker = Waker::from(released.clone());
    let known = QUEUE.with_borrow_mut(|queue| {
        let mut context = Context::from_waker(&waker);
        let fate = std::pin::Pin::new(&mut queue[key].fate).poll(&mut context);
        match fate {
            Poll::Pending => None,
            Poll::Ready(result) => Some((result.is_ok(), queue.remove(key))),
        }
    });
    if let Some((sent, queued)) = known {
        let event = if sent { SENT } else { UNSENT };
        queued.sim.event(event, queued.message.name(), [0, 0]);
    }
}

/// An outgoing message of upstream's, whose way is tracked.
pub(crate) struct Outgoing {
    inner: Box<dyn OutgoingMessage>,
    message: Tracked<()>,
    sim: Sim,
}

impl Outgoing {
    pub(crate) fn new(sim: &Sim, name: Name, inner: Box<dyn OutgoingMessage>) -> Box<Self> {
        Box::new(Self {
            inner,
            message: sim.track(name, ()),
            sim: sim.clone(),
        })
    }
}

impl OutgoingMessage for Outgoing {
    fn get_body(&mut self) -> capnp::Result<any_pointer::Builder<'_>> {
        self.inner.get_body()
    }

    fn get_body_as_reader(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        self.inner.get_body_as_reader()
    }

    fn send(self: Box<Self>) -> (Promise<(), Error>, Rc<Builder<HeapAllocator>>) {
        let words = self.inner.size_in_words() as u64;
        self.sim.event(QUEUED, self.message.name(), [words, 0]);
        let (fate, body) = self.inner.send();
        let fate = futures::FutureExt::shared(fate);
        watch(Queued {
            fate: Promise::from_future(fate.clone()),
            message: self.message,
            sim: self.sim,
        });
        (Promise::from_future(fate), body)
    }

    fn take(self: Box<Self>) -> Builder<HeapAllocator> {
        self.inner.take()
    }

    fn size_in_words(&self) -> usize {
        self.inner.size_in_words()
    }
}

/// An incoming message of upstream's, alive until the receiver frees it.
pub(crate) struct Incoming {
    inner: Box<dyn IncomingMessage>,
    #[expect(dead_code, reason = "its drop is the record")]
    message: Tracked<()>,
}

impl Incoming {
    pub(crate) fn new(sim: &Sim, name: Name, inner: Box<dyn IncomingMessage>) -> Box<Self> {
        sim.event(RECEIVED, name, [0, 0]);
        Box::new(Self {
            inner,
            message: sim.track(name, ()),
        })
    }
}

impl IncomingMessage for Incoming {
    fn get_body(&self) -> capnp::Result<any_pointer::Reader<'_>> {
        self.inner.get_body()
    }
}
