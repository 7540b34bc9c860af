//! Process entropy: while a run is active on a thread, `getrandom` there answers from the plan.
//!
//! The standard library takes the keys of its hash maps from `getrandom`, once per thread, and
//! capnp-rpc 0.27 iterates such maps when it disconnects (`rpc.rs`, `ConnectionState::disconnect`:
//! `answers` and `imports`). Without the pin the order of destruction differs from process to
//! process. It works only together with a fresh thread for each run.
//!
//! The invariant owned here: on a thread that no run is active on, `getrandom` is the kernel's.
#![expect(
    unsafe_code,
    reason = "defines the C symbol `getrandom`, which the standard library and `rand` call"
)]

use std::cell::Cell;

thread_local! {
    static STREAM: Cell<Option<u64>> = const { Cell::new(None) };
    static ASKED_BYTES: Cell<u64> = const { Cell::new(0) };
}

/// Answers this thread's `getrandom` from `keys` until the thread ends.
///
/// The symbol below lives in the same object file: whoever links this call links it too.
pub(crate) fn pin(keys: u64) {
    STREAM.set(Some(keys));
}

/// How many bytes the pinned stream has given out on this thread: 0 means that the standard
/// library no longer asks, and that nothing here can be relied on.
pub fn asked_bytes() -> u64 {
    ASKED_BYTES.get()
}

fn next(state: u64) -> (u64, u8) {
    // SplitMix64 over a counter; one byte an increment is enough for 16-byte keys.
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (state, (z >> 56) as u8)
}

/// The C function `getrandom(2)`: pinned on a thread with an active run, else the system call.
///
/// # Safety
/// As in C: `buffer` is valid for writes of `length` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(
    buffer: *mut libc::c_void,
    length: libc::size_t,
    flags: libc::c_uint,
) -> libc::ssize_t {
    let Some(mut state) = STREAM.get() else {
        // SAFETY: the arguments are the caller's, unchanged, and it vouches for them.
        return unsafe {
            libc::syscall(libc::SYS_getrandom, buffer, length, flags) as libc::ssize_t
        };
    };
    for index in 0..length {
        let byte;
        (state, byte) = next(state);
        // SAFETY: the caller vouches for `length` writable bytes at `buffer`.
        unsafe { buffer.cast::<u8>().add(index).write(byte) };
    }
    STREAM.set(Some(state));
    ASKED_BYTES.set(ASKED_BYTES.get() + length as u64);
    length as libc::ssize_t
}
