//! The bytes of one direction and the two ends that wait for them.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use dismantle_sim::{EventKind, Name, Sim};

use super::fault::{AT_ONCE, BY_BYTE, BY_MESSAGE, Fault, QUESTIONS};
use super::socket::Wire;
use super::tap::Tap;
use super::waiter::Waiter;
use crate::bytes::Bytes;
use crate::cut::cut;

const WRITTEN: EventKind = EventKind::new("written");
const READ: EventKind = EventKind::new("read");
const DELIVERED: EventKind = EventKind::new("delivered");
const LOST: EventKind = EventKind::new("lost");
const CLOSED: EventKind = EventKind::new("closed");
const READER_GONE: EventKind = EventKind::new("reader-dropped");
const WRITER_GONE: EventKind = EventKind::new("writer-dropped");

/// One direction's bytes, wherever they are, and what was done to it.
pub(super) struct State {
    pub(super) sim: Sim,
    pub(super) name: Name,
    pub(super) capacity: usize,
    write_max: usize,
    read_max: usize,
    pub(super) delivery: u64,
    pub(super) delay_us: u64,
    closes_on_drop: bool,
    /// Whether flushes and closes wait for what was accepted.
    flush_waits: bool,
    /// Carries the bytes if they go through the kernel; then none are in flight or readable here.
    wire: Option<Wire>,
    /// The other direction. Weak, or the two would keep each other alive.
    pub(super) peer: Weak<RefCell<State>>,

    /// Accepted and not yet delivered.
    in_flight: Bytes,
    /// Delivered and not yet read.
    readable: Bytes,
    pub(super) tap: Tap,

    pub(super) written: u64,
    pub(super) read: u64,
    /// What was read before the faults ended, for the report.
    carried: Rc<Cell<u64>>,
    lost: u64,
    /// No more bytes will be written; the reader gets end of file behind the backlog.
    closed: bool,
    reset: bool,
    pub(super) broken: Broken,
    /// What a write or a flush failed with first.
    pub(super) write_failure: Option<io::ErrorKind>,
    /// A read came to the end, or failed.
    pub(super) read_ended: bool,
    /// Stalls under way; the last one to end lets go.
    pub(super) stalls: u32,
    pub(super) stalled_for_good: bool,
    reader_gone: bool,
    writer_gone: bool,

    reader: Waiter,
    writer: Waiter,
    pump: Option<Waker>,
}

/// Which operations of the ends fail.
#[derive(Default)]
pub(super) struct Broken {
    pub(super) read: bool,
    pub(super) write: bool,
    pub(super) flush: bool,
    pub(super) close: bool,
}

impl State {
    /// An open pipe without a byte in it, as the plan has it.
    pub(super) fn new(sim: &Sim, direction: &'static str, wire: Option<Wire>) -> Self {
        let ask = |index: usize| sim.ask(&QUESTIONS[index], &[direction.into()]);
        let mut tap = Tap::new(ask(11) == 0, Fault::all_of(sim, direction));
        if let Some((byte, what)) = cut(sim, direction) {
            tap.cut(byte, Fault::at_byte(what));
        }
        let state = Self {
            sim: sim.clone(),
            name: Name::new("pipe", direction),
            capacity: at_least_one(ask(0)),
            write_max: at_least_one(ask(1)),
            read_max: at_least_one(ask(2)),
            delivery: ask(3),
            delay_us: ask(4),
            closes_on_drop: ask(5) == 0,
            flush_waits: ask(12) == 1,
            wire,
            peer: Weak::new(),
            in_flight: Bytes::default(),
            readable: Bytes::default(),
            tap,
            written: 0,
            read: 0,
            carried: sim.carrier(Name::new("pipe", direction)),
            lost: 0,
            closed: false,
            reset: false,
            broken: Broken::default(),
            write_failure: None,
            read_ended: false,
            stalls: 0,
            stalled_for_good: false,
            reader_gone: false,
            writer_gone: false,
            reader: Waiter::new(ask(13)),
            writer: Waiter::new(ask(13)),
            pump: None,
        };
        state.plug_in(direction);
        state
    }

    /// Has the wire do what a socket can, and says what it cannot.
    fn plug_in(&self, direction: &'static str) {
        let Some(wire) = &self.wire else { return };
        if self.capacity != usize::MAX {
            wire.set_capacity(self.capacity);
        }
        if !self.closes_on_drop {
            wire.keep_open();
        }
        let cannot = [
            // It is asked for, but the kernel counts its own bookkeeping, and has a least size.
            (0, self.capacity != usize::MAX),
            (3, self.delivery != AT_ONCE),
            (4, self.delay_us > 0),
            (12, self.flush_waits),
        ];
        for (index, _) in cannot.into_iter().filter(|(_, asked)| *asked) {
            self.sim.ignore(&QUESTIONS[index], &[direction.into()]);
        }
    }

    /// Wakes whoever waits for the kernel and need not any more.
    pub(super) fn look_at_wire(&mut self) {
        let Some(wire) = &self.wire else { return };
        let reads = self.reader.waits() && (self.reset || !self.stalled());
        let (bytes, room) = wire.over(reads, self.writer.waits());
        if bytes {
            self.reader.wake();
        }
        if room {
            self.writer.wake();
        }
    }

    /// Whether a task delivers, and not the write itself.
    pub(super) fn pumped(&self) -> bool {
        self.wire.is_none() && (self.delivery != AT_ONCE || self.delay_us > 0)
    }

    /// Whether it is open and whole, with nothing on its way.
    pub(super) fn is_quiet(&self) -> bool {
        let fails = self.broken.read || self.broken.write || self.broken.flush;
        let ended = self.reset || self.closed || self.reader_gone || self.writer_gone;
        let stalled = self.stalls > 0 || self.stalled_for_good;
        !fails && !ended && !stalled && self.backlog() == 0
    }

    pub(super) fn backlog(&self) -> u64 {
        match &self.wire {
            Some(wire) => wire.backlog(),
            None => (self.in_flight.len() + self.readable.len()) as u64,
        }
    }

    fn conserved(&self) {
        assert_eq!(
            self.written,
            self.read + self.backlog() + self.lost,
            "{}: bytes are conserved",
            self.name
        );
    }

    pub(super) fn wake_all(&mut self) {
        self.reader.wake();
        self.writer.wake();
        if let Some(waker) = self.pump.take() {
            waker.wake();
        }
    }

    pub(super) fn lose_backlog(&mut self) {
        let backlog = self.backlog();
        if backlog > 0 {
            self.sim.remark(LOST, self.name, || backlog.to_string());
        }
        self.lost += backlog;
        self.in_flight.clear();
        self.readable.clear();
        if let Some(wire) = &mut self.wire {
            wire.discard();
        }
        self.conserved();
    }

    pub(super) fn close(&mut self) {
        if !self.closed {
            self.closed = true;
            self.sim.event(CLOSED, self.name, [self.backlog(), 0]);
            if let Some(wire) = &self.wire {
                wire.shut();
            }
        }
        self.wake_all();
    }

    pub(super) fn die(&mut self) {
        self.reset = true;
        self.lose_backlog();
        if let Some(wire) = &mut self.wire {
            wire.reset();
        }
        self.wake_all();
    }

    pub(super) fn clog(&mut self) {
        self.stalled_for_good = true;
        self.capacity = 0;
        if let Some(wire) = &mut self.wire {
            wire.clog();
        }
    }

    /// From now on operations of one sort fail.
    pub(super) fn fail(&mut self, operations: impl FnOnce(&mut Broken) -> &mut bool) {
        *operations(&mut self.broken) = true;
        self.wake_all();
    }

    pub(super) fn drop_reader(&mut self) {
        self.reader_gone = true;
        self.sim.event(READER_GONE, self.name, [self.backlog(), 0]);
        match &self.wire {
            Some(wire) => wire.reader_gone(),
            None => self.lose_backlog(),
        }
        self.wake_all();
    }

    pub(super) fn drop_writer(&mut self) {
        self.writer_gone = true;
        self.sim.event(WRITER_GONE, self.name, [0, 0]);
        if let Some(wire) = &self.wire {
            if self.closes_on_drop {
                wire.shut();
            }
            wire.writer_gone();
        }
        self.wake_all();
    }

    /// Takes the fault that the reader stands before, if there is one.
    pub(super) fn strike(&mut self) -> Option<Fault> {
        self.tap.struck(self.read)
    }

    pub(super) fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        if self.reset || self.reader_gone {
            return Poll::Ready(false);
        }
        if !self.in_flight.is_empty() {
            return Poll::Ready(true);
        }
        if self.closed || self.writer_gone {
            return Poll::Ready(false);
        }
        self.pump = Some(context.waker().clone());
        self.sim.waits_for("bytes into", self.name);
        Poll::Pending
    }

    /// Moves one unit from in flight to readable.
    pub(super) fn deliver(&mut self) {
        let delivered_to = self.written - self.lost - self.in_flight.len() as u64;
        let unit = match self.delivery {
            BY_MESSAGE => self.tap.rest_of_frame(delivered_to),
            BY_BYTE => 1,
            _ => u64::MAX,
        };
        let unit = unit.min(self.in_flight.len() as u64) as usize;
        self.in_flight.move_to(&mut self.readable, unit);
        self.sim.event(DELIVERED, self.name, [unit as u64, 0]);
        self.conserved();
        self.reader.wake();
        if self.flush_waits {
            self.writer.wake();
        }
    }

    fn stalled(&self) -> bool {
        self.stalls > 0 || self.stalled_for_good
    }

    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(wire) = &self.wire {
            let most = (buffer.len() as u64).min(self.tap.allowed(self.read)) as usize;
            let given = match self.stalled() && !self.reset {
                true => Err(io::ErrorKind::WouldBlock.into()),
                false => wire.read(&mut buffer[..most.min(self.read_max)]),
            };
            return self.has_read(context, given);
        }
        if self.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if self.broken.read {
            return Poll::Ready(Err(io::Error::other("injected read error")));
        }
        let most = (self.readable.len() as u64).min(self.tap.allowed(self.read)) as usize;
        let count = buffer.len().min(most).min(self.read_max);
        let ended = self.backlog() == 0 && (self.closed || self.writer_gone && self.closes_on_drop);
        let given = if self.stalled() || count == 0 && !ended {
            Err(io::ErrorKind::WouldBlock.into())
        } else {
            self.readable.take_into(&mut buffer[..count]);
            Ok(count)
        };
        self.has_read(context, given)
    }

    /// Records what a read gave; one that would block waits.
    fn has_read(
        &mut self,
        context: &mut Context<'_>,
        given: io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        match given {
            Ok(count @ 1..) => {
                self.read += count as u64;
                if !self.sim.healed() {
                    self.carried.set(self.read);
                }
                self.sim.event(READ, self.name, [count as u64, 0]);
                self.conserved();
                if self.wire.is_none() {
                    self.writer.wake();
                }
                Poll::Ready(Ok(count))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.reader
                    .wait(&self.sim, "bytes from", self.name, context)
            }
            other => Poll::Ready(other),
        }
    }

    pub(super) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Err(error) = self.writable() {
            return Poll::Ready(Err(error));
        }
        let count = bytes.len().min(self.write_max);
        let count = match &self.wire {
            Some(wire) => match wire.write(&bytes[..count]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Poll::Ready(Err(error)),
                Ok(taken) => taken,
            },
            None => count.min(self.capacity.saturating_sub(self.backlog() as usize)),
        };
        if count == 0 && !bytes.is_empty() {
            return self.writer.wait(&self.sim, "room in", self.name, context);
        }
        let bytes = &bytes[..count];
        let by_message = self.delivery == BY_MESSAGE;
        self.tap
            .look(&self.sim, self.name, bytes, self.read, by_message);
        self.written += count as u64;
        self.sim.event(WRITTEN, self.name, [count as u64, 0]);
        if self.wire.is_some() {
            // The kernel has them.
        } else if self.pumped() {
            self.in_flight.put(bytes);
            if let Some(waker) = self.pump.take() {
                waker.wake();
            }
        } else {
            self.readable.put(bytes);
            self.reader.wake();
        }
        self.conserved();
        Poll::Ready(Ok(count))
    }

    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Err(error) = self.writable() {
            return Poll::Ready(Err(error));
        }
        if self.broken.flush {
            return Poll::Ready(Err(io::Error::other("injected flush error")));
        }
        if self.holds_back() {
            return self
                .writer
                .wait(&self.sim, "delivery by", self.name, context);
        }
        Poll::Ready(Ok(()))
    }

    /// A close that fails leaves the pipe as it was.
    pub(super) fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.broken.close {
            return Poll::Ready(Err(io::Error::other("injected close error")));
        }
        if !self.closed && self.holds_back() {
            return self
                .writer
                .wait(&self.sim, "delivery by", self.name, context);
        }
        self.close();
        Poll::Ready(Ok(()))
    }

    /// Whether a flush has to wait for what was accepted.
    fn holds_back(&self) -> bool {
        let undelivered = !self.in_flight.is_empty() || self.stalled() && self.backlog() > 0;
        self.wire.is_none() && self.flush_waits && undelivered
    }

    /// Whether no byte can be written any more, if the writer knows of it or not.
    pub(super) fn is_dead(&self) -> bool {
        self.is_lost() || self.broken.write || self.closed
    }

    /// Whether there is nobody who could read what was written.
    pub(super) fn is_lost(&self) -> bool {
        self.reset || self.reader_gone
    }

    /// Ends when no byte can be written any more.
    pub(super) fn poll_dead(&mut self, context: &Context<'_>) -> Poll<()> {
        match self.is_dead() {
            true => Poll::Ready(()),
            false => self
                .writer
                .wait(&self.sim, "the end of", self.name, context),
        }
    }

    fn writable(&self) -> io::Result<()> {
        if self.wire.is_some() {
            // The kernel says so, at the next write.
            Ok(())
        } else if self.reset {
            Err(io::ErrorKind::ConnectionReset.into())
        } else if self.broken.write {
            Err(io::Error::other("injected write error"))
        } else if self.closed || self.reader_gone {
            Err(io::ErrorKind::BrokenPipe.into())
        } else {
            Ok(())
        }
    }
}

/// 0 stands for "no bound".
fn at_least_one(bound: u64) -> usize {
    match bound {
        0 => usize::MAX,
        bound => bound as usize,
    }
}
