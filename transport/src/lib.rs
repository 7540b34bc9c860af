//! Both ends of a Cap'n Proto connection on a simulated byte pipe.
//!
//! This crate knows nothing of scenarios, files or command lines. It owns the pipe with its
//! faults ([`Link`]), the vat ([`Vat`]: capnp-rpc's own `RpcSystem`, unpatched, with its parts
//! named and its messages tracked), server exceptions injected around any server ([`inject`]),
//! a peer without a vat ([`RawPeer`]), and what is judged while a run is on: the order in which
//! calls arrive ([`CallOrder`]), the errors that they end with ([`Errors`]), and whether what is
//! said to be written is ([`Disconnector`]). What differs between releases of capnp-rpc is in
//! [`compat`] alone.

mod bytes;
mod cut;
mod frame;
mod pipe;

pub mod compat;
mod ending;
mod message;
pub mod protocol;
mod vat;

mod errors;
mod exception;
mod order;
mod raw;

pub use compat::AnyNetwork;
pub use ending::Disconnector;
pub use errors::Errors;
pub use exception::{Behaviour, Injector, behave, exception, inject, injected_kind};
pub use frame::{Frame, Framer, MessageKind};
pub use order::{Arrivals, CallOrder, Followed, Ticket};
pub use pipe::{CONNECTIONS_MAX, End, Link, Pipe, Reader, Writer};
pub use raw::{Descriptor, Heard, Outcome, RawPeer, Says, Target, frame};
pub use vat::{Vat, nothing_left};

use dismantle_sim::Question;

/// The questions that this crate's parts ask.
pub fn questions() -> [&'static [Question]; 5] {
    [
        &pipe::QUESTIONS,
        &cut::QUESTIONS,
        &exception::QUESTIONS,
        &vat::QUESTIONS,
        &protocol::QUESTIONS,
    ]
}
