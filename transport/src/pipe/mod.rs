//! The simulated byte pipe: one direction of a connection, with its faults.
//!
//! What may go wrong is decided up front, by a few decisions a direction, so that a quiet byte
//! asks nothing. A pipe knows frames only as places to break at; it carries any bytes.
//!
//! Invariants, asserted at every operation: bytes are conserved, `written = read + backlog +
//! lost`; after a reset nothing is delivered; a waiting end is woken by whatever ends its wait.

mod fault;
mod socket;
mod state;
mod tap;
mod waiter;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use dismantle_sim::{Name, Sim};
use futures::io::{AsyncRead, AsyncWrite};

use fault::COALESCED;
pub use fault::QUESTIONS;
use socket::Wire;
use state::State;

/// The most connections of one run.
pub const CONNECTIONS_MAX: usize = 3;

const DIRECTIONS: [[&str; 2]; CONNECTIONS_MAX] =
    [["c2s", "s2c"], ["c2s-2", "s2c-2"], ["c2s-3", "s2c-3"]];

/// The two ends of a connection between `client` and `server`, and its two pipes.
pub struct Link {
    c2s: Pipe,
    s2c: Pipe,
}

/// One end of a connection: reads one pipe and writes the other.
pub struct End {
    /// Gives what the peer sent.
    pub reader: Reader,
    /// Takes what the peer shall get.
    pub writer: Writer,
}

impl Link {
    /// Makes both pipes as the plan says; gives the client's end and the server's.
    pub fn new(sim: &Sim) -> (Self, End, End) {
        Self::numbered(sim, 0)
    }

    /// The same for the run's connection `number`, from 0: its pipes are `c2s` and `s2c`, then
    /// `c2s-2` and `s2c-2`, and so on.
    ///
    /// # Panics
    /// If there is no such connection; there are [`CONNECTIONS_MAX`].
    pub fn numbered(sim: &Sim, number: usize) -> (Self, End, End) {
        let [c2s, s2c] = DIRECTIONS[number];
        let [to_server, to_client] = match sim.real_io() {
            true => Wire::pair().map(Some),
            false => [None, None],
        };
        let link = Self {
            c2s: Pipe::new(sim, c2s, to_server),
            s2c: Pipe::new(sim, s2c, to_client),
        };
        link.c2s.0.borrow_mut().peer = Rc::downgrade(&link.s2c.0);
        link.s2c.0.borrow_mut().peer = Rc::downgrade(&link.c2s.0);
        let client = End {
            reader: Reader(link.s2c.clone()),
            writer: Writer(link.c2s.clone()),
        };
        let server = End {
            reader: Reader(link.c2s.clone()),
            writer: Writer(link.s2c.clone()),
        };
        (link, client, server)
    }

    /// The pipe that carries what the client sends.
    pub fn to_server(&self) -> &Pipe {
        &self.c2s
    }

    /// The pipe that carries what the server sends.
    pub fn to_client(&self) -> &Pipe {
        &self.s2c
    }

    /// The owner begins operation `number`: faults that wait for it strike.
    pub fn operation(&self, number: u32) {
        self.strike("operation", number);
    }

    /// The owner has seen the system come to rest, for the `number`-th time. Not if the plan has
    /// cut it off before that.
    pub fn rest(&self, number: u32) {
        let is_cut = self.c2s.0.borrow().sim.is_cut();
        if !is_cut {
            self.strike("rest", number);
        }
    }

    /// Whether both directions are open and whole, with nothing on its way.
    pub fn is_quiet(&self) -> bool {
        let pipes = [&self.c2s, &self.s2c];
        pipes.into_iter().all(|pipe| pipe.0.borrow().is_quiet())
    }

    /// Says in the report which pipes hold back bytes for good.
    pub fn report_stalls(&self, sim: &Sim) {
        for pipe in [&self.c2s, &self.s2c] {
            let state = pipe.0.borrow();
            if state.stalled_for_good {
                sim.hold(state.name, "stall-for-good", state.backlog());
            }
        }
    }

    fn strike(&self, when: &'static str, number: u32) {
        for pipe in [&self.c2s, &self.s2c] {
            let due = pipe.0.borrow().tap.due(when, number);
            for fault in due {
                pipe.break_now(fault);
            }
        }
    }
}

/// One direction of a connection, shared by its writer, its reader and its owner.
#[derive(Clone)]
pub struct Pipe(Rc<RefCell<State>>);

impl Pipe {
    fn new(sim: &Sim, direction: &'static str, wire: Option<Wire>) -> Self {
        let wired = wire.is_some();
        let state = State::new(sim, direction, wire);
        let pumped = state.pumped();
        let timed: Vec<_> = state.tap.faults("time").collect();
        let pipe = Self(Rc::new(RefCell::new(state)));
        if wired {
            let state = Rc::downgrade(&pipe.0);
            sim.look_outside(move || match state.upgrade() {
                Some(state) => {
                    state.borrow_mut().look_at_wire();
                    true
                }
                None => false,
            });
        }
        if pumped {
            sim.spawn(Name::new("pipe", direction), pipe.clone().pump());
        }
        for fault in timed {
            let (pipe, sim) = (pipe.clone(), sim.clone());
            sim.clone()
                .spawn(Name::new(direction, "fault"), async move {
                    sim.sleep_us(u64::from(fault.at) * 1000).await;
                    pipe.break_now(fault);
                });
        }
        pipe
    }

    /// Bytes accepted and not yet read.
    pub fn backlog_bytes(&self) -> u64 {
        self.0.borrow().backlog()
    }

    /// Messages whose last byte was written; `None` if nobody looks at them.
    pub(crate) fn messages_written(&self) -> Option<u64> {
        let state = self.0.borrow();
        state.tap.messages_written(state.written)
    }

    /// What a write or a flush failed with first, if one did.
    pub(crate) fn write_failure(&self) -> Option<io::ErrorKind> {
        self.0.borrow().write_failure
    }

    /// Whether no byte can be written any more, if the writer knows of it or not.
    pub(crate) fn is_dead(&self) -> bool {
        self.0.borrow().is_dead()
    }

    /// Whether a read has seen the end of it, which no fault of reading made up.
    pub(crate) fn was_lost(&self) -> bool {
        let state = self.0.borrow();
        state.read_ended && !state.broken.read
    }

    /// Ends this direction: end of file behind the backlog. An action of the owner.
    pub fn shut(&self) {
        self.0.borrow_mut().close();
    }

    /// Kills both directions and loses their backlogs. An action of the owner.
    pub fn reset(&self) {
        let peer = self.0.borrow().peer.upgrade();
        self.0.borrow_mut().die();
        if let Some(peer) = peer {
            peer.borrow_mut().die();
        }
    }

    /// Delivers nothing from now on, and takes no more bytes: whatever else is written waits in
    /// the sender's queue. A peer that does not read, seen from behind full buffers. An action
    /// of the owner.
    pub fn clog(&self) {
        self.0.borrow_mut().clog();
    }

    /// Whatever is written from now on fails, and not because the connection is lost. An action
    /// of the owner.
    pub fn fail_writes(&self) {
        self.0.borrow_mut().fail(|broken| &mut broken.write);
    }

    /// Delivers one unit a step, for as long as anyone may still write.
    async fn pump(self) {
        let sim = self.0.borrow().sim.clone();
        loop {
            let more = poll_fn(|context| self.0.borrow_mut().poll_more(context)).await;
            if !more {
                return;
            }
            if self.0.borrow().delivery == COALESCED {
                self.pause().await;
            }
            let delay_us = self.0.borrow().delay_us;
            if delay_us > 0 {
                sim.sleep_us(delay_us).await;
            }
            self.0.borrow_mut().deliver();
            yield_now().await;
        }
    }

    /// Ends when every other ready task had its turn and none of them has written.
    async fn pause(&self) {
        let written = || self.0.borrow().written;
        loop {
            let before = written();
            yield_now().await;
            if written() == before {
                return;
            }
        }
    }
}

/// The reading end. Dropping it loses the backlog and fails the peer's writes.
pub struct Reader(Pipe);

impl Reader {
    pub(crate) fn pipe(&self) -> &Pipe {
        &self.0
    }
}

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let pipe = &self.0;
        loop {
            // A fault strikes when the reader stands before its byte.
            let struck = pipe.0.borrow_mut().strike();
            match struck {
                Some(fault) => pipe.break_now(fault),
                None => {
                    let mut state = pipe.0.borrow_mut();
                    let polled = state.poll_read(context, buffer);
                    let ended = matches!(polled, Poll::Ready(Ok(0) | Err(_)));
                    state.read_ended |= ended && !buffer.is_empty();
                    return polled;
                }
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.0.borrow_mut().drop_reader();
    }
}

/// The writing end. Dropping it closes the pipe, unless the plan says that it stays open.
pub struct Writer(Pipe);

impl Writer {
    pub(crate) fn pipe(&self) -> &Pipe {
        &self.0
    }

    /// Bytes accepted and not yet read.
    pub fn backlog_bytes(&self) -> u64 {
        self.0.backlog_bytes()
    }

    /// Ends this direction, as a close does that waits for nothing.
    pub fn shut(&self) {
        self.0.shut();
    }

    /// Whether the reader is gone, or the connection: not because this end was closed.
    pub fn is_lost(&self) -> bool {
        self.0.0.borrow().is_lost()
    }

    /// Ends when nothing can be written any more, for whatever reason.
    pub fn poll_dead(&mut self, context: &Context<'_>) -> Poll<()> {
        self.0.0.borrow_mut().poll_dead(context)
    }
}

impl AsyncWrite for Writer {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.0.0.borrow_mut();
        let polled = state.poll_write(context, bytes);
        note_failure(&mut state, &polled);
        polled
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.0.borrow_mut();
        let polled = state.poll_flush(context);
        note_failure(&mut state, &polled);
        polled
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.0.borrow_mut().poll_close(context)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.0.borrow_mut().drop_writer();
    }
}

fn note_failure<T>(state: &mut State, polled: &Poll<io::Result<T>>) {
    if let Poll::Ready(Err(error)) = polled {
        state.write_failure.get_or_insert(error.kind());
    }
}

/// Lets the other ready tasks run first.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
