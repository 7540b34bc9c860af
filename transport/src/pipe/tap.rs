//! The tap on a pipe: tells messages apart, and knows where in the stream a fault waits.

use std::collections::VecDeque;

use dismantle_sim::heap::uncounted;
use dismantle_sim::{EventKind, Name, Sim};

use super::fault::Fault;
use crate::frame::{Framer, MessageKind};

const MESSAGE: EventKind = EventKind::new("on-the-wire");

/// What is known of the messages of one direction, and the faults that count them.
pub(super) struct Tap {
    on: bool,
    faults: Vec<Fault>,
    framer: Framer,
    /// Ends of frames that are not yet delivered, as offsets in the stream.
    frame_ends: VecDeque<u64>,
    kinds_seen: [u32; 10],
    messages_seen: u32,
    /// Where the last message that was seen ends, as an offset in the stream.
    message_end: u64,
    /// Where a fault waits in the stream, by the offset of the first byte that it keeps back.
    barriers: Vec<(u64, Fault)>,
}

impl Tap {
    /// A tap that has seen nothing; one that is not `on` never will.
    pub(super) fn new(on: bool, faults: Vec<Fault>) -> Self {
        Self {
            on,
            faults,
            framer: Framer::default(),
            frame_ends: VecDeque::new(),
            kinds_seen: [0; 10],
            messages_seen: 0,
            message_end: 0,
            barriers: Vec::new(),
        }
    }

    /// Has a fault wait at a byte of the stream, whatever message it is of.
    pub(super) fn cut(&mut self, byte: u64, fault: Fault) {
        self.barriers.push((byte, fault));
    }

    /// The faults that are counted in `when`.
    pub(super) fn faults(&self, when: &str) -> impl Iterator<Item = Fault> {
        let counted = move |fault: &&Fault| fault.when == when;
        self.faults.iter().filter(counted).copied()
    }

    /// Those of them whose number has come.
    pub(super) fn due(&self, when: &str, number: u32) -> Vec<Fault> {
        let faults = self.faults(when);
        faults.filter(|fault| fault.at == number).collect()
    }

    /// Messages that end within the first `written` bytes, all that it has seen; `None` if it does
    /// not look.
    pub(super) fn messages_written(&self, written: u64) -> Option<u64> {
        let begun = u64::from(written < self.message_end);
        self.on.then(|| u64::from(self.messages_seen) - begun)
    }

    /// Looks at accepted bytes: which messages are they, and does a fault wait for one of them?
    pub(super) fn look(
        &mut self,
        sim: &Sim,
        name: Name,
        mut bytes: &[u8],
        read: u64,
        by_message: bool,
    ) {
        if !self.on {
            return;
        }
        let pause = uncounted();
        while let Some(frame) = self.framer.next(&mut bytes) {
            let kind = frame.kind as usize;
            self.kinds_seen[kind] += 1;
            self.messages_seen += 1;
            self.message_end = frame.end;
            if by_message {
                self.frame_ends.push_back(frame.end);
            }
            let number = self.kinds_seen[kind];
            sim.event(
                message_event(frame.kind),
                name,
                [u64::from(number), frame.end.saturating_sub(frame.start)],
            );
            if self.faults.is_empty() {
                continue;
            }
            let mut due = self.due(frame.kind.word(), number);
            due.extend(self.due("message", self.messages_seen));
            for fault in due {
                let offset = (frame.start + fault.byte).min(frame.end).max(read);
                self.barriers.push((offset, fault));
                self.barriers.sort_by_key(|(offset, _)| *offset);
            }
        }
        drop(pause);
    }

    /// Bytes from `read` up to where the reader may read before a fault strikes.
    pub(super) fn allowed(&self, read: u64) -> u64 {
        match self.barriers.first() {
            Some((offset, _)) => offset.saturating_sub(read),
            None => u64::MAX,
        }
    }

    /// Takes the fault that the reader stands before, if there is one.
    pub(super) fn struck(&mut self, read: u64) -> Option<Fault> {
        (self.allowed(read) == 0).then(|| self.barriers.remove(0).1)
    }

    /// Bytes from `delivered_to` to the end of the frame there.
    pub(super) fn rest_of_frame(&mut self, delivered_to: u64) -> u64 {
        let delivered = |end: &u64| *end <= delivered_to;
        while self.frame_ends.front().is_some_and(delivered) {
            self.frame_ends.pop_front();
        }
        match self.frame_ends.front() {
            Some(end) => end - delivered_to,
            None => u64::MAX,
        }
    }
}

fn message_event(kind: MessageKind) -> EventKind {
    match kind {
        MessageKind::Other => MESSAGE,
        kind => EventKind::new(kind.word()),
    }
}
