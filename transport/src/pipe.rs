//! The simulated byte pipe: one direction of a connection, with its faults.
//!
//! What may go wrong is decided up front, by a few decisions a direction, so that a quiet byte
//! asks nothing. A pipe knows frames only as places to break at; it carries any bytes.
//!
//! Invariants, asserted at every operation: bytes are conserved, `written = read + backlog +
//! lost`; after a reset nothing is delivered; a waiting end is woken by whatever ends its wait.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use dismantle_sim::{EventKind, Name, Question, Sim, share};
use futures::io::{AsyncRead, AsyncWrite};

use crate::bytes::Bytes;
use crate::frame::{Framer, MessageKind};

/// How many faults one direction may have.
const FAULTS_MAX: u32 = 2;

const DELIVERIES: [&str; 3] = ["at-once", "message", "byte"];
const AT_ONCE: u64 = 0;
const BY_MESSAGE: u64 = 1;

const WHATS: [&str; 7] = [
    "nothing",
    "half-close",
    "reset",
    "stall",
    "stall-for-good",
    "read-error",
    "write-error",
];

const WHENS: [&str; 12] = [
    "operation",
    "rest",
    "time",
    "message",
    "call",
    "return",
    "finish",
    "resolve",
    "release",
    "bootstrap",
    "disembargo",
    "abort",
];

/// The pipes' decisions; the first star is the direction, `c2s` or `s2c`.
pub static QUESTIONS: [Question; 12] = [
    Question::count(
        "pipe.*.capacity",
        (0, 1 << 20),
        0,
        &[share(6, 0, 0), share(1, 1, 64), share(1, 64, 4096)],
    )
    .about("bytes that the pipe takes before it pushes back; 0 is any number"),
    Question::count(
        "pipe.*.write_max",
        (0, 1 << 20),
        0,
        &[share(6, 0, 0), share(1, 1, 64)],
    )
    .about("the most bytes that one write takes; 0 is all"),
    Question::count(
        "pipe.*.read_max",
        (0, 1 << 20),
        0,
        &[share(6, 0, 0), share(1, 1, 64)],
    )
    .about("the most bytes that one read gives; 0 is all"),
    Question::word(
        "pipe.*.delivery",
        &DELIVERIES,
        &[share(4, 0, 0), share(5, 1, 1), share(1, 2, 2)],
    )
    .about("what a step of the pipe delivers"),
    Question::count(
        "pipe.*.delay_us",
        (0, 10_000_000),
        0,
        &[share(5, 0, 0), share(1, 1, 5000)],
    )
    .about("virtual time that each delivery takes"),
    Question::word(
        "pipe.*.on_drop",
        &["closes", "stays-open"],
        &[share(9, 0, 0), share(1, 1, 1)],
    )
    .about("what dropping the writing end does: end of file behind the backlog, or nothing"),
    Question::word(
        "pipe.*.fault.*.what",
        &WHATS,
        &[
            share(8, 0, 0),
            share(2, 1, 3),
            share(1, 4, 4),
            share(2, 5, 6),
        ],
    )
    .about("what breaks"),
    Question::word(
        "pipe.*.fault.*.when",
        &WHENS,
        &[share(3, 0, 0), share(1, 1, 2), share(4, 3, 11)],
    )
    .about("what its time is counted in"),
    Question::count(
        "pipe.*.fault.*.at",
        (1, 1_000_000),
        1,
        &[share(3, 1, 4), share(2, 1, 30)],
    )
    .about("which operation, rest, or message of the kind; for `time`, milliseconds"),
    Question::count(
        "pipe.*.fault.*.byte",
        (0, 1 << 30),
        0,
        &[share(3, 0, 0), share(1, 1, 200)],
    )
    .about("how many bytes of that message still arrive"),
    Question::count(
        "pipe.*.fault.*.stall_us",
        (1, 1_000_000_000),
        1000,
        &[share(1, 1, 20_000)],
    )
    .about("how long a stall lasts"),
    Question::word("pipe.*.tap", &["on", "off"], &[]).about("whether messages are told apart"),
];

const WRITTEN: EventKind = EventKind::new("written");
const READ: EventKind = EventKind::new("read");
const MESSAGE: EventKind = EventKind::new("on-the-wire");
const DELIVERED: EventKind = EventKind::new("delivered");
const CLOSED: EventKind = EventKind::new("closed");
const READER_GONE: EventKind = EventKind::new("reader-dropped");
const WRITER_GONE: EventKind = EventKind::new("writer-dropped");
const FAULT: EventKind = EventKind::new("fault");
const STALL_OVER: EventKind = EventKind::new("stall-over");

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
        let link = Self {
            c2s: Pipe::new(sim, c2s),
            s2c: Pipe::new(sim, s2c),
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

    /// The owner has seen the system come to rest, for the `number`-th time.
    pub fn rest(&self, number: u32) {
        self.strike("rest", number);
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
            let due = pipe.0.borrow().due(when, number);
            for fault in due {
                pipe.break_now(fault);
            }
        }
    }
}

/// One direction of a connection, shared by its writer, its reader and its owner.
#[derive(Clone)]
pub struct Pipe(Rc<RefCell<State>>);

#[derive(Clone, Copy)]
struct Fault {
    what: &'static str,
    when: &'static str,
    at: u32,
    byte: u64,
    stall_us: u64,
}

struct State {
    sim: Sim,
    name: Name,
    capacity: usize,
    write_max: usize,
    read_max: usize,
    delivery: u64,
    delay_us: u64,
    closes_on_drop: bool,
    tap: bool,
    faults: Vec<Fault>,
    /// The other direction. Weak, or the two would keep each other alive.
    peer: Weak<RefCell<State>>,

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
    barriers: Vec<(u64, Fault)>,

    written: u64,
    read: u64,
    lost: u64,
    /// No more bytes will be written; the reader gets end of file behind the backlog.
    closed: bool,
    reset: bool,
    read_error: bool,
    write_error: bool,
    /// Stalls under way; the last one to end lets go.
    stalls: u32,
    stalled_for_good: bool,
    reader_gone: bool,
    writer_gone: bool,

    reader: Option<Waker>,
    writer: Option<Waker>,
    pump: Option<Waker>,
}

impl Pipe {
    fn new(sim: &Sim, direction: &'static str) -> Self {
        let ask = |index: usize| sim.ask(&QUESTIONS[index], &[direction.into()]);
        let faults: Vec<_> = (0..FAULTS_MAX)
            .filter_map(|number| {
                let ask =
                    |index: usize| sim.ask(&QUESTIONS[index], &[direction.into(), number.into()]);
                // Half of the seeds break nothing, so that common failures hide no rare ones.
                let what = match sim.profile("faults", 2) {
                    0 => sim.ask_drawn(&QUESTIONS[6], &[direction.into(), number.into()], &[]),
                    _ => ask(6),
                };
                let what = WHATS[what as usize];
                (what != "nothing").then(|| Fault {
                    what,
                    when: WHENS[ask(7) as usize],
                    at: ask(8) as u32,
                    byte: ask(9),
                    stall_us: if what == "stall" { ask(10) } else { 0 },
                })
            })
            .collect();
        let state = State {
            sim: sim.clone(),
            name: Name::new("pipe", direction),
            capacity: at_least_one(ask(0)),
            write_max: at_least_one(ask(1)),
            read_max: at_least_one(ask(2)),
            delivery: ask(3),
            delay_us: ask(4),
            closes_on_drop: ask(5) == 0,
            tap: ask(11) == 0,
            faults,
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
        };
        let pumped = state.pumped();
        let pipe = Self(Rc::new(RefCell::new(state)));
        if pumped {
            sim.spawn(Name::new("pipe", direction), pipe.clone().pump());
        }
        let timed: Vec<Fault> = {
            let state = pipe.0.borrow();
            let faults = state.faults.iter();
            faults
                .filter(|fault| fault.when == "time")
                .copied()
                .collect()
        };
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
        let mut state = self.0.borrow_mut();
        state.stalled_for_good = true;
        state.capacity = 0;
    }

    fn break_now(&self, fault: Fault) {
        let sim = self.0.borrow().sim.clone();
        if sim.healed() {
            return;
        }
        let name = {
            let state = self.0.borrow();
            let number = WHATS.iter().position(|what| *what == fault.what);
            sim.event(FAULT, state.name, [number.unwrap_or(0) as u64, state.read]);
            state.name
        };
        match fault.what {
            "half-close" => {
                let mut state = self.0.borrow_mut();
                // What lies behind the break never arrives.
                if fault.when != "operation" && fault.when != "rest" && fault.when != "time" {
                    state.lose_backlog();
                }
                state.close();
            }
            "reset" => self.reset(),
            "read-error" => {
                let mut state = self.0.borrow_mut();
                state.read_error = true;
                state.wake_all();
            }
            "write-error" => {
                let mut state = self.0.borrow_mut();
                state.write_error = true;
                state.wake_all();
            }
            "stall-for-good" => self.0.borrow_mut().stalled_for_good = true,
            "stall" => {
                self.0.borrow_mut().stalls += 1;
                let pipe = self.clone();
                sim.clone()
                    .spawn(Name::new(name.kind(), "stall"), async move {
                        sim.sleep_us(fault.stall_us).await;
                        let mut state = pipe.0.borrow_mut();
                        state.stalls -= 1;
                        sim.event(STALL_OVER, state.name, [0, 0]);
                        state.wake_all();
                    });
            }
            other => unreachable!("{other} is no fault"),
        }
    }

    /// Delivers one unit a step, for as long as anyone may still write.
    async fn pump(self) {
        let sim = self.0.borrow().sim.clone();
        loop {
            let more = poll_fn(|context| self.0.borrow_mut().poll_more(context)).await;
            if !more {
                return;
            }
            let delay_us = self.0.borrow().delay_us;
            if delay_us > 0 {
                sim.sleep_us(delay_us).await;
            }
            self.0.borrow_mut().deliver();
            yield_now().await;
        }
    }
}

impl State {
    /// Whether a task delivers, and not the write itself.
    fn pumped(&self) -> bool {
        self.delivery != AT_ONCE || self.delay_us > 0
    }

    fn backlog(&self) -> u64 {
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

    fn wake_all(&mut self) {
        let wakers = [self.reader.take(), self.writer.take(), self.pump.take()];
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    fn lose_backlog(&mut self) {
        self.lost += self.backlog();
        self.in_flight.clear();
        self.readable.clear();
        self.conserved();
    }

    fn close(&mut self) {
        if !self.closed {
            self.closed = true;
            self.sim.event(CLOSED, self.name, [self.backlog(), 0]);
        }
        self.wake_all();
    }

    fn die(&mut self) {
        self.reset = true;
        self.lose_backlog();
        self.wake_all();
    }

    fn due(&self, when: &str, number: u32) -> Vec<Fault> {
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
    fn allowed(&self) -> u64 {
        match self.barriers.first() {
            Some((offset, _)) => offset.saturating_sub(self.read),
            None => u64::MAX,
        }
    }

    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<bool> {
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
    fn deliver(&mut self) {
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

    fn poll_read(
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

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
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

    fn writable(&self) -> io::Result<()> {
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

/// The reading end. Dropping it loses the backlog and fails the peer's writes.
pub struct Reader(Pipe);

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let pipe = &self.0;
        loop {
            // A fault strikes when the reader stands before its byte.
            let struck = {
                let mut state = pipe.0.borrow_mut();
                match state.allowed() {
                    0 => Some(state.barriers.remove(0).1),
                    _ => None,
                }
            };
            match struck {
                Some(fault) => pipe.break_now(fault),
                None => return pipe.0.borrow_mut().poll_read(context, buffer),
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.0.0.borrow_mut();
        state.reader_gone = true;
        state
            .sim
            .event(READER_GONE, state.name, [state.backlog(), 0]);
        state.lose_backlog();
        state.wake_all();
    }
}

/// The writing end. Dropping it closes the pipe, unless the plan says that it stays open.
pub struct Writer(Pipe);

impl AsyncWrite for Writer {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.0.borrow_mut().poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.0.borrow().writable())
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.0.borrow_mut().close();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut state = self.0.0.borrow_mut();
        state.writer_gone = true;
        state.sim.event(WRITER_GONE, state.name, [0, 0]);
        state.wake_all();
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
