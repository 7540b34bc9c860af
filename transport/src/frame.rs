//! Frames: where messages begin and end in a stream of bytes, and of which kind they are.
//!
//! The tap reads what the encoding guarantees and nothing else: the segment table at the start
//! of a frame and the union tag of the root struct. It never fails; a stream that is no Cap'n
//! Proto shows as messages of kind [`MessageKind::Other`].
//! Source: the stream framing of encoding.md and `union` in `struct Message` of `rpc.capnp`.

/// A kind of RPC message, as in `rpc.capnp`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum MessageKind {
    /// Echoed back because the peer did not know it.
    Unimplemented,
    /// The connection ends with an error.
    Abort,
    /// A method call.
    Call,
    /// The answer to a call or bootstrap.
    Return,
    /// The caller needs the answer no more.
    Finish,
    /// A promise that was exported has resolved.
    Resolve,
    /// An import is no longer needed.
    Release,
    /// Asks for the bootstrap capability.
    Bootstrap,
    /// An embargo is lifted.
    Disembargo,
    /// Anything else.
    Other,
}

impl MessageKind {
    /// All kinds that have a name.
    pub const NAMED: [Self; 9] = [
        Self::Unimplemented,
        Self::Abort,
        Self::Call,
        Self::Return,
        Self::Finish,
        Self::Resolve,
        Self::Release,
        Self::Bootstrap,
        Self::Disembargo,
    ];

    /// The word that traces and plans use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unimplemented => "unimplemented",
            Self::Abort => "abort",
            Self::Call => "call",
            Self::Return => "return",
            Self::Finish => "finish",
            Self::Resolve => "resolve",
            Self::Release => "release",
            Self::Bootstrap => "bootstrap",
            Self::Disembargo => "disembargo",
            Self::Other => "other",
        }
    }

    const fn from_tag(tag: u16) -> Self {
        match tag {
            0 => Self::Unimplemented,
            1 => Self::Abort,
            2 => Self::Call,
            3 => Self::Return,
            4 => Self::Finish,
            5 => Self::Resolve,
            6 => Self::Release,
            8 => Self::Bootstrap,
            13 => Self::Disembargo,
            _ => Self::Other,
        }
    }
}

/// A message in the stream, known as soon as its tag is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// What it is.
    pub kind: MessageKind,
    /// Offset of its first byte in the stream.
    pub start: u64,
    /// Offset just behind its last byte.
    pub end: u64,
}

/// Bytes of a frame's start that are looked at; a root struct further in counts as `Other`.
const HEAD_BYTES: usize = 64;

const WORD_BYTES: usize = 8;

/// Cuts a stream of bytes into frames, as the bytes come.
pub struct Framer {
    head: Vec<u8>,
    /// How long the head has to be before more can be said of the frame.
    needed: usize,
    start: u64,
    offset: u64,
    end: Option<u64>,
    announced: bool,
}

impl Default for Framer {
    fn default() -> Self {
        Self {
            head: Vec::with_capacity(HEAD_BYTES),
            needed: WORD_BYTES,
            start: 0,
            offset: 0,
            end: None,
            announced: false,
        }
    }
}

impl Framer {
    /// Takes the next bytes; calls `seen` for each frame whose kind is now known, in order.
    pub fn take(&mut self, mut bytes: &[u8], mut seen: impl FnMut(Frame)) {
        while let Some(frame) = self.next(&mut bytes) {
            seen(frame);
        }
    }

    /// Takes bytes off the front of `bytes` until the kind of a frame is known, or all.
    pub(crate) fn next(&mut self, bytes: &mut &[u8]) -> Option<Frame> {
        let mut known = None;
        while known.is_none() && !bytes.is_empty() {
            let to_end = self.end.map_or(u64::MAX, |end| end - self.offset);
            let wanted = match self.announced {
                true => to_end,
                false => to_end.min((self.needed - self.head.len()) as u64),
            };
            let (now, rest) = bytes.split_at(wanted.min(bytes.len() as u64) as usize);
            *bytes = rest;
            self.offset += now.len() as u64;
            if !self.announced {
                self.head.extend_from_slice(now);
                known = self.look();
            }
            if self.end == Some(self.offset) {
                self.head.clear();
                self.needed = WORD_BYTES;
                self.start = self.offset;
                self.end = None;
                self.announced = false;
            }
        }
        known
    }

    fn look(&mut self) -> Option<Frame> {
        let segments = self.u32_at(0)?;
        // `segments` is one less than their number; the table is padded to a word.
        let table_bytes = (u64::from(segments).div_ceil(2) + 1) * 8;
        if self.end.is_none() {
            if table_bytes > HEAD_BYTES as u64 {
                return Some(self.lost());
            }
            if (self.head.len() as u64) < table_bytes {
                self.needed = table_bytes as usize;
                return None;
            }
            let words: u64 = (0..=segments as usize)
                .filter_map(|index| self.u32_at(4 + 4 * index))
                .map(u64::from)
                .sum();
            self.end = Some(self.start + table_bytes + words * 8);
            // The root pointer, and mostly the word behind it.
            self.needed = table_bytes as usize + 2 * WORD_BYTES;
        }
        let end = self.end.expect("set just now");
        let complete = end == self.offset;
        if self.head.len() < self.needed && !complete {
            return None;
        }
        let kind = match self.tag(table_bytes as usize) {
            Ok(tag) => MessageKind::from_tag(tag),
            Err(Unknown::Until(needed)) if !complete => {
                self.needed = needed;
                return None;
            }
            Err(_) => MessageKind::Other,
        };
        self.announced = true;
        Some(Frame {
            kind,
            start: self.start,
            end,
        })
    }

    /// The union tag of the root struct, whose pointer is the first word behind the table.
    fn tag(&self, root: usize) -> Result<u16, Unknown> {
        let pointer = self.u32_at(root);
        let pointer = pointer.ok_or(Unknown::Until(root + WORD_BYTES))?;
        if pointer & 3 != 0 {
            return Err(Unknown::ForGood);
        }
        let tag = root + WORD_BYTES + (pointer >> 2) as usize * WORD_BYTES;
        if tag + 2 > HEAD_BYTES {
            return Err(Unknown::ForGood);
        }
        let bytes = self.head.get(tag..tag + 2);
        let bytes = bytes.ok_or(Unknown::Until(tag + 2))?;
        Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    /// No frame of ours: the rest of the stream counts as one.
    fn lost(&mut self) -> Frame {
        self.announced = true;
        self.end = Some(u64::MAX);
        Frame {
            kind: MessageKind::Other,
            start: self.start,
            end: u64::MAX,
        }
    }

    fn u32_at(&self, at: usize) -> Option<u32> {
        let bytes = self.head.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().expect("four bytes")))
    }
}

enum Unknown {
    /// Until the head has so many bytes.
    Until(usize),
    ForGood,
}

#[cfg(test)]
mod tests {
    use super::*;
    use capnp::message::Builder;
    use capnp_rpc::rpc_capnp::message;

    fn stream() -> (Vec<u8>, Vec<u64>) {
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        for index in 0..4_u32 {
            let mut builder = Builder::new_default();
            let root = builder.init_root::<message::Builder<'_>>();
            match index {
                0 => root.init_bootstrap().set_question_id(1),
                1 => root.init_call().set_question_id(2),
                2 => root.init_release().set_id(3),
                _ => root.init_abort().set_reason("x".repeat(5000).as_str()),
            }
            capnp::serialize::write_message(&mut bytes, &builder).expect("a Vec takes all");
            ends.push(bytes.len() as u64);
        }
        (bytes, ends)
    }

    #[test]
    fn frames_are_the_same_however_the_bytes_are_cut() {
        let (bytes, ends) = stream();
        for size in [1, 2, 3, 7, 8, 24, 100, bytes.len()] {
            let mut framer = Framer::default();
            let mut frames = Vec::new();
            for piece in bytes.chunks(size) {
                framer.take(piece, |frame| frames.push(frame));
            }
            let kinds: Vec<_> = frames.iter().map(|frame| frame.kind.word()).collect();
            assert_eq!(
                kinds,
                ["bootstrap", "call", "release", "abort"],
                "pieces of {size}"
            );
            assert_eq!(
                frames.iter().map(|frame| frame.end).collect::<Vec<_>>(),
                ends
            );
            assert_eq!(frames[2].start, ends[1]);
        }
    }

    #[test]
    fn the_table_of_a_frame_may_have_any_length() {
        for segments in 1..=5_u32 {
            // Its first segment is the root pointer to one data word, which holds the tag.
            let mut bytes = (segments - 1).to_le_bytes().to_vec();
            for segment in 0..segments {
                bytes.extend((if segment == 0 { 2_u32 } else { 1 }).to_le_bytes());
            }
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            bytes.extend(1_u64.wrapping_shl(32).to_le_bytes());
            bytes.extend(3_u64.to_le_bytes());
            bytes.resize(bytes.len() + 8 * (segments as usize - 1), 0);
            let length = bytes.len() as u64;
            bytes.extend_from_within(..);

            let mut framer = Framer::default();
            let mut frames = Vec::new();
            framer.take(&bytes, |frame| frames.push((frame.kind, frame.end)));
            let expected = [length, 2 * length].map(|end| (MessageKind::Return, end));
            assert_eq!(frames, expected, "{segments} segments");
        }
    }

    #[test]
    fn noise_is_one_message_of_no_kind() {
        let mut framer = Framer::default();
        let mut frames = Vec::new();
        framer.take(&[0xff; 1000], |frame| frames.push(frame.kind));
        assert_eq!(frames, [MessageKind::Other]);
    }
}
