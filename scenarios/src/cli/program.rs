//! What a program is that has the command line: its scenarios, and where it keeps what it knows.

use std::process::ExitCode;

use super::run;
use crate::scenario::Scenario;

/// A program with this command line; call [`Program::main`] from `main`.
///
/// ```no_run
/// # const SCENARIOS: &[&dyn dismantle::Scenario] = &[];
/// dismantle::cli::Program::new(SCENARIOS)
///     .known_in("system/known")
///     .goldens_in(&["system/tests/snapshots"])
///     .main();
/// ```
#[derive(Clone, Copy)]
pub struct Program {
    pub(super) scenarios: &'static [&'static dyn Scenario],
    pub(super) is_catalogue: bool,
    pub(super) known: &'static str,
    pub(super) goldens: &'static [&'static str],
}

impl Program {
    /// One with these scenarios.
    pub const fn new(scenarios: &'static [&'static dyn Scenario]) -> Self {
        Self {
            scenarios,
            is_catalogue: false,
            known: "known-findings",
            // Here in a workspace like this one's, else where insta has them.
            goldens: &["snapshots/tests/snapshots", "tests/snapshots"],
        }
    }

    /// Its scenarios do nothing that the library under test does not allow, unless they say that a
    /// bug was planted: what goes wrong is the library's fault.
    #[must_use]
    pub const fn catalogue(self) -> Self {
        Self {
            is_catalogue: true,
            ..self
        }
    }

    /// Known findings are in this folder, if `--known-dir` names no other: `known-findings` if this
    /// is not said. A path without a root is one from the folder that the program is called in.
    #[must_use]
    pub const fn known_in(self, folder: &'static str) -> Self {
        Self {
            known: folder,
            ..self
        }
    }

    /// Goldens are in the first of these folders that is there, else in the last, if `snapshot
    /// --out` names no other.
    #[must_use]
    pub const fn goldens_in(self, folders: &'static [&'static str]) -> Self {
        Self {
            goldens: folders,
            ..self
        }
    }

    /// Does what the arguments say.
    pub fn main(self) -> ExitCode {
        run(self)
    }
}
