//! The measured stack: one very large region that a run lives on, and its high-water mark.
//!
//! A page of the region that was never written is not resident, and a word of it that was never
//! written is zero. So the deepest point that a phase reached can be read afterwards, exactly
//! and without a hook: everything below the stack pointer is made zero, the phase runs, and
//! the lowest word that is not zero is its high-water mark. What would overflow an ordinary
//! stack is then a number, and the run goes on.
//!
//! It refuses to measure where it could not be right: under memcheck (which reports the scan as
//! invalid reads), under Miri and on anything but Linux, [`Region::new`] says so.
#![expect(
    unsafe_code,
    reason = "maps, clears and scans a stack, which safe Rust cannot do"
)]

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::num::NonZeroUsize;
use std::ops::{Range, RangeInclusive};
use std::ptr::null_mut;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use corosensei::stack::{Stack, StackPointer};
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};

use crate::fault::{ALTERNATE_BYTES, Guarded};
use crate::probe;

/// Sizes that are tried in turn: `ulimit -v` or strict overcommit may refuse the first.
const SIZES: [usize; 3] = [1 << 30, 256 << 20, 64 << 20];

/// Stacks of a size of one's own: a panic's hook takes 21 KiB, so that less would be of no use.
pub const STACK_SIZES: RangeInclusive<u64> = 64 << 10..=1 << 30;

/// Bytes at the region's end that are cleared by writing, so that their pages stay resident: a
/// shallow run then costs no page fault. Measured: an ordinary session needs 5 to 12 KiB.
const KEPT_BYTES: usize = 24 << 10;

/// A phase for which fewer are left below its start keeps pages below that instead.
const KEPT_LEAST_BYTES: usize = 8 << 10;

/// What is cleared or compared with zero at once. For more bytes than about 2 KiB C's `memset`
/// uses string instructions, which callgrind counts byte by byte.
const BLOCK_BYTES: usize = 1 << 10;

/// The frames of [`Region::clear`] itself, which it must not write over. A phase is never said
/// to need less than about this.
const MARGIN_BYTES: usize = 1 << 10;

/// Pages asked for at once. The scan goes on past holes shorter than this: a frame of up to
/// 1 MiB that leaves its pages untouched does not end it.
const CHUNK_PAGES: usize = 256;

/// What the start of a stack is moved by a multiple of. No frame is aligned to more: a vector
/// register of AVX-512 has so many bytes.
const ALIGN_BYTES: usize = 64;

/// Bytes below the stack that cannot be touched. Rust's frames touch each page that they take, so
/// one page would do for them; other languages' may skip some.
const GUARD_BYTES: usize = 64 << 10;

/// A mapped stack of up to 1 GiB of address space; pages are committed only when touched.
///
/// From the bottom: the alternate stack of the fault handlers, the guard, the stack.
pub struct Region {
    bottom: NonZeroUsize,
    /// Of all of it.
    size: usize,
    page: usize,
    /// A run is on it: there is room for one.
    busy: AtomicBool,
    /// No page below the kept ones was resident when the run's thread had had `faults` page
    /// faults. While it has had no more, none can be, and the kernel need not be asked: to take
    /// back 1 GiB takes it 4 µs, to tell of 1 MiB 3, the number of faults 0.3 (measured with a C
    /// program on a virtual machine, Linux 6.18).
    clean: AtomicBool,
    faults: AtomicU64,
    /// Bytes at the end that this run's stack leaves out.
    shift: AtomicUsize,
}

impl Region {
    /// Maps a region, with a guard below; `None` where measuring is impossible.
    pub fn new() -> Option<Self> {
        Self::is_possible().then(|| SIZES.into_iter().find_map(Self::map))?
    }

    /// The size of the region, in bytes; the deepest stack that a run survives.
    pub fn size_bytes(&self) -> usize {
        self.size
    }

    /// Maps one for a stack of so many bytes, or as near to it as there are some; `None` as for
    /// [`Region::new`], or if there is no room.
    pub(crate) fn with_stack(bytes: u64) -> Option<Self> {
        Self::is_possible().then(|| Self::map(Self::size_for(bytes)))?
    }

    /// Whether it is what [`Region::with_stack`] gives for so many bytes.
    pub(crate) fn is_for(&self, bytes: u64) -> bool {
        self.size == Self::size_for(bytes)
    }

    fn size_for(stack_bytes: u64) -> usize {
        let bytes = stack_bytes.clamp(*STACK_SIZES.start(), *STACK_SIZES.end());
        let bytes = (bytes as usize).next_multiple_of(rustix::param::page_size());
        bytes + GUARD_BYTES + ALTERNATE_BYTES
    }

    fn is_possible() -> bool {
        cfg!(target_os = "linux") && !cfg!(miri) && !under_memcheck()
    }

    fn map(size: usize) -> Option<Self> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new anonymous mapping, at an address that the kernel chooses.
        let bottom = unsafe { rustix::mm::mmap_anonymous(null_mut(), size, access, flags) }.ok()?;
        let page = rustix::param::page_size();
        let region = Self {
            bottom: NonZeroUsize::new(bottom as usize).expect("mmap never gives address 0"),
            size,
            page,
            busy: AtomicBool::new(false),
            clean: AtomicBool::new(false),
            faults: AtomicU64::new(0),
            shift: AtomicUsize::new(0),
        };
        let guard = region.guard().start as *mut c_void;
        // SAFETY: the pages were just mapped, nothing points into them.
        unsafe { rustix::mm::mprotect(guard, GUARD_BYTES, MprotectFlags::empty()) }.ok()?;
        // With huge pages one touched word makes 512 pages resident. Kernels without them refuse.
        // SAFETY: advice on our own mapping; it changes no byte.
        let _refused = unsafe { rustix::mm::madvise(bottom, size, Advice::LinuxNoHugepage) };
        Some(region)
    }

    /// Runs `body` on the region. A panic in it must not reach this frame.
    ///
    /// A run that is to be stopped `deepest` bytes below the start has the start moved down by less
    /// than a page, so that a page ends just there: see [`Region::arm`].
    ///
    /// # Panics
    /// If another thread is on it.
    pub(crate) fn enter<R>(&self, deepest: Option<u64>, body: impl FnOnce() -> R) -> R {
        assert!(
            !self.busy.swap(true, Acquire),
            "a runner runs once at a time"
        );
        let shift = deepest.map_or(0, |deepest| self.shift(deepest));
        self.shift.store(shift, Relaxed);
        self.faults.store(page_faults(), Relaxed);
        let alternate = self.bottom.get() as *mut c_void;
        let guarded = Guarded::new(self.guard(), self.start(), alternate);
        let result = corosensei::on_stack(OnRegion(self), body);
        drop(guarded);
        self.still_clean();
        self.busy.store(false, Release);
        result
    }

    /// Whether no page below the kept ones has become resident since it was clean.
    fn still_clean(&self) -> bool {
        let faults = page_faults();
        if self.faults.swap(faults, Relaxed) != faults {
            self.clean.store(false, Relaxed);
        }
        self.clean.load(Relaxed)
    }

    /// The addresses that cannot be touched, below the stack.
    fn guard(&self) -> Range<usize> {
        let start = self.bottom.get() + ALTERNATE_BYTES;
        start..start + GUARD_BYTES
    }

    /// The end of the stack, where it begins to grow.
    fn top(&self) -> usize {
        self.bottom.get() + self.size
    }

    /// Where this run's stack begins to grow.
    fn start(&self) -> usize {
        self.top() - self.shift.load(Relaxed)
    }

    /// How far to move the start for the last words above `deepest` bytes below it to be the last of
    /// a page. Frames are aligned to no more than these words.
    fn shift(&self, deepest: u64) -> usize {
        let in_page = (self.top() - deepest as usize) % self.page;
        (in_page + ALIGN_BYTES) / ALIGN_BYTES * ALIGN_BYTES
    }

    /// Has the first touch of the address that is `deepest` bytes below the start of the stack
    /// reported, as [`crate::Kind::Deepest`]. Kept to 64 bytes if the run was entered for it, else to
    /// a page.
    pub(crate) fn arm(&self, deepest: u64) {
        let address = self.start() - deepest as usize;
        let page = address & !(self.page - 1);
        let below = stack_pointer() - self.page - MARGIN_BYTES;
        if (self.guard().end..below).contains(&page) {
            probe::set_trap(page..page + self.page);
        }
    }

    /// The bytes of stack from its very start to the deepest point since `mark` was made, which was
    /// `bytes` below it.
    pub(crate) fn depth(&self, mark: Mark, bytes: u64) -> u64 {
        (self.start() - mark.top) as u64 + bytes
    }

    /// The lowest address of the pages that are kept for every phase.
    fn kept(&self) -> usize {
        (self.top() - KEPT_BYTES) & !(self.page - 1)
    }

    /// Starts to measure: makes everything below the caller zero.
    ///
    /// Must be called while the region is the current stack. It forgets what a measurement
    /// further up the stack has seen so far: read that one first.
    #[inline(always)]
    pub(crate) fn begin(&self) -> Mark {
        let top = stack_pointer();
        let kept = self.clear();
        Mark { top, kept }
    }

    /// The bytes of stack that were needed since `mark` was made, to 8 bytes.
    pub(crate) fn bytes_since(&self, mark: Mark) -> u64 {
        mark.top.saturating_sub(self.lowest_touched(mark.kept)) as u64
    }

    /// Makes everything below the caller's frame zero. Returns the lowest address whose page was
    /// cleared by writing; below it no page is resident.
    #[inline(never)]
    fn clear(&self) -> usize {
        let top = stack_pointer() - MARGIN_BYTES;
        let floor = self.guard().end;
        let kept = if top >= self.kept() + KEPT_LEAST_BYTES {
            self.kept()
        } else {
            (top.saturating_sub(KEPT_BYTES) & !(self.page - 1)).max(floor)
        };
        if kept != self.kept() || !self.still_clean() {
            // SAFETY: from the guard up to `kept` is our mapping and lies below the stack
            // pointer by more than the red zone, so no live frame is in it.
            let advised = unsafe {
                rustix::mm::madvise(floor as *mut c_void, kept - floor, Advice::LinuxDontNeed)
            };
            advised.expect("the kernel takes back pages of a private anonymous mapping");
            self.clean.store(kept == self.kept(), Relaxed);
        }
        for block in (kept..top).step_by(BLOCK_BYTES) {
            let bytes = BLOCK_BYTES.min(top - block);
            // SAFETY: as above, for `kept` to `top`; MARGIN_BYTES keep this frame and its callee
            // out.
            unsafe { std::ptr::write_bytes(block as *mut u8, 0, bytes) };
        }
        kept
    }

    /// The address of the lowest word that is not zero.
    #[inline(never)]
    fn lowest_touched(&self, kept: usize) -> usize {
        let mut start = kept;
        if !self.still_clean() {
            start = self.lowest_resident(kept);
            self.clean.store(start == self.kept(), Relaxed);
        }
        // Above is always a word of a live frame, so both walks end inside the mapping, whose end
        // is the end of a block.
        // SAFETY: the block is in the mapping, because this very frame, above it, is not all zero.
        while unsafe { is_zero(start) } {
            start += BLOCK_BYTES;
        }
        let mut word = start;
        // SAFETY: as above; volatile, because it reads below live frames and through no reference.
        while unsafe { std::ptr::read_volatile(word as *const u64) } == 0 {
            word += 8;
        }
        word
    }

    /// The lowest page that is resident: `kept`, if none below is.
    #[inline(never)]
    fn lowest_resident(&self, kept: usize) -> usize {
        let mut start = kept;
        let mut below = kept;
        let floor = self.guard().end;
        while below > floor {
            let pages = ((below - floor) / self.page).min(CHUNK_PAGES);
            let chunk = below - pages * self.page;
            let mut resident = [0_u8; CHUNK_PAGES];
            // SAFETY: the range is our mapping and page-aligned; one byte a page is written.
            let answer = unsafe {
                libc::mincore(
                    chunk as *mut c_void,
                    pages * self.page,
                    resident.as_mut_ptr(),
                )
            };
            assert_eq!(answer, 0, "mincore on our own mapping");
            match resident[..pages].iter().position(|state| state & 1 != 0) {
                Some(lowest) => start = chunk + lowest * self.page,
                None => break,
            }
            below = chunk;
        }
        start
    }
}

/// How many page faults this thread has had.
fn page_faults() -> u64 {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the kernel fills the structure that it is given.
    let usage = unsafe {
        let answer = libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr());
        assert_eq!(answer, 0, "getrusage of this thread");
        usage.assume_init()
    };
    (usage.ru_minflt + usage.ru_majflt) as u64
}

/// Whether a block is all zero.
///
/// # Safety
/// The memory is mapped and readable.
unsafe fn is_zero(block: usize) -> bool {
    static ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];
    // SAFETY: the caller vouches for the block; C's function, because no reference may be made
    // to memory below live frames.
    unsafe { libc::memcmp(block as *const c_void, ZEROS.as_ptr().cast(), BLOCK_BYTES) == 0 }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and no run is on it: `enter` borrows the region.
        let unmapped = unsafe { rustix::mm::munmap(self.bottom.get() as *mut c_void, self.size) };
        debug_assert!(unmapped.is_ok());
    }
}

/// Where a measurement began.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    top: usize,
    kept: usize,
}

struct OnRegion<'a>(&'a Region);

// SAFETY: base and limit are the ends of one mapping, page-aligned; the guard is the lowest part.
unsafe impl Stack for OnRegion<'_> {
    fn base(&self) -> StackPointer {
        self.0
            .bottom
            .saturating_add(self.0.size - self.0.shift.load(Relaxed))
    }

    fn limit(&self) -> StackPointer {
        self.0.bottom.saturating_add(ALTERNATE_BYTES)
    }
}

/// An address within the caller's frame, or just below it.
#[inline(always)]
fn stack_pointer() -> usize {
    let here = 0_u64;
    std::hint::black_box(&raw const here) as usize & !7
}

#[expect(
    clippy::disallowed_methods,
    reason = "how valgrind shows itself to a process: it preloads a library of each tool"
)]
fn under_memcheck() -> bool {
    std::env::var_os("LD_PRELOAD")
        .is_some_and(|list| list.to_string_lossy().contains("vgpreload_memcheck"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Needs `depth` frames of at least 4 KiB.
    #[inline(never)]
    fn deep(depth: usize) -> usize {
        let frame = std::hint::black_box([1_u8; 4096]);
        match depth {
            0 => frame.len(),
            _ => deep(depth - 1) + usize::from(frame[depth % 4096]),
        }
    }

    fn measured<R>(region: &Region, body: impl FnOnce() -> R) -> u64 {
        region.enter(None, || {
            let mark = region.begin();
            std::hint::black_box(body());
            region.bytes_since(mark)
        })
    }

    #[test]
    fn the_mark_grows_by_a_frame_a_call_and_forgets_the_phase_before() {
        let region = Region::new().expect("Linux, not under memcheck");
        let measure = |depth| measured(&region, || deep(depth));
        let shallow = measure(1);
        let marks: Vec<u64> = [100, 200, 4000, 100, 1].into_iter().map(measure).collect();
        let per_call = (marks[1] - marks[0]) as f64 / 100.0;
        assert!(per_call >= 4096.0, "{per_call} bytes a call");
        assert_eq!(marks[2] - marks[1], (3800.0 * per_call) as u64);
        assert_eq!(marks[3], marks[0]);
        assert_eq!(marks[4], shallow);
    }

    #[test]
    fn what_would_overflow_an_ordinary_stack_is_a_number() {
        let region = Region::new().expect("Linux, not under memcheck");
        let bytes = measured(&region, || deep(10_000));
        assert!(bytes > 10_000 * 4096, "{bytes}");
    }

    #[test]
    fn a_frame_with_holes_does_not_end_the_scan() {
        #[inline(never)]
        fn holes(depth: usize) -> u8 {
            let mut frame = std::mem::MaybeUninit::<[u8; 512 << 10]>::uninit();
            let frame = std::hint::black_box(frame.as_mut_ptr());
            match depth {
                0 => frame as usize as u8,
                _ => holes(depth - 1).wrapping_add(frame as usize as u8),
            }
        }
        let region = Region::new().expect("Linux, not under memcheck");
        let bytes = measured(&region, || holes(3));
        assert!(bytes > 3 * (512 << 10), "{bytes}");
    }
}
