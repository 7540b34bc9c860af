//! Fatal signals: what is left of a run whose process dies under it, or is about to be killed.
//!
//! An overflow of the measured stack is a SIGSEGV on its guard, and a handler can only run on
//! another stack. It may have interrupted anything, `malloc` included. So it allocates nothing,
//! takes no lock, walks no frame and names no function: it writes the registers and the top of the
//! stack, as they are, to a file that was opened beforehand, and lets the process die as it would
//! have. Whoever reads the file ([`Fault::read_all`]) has time and memory to unwind and symbolise.
//!
//! SIGPROF writes the same of a run that goes on: a watchdog asks where it spins. And a run that is
//! to be explained leaves notes of its own, in the same form: see [`Probe`](crate::Probe).
#![expect(
    unsafe_code,
    reason = "installs signal handlers and an alternate stack"
)]

use std::cell::Cell;
use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::IntoRawFd;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Once, OnceLock};

use crate::{last_words, probe};

/// The most that is written of one stack. A frame needs 100 B to 12 KiB, so even a debug build's
/// longest cycle of frames is there a few times.
pub(crate) const STACK_BYTES_MAX: usize = 256 << 10;

/// The same of the stack at its deepest: there one wants all of it. 10,000 turns of the longest cycle
/// that was seen, in a debug build, take 126 MB.
const DEEPEST_BYTES_MAX: usize = 256 << 20;

/// Bytes of an alternate stack: a kernel's signal frame with AVX-512 takes 3.5 KiB, with AMX 11,
/// the handler less than 2.
pub(crate) const ALTERNATE_BYTES: usize = 64 << 10;

/// The signals that a broken memory access ends in.
const FATAL: [libc::c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// Begins each record. The words behind it: the signal and, from bit 8 on, the kind; the address or
/// number; instruction, stack and frame pointer; where the bytes of the stack begin; how many bytes
/// the whole stack has; how many bytes of text follow, and how many of the stack behind them.
const MAGIC: u64 = u64::from_le_bytes(*b"dismtl-2");
const HEADER_WORDS: usize = 10;
const HEADER_BYTES: usize = HEADER_WORDS * size_of::<u64>();

/// Why a record was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A signal that ends the process.
    Fatal,
    /// The same, with an address in the guard of the run's stack: the stack has overflowed.
    Overflow,
    /// Somebody asked, and nothing had happened.
    Sample,
    /// The stack of a phase is as deep as it ever is. The run goes on, as after all that follow.
    Deepest,
    /// A block of the run's heap is given back; the number is its size in bytes.
    Freed,
    /// A tracked object is destroyed; the text is its name.
    Destroyed,
    /// It is somebody's turn; the number is the step, the text who. No stack.
    Turn,
    /// So many notes found no room; the last of a run. No stack.
    Missed,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Fatal,
        Self::Overflow,
        Self::Sample,
        Self::Deepest,
        Self::Freed,
        Self::Destroyed,
        Self::Turn,
        Self::Missed,
    ];
}

/// What a thread was doing when a signal stopped it, or a note of a run that is explained.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Why it was written.
    pub kind: Kind,
    /// The signal; SIGPROF if somebody only asked, 0 of a note.
    pub signal: i32,
    /// The address that could not be used, or what the kind says.
    pub number: u64,
    /// What the kind says.
    pub text: String,
    /// The instruction pointer.
    pub instruction: u64,
    /// The stack pointer.
    pub stack_pointer: u64,
    /// The frame pointer, or whatever the register was used for.
    pub frame_pointer: u64,
    /// Where the bytes of the stack begin: at the stack pointer, or at the end of the guard.
    pub stack_start: u64,
    /// The stack from there on, up to 256 KiB; at its deepest 256 MiB.
    pub stack: Vec<u8>,
    /// The bytes of the whole stack, from the stack pointer to where it begins to grow.
    pub depth_bytes: u64,
}

impl Fault {
    /// Whether the process ends of it.
    pub fn is_fatal(&self) -> bool {
        matches!(self.kind, Kind::Fatal | Kind::Overflow)
    }

    /// The word at `address`, if it was on the part of the stack that was kept.
    pub fn word(&self, address: u64) -> Option<u64> {
        let offset = usize::try_from(address.checked_sub(self.stack_start)?).ok()?;
        let bytes = self.stack.get(offset..offset.checked_add(8)?)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    /// The faults in a file that [`report_faults`] was given, oldest first.
    pub fn read_all(mut bytes: &[u8]) -> Vec<Self> {
        let mut faults = Vec::new();
        while let Some((header, rest)) = bytes.split_at_checked(HEADER_BYTES) {
            let mut words = [0; HEADER_WORDS];
            for (word, bytes) in words.iter_mut().zip(header.chunks_exact(8)) {
                *word = u64::from_le_bytes(bytes.try_into().expect("chunks of 8"));
            }
            let [
                magic,
                what,
                number,
                instruction,
                stack_pointer,
                frame_pointer,
                ..,
            ] = words;
            let [.., stack_start, depth_bytes, text, kept] = words;
            let kind = Kind::ALL.get((what >> 8) as usize);
            let Some(kind) = kind.filter(|_| magic == MAGIC) else {
                break;
            };
            let split = |bytes, length| {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                <[u8]>::split_at(bytes, bytes.len().min(length))
            };
            let (text, rest) = split(rest, text);
            let (stack, rest) = split(rest, kept);
            faults.push(Self {
                kind: *kind,
                signal: (what & 0xff) as i32,
                number,
                text: String::from_utf8_lossy(text).into_owned(),
                instruction,
                stack_pointer,
                frame_pointer,
                stack_start,
                stack: stack.to_vec(),
                depth_bytes,
            });
            bytes = rest;
        }
        faults
    }
}

/// Writes the faults of this process's runs to `file`, which must be open for appending.
///
/// Call it once, and before other threads are started: from then on SIGPROF is blocked except on
/// the threads of runs, where it has a sample written.
///
/// # Errors
/// The calling thread's signal mask cannot be changed.
pub fn report_faults(file: File) -> io::Result<()> {
    block_samples(libc::SIG_BLOCK)?;
    FILE.store(file.into_raw_fd(), Ordering::Relaxed);
    install();
    Ok(())
}

/// Whether anybody reads what is written.
pub(crate) fn reports() -> bool {
    FILE.load(Ordering::Relaxed) >= 0
}

/// The file; -1 if there is none.
static FILE: AtomicI32 = AtomicI32::new(-1);
static INSTALLED: AtomicBool = AtomicBool::new(false);
/// What was installed before, for SIGSEGV and SIGBUS: the standard library's handlers, mostly.
static BEFORE: OnceLock<[libc::sigaction; FATAL.len()]> = OnceLock::new();

thread_local! {
    /// The stack of this thread's run.
    static BOUNDS: Cell<Option<Bounds>> = const { Cell::new(None) };
}

#[derive(Clone, Copy)]
struct Bounds {
    guard_start: usize,
    guard_end: usize,
    /// Where the stack itself is.
    bottom: usize,
    top: usize,
}

/// Installs the handlers, once.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        BEFORE.get_or_init(|| FATAL.map(|signal| set_handler(signal, None)));
        for signal in FATAL {
            set_handler(signal, Some(fatal));
        }
        if FILE.load(Ordering::Relaxed) >= 0 {
            set_handler(libc::SIGPROF, Some(sample));
        }
        INSTALLED.store(true, Ordering::Relaxed);
    });
}

type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut c_void);

/// Sets a handler, if one is given; returns the one before.
fn set_handler(signal: libc::c_int, handler: Option<Handler>) -> libc::sigaction {
    // SAFETY: all zero is a valid `sigaction`.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let mut before = action;
    // SAFETY: the mask is ours to fill.
    unsafe { libc::sigfillset(&raw mut action.sa_mask) };
    action.sa_flags = libc::SA_ONSTACK | libc::SA_SIGINFO | libc::SA_RESTART;
    action.sa_sigaction = handler.map_or(0, |handler| handler as *const () as usize);
    let action = handler.map_or(null(), |_| &raw const action);
    // SAFETY: both point to valid structures or are null; the handlers are async-signal-safe.
    unsafe { libc::sigaction(signal, action, &raw mut before) };
    before
}

extern "C" fn fatal(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel gives a valid `siginfo_t` with an address to handlers of these signals.
    let address = unsafe { (*info).si_addr() } as usize;
    if probe::springs(address) {
        record(Kind::Deepest, signal, address, context);
        return;
    }
    let bounds = BOUNDS.get();
    let guarded = |bounds: &Bounds| (bounds.guard_start..bounds.guard_end).contains(&address);
    let overflow = bounds.as_ref().is_some_and(guarded);
    let kind = if overflow {
        Kind::Overflow
    } else {
        Kind::Fatal
    };
    record(kind, signal, address, context);
    if overflow {
        last_words::say(b"\nthe stack of the run has overflowed");
    }
    last_words::speak();
    let Some(place) = FATAL.iter().position(|known| *known == signal) else {
        return;
    };
    let before = BEFORE.get().map(|before| before[place]);
    match before.map_or(libc::SIG_DFL, |before| before.sa_sigaction) {
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: the default action; after the return the access is made again and kills.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        handler => {
            // Either form of handler may be called with three arguments: the C ABI ignores
            // those beyond what it takes.
            // SAFETY: it was installed as a handler of this very signal.
            let handler: Handler = unsafe { std::mem::transmute(handler) };
            handler(signal, info, context);
        }
    }
}

extern "C" fn sample(signal: libc::c_int, _info: *mut libc::siginfo_t, context: *mut c_void) {
    #[cfg(target_os = "linux")]
    use libc::__errno_location as errno;
    #[cfg(not(target_os = "linux"))]
    use libc::__error as errno;
    // SAFETY: the place of this thread's `errno`, which the interrupted code may be about to read.
    let errno = unsafe { errno() };
    // SAFETY: as above.
    let before = unsafe { *errno };
    record(Kind::Sample, signal, 0, context);
    // SAFETY: as above.
    unsafe { *errno = before };
}

/// Writes what a signal has interrupted. Async-signal-safe.
fn record(kind: Kind, signal: libc::c_int, address: usize, context: *const c_void) {
    let what = signal as u64 | (kind as u64) << 8;
    let most = match kind {
        Kind::Deepest => DEEPEST_BYTES_MAX,
        _ => STACK_BYTES_MAX,
    };
    write(what, address as u64, registers(context), "", most);
}

/// Writes one record with up to `most` bytes of stack; how many bytes that was. Async-signal-safe.
pub(crate) fn write(
    what: u64,
    number: u64,
    registers: [usize; 3],
    text: &str,
    most: usize,
) -> usize {
    let file = FILE.load(Ordering::Relaxed);
    if file < 0 {
        return 0;
    }
    let [instruction, stack_pointer, frame_pointer] = registers;
    let (from, depth) = match BOUNDS.get() {
        Some(bounds) if (bounds.guard_start..bounds.top).contains(&stack_pointer) => {
            let from = stack_pointer.max(bounds.bottom);
            (from, bounds.top - from)
        }
        _ => (stack_pointer, 0),
    };
    let length = depth.min(most);
    let header: [u64; HEADER_WORDS] = [
        MAGIC,
        what,
        number,
        instruction as u64,
        stack_pointer as u64,
        frame_pointer as u64,
        from as u64,
        depth as u64,
        text.len() as u64,
        length as u64,
    ]
    .map(u64::to_le);
    // SAFETY: the array is as long as is said; `write` is async-signal-safe.
    unsafe { libc::write(file, header.as_ptr().cast(), HEADER_BYTES) };
    // SAFETY: as above, for the text.
    unsafe { libc::write(file, text.as_ptr().cast(), text.len()) };
    // SAFETY: from the guard to the top the stack is mapped; what is not, `write` refuses.
    unsafe { libc::write(file, from as *const c_void, length) };
    HEADER_BYTES + text.len() + length
}

/// Instruction, stack and frame pointer of the interrupted code.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn registers(context: *const c_void) -> [usize; 3] {
    let context: *const libc::ucontext_t = context.cast();
    [libc::REG_RIP, libc::REG_RSP, libc::REG_RBP].map(|register| {
        // SAFETY: the kernel gives handlers with SA_SIGINFO a valid context.
        let value = unsafe { (*context).uc_mcontext.gregs[register as usize] };
        value as usize
    })
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn registers(_context: *const c_void) -> [usize; 3] {
    [0; 3]
}

/// Blocks (`SIG_BLOCK`) or lets through (`SIG_UNBLOCK`) samples on this thread.
fn block_samples(how: libc::c_int) -> io::Result<()> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is ours to fill.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: it was just made.
    unsafe { libc::sigaddset(set.as_mut_ptr(), libc::SIGPROF) };
    // SAFETY: as above; the old mask is not asked for.
    match unsafe { libc::pthread_sigmask(how, set.as_ptr(), null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// While it lives, this thread's run has a guarded stack and the handlers one to stand on.
pub(crate) struct Guarded {
    before: Option<libc::stack_t>,
}

impl Guarded {
    /// A run on a stack that ends at `top`, with a guard below and an alternate stack for the
    /// handlers, which must stay mapped; `None` if the process has no handlers.
    pub(crate) fn new(guard: Range<usize>, top: usize, alternate: *mut c_void) -> Option<Self> {
        Self::with(guard.clone(), guard.end..top, || {
            let stack = libc::stack_t {
                ss_sp: alternate,
                ss_flags: 0,
                ss_size: ALTERNATE_BYTES,
            };
            exchange_alternate(Some(stack))
        })
    }

    /// A run on this thread's own stack; the standard library has made an alternate one.
    pub(crate) fn thread() -> Option<Self> {
        let (guard, stack) = thread_stack()?;
        Self::with(guard, stack, || None)
    }

    fn with(
        guard: Range<usize>,
        stack: Range<usize>,
        alternate: impl FnOnce() -> Option<libc::stack_t>,
    ) -> Option<Self> {
        if !INSTALLED.load(Ordering::Relaxed) {
            return None;
        }
        BOUNDS.set(Some(Bounds {
            guard_start: guard.start,
            guard_end: guard.end,
            bottom: stack.start,
            top: stack.end,
        }));
        let before = alternate();
        if FILE.load(Ordering::Relaxed) >= 0 {
            // Without it there are no samples, which only explain.
            drop(block_samples(libc::SIG_UNBLOCK));
        }
        Some(Self { before })
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        BOUNDS.set(None);
        if let Some(before) = self.before {
            exchange_alternate(Some(before));
        }
    }
}

/// Sets this thread's alternate stack; the one before.
fn exchange_alternate(stack: Option<libc::stack_t>) -> Option<libc::stack_t> {
    let mut before = MaybeUninit::<libc::stack_t>::uninit();
    let new = stack.as_ref().map_or(null(), |stack| &raw const *stack);
    // SAFETY: the stack is mapped for as long as it is set: `Guarded` sets it back.
    let answer = unsafe { libc::sigaltstack(new, before.as_mut_ptr()) };
    // SAFETY: filled by a call that succeeded.
    (answer == 0).then(|| unsafe { before.assume_init() })
}

/// The guard of this thread's own stack, and the stack.
#[cfg(target_os = "linux")]
fn thread_stack() -> Option<(Range<usize>, Range<usize>)> {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: the C library fills the structure for this very thread.
    let answer = unsafe { libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) };
    if answer != 0 {
        return None;
    }
    let (mut bottom, mut size, mut guard) = (null_mut(), 0, 0);
    // SAFETY: filled by the call above; the results are ours.
    unsafe { libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut bottom, &raw mut size) };
    // SAFETY: as above.
    unsafe { libc::pthread_attr_getguardsize(attributes.as_ptr(), &raw mut guard) };
    // SAFETY: made by `pthread_getattr_np`, not used again.
    unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
    let bottom = bottom as usize;
    // Before glibc 2.27 the guard was counted as stack: either side of the bottom is taken.
    Some((bottom - guard..bottom + guard, bottom..bottom + size))
}

#[cfg(not(target_os = "linux"))]
fn thread_stack() -> Option<(Range<usize>, Range<usize>)> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record_of(words: [u64; HEADER_WORDS], stack: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.extend_from_slice(stack);
        bytes
    }

    #[test]
    fn records_are_read_back_and_a_torn_one_as_far_as_it_goes() {
        let overflow = [
            MAGIC,
            11 | 1 << 8,
            0x1000,
            0x77,
            0x1ff8,
            0,
            0x2000,
            99,
            0,
            8,
        ];
        let mut bytes = record_of(overflow, &7_u64.to_le_bytes());
        let named = [MAGIC, 5 << 8, 0, 0, 0, 0, 0, 0, 3, 0];
        bytes.extend(record_of(named, b"a/b"));
        let torn = [MAGIC, 27 | 2 << 8, 0, 1, 0x3000, 2, 0x3000, 16, 0, 16];
        bytes.extend(record_of(torn, &[9; 12]));
        let faults = Fault::read_all(&bytes);
        let kinds: Vec<Kind> = faults.iter().map(|fault| fault.kind).collect();
        assert_eq!(kinds, [Kind::Overflow, Kind::Destroyed, Kind::Sample]);
        assert_eq!(faults[0].word(0x2000), Some(7));
        assert_eq!(faults[0].word(0x2008), None);
        assert!(faults[0].is_fatal() && !faults[2].is_fatal());
        assert_eq!(faults[1].text, "a/b");
        assert_eq!(faults[2].word(0x3000), Some(u64::from_le_bytes([9; 8])));
        assert_eq!(faults[2].word(0x3008), None);
        assert_eq!(Fault::read_all(&bytes[..HEADER_BYTES - 1]), []);
        assert_eq!(Fault::read_all(&[0; 200]), []);
    }
}
