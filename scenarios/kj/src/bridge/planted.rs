//! Bugs of ours in C++, put there to be found.

use super::event_loop::EventLoop;
use super::ffi;

/// A bug that is over at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bug {
    /// A destructor throws.
    Throw,
    /// A destructor throws while another one does, which ends the process.
    ThrowTwice,
    /// An exception leaves a `noexcept` function, which ends the process.
    ThrowNoexcept,
    /// An object is forgotten.
    Leak,
}

impl Bug {
    /// Does it.
    pub(crate) fn strike(self, on: &EventLoop) {
        let raw = on.0.raw.get();
        // SAFETY: the loop lives as long as this call.
        on.0.run(|| unsafe {
            match self {
                Self::Throw => ffi::dk_planted_throw(raw),
                Self::ThrowTwice => ffi::dk_planted_terminate(raw, 0),
                Self::ThrowNoexcept => ffi::dk_planted_terminate(raw, 1),
                Self::Leak => ffi::dk_planted_leak(raw),
            }
        });
    }
}

/// A queue of messages that are never sent, as a chain of promises or as a vector of them.
pub(crate) struct Queue {
    raw: *mut ffi::Queue,
    on: EventLoop,
}

impl Queue {
    pub(crate) fn new(on: &EventLoop, messages: u32, is_chain: bool) -> Self {
        let raw = on.0.raw.get();
        // SAFETY: the loop lives as long as this.
        let raw =
            on.0.make(|| unsafe { ffi::dk_planted_queue_new(raw, messages, is_chain.into()) });
        Self {
            raw,
            on: on.clone(),
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: it is the only owner.
        self.on
            .0
            .run(|| unsafe { ffi::dk_planted_queue_delete(self.raw) });
    }
}
