//! What a run with real input and output has beside the simulation: looks at the outside, and a
//! list of the plan's answers that the outside cannot give.
//!
//! The layers above do their I/O through the kernel then, and the schedule is plain: first in,
//! first out. Virtual time and everything else stay as they are. No two such runs are promised
//! to be equal, because the kernel answers to nobody's plan.

use std::cell::RefCell;
use std::collections::BTreeSet;

/// Looks at the outside and wakes whom it concerns; false once there is nobody left.
type Look = Box<dyn FnMut() -> bool>;

/// The outside of one run.
pub(crate) struct Outside {
    /// Whether input and output are real.
    pub(crate) real: bool,
    looks: RefCell<Vec<Look>>,
    ignored: RefCell<BTreeSet<String>>,
}

impl Outside {
    pub(crate) fn new(real: bool) -> Self {
        Self {
            real,
            looks: RefCell::default(),
            ignored: RefCell::default(),
        }
    }

    pub(crate) fn add(&self, look: Look) {
        self.looks.borrow_mut().push(look);
    }

    /// Wakes the tasks that something outside lets go on.
    pub(crate) fn look(&self) {
        self.looks.borrow_mut().retain_mut(|look| look());
    }

    pub(crate) fn ignore(&self, path: String) {
        self.ignored.borrow_mut().insert(path);
    }

    /// The answers that were not followed, by name.
    pub(crate) fn ignored(&self) -> Vec<String> {
        self.ignored.take().into_iter().collect()
    }
}
