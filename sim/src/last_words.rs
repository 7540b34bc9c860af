//! Last words: what a run's thread says if the process aborts under it.
//!
//! A panic in a destructor while another panic unwinds aborts the process; in a `#[test]` no
//! supervisor is there to say which seed it was; nor when the stack overflows. The handlers run on
//! the thread that dies; they allocate nothing and write a line that was made beforehand.
#![expect(unsafe_code, reason = "installs a signal handler")]

use std::cell::Cell;
use std::sync::{Arc, Once};

use crate::fault;

thread_local! {
    static WORDS: Cell<(*const u8, usize)> = const { Cell::new((std::ptr::null(), 0)) };
}

/// Keeps the words of this thread for as long as it lives.
pub(crate) struct LastWords {
    #[expect(
        dead_code,
        reason = "the handler reads it through the thread's pointer"
    )]
    words: Arc<str>,
}

impl LastWords {
    /// Has `words` written to standard error if this thread aborts the process or its stack
    /// overflows.
    pub(crate) fn new(words: Arc<str>) -> Self {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(install);
        fault::install();
        WORDS.set((words.as_ptr(), words.len()));
        Self { words }
    }
}

impl Drop for LastWords {
    fn drop(&mut self) {
        WORDS.set((std::ptr::null(), 0));
    }
}

extern "C" fn aborts(_signal: libc::c_int) {
    speak();
}

/// Says this thread's last words, once. Async-signal-safe.
pub(crate) fn speak() {
    let (start, length) = WORDS.replace((std::ptr::null(), 0));
    if !start.is_null() {
        // SAFETY: `LastWords` keeps the text alive while the pointer is set, and it was set by
        // this very thread. `write` is async-signal-safe.
        unsafe { libc::write(2, start.cast(), length) };
    }
}

/// Says `words` if this thread has last ones to follow them. Async-signal-safe.
pub(crate) fn say(words: &'static [u8]) {
    if !WORDS.get().0.is_null() {
        // SAFETY: the text is static. `write` is async-signal-safe.
        unsafe { libc::write(2, words.as_ptr().cast(), words.len()) };
    }
}

fn install() {
    // SAFETY: all zero is a valid `sigaction`; the handler is async-signal-safe. After it,
    // `abort` restores the default action and raises the signal again.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = aborts as *const () as usize;
        action.sa_flags = libc::SA_ONSTACK;
        libc::sigaction(libc::SIGABRT, &raw const action, std::ptr::null_mut());
    }
}
