//! `operator new` and `operator delete`: the program's allocator, so that the heap ledger has all.

use std::alloc::{Layout, alloc, dealloc};
use std::ffi::c_void;

/// As aligned as C++ wants its blocks; in front of each there is as much room, for its size.
const ALIGN: usize = 16;

fn layout(bytes: usize) -> Option<Layout> {
    Layout::from_size_align(bytes.checked_add(ALIGN)?, ALIGN).ok()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dk_host_allocate(bytes: usize) -> *mut c_void {
    let Some(layout) = layout(bytes) else {
        return std::ptr::null_mut();
    };
    // SAFETY: a layout is never of size 0 here.
    let block = unsafe { alloc(layout) };
    if block.is_null() {
        return block.cast();
    }
    // SAFETY: the block begins with room for its size.
    unsafe {
        block.cast::<usize>().write(bytes);
        block.add(ALIGN).cast()
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dk_host_free(block: *mut c_void) {
    // SAFETY: C++ gives back what it got above, where its size stands in front.
    unsafe {
        let block = block.cast::<u8>().sub(ALIGN);
        let bytes = block.cast::<usize>().read();
        let layout = layout(bytes).expect("it was one when it was allocated");
        dealloc(block, layout);
    }
}
