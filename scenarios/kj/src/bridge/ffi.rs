//! What the shim exports (`cpp/`), and what crosses by value. Names and meanings are those there.

use std::ffi::{c_int, c_void};

macro_rules! handles {
    ($($name:ident),*) => {
        $(
            #[repr(C)]
            pub(super) struct $name {
                opaque: [u8; 0],
            }
        )*
    };
}

handles!(
    Loop, Stream, Vat, Server, Capability, Call, Wait, Fulfiller, Resolver, Queue
);

/// `dismantle::Reply`.
#[repr(C)]
pub(super) struct Reply {
    pub when: u32,
    pub result: u32,
    pub fails: u32,
    pub fault: u32,
    pub throws: u32,
    pub keeps: u32,
    pub streams: u32,
    pub cancellable: u32,
    pub object: *mut c_void,
}

/// What a stream's operation may answer beside a count of bytes: it is tried again later.
pub(super) const PENDING: isize = -1;
/// The connection is lost.
pub(super) const LOST: isize = -2;
/// Something else is broken.
pub(super) const BROKEN: isize = -3;

// SAFETY of all: they do not unwind, and take null only for a bootstrap capability, an argument and
// what a promise resolves to. Handles are made and deleted by the functions that say so, each on the
// thread that made it.
unsafe extern "C" {
    pub(super) fn dk_loop_new(host: *mut c_void) -> *mut Loop;
    pub(super) fn dk_loop_turn(it: *mut Loop) -> c_int;
    pub(super) fn dk_loop_delete(it: *mut Loop);

    pub(super) fn dk_stream_new(on: *mut Loop, host: *mut c_void) -> *mut Stream;
    pub(super) fn dk_stream_poll(it: *mut Stream);
    pub(super) fn dk_stream_delete(it: *mut Stream);

    pub(super) fn dk_vat_new(
        stream: *mut Stream,
        bootstrap: *mut Capability,
        is_server: c_int,
    ) -> *mut Vat;
    pub(super) fn dk_vat_bootstrap(it: *mut Vat) -> *mut Capability;
    pub(super) fn dk_vat_disconnected(it: *mut Vat, waiter: *mut c_void) -> *mut Wait;
    pub(super) fn dk_vat_shut_write(it: *mut Vat);
    pub(super) fn dk_vat_abort_read(it: *mut Vat);
    pub(super) fn dk_vat_delete(it: *mut Vat);

    pub(super) fn dk_server_new(bootstrap: *mut Capability) -> *mut Server;
    pub(super) fn dk_server_accept(it: *mut Server, stream: *mut Stream);
    pub(super) fn dk_server_drained(it: *mut Server, waiter: *mut c_void) -> *mut Wait;
    pub(super) fn dk_server_delete(it: *mut Server);

    pub(super) fn dk_capability_clone(it: *mut Capability) -> *mut Capability;
    pub(super) fn dk_capability_resolved(it: *mut Capability, waiter: *mut c_void) -> *mut Wait;
    pub(super) fn dk_capability_delete(it: *mut Capability);

    pub(super) fn dk_call(
        on: *mut Capability,
        interface_id: u64,
        method_id: u16,
        argument: *mut Capability,
    ) -> *mut Call;
    pub(super) fn dk_call_streaming(
        on: *mut Capability,
        interface_id: u64,
        method_id: u16,
        waiter: *mut c_void,
    ) -> *mut Wait;
    pub(super) fn dk_call_pipelined(it: *mut Call) -> *mut Capability;
    pub(super) fn dk_call_drop_pipeline(it: *mut Call);
    pub(super) fn dk_call_answer(it: *mut Call, waiter: *mut c_void) -> *mut Wait;
    pub(super) fn dk_call_delete(it: *mut Call);
    pub(super) fn dk_wait_delete(it: *mut Wait);

    pub(super) fn dk_object_new(on: *mut Loop, host: *mut c_void) -> *mut Capability;
    pub(super) fn dk_promise_new(on: *mut Loop, resolver: *mut *mut Resolver) -> *mut Capability;
    pub(super) fn dk_fulfil(it: *mut Fulfiller);
    pub(super) fn dk_fulfiller_delete(it: *mut Fulfiller);
    pub(super) fn dk_resolve(it: *mut Resolver, to: *mut Capability, fault: u32);
    pub(super) fn dk_resolve_to_argument(it: *mut Resolver);
    pub(super) fn dk_resolver_delete(it: *mut Resolver);

    pub(super) fn dk_planted_throw(on: *mut Loop);
    pub(super) fn dk_planted_terminate(on: *mut Loop, within_noexcept: c_int);
    pub(super) fn dk_planted_leak(on: *mut Loop);
    pub(super) fn dk_planted_queue_new(on: *mut Loop, messages: u32, chained: c_int) -> *mut Queue;
    pub(super) fn dk_planted_queue_delete(it: *mut Queue);
}
