//! What C++ calls. Nothing here unwinds into it: a panic waits until C++ has returned.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

use dismantle_sim::raised_elsewhere;

use super::capability::{self, Failure};
use super::event_loop::{State, Thrown};
use super::object::{self, Fault};
use super::stream::Host;
use super::{RELEASE, ffi};

thread_local! {
    static PANIC: Cell<Option<Box<dyn Any + Send>>> = const { Cell::new(None) };
    static THROWN: RefCell<Option<Thrown>> = const { RefCell::new(None) };
    static LOGGED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Goes on with a panic that was caught here, now that no C++ is on the stack above Rust's.
pub(super) fn resume_panic() {
    if let Some(payload) = PANIC.take()
        && !std::thread::panicking()
    {
        resume_unwind(payload);
    }
}

/// What the last call into the shim threw.
pub(super) fn take_thrown() -> Option<Thrown> {
    THROWN.take()
}

/// What the library wrote to its log meanwhile.
pub(super) fn take_logged() -> Vec<String> {
    LOGGED.take()
}

/// Runs what C++ has called; after a panic it answers with the default.
fn shielded<T: Default>(body: impl FnOnce() -> T) -> T {
    shielded_or(T::default, body)
}

/// The same; after a panic it answers with this.
fn shielded_or<T>(otherwise: impl FnOnce() -> T, body: impl FnOnce() -> T) -> T {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(value) => value,
        Err(payload) => {
            PANIC.set(Some(payload));
            otherwise()
        }
    }
}

/// A text of the library's.
///
/// # Safety
/// It is a C string, or null.
unsafe fn text(given: *const c_char) -> String {
    if given.is_null() {
        return String::new();
    }
    // SAFETY: as the caller vouches for.
    let given = unsafe { CStr::from_ptr(given) };
    given.to_string_lossy().into_owned()
}

/// A place, the same on every machine: `capnproto-0.9.2/src/kj/async.c++:9` in the library, which
/// cuts its own paths down to `kj/async.c++`, and `scenarios/kj/cpp/vat.c++:9` in the shim.
fn site(file: &str, line: c_int) -> String {
    // Of a header that the shim includes: the build says where, in place of the installed folder.
    let built = file.strip_prefix("/capnproto-");
    let file = built
        .and_then(|file| Some(file.split_once("/src/")?.1))
        .unwrap_or(file);
    let file = file.trim_start_matches("src/");
    if file.starts_with("capnp/") || file.starts_with("kj/") {
        return format!("capnproto-{RELEASE}/src/{file}:{line}");
    }
    match file.starts_with("cpp/") {
        true => format!("scenarios/kj/{file}:{line}"),
        false => format!("{file}:{line}"),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dk_host_runnable(state: *const State) {
    // SAFETY: the loop's state, which outlives it.
    let state = unsafe { &*state };
    shielded(|| state.wake());
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dk_host_threw(file: *const c_char, line: c_int, given: *const c_char) {
    shielded(|| {
        // SAFETY: C strings of the exception's.
        let (file, text) = unsafe { (text(file), text(given)) };
        let site = site(&file, line);
        THROWN.set(Some(Thrown { site, text }));
    });
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dk_host_log(file: *const c_char, line: c_int, given: *const c_char) {
    shielded(|| {
        // SAFETY: C strings of the library's.
        let (file, text) = unsafe { (text(file), text(given)) };
        LOGGED.with_borrow_mut(|lines| lines.push(format!("{}: {text}", site(&file, line))));
    });
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dk_host_terminating(file: *const c_char, line: c_int, given: *const c_char) {
    shielded(|| {
        // SAFETY: C strings of the exception's.
        let (file, text) = unsafe { (text(file), text(given)) };
        raised_elsewhere(site(&file, line), text);
    });
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dk_host_read(host: *mut Host, buffer: *mut u8, bytes_max: usize) -> isize {
    shielded_or(
        || ffi::BROKEN,
        || {
            // SAFETY: the shim's buffer for the time of this call, of so many bytes; they may never
            // have been written, so they are now.
            let buffer = unsafe {
                buffer.write_bytes(0, bytes_max);
                std::slice::from_raw_parts_mut(buffer, bytes_max)
            };
            // SAFETY: the stream's host, which it drops at its end.
            unsafe { &*host }.read(buffer)
        },
    )
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dk_host_write(host: *mut Host, bytes: *const u8, count: usize) -> isize {
    shielded_or(
        || ffi::BROKEN,
        || {
            // SAFETY: the library's bytes, for the time of this call.
            let bytes = unsafe { std::slice::from_raw_parts(bytes, count) };
            // SAFETY: the stream's host, which it drops at its end.
            unsafe { &*host }.write(bytes)
        },
    )
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dk_host_shut_write(host: *mut Host, is_writing: c_int) -> isize {
    // SAFETY: the stream's host, which it drops at its end.
    shielded(|| unsafe { &*host }.shut_write(is_writing != 0))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dk_host_abort_read(host: *mut Host) {
    // SAFETY: the stream's host, which it drops at its end.
    shielded(|| unsafe { &*host }.abort_read());
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dk_host_write_is_dead(host: *mut Host) -> c_int {
    // SAFETY: the stream's host, which it drops at its end.
    shielded(|| c_int::from(unsafe { &*host }.write_is_dead()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dk_host_drop_stream(host: *mut Host) {
    // SAFETY: it was made from a box, by `stream::Stream::new`, and the shim gives it up.
    shielded(|| drop(unsafe { Box::from_raw(host) }));
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dk_host_call(
    host: *mut object::Host,
    interface_id: u64,
    method_id: u16,
    has_argument: c_int,
) -> ffi::Reply {
    // SAFETY: the object's host, which it drops at its end.
    shielded(|| unsafe { &*host }.call(interface_id, method_id, has_argument != 0))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dk_host_late(host: *mut object::Host, fulfiller: *mut ffi::Fulfiller) {
    // SAFETY: the object's host, and a fulfiller that nobody else has.
    shielded(|| unsafe { &*host }.late(fulfiller));
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dk_host_promised(host: *mut object::Host, resolver: *mut ffi::Resolver) {
    // SAFETY: the object's host, and a resolver that nobody else has.
    shielded(|| unsafe { &*host }.promised(resolver));
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dk_host_keep(host: *mut object::Host, capability: *mut ffi::Capability) {
    // SAFETY: the object's host, and a capability that nobody else has.
    shielded(|| unsafe { &*host }.keep(capability));
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dk_host_drop_object(host: *mut object::Host) {
    // SAFETY: it was made from a box, by `object::Host::into_raw`, and the shim gives it up.
    shielded(|| drop(unsafe { Box::from_raw(host) }));
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dk_host_settled(
    waiter: *const capability::Waiter,
    with: *mut ffi::Capability,
) {
    // SAFETY: the waiter that the wait holds.
    shielded(|| unsafe { &*waiter }.settled(with));
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dk_host_failed(
    waiter: *const capability::Waiter,
    fault: u32,
    given: *const c_char,
) {
    shielded(|| {
        // SAFETY: a C string of the exception's.
        let text = unsafe { text(given) };
        let failure = Failure {
            fault: Fault::from_number(fault),
            text,
        };
        // SAFETY: the waiter that the wait holds.
        unsafe { &*waiter }.failed(failure);
    });
}

#[unsafe(no_mangle)]
unsafe extern "C" fn dk_host_drop_waiter(waiter: *const capability::Waiter) {
    // SAFETY: it was made by `Rc::into_raw`, and the shim gives it up.
    shielded(|| drop(unsafe { Rc::from_raw(waiter) }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_the_same_on_every_machine() {
        let library = |path: &str| format!("capnproto-{RELEASE}/src/{path}:7");
        // What `Exception::getFile` and the log give of both releases.
        assert_eq!(site("capnp/rpc.c++", 7), library("capnp/rpc.c++"));
        assert_eq!(site("kj/async.c++", 7), library("kj/async.c++"));
        assert_eq!(site("src/kj/async.c++", 7), library("kj/async.c++"));
        // What `-ffile-prefix-map` of the build script makes of an installed header.
        let header = format!("/capnproto-{RELEASE}/src/kj/async-inl.h");
        assert_eq!(site(&header, 7), library("kj/async-inl.h"));
        assert_eq!(site("cpp/vat.c++", 7), "scenarios/kj/cpp/vat.c++:7");
        assert_eq!(site("/elsewhere/kj/x.h", 7), "/elsewhere/kj/x.h:7");
    }
}
