//! Messages as tracked objects: built, queued, sent or dropped unsent, received, freed.
//!
//! capnp-rpc drops the promise of almost every send at once (`let _ = message.send()`), so the
//! promise that it gets is ours: while it is kept, whoever polls it learns the fate; when it is
//! dropped, upstream's own promise is kept here and polled by a waker of ours, when upstream's
//! write queue lets go of the message.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use capnp::Error;
use capnp::any_pointer;
use capnp::capability::Promise;
use capnp_rpc::{IncomingMessage, OutgoingMessage};
use dismantle_sim::{EventKind, Name, Sim, Tracked};
use futures::FutureExt;
use slab::Slab;

use crate::compat::{Message, Sent, size_in_words};
use crate::ending::Ending;
use crate::protocol::{Watch, words};
use crate::with_streaming;

const QUEUED: EventKind = EventKind::new("queued");
const SENT: EventKind = EventKind::new("sent");
const UNSENT: EventKind = EventKind::new("dropped-unsent");
const RECEIVED: EventKind = EventKind::new("received");

/// A message in a vat's send queue, until the queue lets go of it.
struct Queued {
    fate: Promise<Sent, Error>,
    message: Tracked<()>,
    /// If the vat had ended when it queued the message.
    too_late: Option<Rc<Watch>>,
    /// Its number in the vat's queue.
    number: u64,
    ending: Rc<Ending>,
}

/// The queued messages of a run.
struct Queue {
    messages: Slab<Queued>,
    /// One for each place in the slab, made once.
    wakers: Vec<Waker>,
}

thread_local! {
    /// Those of the run on this thread. Wakers cannot hold them: they must be `Send`, and a run
    /// is not.
    static QUEUE: RefCell<Queue> = const {
        RefCell::new(Queue {
            messages: Slab::new(),
            wakers: Vec::new(),
        })
    };
}

/// Polls the message at `key` for `waker`, or for the waker of its place, perhaps because that
/// was `woken`. If its fate is known, it is recorded, and the message gone.
fn poll(key: usize, waker: Option<&Waker>, woken: bool) -> Poll<Result<Sent, Error>> {
    let ended = QUEUE.with_borrow_mut(|queue| {
        // The waker of a place may outlive a message there.
        let message = queue.messages.get_mut(key)?;
        let waker = waker.unwrap_or(&queue.wakers[key]);
        let mut context = Context::from_waker(waker);
        match message.fate.poll_unpin(&mut context) {
            Poll::Ready(fate) => Some((fate, queue.messages.remove(key))),
            Poll::Pending => None,
        }
    });
    let Some((fate, queued)) = ended else {
        return Poll::Pending;
    };
    let message = queued.message;
    if fate.is_ok() {
        queued.ending.sent(queued.number, message.name());
    }
    if let (Some(watch), Ok(_)) = (queued.too_late, &fate) {
        watch.written_after_end();
    }
    let event = if fate.is_ok() { SENT } else { UNSENT };
    let sim = message.sim().clone();
    sim.event(event, message.name(), [0, 0]);
    match woken {
        true => sim.waking(|| drop(message)),
        false => drop(message),
    }
    Poll::Ready(fate)
}

/// The waker of one place. Upstream wakes it while it drops or completes the sending half,
/// outside any lock (`oneshot::Inner::drop_tx`, futures-channel 0.3).
struct Released(usize);

impl Wake for Released {
    fn wake(self: Arc<Self>) {
        drop(poll(self.0, None, true));
    }
}

/// What upstream gets for its promise: a place in the queue.
struct Sending {
    key: usize,
    ended: bool,
}

impl Sending {
    fn new(message: Queued) -> Self {
        let key = QUEUE.with_borrow_mut(|queue| {
            let key = queue.messages.insert(message);
            if key == queue.wakers.len() {
                queue.wakers.push(Waker::from(Arc::new(Released(key))));
            }
            key
        });
        Self { key, ended: false }
    }
}

impl Future for Sending {
    type Output = Result<Sent, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(!self.ended, "polled again after its end");
        let polled = poll(self.key, Some(context.waker()), false);
        self.ended = polled.is_ready();
        polled
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if !self.ended {
            // Nobody else waits: from here on the place's own waker does.
            drop(poll(self.key, None, false));
        }
    }
}

/// An outgoing message of upstream's, whose way is tracked.
pub(crate) struct Outgoing {
    inner: Box<dyn OutgoingMessage>,
    message: Tracked<()>,
    watch: Option<Rc<Watch>>,
    ending: Rc<Ending>,
}

impl Outgoing {
    pub(crate) fn new(
        sim: &Sim,
        name: Name,
        watch: Option<Rc<Watch>>,
        ending: Rc<Ending>,
        inner: Box<dyn OutgoingMessage>,
    ) -> Box<Self> {
        Box::new(Self {
            inner,
            message: sim.track(name, ()),
            watch,
            ending,
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

    fn send(self: Box<Self>) -> (Promise<Sent, Error>, Rc<Message>) {
        let size_words = size_in_words(&*self.inner);
        let message = self.message;
        message
            .sim()
            .event_saying(QUEUED, message.name(), [size_words, 0], || {
                words(self.inner.get_body_as_reader())
            });
        let watch = self.watch;
        let too_late = watch.filter(|watch| watch.sent(self.inner.get_body_as_reader()));
        let number = self.ending.queue();
        let (fate, body) = self.inner.send();
        let sending = Sending::new(Queued {
            fate,
            message,
            too_late,
            number,
            ending: self.ending,
        });
        (Promise::from_future(sending), body)
    }

    fn take(self: Box<Self>) -> Message {
        self.inner.take()
    }

    with_streaming! {
        fn size_in_words(&self) -> usize {
            self.inner.size_in_words()
        }
    }
}

/// An incoming message of upstream's, alive until the receiver frees it.
pub(crate) struct Incoming {
    inner: Box<dyn IncomingMessage>,
    #[expect(dead_code, reason = "its drop is the record")]
    message: Tracked<()>,
}

impl Incoming {
    pub(crate) fn new(
        sim: &Sim,
        name: Name,
        watch: Option<&Watch>,
        inner: Box<dyn IncomingMessage>,
    ) -> Box<Self> {
        sim.event_saying(RECEIVED, name, [0, 0], || words(inner.get_body()));
        if let Some(watch) = watch {
            watch.received(inner.get_body());
        }
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
