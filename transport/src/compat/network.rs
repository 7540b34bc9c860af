//! The network between two vats: upstream's own, and what whoever wraps one has to know.

use capnp::message::{Builder, HeapAllocator, ReaderOptions};
use capnp_rpc::rpc_capnp::return_;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{OutgoingMessage, VatNetwork, twoparty};

use crate::pipe::End;

/// Any network of two vats.
pub type AnyNetwork = Box<dyn VatNetwork<Side>>;

/// A message on its way out.
pub type Message = Builder<HeapAllocator>;

/// What the promise of [`OutgoingMessage::send`] gives: before 0.20 the message, now nothing.
#[cfg(capnp_streaming)]
pub type Sent = ();
/// What the promise of [`OutgoingMessage::send`] gives: before 0.20 the message, now nothing.
#[cfg(not(capnp_streaming))]
pub type Sent = std::rc::Rc<Message>;

/// Upstream's own network on one end of a link; its streams have this window.
pub fn two_party(end: End, side: Side, window_bytes: usize) -> AnyNetwork {
    let options = ReaderOptions::new();
    let network = twoparty::VatNetwork::new(end.reader, end.writer, side, options);
    #[cfg(capnp_streaming)]
    let network = {
        let mut network = network;
        network.set_window_size(window_bytes);
        network
    };
    #[cfg(not(capnp_streaming))]
    let _ = window_bytes;
    Box::new(network)
}

/// The size of a message: upstream's word for it, before 0.20 that of what is in it.
pub fn size_in_words(message: &dyn OutgoingMessage) -> u64 {
    #[cfg(capnp_streaming)]
    return message.size_in_words() as u64;
    #[cfg(not(capnp_streaming))]
    {
        let size = message
            .get_body_as_reader()
            .and_then(|body| body.target_size());
        // The root pointer is no part of what it points to.
        size.map_or(0, |size| size.word_count + 1)
    }
}

/// Whether a Return asks for no Finish; no release says so that does not know the word.
pub fn no_finish_needed(answer: return_::Reader<'_>) -> bool {
    #[cfg(capnp_rpc_no_finish)]
    return answer.get_no_finish_needed();
    #[cfg(not(capnp_rpc_no_finish))]
    {
        let _ = answer;
        false
    }
}

/// Says in a Return whether it asks for no Finish, if that can be said ([`Feature::NoFinish`]).
///
/// [`Feature::NoFinish`]: super::Feature::NoFinish
pub fn set_no_finish_needed(answer: &mut return_::Builder<'_>, is_unneeded: bool) {
    #[cfg(capnp_rpc_no_finish)]
    answer.set_no_finish_needed(is_unneeded);
    #[cfg(not(capnp_rpc_no_finish))]
    let _ = (answer, is_unneeded);
}

/// Methods of the traits of a network that only releases with streaming have, to be written by
/// whoever implements one: `size_in_words`, `new_stream`.
#[cfg(capnp_streaming)]
#[macro_export]
macro_rules! with_streaming {
    ($($methods:tt)*) => { $($methods)* };
}
/// Methods of the traits of a network that only releases with streaming have, to be written by
/// whoever implements one: `size_in_words`, `new_stream`.
#[cfg(not(capnp_streaming))]
#[macro_export]
macro_rules! with_streaming {
    ($($methods:tt)*) => {};
}
