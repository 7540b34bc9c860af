//! What a run is asked to leave for its explanation: where its stack is deepest, and who destroys
//! what.
//!
//! A run is a function of its plan, so a first one says how deep each phase goes
//! ([`Report::stack_depth`](crate::Report::stack_depth)), and a second one can be caught there: the
//! page that the deepest word would be the last of cannot be touched. Whoever touches it is at the
//! greatest depth, and the fault handler writes down the whole stack. Nothing has to be counted or
//! compared on the way, so that this second run takes no longer than the first.
//!
//! Destructions leave notes: each block of the heap that is given back, each tracked object and each
//! turn, with the raw stack. They end up in the file of [`report_faults`](crate::report_faults), as
//! [`Fault`](crate::Fault)s, for somebody else to unwind and name.

#![expect(
    unsafe_code,
    reason = "closes and opens a page of the stack, and reads registers"
)]

use std::cell::Cell;
use std::ffi::c_void;
use std::ops::Range;

use crate::fault::{self, Kind};
use crate::run::Phase;

/// What a run leaves, in the file of [`report_faults`](crate::report_faults). Needs one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Probe {
    /// The stack where it is deepest in this phase, so many bytes below its start: as a run of the
    /// same plan has measured, with a trace if this one has one.
    pub deepest: Option<(Phase, u64)>,
    /// Every destruction of the teardown. It takes a little stack: figures of the teardown are
    /// then not those of another run.
    pub destructions: bool,
}

/// What the notes of one run may take. An orderly session's 210 blocks take 2 MiB in a debug build.
const NOTES_BYTES_MAX: usize = 64 << 20;

thread_local! {
    /// The pages of which the first touch is the stack's deepest point.
    static TRAP: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
    /// Whether the run leaves notes, what they have taken, and how many found no room.
    static NOTES: Cell<Option<(usize, u64)>> = const { Cell::new(None) };
}

/// Has the first touch of these pages written as the deepest point of this thread's stack.
///
/// They belong to its mapping, below all live frames. Nothing is done if nobody would know.
pub(crate) fn set_trap(pages: Range<usize>) {
    if fault::reports() {
        let closed = protect(pages.start, pages.len(), libc::PROT_NONE);
        TRAP.set(closed.then_some((pages.start, pages.len())));
    }
}

/// Whether somebody has touched the pages of the trap, which are then like the others.
/// Async-signal-safe.
pub(crate) fn springs(address: usize) -> bool {
    let trap = TRAP.get();
    let is_in = |&(start, bytes): &(usize, usize)| (start..start + bytes).contains(&address);
    trap.filter(is_in).is_some() && clear_trap()
}

/// Makes the pages of the trap like the others; whether it was still set.
pub(crate) fn clear_trap() -> bool {
    let Some((start, bytes)) = TRAP.take() else {
        return false;
    };
    // If it cannot be done, the next touch is fatal.
    protect(start, bytes, libc::PROT_READ | libc::PROT_WRITE);
    true
}

fn protect(start: usize, bytes: usize, access: libc::c_int) -> bool {
    // SAFETY: whole pages of the stack's mapping, as `set_trap` was promised; whoever touches them
    // while they are closed is told so by the handler, which opens them.
    let answer = unsafe { libc::mprotect(start as *mut c_void, bytes, access) };
    answer == 0
}

/// From here on this thread's run leaves notes, if there is a file for them, or no more.
pub(crate) fn take_notes(on: bool) {
    if on {
        let fresh = fault::reports().then_some((0, 0));
        NOTES.set(NOTES.get().or(fresh));
    } else if let Some((_, missed @ 1..)) = NOTES.take() {
        fault::write((Kind::Missed as u64) << 8, missed, [0; 3], "", 0);
    }
}

/// Whether this thread's run leaves notes.
#[inline]
pub(crate) fn takes_notes() -> bool {
    NOTES.get().is_some()
}

/// Leaves a note of the calling thread, with its stack if the kind has one. It allocates nothing
/// and takes little stack: a block that is given back costs as much.
#[cold]
#[inline(never)]
pub(crate) fn note(kind: Kind, number: u64, text: &str) {
    let Some((taken, missed)) = NOTES.get() else {
        return;
    };
    if taken >= NOTES_BYTES_MAX {
        NOTES.set(Some((taken, missed + 1)));
        return;
    }
    let (here, most) = match kind {
        Kind::Turn | Kind::Missed => ([0; 3], 0),
        _ => (registers_here(), fault::STACK_BYTES_MAX),
    };
    let bytes = fault::write((kind as u64) << 8, number, here, text, most);
    NOTES.set(Some((taken + bytes, missed)));
}

/// Instruction, stack and frame pointer within the caller.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[inline(always)]
fn registers_here() -> [usize; 3] {
    let (instruction, stack_pointer, frame_pointer);
    // SAFETY: three registers are read, nothing else is done.
    unsafe {
        std::arch::asm!(
            "lea {}, [rip]",
            "mov {}, rsp",
            "mov {}, rbp",
            out(reg) instruction,
            out(reg) stack_pointer,
            out(reg) frame_pointer,
            options(nomem, nostack, preserves_flags),
        );
    }
    [instruction, stack_pointer, frame_pointer]
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn registers_here() -> [usize; 3] {
    [0; 3]
}
