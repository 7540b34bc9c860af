//! Messages as tracked objects: built, queued, sent or dropped unsent, received, freed.
//!
//! capnp-rpc drops the promise of almost every send at once (`let _ = message.send()`), so the
//! fate of a queued message is learnt from the promise itself, kept here and polled once, by a
//! waker of our own, when upstream's write queue lets go of the message.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use capnp::Error;
use capnp::any_pointer;
use capnp::capability::Promise;
use capnp::message::{Builder, HeapAllocator};
use capnp_rpc::{IncomingMessage, OutgoingMessage};
use dismantle_sim::{EventKind, Name, Sim, Tracked};
use futures::channel::oneshot;
use futures::{FutureExt, TryFutureExt};
use slab::Slab;

const QUEUED: EventKind = EventKind::new("queued");
const SENT: EventKind = EventKind::new("sent");
const UNSENT: EventKind = EventKind::new("dropped-unsent");
const RECEIVED: EventKind = EventKind::new("received");

/// A message in a vat's send queue, until the queue lets go of it.
struct Queued {
    fate: Promise<(), Error>,
    /// Passes the fate on to whoever kept upstream's promise; mostly nobody.
    told: oneshot::Sender<Result<(), Error>>,
    message: Tracked<()>,
    sim: Sim,
}

impl Queued {
    fn end(self, fate: Result<(), Error>) {
        let event = if fate.is_ok() { SENT } else { UNSENT };
        self.sim.event(event, self.message.name(), [0, 0]);
        drop(self.message);
        // Nobody listens if the promise was dropped.
        drop(self.told.send(fate));
    }
}

thread_local! {
    /// The queued messages of the run on this thread. Wakers cannot hold them: they must be
    /// `Send`, and a run is not.
    static QUEUE: RefCell<Slab<Queued>> = const { RefCell::new(Slab::new()) };
}

/// The waker of one queued message. Upstream wakes it while it drops or completes the sending
/// half, outside any lock (`oneshot::Inner::drop_tx`, futures-channel 0.3).
struct Released(usize);

impl Wake for Released {
    fn wake(self: Arc<Self>) {
        let queued = QUEUE.with_borrow_mut(|queue| queue.try_remove(self.0));
        let Some(mut queued) = queued else {
            return;
        };
        let mut context = Context::from_waker(Waker::noop());
        match queued.fate.poll_unpin(&mut context) {
            Poll::Ready(fate) => queued.end(fate),
            Poll::Pending => unreachable!("woken because its fate is known"),
        }
    }
}

fn watch(mut queued: Queued) {
    QUEUE
        .with_borrow_mut(|queue| {
            let entry = queue.vacant_entry();
            let waker = Waker::from(Arc::new(Released(entry.key())));
            match queued.fate.poll_unpin(&mut Context::from_waker(&waker)) {
                Poll::Ready(fate) => Some((queued, fate)),
                Poll::Pending => {
                    entry.insert(queued);
                    None
                }
            }
        })
        .into_iter()
        .for_each(|(queued, fate)| queued.end(fate));
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
        let (told, tells) = oneshot::channel();
        watch(Queued {
            fate,
            told,
            message: self.message,
            sim: self.sim,
        });
        let dropped = |_| Err(Error::disconnected("the send queue is gone".to_owned()));
        (Promise::from_future(tells.unwrap_or_else(dropped)), body)
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
