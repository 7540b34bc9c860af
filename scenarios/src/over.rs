//! What carries the bytes of a run.
//!
//! Over [`Over::Unix`] the same owner does the same things, but the bytes go through the kernel,
//! which also makes the ends and the errors, and tasks run first in, first out. A finding that is
//! seen there is not made by our pipe or our schedule. Not every one can be: what a socket cannot
//! do is left out, and named in the report.

use serde::{Deserialize, Serialize};

/// What carries the bytes of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Over {
    /// The simulated pipe, with every fault that a plan can name.
    #[default]
    Pipe,
    /// A Unix socketpair, on a plain executor. Two such runs are not promised to be equal.
    Unix,
}
