//! One face for every upstream release within the supported range.
//!
//! Everything that depends on the release of `capnp` and `capnp-rpc` is here; the build script
//! finds out which ones they are. All payloads are untyped, so that no generated code is needed.
//!
//! What a release lacks altogether has a [`Feature`]: who needs it asks whether it is there.

mod client;
mod network;
mod server;

pub use client::{
    Untyped, future_client, lazily_reconnecting, reconnecting, send, send_streaming, set_pipeline,
};
pub use network::{
    AnyNetwork, Message, Sent, no_finish_needed, set_no_finish_needed, size_in_words, two_party,
};
pub use server::{AnyParams, AnyResults, Interpose, Serve, client, interposed};

use capnp::{Error, ErrorKind};
use capnp_rpc::rpc_capnp::exception;

/// The release of `capnp` that this was built against.
pub const CAPNP_VERSION: &str = env!("DISMANTLE_RESOLVED_CAPNP");
/// The release of `capnp-rpc` that this was built against.
pub const CAPNP_RPC_VERSION: &str = env!("DISMANTLE_RESOLVED_CAPNP_RPC");

/// What upstream has come to have within the supported range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Feature {
    /// Streaming calls under flow control: since 0.20.0.
    Streaming,
    /// Clients that connect again after a lost connection: since 0.16.0.
    Reconnecting,
    /// Results whose capabilities can be called before they are returned: since 0.19.5.
    EarlyPipeline,
    /// Returns that ask for no Finish: since 0.19.0.
    NoFinish,
}

/// `Some("capnp-rpc 0.19.5 has no streaming")`, unless `$has`.
macro_rules! missing {
    ($has:expr, $what:literal) => {
        match $has {
            true => None,
            false => Some(concat!(
                "capnp-rpc ",
                env!("DISMANTLE_RESOLVED_CAPNP_RPC"),
                " has no ",
                $what
            )),
        }
    };
}

impl Feature {
    /// Why this build does without it, in words; `None` if it is there.
    pub const fn missing(self) -> Option<&'static str> {
        match self {
            Self::Streaming => missing!(cfg!(capnp_streaming), "streaming"),
            Self::Reconnecting => missing!(cfg!(capnp_rpc_reconnect), "clients that reconnect"),
            Self::EarlyPipeline => missing!(cfg!(capnp_early_pipeline), "early pipelines"),
            Self::NoFinish => missing!(cfg!(capnp_rpc_no_finish), "returns without a finish"),
        }
    }

    /// For what is not to be called: who asks looks whether it is there.
    #[cfg(not(all(capnp_streaming, capnp_rpc_reconnect)))]
    fn is_absent(self) -> ! {
        panic!("{}", self.missing().expect("called where it is missing"))
    }
}

/// An error of this kind that says `text`.
pub fn error(kind: ErrorKind, text: String) -> Error {
    Error {
        kind,
        #[cfg(capnp_error_description)]
        description: text,
        #[cfg(not(capnp_error_description))]
        extra: text,
    }
}

/// Says why in an exception on the wire.
pub fn set_reason(exception: &mut exception::Builder<'_>, reason: &str) {
    #[cfg(capnp_text_reader)]
    exception.set_reason(reason.into());
    #[cfg(not(capnp_text_reader))]
    exception.set_reason(reason);
}

/// What an error says, beside its kind.
pub fn text(error: &Error) -> &str {
    #[cfg(capnp_error_description)]
    return &error.description;
    #[cfg(not(capnp_error_description))]
    return &error.extra;
}
