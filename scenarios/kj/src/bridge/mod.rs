//! The C++ library, safely: what it owns is created, named, tracked and destroyed one by one.
//!
//! Three things cannot happen here, whoever uses it:
//!
//! - A panic cannot reach C++: what C++ calls catches it, and it goes on where Rust called C++.
//! - An exception cannot reach Rust: the shim catches it. It is a finding (a panic, with its place
//!   in the library), of a destructor and of a turn of the loop above all, or a value where a
//!   function says so.
//! - A buffer is not used after its operation was cancelled: nobody keeps one. The shim hands it
//!   over for one call, and a pending operation is the shim's own object, which C++ destroys.
//!
//! Everything that is made on an [`EventLoop`] keeps it alive, so that the loop is destroyed last.
//! The loop does not run by itself: a task of the simulation turns it, one turn a step.

#![expect(unsafe_code, reason = "the other side of the C interface in `cpp/`")]

mod capability;
mod event_loop;
mod ffi;
mod host;
mod memory;
mod object;
mod planted;
mod stream;
mod vat;

pub use capability::{Answer, Call, Capability, Failure, Given, Waiting};
pub use event_loop::{EventLoop, Thrown};
pub use object::{Fault, Fulfiller, Reply, Resolver, Result, Served, When};
pub(crate) use planted::{Bug, Queue};
pub use stream::{Shutdown, Stream};
pub use vat::{Server, Side, Vat};

/// The release of the library that is linked: `0.9.2`.
pub const RELEASE: &str = env!("DISMANTLE_KJ_RELEASE");
