//! What a worker is doing, in memory that it shares with its supervisor: a few stores a step.
//!
//! The supervisor reads the file behind that memory, whenever it likes. A reading may be of two
//! steps at once, but only while the worker goes from one to the next; one that is dead, or stuck
//! in a step, stores no more. So a torn reading is never the last word on a run, and to the
//! watchdog it is what it stands for, a step that goes on: seed and step are a single store each,
//! and no two steps of a job have both.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering};

use dismantle_sim::{Name, Phase};
use rustix::mm::{MapFlags, ProtFlags, mmap};

use crate::report::{PHASES, phase_word};

/// Words for a name's owner and for its kind; what is longer is cut off.
const OWNER_WORDS: usize = 4;
const KIND_WORDS: usize = 8;

/// Whose turn it is, in words of eight bytes. All are 0 before a job is begun.
#[repr(C)]
struct Record {
    seed: AtomicU64,
    step: AtomicU64,
    time_us: AtomicU64,
    /// One more than the place in [`PHASES`].
    phase: AtomicU64,
    /// One more than the name's number; 0 if it has none.
    number: AtomicU64,
    /// Empty if it is nobody's turn.
    owner: [AtomicU64; OWNER_WORDS],
    kind: [AtomicU64; KIND_WORDS],
}

const BYTES: usize = size_of::<Record>();

/// The worker's hand.
pub(super) struct Progress(&'static Record);

impl Progress {
    /// Maps the file of the supervisor, for as long as this process lives.
    #[expect(
        unsafe_code,
        reason = "memory that outlives the process, for a few stores a step"
    )]
    pub(super) fn open(file: &File) -> io::Result<Self> {
        if file.metadata()?.len() < BYTES as u64 {
            return Err(io::Error::other("no room for the progress of a worker"));
        }
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses the place, so that no memory of ours is touched.
        let start = unsafe { mmap(null_mut(), BYTES, access, MapFlags::SHARED, file, 0) }?;
        // SAFETY: it is aligned to a page, as long as a `Record`, never unmapped, and as long as
        // the file, which nobody shortens. Atomics take any bytes, and this process makes them
        // no other way.
        Ok(Self(unsafe { &*start.cast::<Record>() }))
    }

    /// It is the turn of `who`, or of nobody by name, after `step` steps of `seed`, at this virtual
    /// time.
    pub(super) fn note(
        &self,
        seed: u64,
        [step, time_us]: [u64; 2],
        phase: Phase,
        who: Option<Name>,
    ) {
        let record = self.0;
        record.seed.store(seed, Ordering::Relaxed);
        record.step.store(step, Ordering::Relaxed);
        record.time_us.store(time_us, Ordering::Relaxed);
        record.phase.store(phase as u64 + 1, Ordering::Relaxed);
        let number = who.and_then(|who| who.index());
        let number = number.map_or(0, |number| u64::from(number) + 1);
        record.number.store(number, Ordering::Relaxed);
        store(&record.owner, who.map_or("", |who| who.owner()));
        store(&record.kind, who.map_or("", |who| who.kind()));
    }
}

/// Stores a text and the 0 that ends it, as far as there is room. What stands behind is old.
fn store(words: &[AtomicU64], text: &str) {
    let (eights, rest) = text.as_bytes().as_chunks::<8>();
    for (word, eight) in words.iter().zip(eights) {
        word.store(u64::from_ne_bytes(*eight), Ordering::Relaxed);
    }
    if let Some(word) = words.get(eights.len()) {
        let push = |word, byte: &u8| word << 8 | u64::from(*byte);
        let last = rest.iter().rev().fold(0_u64, push);
        let last = u64::from_ne_bytes(last.to_le_bytes());
        word.store(last, Ordering::Relaxed);
    }
}

/// What a worker said last that it does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Doing {
    pub(super) seed: u64,
    pub(super) step: u64,
    pub(super) time_us: u64,
    pub(super) phase: &'static str,
    pub(super) who: Option<String>,
}

impl Doing {
    /// Makes room for it, and has nothing said.
    pub(super) fn clear(file: &File) -> io::Result<()> {
        file.write_all_at(&[0; BYTES], 0)
    }

    /// Reads it; `None` if nothing has been said.
    pub(super) fn read(file: &File) -> Option<Self> {
        let mut bytes = [0; BYTES];
        file.read_exact_at(&mut bytes, 0).ok()?;
        let (words, text) = bytes.split_at(5 * 8);
        let word = |index: usize| {
            let eight = words.as_chunks::<8>().0[index];
            u64::from_ne_bytes(eight)
        };
        let (owner, kind) = text.split_at(OWNER_WORDS * 8);
        let number = match word(4) {
            0 => String::new(),
            number => format!("/{}", number - 1),
        };
        let phase = PHASES.get(word(3).checked_sub(1)? as usize)?;
        Some(Self {
            seed: word(0),
            step: word(1),
            time_us: word(2),
            phase: phase_word(*phase),
            who: (owner[0] != 0).then(|| format!("{}/{}{number}", shown(owner), shown(kind))),
        })
    }
}

/// A text up to its end, or as far as it was kept.
fn shown(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_read_whole_until_it_is_cleared() {
        let file = tempfile::tempfile().expect("a file");
        assert!(Progress::open(&file).is_err());
        Doing::clear(&file).expect("cleared");
        let progress = Progress::open(&file).expect("mapped");
        assert_eq!(Doing::read(&file), None);
        let long = "a-kind-that-nobody-would-ever-think-of-because-it-is-longer-than-a-line";
        for (phase, who, shown) in [
            (
                Phase::Drive,
                Some(Name::numbered("server", "call", 0)),
                "server/call/0",
            ),
            (Phase::Teardown, Some(Name::new("o", "system")), "o/system"),
            (
                Phase::Build,
                Some(Name::new("exactly8", long)),
                &format!("exactly8/{}", &long[..64]),
            ),
        ] {
            progress.note(u64::MAX, [7, 1250], phase, who);
            let doing = Doing::read(&file).expect("noted");
            assert_eq!(
                (doing.seed, doing.step, doing.time_us, doing.phase),
                (u64::MAX, 7, 1250, phase_word(phase))
            );
            assert_eq!(doing.who.as_deref(), Some(shown));
        }
        progress.note(1, [8, 0], Phase::Drive, None);
        assert_eq!(Doing::read(&file).expect("noted").who, None);
        Doing::clear(&file).expect("cleared");
        assert_eq!(Doing::read(&file), None);
        progress.note(0, [0, 0], Phase::Build, None);
        assert_eq!(Doing::read(&file).map(|doing| doing.phase), Some("build"));
    }
}
