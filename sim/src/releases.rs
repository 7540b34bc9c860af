//! Between which releases of the system under test a bug was mended: a table of a plan's head.
//!
//! ```toml
//! [releases]
//! kin = "panic capnp-rpc/src/rpc.rs internal error: entered unreachable code"
//! first_bad = "0.20.0"                # the release before it is clean; else it is older
//! bad = "0.26.1"                      # the last that shows it
//! good = "0.26.2"                     # the next, which does not
//! ```
//!
//! A release is written as on the command line: one of the C++ library is `kj:1.3.0`.

use std::fmt;

use crate::plan::basic_string;

/// Between which releases of the system under test a bug was mended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Releases {
    /// The finding in words that all releases share.
    pub kin: String,
    /// The first release that shows it, if an earlier one does not.
    pub first_bad: Option<String>,
    /// The last release that shows it.
    pub bad: String,
    /// The next one, which does not.
    pub good: String,
}

impl fmt::Display for Releases {
    /// The table as it stands in a plan file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[releases]")?;
        writeln!(f, "kin = {}", basic_string(&self.kin))?;
        if let Some(first_bad) = &self.first_bad {
            writeln!(f, "first_bad = {}", basic_string(first_bad))?;
        }
        writeln!(f, "bad = {}", basic_string(&self.bad))?;
        writeln!(f, "good = {}", basic_string(&self.good))
    }
}
