//! Panics of a run: place and message, kept as data.
//!
//! The hook stores and reports; it takes no backtrace (21 KiB of the measured stack) and prints
//! nothing on a run's thread. Threads without a run keep the hook that was there before.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::PanicHookInfo;
use std::sync::{Arc, Once};

use serde::Serialize;

use crate::heap::uncounted;
use crate::run::Recorder;

/// One panic: where, and what it said.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Panic {
    /// `crate-version/path:line` for a crate from a registry, else the compiler's path and line.
    pub site: String,
    /// The message.
    pub message: String,
}

/// Is told of each panic of a thread, where it is raised.
pub(crate) type Told = Box<dyn Fn(&Panic)>;

/// The payload of a panic that a fault asked for: data, not a finding.
pub(crate) struct Injected;

thread_local! {
    static ACTIVE: Cell<bool> = const { Cell::new(false) };
    static SEEN: RefCell<Vec<Panic>> = const { RefCell::new(Vec::new()) };
    static RECORDER: RefCell<Option<Arc<dyn Recorder>>> = const { RefCell::new(None) };
    static TOLD: RefCell<Option<Told>> = const { RefCell::new(None) };
}

/// Unwinds as a server does that panics, without the panic hook: the fault injected on purpose.
pub fn inject_panic() -> ! {
    std::panic::resume_unwind(Box::new(Injected))
}

/// Starts collecting this thread's panics, until the thread ends.
pub(crate) fn collect(recorder: Option<Arc<dyn Recorder>>, told: Option<Told>) {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if ACTIVE.get() {
                store(info);
            } else {
                before(info);
            }
        }));
    });
    ACTIVE.set(true);
    RECORDER.set(recorder);
    TOLD.set(told);
}

/// Takes the panics seen since the last call.
pub(crate) fn take() -> Vec<Panic> {
    SEEN.take()
}

/// Whether a caught payload is one of [`inject_panic`].
pub(crate) fn is_injected(payload: &(dyn Any + Send)) -> bool {
    payload.is::<Injected>()
}

/// Records what code in another language has thrown, as a panic of this thread: one that is about
/// to end the process, say. On a thread without a run it does nothing.
pub fn raised_elsewhere(site: String, message: String) {
    if ACTIVE.get() {
        keep(Panic { site, message });
    }
}

fn store(info: &PanicHookInfo<'_>) {
    let pause = uncounted();
    let site = info.location().map_or_else(String::new, |location| {
        format!("{}:{}", source_path(location.file()), location.line())
    });
    let message = info.payload_as_str().unwrap_or("(not a string)").to_owned();
    keep(Panic { site, message });
    drop(pause);
}

fn keep(panic: Panic) {
    let pause = uncounted();
    RECORDER.with_borrow(|recorder| {
        if let Some(recorder) = recorder {
            recorder.panic(&panic);
        }
    });
    TOLD.with_borrow(|told| told.iter().for_each(|told| told(&panic)));
    SEEN.with_borrow_mut(|seen| seen.push(panic));
    drop(pause);
}

/// Cuts a source path down to what is the same on every machine: from the crate's folder on for
/// a registry (`…/registry/src/…/capnp-rpc-0.27.3/src/rpc.rs`) and for a folder of one's own
/// (debug information has `/…/scenarios/src/x.rs`), from `library/` on for std.
pub fn source_path(path: &str) -> &str {
    let after = |mark: &str, skip_one: bool| {
        let (_, rest) = path.split_once(mark)?;
        match skip_one {
            true => rest.split_once('/').map(|(_, rest)| rest),
            false => Some(rest),
        }
    };
    after("/registry/src/", true)
        .or_else(|| after("/git/checkouts/", false))
        .or_else(|| after("/library/", false))
        .or_else(|| from_crate(path))
        .unwrap_or(path)
}

/// The part of an absolute path from the folder of its crate on.
fn from_crate(path: &str) -> Option<&str> {
    let sources = ["/src/", "/tests/", "/examples/", "/benches/", "/cpp/"];
    let sources = sources
        .iter()
        .filter_map(|folder| path.rfind(folder))
        .max()?;
    let crate_folder = path[..sources].rfind('/')? + 1;
    path.starts_with('/').then(|| &path[crate_folder..])
}

#[cfg(test)]
mod tests {
    use super::source_path;

    #[test]
    fn a_site_is_the_same_on_every_machine() {
        let registry = "/home/x/.cargo/registry/src/index.example-0123/capnp-rpc-0.27.3/src/rpc.rs";
        assert_eq!(source_path(registry), "capnp-rpc-0.27.3/src/rpc.rs");
        let std = "/rustc/0123/library/core/src/option.rs";
        assert_eq!(source_path(std), "core/src/option.rs");
        assert_eq!(source_path("scenarios/src/x.rs"), "scenarios/src/x.rs");
        assert_eq!(source_path("/home/src/my/src/x.rs"), "my/src/x.rs");
        assert_eq!(source_path("/home/my/tests/x.rs"), "my/tests/x.rs");
        assert_eq!(source_path("/home/my/cpp/x.c++"), "my/cpp/x.c++");
        assert_eq!(source_path("/x.rs"), "/x.rs");
    }
}
