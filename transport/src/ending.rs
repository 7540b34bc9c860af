//! The end of a vat's connection: what was promised to be written by then, and with what error
//! it ended.
//!
//! Upstream promises, in capnp-rpc 0.27.3: `Connection::shutdown` "waits until all outgoing
//! messages have been sent" (`lib.rs`), and a `Disconnector` "resolves once the connection's
//! shutdown has completed, and it reports any error that occurred during shutdown"
//! (`RpcSystem::get_disconnector`, `lib.rs`). Whether that is so is read off the pipe and not off
//! upstream's own account: a message is written when its last byte is.
//!
//! What fails may leave messages unwritten, and so may what is destroyed.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use capnp::{Error, ErrorKind};
use capnp_rpc::rpc_twoparty_capnp::Side;
use dismantle_sim::{Name, Sim};
use futures::FutureExt;

use crate::compat::text;
use crate::pipe::{End, Pipe};
use std::rc::Rc;

/// The check that what is done too early belongs to.
const PROPERTY: &str = "early-completion";

/// How far the shutdown of a connection is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shutdown {
    /// Nobody has asked for it.
    Unasked,
    /// It is under way, and owes the first so many messages of the vat.
    Owes(u64),
    /// Upstream says that it is complete, or that it failed.
    Over,
}

/// What a vat has queued and what has become of its connection.
pub(crate) struct Ending {
    sim: Sim,
    vat: &'static str,
    /// What it writes and what it reads.
    output: Pipe,
    input: Pipe,
    queued: Cell<u64>,
    /// The last one: a connection may be made anew.
    shutdown: Cell<Shutdown>,
    /// What the first one owes, which is the end of the system.
    owed_first: Cell<Option<u64>>,
    /// Writing failed before the shutdown was asked for: what it says then is old.
    failed_before: Cell<bool>,
    /// There is a connection, or was.
    is_connected: Cell<bool>,
    /// After so many steps a disconnector has ended without asking for a shutdown.
    passed_by: Cell<Option<u64>>,
    /// The system has ended, or was destroyed.
    gone: Cell<bool>,
    /// What reading ended with, if it was the connection that was lost.
    lost: RefCell<Option<Error>>,
}

impl Ending {
    pub(crate) fn new(sim: &Sim, vat: &'static str, end: &End) -> Rc<Self> {
        Rc::new(Self {
            sim: sim.clone(),
            vat,
            output: end.writer.pipe().clone(),
            input: end.reader.pipe().clone(),
            queued: Cell::new(0),
            shutdown: Cell::new(Shutdown::Unasked),
            owed_first: Cell::new(None),
            failed_before: Cell::new(false),
            is_connected: Cell::new(false),
            passed_by: Cell::new(None),
            gone: Cell::new(false),
            lost: RefCell::new(None),
        })
    }

    /// The owner has asked for a capability of the peer: for a connection, if there was none.
    pub(crate) fn connected(&self) {
        if !self.is_connected.replace(true) {
            self.passed_by.set(None);
        }
    }

    /// The system has accepted its connection.
    pub(crate) fn accepted(&self) {
        self.is_connected.set(true);
        self.goes_on();
    }

    /// The connection goes on: no disconnector may have ended.
    fn goes_on(&self) {
        if self.is_connected.get() && self.passed_by.take().is_some() {
            let name = Name::new(self.vat, "disconnector");
            self.early("a disconnector ends and its connection does not", name);
        }
    }

    /// A message goes into the queue; gives its number there, from 1.
    pub(crate) fn queue(&self) -> u64 {
        self.queued.set(self.queued.get() + 1);
        self.queued.get()
    }

    /// Upstream says that the message of this number was sent.
    pub(crate) fn sent(&self, number: u64, message: Name) {
        if self.unwritten(number) {
            self.early("a message counts as sent before it is written", message);
        }
    }

    /// A shutdown is asked for: gives how many messages, all that are queued, have to be written.
    pub(crate) fn shut(&self) -> u64 {
        let owed = self.queued.get();
        self.failed_before
            .set(self.output.write_failure().is_some());
        self.shutdown.set(Shutdown::Owes(owed));
        self.owed_first.set(self.owed_first.get().or(Some(owed)));
        if self.passed_by.get() == Some(self.sim.steps_done()) {
            // From inside what the end of the connection destroys.
            self.passed_by.set(None);
            self.ends_before(owed);
        }
        self.goes_on();
        owed
    }

    /// Upstream says that the shutdown that owes so many messages is over.
    pub(crate) fn shut_down(&self, owed: u64, succeeded: bool, connection: Name) {
        self.shutdown.set(Shutdown::Over);
        if succeeded && self.unwritten(owed) {
            let rule = "a shutdown is complete before its messages are written";
            self.early(rule, connection);
        }
    }

    /// The system has ended by itself.
    pub(crate) fn ended(&self, succeeded: bool) {
        self.goes_on();
        if self.gone.replace(true) || !succeeded || self.output.write_failure().is_some() {
            return;
        }
        if self
            .owed_first
            .get()
            .is_some_and(|owed| self.unwritten(owed))
        {
            let system = Name::new(self.vat, "system");
            self.early("a system ends before its messages are written", system);
        }
    }

    /// The owner destroys the system: from here on nothing is owed.
    pub(crate) fn destroyed(&self) {
        self.goes_on();
        self.gone.set(true);
    }

    /// A disconnector has ended without an error; it found the shutdown like this.
    fn disconnected(&self, found: Shutdown) {
        if self.gone.get() {
            return;
        }
        let name = Name::new(self.vat, "disconnector");
        match (found, self.output.write_failure()) {
            // There may be no connection to come, or the shutdown comes within this step.
            (Shutdown::Unasked, _) => self.passed_by.set(Some(self.sim.steps_done())),
            (Shutdown::Owes(owed), None) => self.ends_before(owed),
            (_, Some(kind)) if !is_disconnect(kind) && !self.failed_before.get() => {
                self.early("a disconnector hides that the shutdown failed", name);
            }
            _ => {}
        }
    }

    /// A disconnector has ended, and a shutdown that owes so many messages has begun.
    fn ends_before(&self, owed: u64) {
        if self.unwritten(owed) && !self.output.is_dead() {
            let name = Name::new(self.vat, "disconnector");
            self.early("a disconnector ends before the shutdown does", name);
        }
    }

    /// Reading has ended with `error`: was it the connection that was lost?
    pub(crate) fn stopped_reading(&self, error: &Error) {
        if self.input.was_lost() {
            *self.lost.borrow_mut() = Some(error.clone());
        }
    }

    /// Whether reading has ended with this error, because the connection was lost.
    pub(crate) fn was_lost_with(&self, error: &Error) -> bool {
        let lost = self.lost.borrow();
        let same = |lost: &Error| lost.kind == error.kind && text(lost) == text(error);
        lost.as_ref().is_some_and(same)
    }

    /// Whether the system has ended, or was destroyed.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.get()
    }

    /// Whether the message of this number has bytes that were not written, as far as can be seen.
    fn unwritten(&self, number: u64) -> bool {
        let written = self.output.messages_written();
        written.is_some_and(|written| written < number)
    }

    fn early(&self, rule: &str, subject: Name) {
        let (queued, written) = (self.queued.get(), self.output.messages_written());
        let written = written.map_or_else(|| "some".to_owned(), |count| count.to_string());
        let detail = format!("{written} of {queued} messages of {} are written", self.vat);
        self.sim.breach(PROPERTY, rule, subject, detail);
    }
}

/// Whether upstream takes it for an end like any other (`From<io::Error>`, `capnp`, 0.27.3).
fn is_disconnect(kind: io::ErrorKind) -> bool {
    Error::from(io::Error::from(kind)).kind == ErrorKind::Disconnected
}

/// Upstream's disconnector, held to its word.
///
/// Disconnects when it is first polled, and ends when the shutdown has. What happens when it is
/// dropped is upstream's business: a shutdown that has begun goes on.
#[must_use = "a disconnector does nothing unless polled"]
pub struct Disconnector {
    inner: capnp_rpc::Disconnector<Side>,
    ending: Rc<Ending>,
    /// How it found the shutdown, or began it, when it was first polled.
    found: Option<Shutdown>,
}

impl Disconnector {
    pub(crate) fn new(inner: capnp_rpc::Disconnector<Side>, ending: Rc<Ending>) -> Self {
        Self {
            inner,
            ending,
            found: None,
        }
    }
}

impl Future for Disconnector {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.inner.poll_unpin(context);
        let now = self.ending.shutdown.get();
        let found = *self.found.get_or_insert(now);
        if let Poll::Ready(Ok(())) = polled {
            self.ending.disconnected(found);
        }
        polled
    }
}
