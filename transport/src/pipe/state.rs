//! The bytes of one direction and the two ends that wait for them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Weak;
use std::task::{Context, Poll, Waker};

use dismantle_sim::{EventKind, Name, Sim};

use super::fault::{AT_ONCE, BY_MESSAGE, Fault, QUESTIONS};
use crate::bytes::Bytes;
use crate::frame::{Framer, MessageKind};

const WRITTEN: EventKind = EventKind::new("written");
const READ: EventKind = EventKind::new("read");
const MESSAGE: EventKind = EventKind::new("on-the-wire");
const DELIVERED: EventKind = EventKind::new("delivered");
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
    delivery: u64,
    pub(super) delay_us: u64,
    closes_on_drop: bool,
    tap: bool,
    pub(super) faults: Vec<Fault>,
    /// The other direction. Weak, or the two would keep each other alive.
    pub(super) peer: Weak<RefCell<State>>,

    /// Accepted and not yet delivered.
    in_flight: Bytes,
    /// Delivered and not yet read.
    readable: Bytes,
    framer: Framer,
    /// Ends of frames that are not yet delivered, as offsets in the stream.
    frame_ends: VecDeque<u64>,
    kinds_seen: [u32; 10],
    messages_seen: u32,
    /// Where a fault waits in the stream, by the offset of the first byte that it keeps back.
    pub(super) barriers: Vec<(u64, Fault)>,

    written: u64,
    pub(super) read: u64,
    lost: u64,
    /// No more bytes will be written; the reader gets end of file behind the backlog.
    closed: bool,
    reset: bool,
    pub(super) read_error: bool,
    pub(super) write_error: bool,
    /// Stalls under way; the last one to end lets go.
    pub(super) stalls: u32,
    pub(super) stalled_for_good: bool,
    reader_gone: bool,
    writer_gone: bool,

    reader: Option<Waker>,
    writer: Option<Waker>,
    pump: Option<Waker>,
}

impl State {
    /// An open pipe without a byte in it, as the plan has it.
    pub(super) fn new(sim: &Sim, direction: &'static str) -> Self {
        let ask = |index: usize| sim.ask(&QUESTIONS[index], &[direction.into()]);
        Self {
            sim: sim.clone(),
            name: Name::new("pipe", direction),
            capacity: at_least_one(ask(0)),
            write_max: at_least_one(ask(1)),
            read_max: at_least_one(ask(2)),
            delivery: ask(3),
            delay_us: ask(4),
            closes_on_drop: ask(5) == 0,
            tap: ask(11) == 0,
            faults: Fault::all_of(sim, direction),
            peer: Weak::new(),
            in_flight: Bytes::default(),
            readable: Bytes::default(),
            framer: Framer::default(),
            frame_ends: VecDeque::new(),
            kinds_seen: [0; 10],
            messages_seen: 0,
            barriers: Vec::new(),
            written: 0,
            read: 0,
            lost: 0,
            closed: false,
            reset: false,
            read_error: false,
            write_error: false,
            stalls: 0,
            stalled_for_good: false,
            reader_gone: false,
            writer_gone: false,
            reader: None,
            writer: None,
            pump: None,
        }
    }

    /// Whether a task delivers, and not the write itself.
    pub(super) fn pumped(&self) -> bool {
        self.delivery != AT_ONCE || self.delay_us > 0
    }

    pub(super) fn backlog(&self) -> u64 {
        (self.in_flight.len() + self.readable.len()) as u64
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
        let wakers = [self.reader.take(), self.writer.take(), self.pump.take()];
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    pub(super) fn lose_backlog(&mut self) {
        self.lost += self.backlog();
        self.in_flight.clear();
        self.readable.clear();
        self.conserved();
    }

    pub(super) fn close(&mut self) {
        if !self.closed {
            self.closed = true;
            self.sim.event(CLOSED, self.name, [self.backlog(), 0]);
        }
        self.wake_all();
    }

    pub(super) fn die(&mut self) {
        self.reset = true;
        self.lose_backlog();
        self.wake_all();
    }

    pub(super) fn drop_reader(&mut self) {
        self.reader_gone = true;
        self.sim.event(READER_GONE, self.name, [self.backlog(), 0]);
        self.lose_backlog();
        self.wake_all();
    }

    pub(super) fn drop_writer(&mut self) {
        self.writer_gone = true;
        self.sim.event(WRITER_GONE, self.name, [0, 0]);
        self.wake_all();
    }

    pub(super) fn due(&self, when: &str, number: u32) -> Vec<Fault> {
        let due = |fault: &&Fault| fault.when == when && fault.at == number;
        self.faults.iter().filter(due).copied().collect()
    }

    /// Looks at accepted bytes: which messages are they, and does a fault wait for one of them?
    fn tap(&mut self, mut bytes: &[u8]) {
        while let Some(frame) = self.framer.next(&mut bytes) {
            let kind = frame.kind as usize;
            self.kinds_seen[kind] += 1;
            self.messages_seen += 1;
            if self.delivery == BY_MESSAGE {
                self.frame_ends.push_back(frame.end);
            }
            let number = self.kinds_seen[kind];
            self.sim.event(
                message_event(frame.kind),
                self.name,
                [u64::from(number), frame.end.saturating_sub(frame.start)],
            );
            if self.faults.is_empty() {
                continue;
            }
            let mut due = self.due(frame.kind.word(), number);
            due.extend(self.due("message", self.messages_seen));
            for fault in due {
                let offset = (frame.start + fault.byte).min(frame.end).max(self.read);
                self.barriers.push((offset, fault));
                self.barriers.sort_by_key(|(offset, _)| *offset);
            }
        }
    }

    /// Bytes up to which the reader may read before a fault strikes.
    pub(super) fn allowed(&self) -> u64 {
        match self.barriers.first() {
            Some((offset, _)) => offset.saturating_sub(self.read),
            None => u64::MAX,
        }
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
        while self
            .frame_ends
            .front()
            .is_some_and(|end| *end <= delivered_to)
        {
            self.frame_ends.pop_front();
        }
        let unit = match (self.delivery, self.frame_ends.front()) {
            (BY_MESSAGE, Some(end)) => end - delivered_to,
            (BY_MESSAGE | AT_ONCE, _) => u64::MAX,
            _ => 1,
        };
        let unit = unit.min(self.in_flight.len() as u64) as usize;
        self.in_flight.move_to(&mut self.readable, unit);
        self.sim.event(DELIVERED, self.name, [unit as u64, 0]);
        self.conserved();
        self.wake_reader();
    }

    fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if self.read_error {
            return Poll::Ready(Err(io::Error::other("injected read error")));
        }
        let most = (self.readable.len() as u64).min(self.allowed()) as usize;
        let count = buffer.len().min(most).min(self.read_max);
        let stalled = self.stalls > 0 || self.stalled_for_good;
        if count > 0 && !stalled {
            self.readable.take_into(&mut buffer[..count]);
            self.read += count as u64;
            self.sim.event(READ, self.name, [count as u64, 0]);
            self.conserved();
            if let Some(waker) = self.writer.take() {
                waker.wake();
            }
            return Poll::Ready(Ok(count));
        }
        let ended = self.backlog() == 0 && (self.closed || self.writer_gone && self.closes_on_drop);
        if ended && !stalled {
            return Poll::Ready(Ok(0));
        }
        self.reader = Some(context.waker().clone());
        self.sim.waits_for("bytes from", self.name);
        Poll::Pending
    }

    pub(super) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Err(error) = self.writable() {
            return Poll::Ready(Err(error));
        }
        let room = self.capacity.saturating_sub(self.backlog() as usize);
        let count = bytes.len().min(room).min(self.write_max);
        if count == 0 && !bytes.is_empty() {
            self.writer = Some(context.waker().clone());
            self.sim.waits_for("room in", self.name);
            return Poll::Pending;
        }
        let bytes = &bytes[..count];
        if self.tap {
            self.tap(bytes);
        }
        self.written += count as u64;
        self.sim.event(WRITTEN, self.name, [count as u64, 0]);
        if self.pumped() {
            self.in_flight.put(bytes);
            if let Some(waker) = self.pump.take() {
                waker.wake();
            }
        } else {
            self.readable.put(bytes);
            self.wake_reader();
        }
        self.conserved();
        Poll::Ready(Ok(count))
    }

    pub(super) fn writable(&self) -> io::Result<()> {
        if self.reset {
            Err(io::ErrorKind::ConnectionReset.into())
        } else if self.write_error {
            Err(io::Error::other("injected write error"))
        } else if self.closed || self.reader_gone {
            Err(io::ErrorKind::BrokenPipe.into())
        } else {
            Ok(())
        }
    }
}

fn message_event(kind: MessageKind) -> EventKind {
    match kind {
        MessageKind::Other => MESSAGE,
        kind => EventKind::new(kind.word()),
    }
}

/// 0 stands for "no bound".
fn at_least_one(bound: u64) -> usize {
    match bound {
        0 => usize::MAX,
        bound => bound as usize,
    }
}
