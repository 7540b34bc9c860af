//! Did a call that failed fail with the right error?
//!
//! An exception keeps its type on its way (`Exception.Type` in `rpc.capnp`), and a call that is
//! cut by the end of its connection ends with [`ErrorKind::Disconnected`], "the call failed because
//! of a lost connection" (`capnp`, 0.27.3), and says why. An error is wrong only if it is known
//! where it came from: an exception that was injected says its own type; an end that reading came
//! to is known to the vat; and what upstream says of its own channels is no answer to anybody.
//!
//! Errors of the pipe that the plan injects are errors of their own kind and count as right.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use capnp::{Error, ErrorKind};
use dismantle_sim::{Name, Sim};

use crate::compat;
use crate::ending::Ending;
use crate::exception::injected_kind;
use crate::vat::Vat;

/// The check that a wrong error belongs to.
const PROPERTY: &str = "wrong-error";

/// What upstream says, as `Failed`, where a channel of its own was dropped (`canceled_to_error`
/// in `lib.rs`, `SenderQueue::push` in `sender_queue.rs`, `PipelineInnerSender` in `queued.rs`,
/// `Request::send_streaming_internal` and `Pipeline::new` in `rpc.rs`), or a stream is not where
/// it should be (`Connection::receive_incoming_message` in `twoparty.rs`), 0.27.3.
const INNER_WORDS: [&str; 6] = [
    "oneshot was canceled",
    "SenderQueue canceled",
    "PipelineInnerSender was canceled",
    "no connection",
    "dangling reference to this",
    "this should not be possible",
];

/// Judges the errors that a run's calls end with. Clones are the same.
#[derive(Clone)]
pub struct Errors {
    sim: Sim,
    state: Rc<State>,
}

#[derive(Default)]
struct State {
    endings: RefCell<Vec<Rc<Ending>>>,
    cancelled: Cell<bool>,
}

impl Errors {
    /// Knows of no vat yet.
    pub fn new(sim: &Sim) -> Self {
        Self {
            sim: sim.clone(),
            state: Rc::default(),
        }
    }

    /// A vat whose end may be what calls fail of.
    pub fn watch(&self, vat: &Vat) {
        self.state.endings.borrow_mut().push(vat.ending().clone());
    }

    /// An owner or a server has cancelled a call: what hung on it may from now on fail as
    /// cancelled. So may what hangs on a vat whose system is gone.
    pub fn cancelled(&self) {
        self.state.cancelled.set(true);
    }

    /// A call that nobody has cancelled has failed.
    pub fn failed(&self, call: Name, error: &Error) {
        if let Some(rule) = self.wrong(error) {
            let detail = format!("{:?}: {}", error.kind, compat::text(error));
            self.sim.breach(PROPERTY, rule, call, detail);
        }
    }

    fn any(&self, of: impl Fn(&Ending) -> bool) -> bool {
        self.state.endings.borrow().iter().any(|ending| of(ending))
    }

    fn wrong(&self, error: &Error) -> Option<String> {
        let said = said(error);
        if let Some(kind) = injected_kind(said) {
            let right = format!("{:?}", error.kind) == kind;
            return (!right).then(|| "an exception changes its type on the way".to_owned());
        }
        let inner = INNER_WORDS.into_iter().find(|words| *words == said);
        match (error.kind, inner) {
            (ErrorKind::Disconnected, _) => said
                .is_empty()
                .then(|| "a disconnect does not say why".to_owned()),
            (ErrorKind::Failed, Some(words)) => {
                let cancelled = self.state.cancelled.get() || self.any(Ending::is_gone);
                let rule = || format!("a call that nobody cancelled fails as Failed: {words}");
                (!cancelled).then(rule)
            }
            (kind, _) => self
                .any(|ending| ending.was_lost_with(error))
                .then(|| format!("a lost connection fails its calls as {kind:?}")),
        }
    }
}

/// What an error says, without who passed it on.
fn said(error: &Error) -> &str {
    let mut said = compat::text(error);
    while let Some(rest) = said.strip_prefix("remote exception: ") {
        said = rest;
    }
    said
}
