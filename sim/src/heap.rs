//! The heap ledger: what a run allocates, how much of it lives at once, and what it never gives
//! back.
//!
//! A program opts in with one line, in its binary and never in a library:
//!
//! ```
//! #[global_allocator]
//! static HEAP: dismantle_sim::heap::Counting = dismantle_sim::heap::Counting::new();
//! ```
//!
//! Without it nothing is measured, and reports say so. With it every block carries a *tag* behind
//! its last byte: which run it belongs to, and its number among that run's allocations. So the
//! ledger never guesses:
//!
//! - A block belongs to the run on whose thread it was allocated, while counting was not paused.
//!   Blocks made before the run, elsewhere, or under [`uncounted`] belong to nobody, whoever
//!   frees them.
//! - Wherever and whenever a run's block is freed up to the end of the run's thread, it is given
//!   back: also under `uncounted`, on another thread, and in destructors of thread-locals. What
//!   is freed later is left.
//! - A block that is resized keeps its owner and its number.
//!
//! The harness's own bookkeeping is `uncounted`: figures are the same with and without a trace.
//!
//! # Cost
//!
//! A tag takes 8 bytes a block. A session (bootstrap, 20 calls, teardown) takes 2,080,953
//! instructions with the ledger and 1,998,139 without: 4.1 % more.
//! Measured with rustc 1.95.0, profile `release`, glibc 2.36 and valgrind 3.19, as
//! `scenarios/benches/ledger.rs` says.
#![expect(
    unsafe_code,
    reason = "a global allocator, and the unwinder that tells who allocated"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::ptr::null_mut;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::fault::Kind;
use crate::probe;

/// The allocator that keeps the ledger, around the one that does the work.
pub struct Counting<A = System>(A);

impl Counting {
    /// Around the system's allocator.
    pub const fn new() -> Self {
        Self(System)
    }
}

impl Default for Counting {
    fn default() -> Self {
        Self::new()
    }
}

impl<A> Counting<A> {
    /// Around `allocator`.
    pub const fn around(allocator: A) -> Self {
        Self(allocator)
    }
}

/// A block of a run that was not given back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeftBlock {
    /// Which of the run's allocations it was, from 1: the same in every run of one plan.
    pub number: u64,
    /// Its size.
    pub bytes: u64,
    /// Return addresses of the allocation, innermost first; empty unless asked for.
    pub trace: Vec<usize>,
}

/// What a run did not give back.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Left {
    /// Bytes.
    pub bytes: u64,
    /// In so many blocks.
    pub blocks: u64,
    /// The blocks one by one, by number; empty unless asked for.
    pub listed: Vec<LeftBlock>,
}

/// Runs that are measured at the same time in one process; a further one is not measured.
const LEDGERS: usize = 1 << PLACE_BITS;
const PLACE_BITS: u32 = 8;
/// Bits of a tag that say whose the block is: a ledger's place, and whose turn it was there. The
/// rest is the block's number.
const OWNER_BITS: u32 = 24;
const OWNER_MASK: u64 = (1 << OWNER_BITS) - 1;
/// The tag of a block that belongs to nobody, and the bit that all others have.
const NOBODY: u64 = 0;
const SOMEBODY: u64 = 1 << (OWNER_BITS - 1);
const TAG_BYTES: usize = size_of::<u64>();
/// Return addresses that are kept of an allocation.
const FRAMES_MAX: usize = 96;

static POOL: [Ledger; LEDGERS] = [const { Ledger::new() }; LEDGERS];
/// The ledger of threads without a run: no block is its own.
static NO_RUN: Ledger = Ledger::new();

// Without destructors, so that they can be used until the thread ends.
thread_local! {
    /// The ledger of this thread's run, for what is freed.
    static RUN: Cell<&'static Ledger> = const { Cell::new(&NO_RUN) };
    /// The same for what is allocated; `None` under a pause and without a run.
    static COUNTING: Cell<Option<&'static Ledger>> = const { Cell::new(None) };
}

/// The figures of one run. Only the run's thread writes them, so plain loads and stores do;
/// they are atomic because the ledger outlives the thread and is read after the join.
struct Ledger {
    live_bytes: AtomicU64,
    /// The high-water mark of `live_bytes` since the last lap.
    peak_bytes: AtomicU64,
    allocations: AtomicU64,
    frees: AtomicU64,
    /// The owner part of tags; all ones if nothing is owned.
    owner: AtomicU64,
    /// Whether there is a watch to tell.
    watched: AtomicBool,
    /// The tag of blocks that are not listed. It is `owner`, or another one of its own if blocks that
    /// are given back leave notes: whoever frees them then looks closer.
    tag: AtomicU64,
    /// A run has it.
    taken: AtomicBool,
    /// The run's allocations are counted: the allocator is installed.
    installed: AtomicBool,
    /// Allocations until the last lap.
    lap_allocations: AtomicU64,
    /// Given back on other threads, which must add atomically.
    elsewhere_bytes: AtomicU64,
    elsewhere_frees: AtomicU64,
    watch: Mutex<Watch>,
}

/// The live blocks one by one, and who allocated those that were asked for.
struct Watch {
    live: BTreeMap<u64, LeftBlock>,
    /// The numbers whose return addresses are wanted, ascending.
    wanted: Option<Arc<[u64]>>,
}

impl Watch {
    const fn new() -> Self {
        Self {
            live: BTreeMap::new(),
            wanted: None,
        }
    }
}

/// Adds where nobody else does.
#[inline]
fn add(gauge: &AtomicU64, count: u64) -> u64 {
    let sum = gauge.load(Relaxed).wrapping_add(count);
    gauge.store(sum, Relaxed);
    sum
}

impl Ledger {
    const fn new() -> Self {
        Self {
            live_bytes: AtomicU64::new(0),
            peak_bytes: AtomicU64::new(0),
            allocations: AtomicU64::new(0),
            frees: AtomicU64::new(0),
            owner: AtomicU64::new(u64::MAX),
            watched: AtomicBool::new(false),
            tag: AtomicU64::new(NOBODY),
            taken: AtomicBool::new(false),
            installed: AtomicBool::new(false),
            lap_allocations: AtomicU64::new(0),
            elsewhere_bytes: AtomicU64::new(0),
            elsewhere_frees: AtomicU64::new(0),
            watch: Mutex::new(Watch::new()),
        }
    }

    /// Counts a new block; returns its tag.
    #[inline]
    fn allocated(&self, bytes: u64) -> u64 {
        add(&self.allocations, 1);
        self.grown(bytes);
        match self.watched.load(Relaxed) {
            false => self.tag.load(Relaxed),
            true => self.list(bytes),
        }
    }

    #[inline]
    fn grown(&self, bytes: u64) {
        let live = add(&self.live_bytes, bytes);
        if live > self.peak_bytes.load(Relaxed) {
            self.peak_bytes.store(live, Relaxed);
        }
    }

    #[inline]
    fn freed(&self, bytes: u64) {
        add(&self.live_bytes, bytes.wrapping_neg());
        add(&self.frees, 1);
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Under a pause: the list's own memory must not ask for the list.
    #[cold]
    fn list(&self, bytes: u64) -> u64 {
        let pause = uncounted();
        let number = self.allocations.load(Relaxed);
        let mut watch = self.watch();
        let wanted = watch.wanted.as_ref();
        let trace = match wanted.is_some_and(|wanted| wanted.binary_search(&number).is_ok()) {
            true => return_addresses(),
            false => Vec::new(),
        };
        let block = LeftBlock {
            number,
            bytes,
            trace,
        };
        watch.live.insert(number, block);
        drop(watch);
        drop(pause);
        number << OWNER_BITS | self.owner.load(Relaxed)
    }

    /// A listed block has another size, or none.
    fn relist(&self, tag: u64, bytes: Option<u64>) {
        if !self.watched.load(Relaxed) {
            return;
        }
        let number = tag >> OWNER_BITS;
        let mut watch = self.watch();
        match bytes {
            None => drop(watch.live.remove(&number)),
            Some(bytes) => {
                if let Some(block) = watch.live.get_mut(&number) {
                    block.bytes = bytes;
                }
            }
        }
    }
}

/// A block is freed that is not simply of this thread's run.
#[cold]
fn freed_elsewhere(tag: u64, bytes: u64) {
    let Some(ledger) = owner(tag) else {
        return;
    };
    ledger.relist(tag, None);
    if probe::takes_notes() {
        probe::note(Kind::Freed, bytes, "");
    }
    if std::ptr::eq(ledger, RUN.get()) {
        ledger.freed(bytes);
    } else {
        ledger.elsewhere_bytes.fetch_add(bytes, AcqRel);
        ledger.elsewhere_frees.fetch_add(1, AcqRel);
    }
}

/// A block of a run is resized.
fn resized(tag: u64, from: u64, to: u64) {
    let Some(ledger) = owner(tag) else {
        return;
    };
    ledger.relist(tag, Some(to));
    if std::ptr::eq(ledger, RUN.get()) {
        add(&ledger.live_bytes, from.wrapping_neg());
        ledger.grown(to);
    } else {
        let fewer = from.wrapping_sub(to);
        ledger.elsewhere_bytes.fetch_add(fewer, AcqRel);
    }
}

/// The ledger that a block belongs to, if its run is not over.
fn owner(tag: u64) -> Option<&'static Ledger> {
    let ledger = &POOL[tag as usize % LEDGERS];
    let is_on = ledger.taken.load(Acquire) && ledger.owner.load(Relaxed) == tag & OWNER_MASK;
    is_on.then_some(ledger)
}

/// What the thread allocates while this lives belongs to nobody. See [`uncounted`].
pub struct Uncounted {
    resumes: Option<&'static Ledger>,
    on_this_thread: PhantomData<*const ()>,
}

impl Drop for Uncounted {
    fn drop(&mut self) {
        COUNTING.set(self.resumes);
    }
}

/// Takes this thread's allocations out of its run's account, for bookkeeping: the part of a
/// simulated world that is not under test. Frees need no such care.
#[must_use = "counting goes on when it is dropped"]
#[inline]
pub fn uncounted() -> Uncounted {
    Uncounted {
        resumes: COUNTING.take(),
        on_this_thread: PhantomData,
    }
}

/// What was counted since the last lap.
#[derive(Clone, Copy, Default)]
pub(crate) struct Lap {
    /// The most bytes that lived at once.
    pub peak_bytes: u64,
    /// Blocks that were allocated.
    pub allocations: u64,
}

/// The ledger of one run, from before its thread starts until after that is joined.
pub(crate) struct Account(&'static Ledger);

impl Account {
    /// Opens an account; with `wanted`, what is left is listed block by block, with the return
    /// addresses of these numbers, which ascend. If `noted`, blocks that are given back leave notes
    /// where the run takes some. `None` if too many runs are on.
    pub(crate) fn open(wanted: Option<Arc<[u64]>>, noted: bool) -> Option<Self> {
        let mut pool = POOL.iter().enumerate();
        let (place, ledger) = pool.find(|(_, ledger)| !ledger.taken.swap(true, Acquire))?;
        let turn = (ledger.owner.load(Relaxed) >> PLACE_BITS) + 1;
        let owner = (turn << PLACE_BITS | place as u64) & OWNER_MASK;
        let owner = owner | SOMEBODY;
        ledger.owner.store(owner, Relaxed);
        ledger
            .tag
            .store(owner | u64::from(noted) << OWNER_BITS, Relaxed);
        ledger.installed.store(false, Relaxed);
        ledger.watched.store(wanted.is_some(), Relaxed);
        ledger.watch().wanted = wanted;
        let account = Self(ledger);
        account.reset();
        Some(account)
    }

    fn reset(&self) {
        let ledger = self.0;
        for gauge in [
            &ledger.live_bytes,
            &ledger.peak_bytes,
            &ledger.allocations,
            &ledger.frees,
            &ledger.lap_allocations,
            &ledger.elsewhere_bytes,
            &ledger.elsewhere_frees,
        ] {
            gauge.store(0, Relaxed);
        }
    }

    /// Counts this thread from here on until it ends, if the allocator is installed.
    pub(crate) fn begin(&self) {
        let ledger = self.0;
        RUN.set(ledger);
        COUNTING.set(Some(ledger));
        // Is it? A block that nobody counts says no.
        drop(std::hint::black_box(Box::new(0_u8)));
        let counted = ledger.allocations.load(Relaxed) > 0;
        ledger.installed.store(counted, Relaxed);
        self.reset();
    }

    /// What the thread did not give back; `None` if it was not measured. To be asked once the
    /// thread is joined.
    pub(crate) fn close(self) -> Option<Left> {
        let ledger = self.0;
        let bytes = &ledger.live_bytes;
        let frees = ledger.frees.load(Relaxed) + ledger.elsewhere_frees.load(Acquire);
        ledger.installed.load(Relaxed).then(|| Left {
            bytes: bytes
                .load(Relaxed)
                .wrapping_sub(ledger.elsewhere_bytes.load(Acquire)),
            blocks: ledger.allocations.load(Relaxed).wrapping_sub(frees),
            listed: std::mem::take(&mut ledger.watch().live)
                .into_values()
                .collect(),
        })
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let watch = std::mem::replace(&mut *self.0.watch(), Watch::new());
        drop(watch);
        self.0.taken.store(false, Release);
    }
}

/// What this thread's run has counted since the last time; `None` if it is not measured.
pub(crate) fn lap() -> Option<Lap> {
    let ledger = RUN.get();
    if !ledger.installed.load(Relaxed) {
        return None;
    }
    let live = ledger.live_bytes.load(Relaxed);
    let allocations = ledger.allocations.load(Relaxed);
    Some(Lap {
        peak_bytes: ledger.peak_bytes.swap(live, Relaxed),
        allocations: allocations - ledger.lap_allocations.swap(allocations, Relaxed),
    })
}

// ---- the hook

/// Larger or more aligned blocks are refused, so that there is always room for a tag.
const LAYOUT_MAX: usize = 1 << (usize::BITS - 3);

#[inline]
fn is_possible(size: usize, align: usize) -> bool {
    (size | align) < LAYOUT_MAX
}

/// Where a block's tag stands, and the layout with room for it.
///
/// # Safety
/// `align` is a power of two, and the two are possible.
#[inline]
unsafe fn tagged(size: usize, align: usize) -> (usize, Layout) {
    let place = (size + TAG_BYTES - 1) & !(TAG_BYTES - 1);
    // SAFETY: the caller vouches for the alignment; the size is far from `isize::MAX`, also when
    // it is rounded up to the alignment.
    let layout =
        unsafe { Layout::from_size_align_unchecked(place + TAG_BYTES, align.max(TAG_BYTES)) };
    // SAFETY: a tag's bytes and more. It spares the system's allocator a test.
    unsafe { std::hint::assert_unchecked(layout.size() >= TAG_BYTES) };
    (place, layout)
}

/// Writes the tag of a new block of `bytes`.
///
/// # Safety
/// `block` is null, or valid for writes of a tag at `place`, where it is aligned.
#[inline]
unsafe fn tag(block: *mut u8, place: usize, bytes: usize) -> *mut u8 {
    if !block.is_null() {
        let tag = match COUNTING.get() {
            Some(ledger) => ledger.allocated(bytes as u64),
            None => NOBODY,
        };
        // SAFETY: the caller vouches for the place.
        unsafe { block.add(place).cast::<u64>().write(tag) };
    }
    block
}

/// Whether a block is aligned more than its tag, or too large.
#[inline]
fn is_unusual(layout: Layout) -> bool {
    layout.align() > TAG_BYTES || layout.size() >= LAYOUT_MAX
}

impl<A: GlobalAlloc> Counting<A> {
    /// Allocates what few programs do.
    ///
    /// # Safety
    /// As for `GlobalAlloc::alloc`.
    #[cold]
    unsafe fn alloc_unusual(&self, layout: Layout, zeroed: bool) -> *mut u8 {
        if !is_possible(layout.size(), layout.align()) {
            return null_mut();
        }
        // SAFETY: of a layout, and possible.
        let (place, outer) = unsafe { tagged(layout.size(), layout.align()) };
        let block = match zeroed {
            // SAFETY: `outer` is not of size 0.
            true => unsafe { self.0.alloc_zeroed(outer) },
            // SAFETY: `outer` is not of size 0.
            false => unsafe { self.0.alloc(outer) },
        };
        // SAFETY: `outer` has room for the tag at `place`, a multiple of its size.
        unsafe { tag(block, place, layout.size()) }
    }
}

// SAFETY: every block is one of `A`'s, with a layout that is as aligned and longer, by a tag that
// nobody else knows of. The hook never unwinds; it allocates only for a list, under a pause.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counting<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_unusual(layout) {
            // SAFETY: as the caller vouches for.
            return unsafe { self.alloc_unusual(layout, false) };
        }
        // SAFETY: it is possible.
        let (place, outer) = unsafe { tagged(layout.size(), TAG_BYTES) };
        // SAFETY: `outer` is not of size 0.
        let block = unsafe { self.0.alloc(outer) };
        // SAFETY: `outer` has room for the tag at `place`, a multiple of its size.
        unsafe { tag(block, place, layout.size()) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_unusual(layout) {
            // SAFETY: as the caller vouches for.
            return unsafe { self.alloc_unusual(layout, true) };
        }
        // SAFETY: it is possible.
        let (place, outer) = unsafe { tagged(layout.size(), TAG_BYTES) };
        // SAFETY: `outer` is not of size 0.
        let block = unsafe { self.0.alloc_zeroed(outer) };
        // SAFETY: `outer` has room for the tag at `place`, a multiple of its size.
        unsafe { tag(block, place, layout.size()) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: a block was allocated with this layout, so it is possible.
        let (place, outer) = unsafe { tagged(layout.size(), layout.align()) };
        // SAFETY: it is a block of ours, whose tag stands there.
        let tag = unsafe { block.add(place).cast::<u64>().read() };
        let run = RUN.get();
        if tag == run.owner.load(Relaxed) {
            run.freed(layout.size() as u64);
        } else if tag != NOBODY {
            freed_elsewhere(tag, layout.size() as u64);
        }
        // SAFETY: it was allocated as `outer`.
        unsafe { self.0.dealloc(block, outer) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if !is_possible(new_size, layout.align()) {
            return null_mut();
        }
        // SAFETY: a block was allocated with this layout, so it is possible.
        let (place, outer) = unsafe { tagged(layout.size(), layout.align()) };
        // SAFETY: the alignment is a layout's, and they are possible.
        let (new_place, new_outer) = unsafe { tagged(new_size, layout.align()) };
        // SAFETY: it is a block of ours, whose tag stands there.
        let tag = unsafe { block.add(place).cast::<u64>().read() };
        // SAFETY: it was allocated as `outer`; the new size is not 0, and possible.
        let moved = unsafe { self.0.realloc(block, outer, new_outer.size()) };
        if !moved.is_null() {
            // SAFETY: `new_outer` has room for the tag there.
            unsafe { moved.add(new_place).cast::<u64>().write(tag) };
            if tag != NOBODY {
                resized(tag, layout.size() as u64, new_size as u64);
            }
        }
        moved
    }
}

/// The return addresses of the allocation under way, innermost first.
#[inline(never)]
fn return_addresses() -> Vec<usize> {
    struct Trace {
        addresses: [usize; FRAMES_MAX],
        count: usize,
    }

    extern "C" fn frame(context: *mut c_void, trace: *mut c_void) -> c_int {
        // SAFETY: it is the trace below, which nothing else refers to while the unwinder walks.
        let trace = unsafe { &mut *trace.cast::<Trace>() };
        let Some(place) = trace.addresses.get_mut(trace.count) else {
            return END_OF_STACK;
        };
        // SAFETY: the unwinder's own context, as it wants it.
        match unsafe { _Unwind_GetIP(context) } {
            0 => return END_OF_STACK,
            address => *place = address,
        }
        trace.count += 1;
        0
    }

    let mut trace = Trace {
        addresses: [0; FRAMES_MAX],
        count: 0,
    };
    // SAFETY: the callback neither unwinds nor keeps what it is given.
    unsafe { _Unwind_Backtrace(frame, (&raw mut trace).cast()) };
    trace.addresses[..trace.count].to_vec()
}

/// `_URC_END_OF_STACK`: stop here. Any code but 0 stops the walk.
const END_OF_STACK: c_int = 5;

// Of the platform's unwinder, which the standard library links.
unsafe extern "C" {
    fn _Unwind_Backtrace(
        frame: extern "C" fn(*mut c_void, *mut c_void) -> c_int,
        data: *mut c_void,
    ) -> c_int;
    fn _Unwind_GetIP(context: *mut c_void) -> usize;
}
