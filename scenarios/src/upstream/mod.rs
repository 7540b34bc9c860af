//! Builds of this program against other releases of upstream, and what they say of a plan.
//!
//! Nothing is compared in process: two patch releases of one minor cannot share a Cargo graph. So
//! each upstream has a build of its own, of the same sources, and whoever compares asks the builds
//! and reads their JSON lines. Everything is kept in one cache folder, and nothing is written
//! elsewhere:
//!
//! ```text
//! releases/0.26.1/        the three crates as cargo resolves them, by a lock file
//! checkouts/c406b4ee…/    a commit of upstream's repository, unpacked
//! dismantle-0123abcd/     of the package that the program is built from:
//!     0.26.1/             against this upstream: the program, and what cargo said
//!         package/        the workspace: manifest, lock file, links to the package's own files
//! target/                 one target folder for all
//! asked/                  what was asked of builds, and what they answered
//! ```
//!
//! An upstream is three folders of sources, of a release where cargo keeps them, and `[patch]`
//! puts them under the package. So there is one of each in the graph, pinned exactly.
//!
//! Builds have a profile of their own: optimisation level 1, the harness at 0, line tables. Bytes of
//! stack are compared only within it.

mod asked;
mod build;
mod package;
mod releases;
mod sources;
mod workspace;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

pub use asked::Answer;
pub use build::{Build, Built, Shelf};
pub use package::Package;
use semver::Version;
pub use sources::{CRATES, Pins};

/// An upstream to build against.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Upstream {
    /// A release of capnp-rpc.
    Release(Version),
    /// A commit of a repository that has the three crates: `git:DIR@REV`.
    Checkout {
        /// The repository, or a checkout of it.
        dir: PathBuf,
        /// The commit, as git reads it.
        rev: String,
    },
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Release(version) => version.fmt(f),
            Self::Checkout { dir, rev } => write!(f, "git:{}@{rev}", dir.display()),
        }
    }
}

impl FromStr for Upstream {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(checkout) = text.strip_prefix("git:") else {
            let version = Version::parse(text).map_err(|error| {
                format!("expected a release such as 0.26.1, or git:DIR@REV: {error}")
            })?;
            return Ok(Self::Release(version));
        };
        let (dir, rev) = checkout.rsplit_once('@').unwrap_or((checkout, "HEAD"));
        if dir.is_empty() || rev.is_empty() || rev.starts_with('-') {
            return Err("expected git:DIR@REV".to_owned());
        }
        Ok(Self::Checkout {
            dir: PathBuf::from(dir),
            rev: rev.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Upstream;

    #[test]
    fn an_upstream_reads_as_it_is_written() {
        for text in [
            "0.13.0",
            "0.27.3",
            "git:../capnproto-rust@v0.20.0",
            "git:/a@b/c@HEAD~2",
        ] {
            let read: Upstream = text.parse().expect(text);
            assert_eq!(read.to_string(), text);
        }
        for text in ["", "0.27", "newest", "git:", "git:@x", "git:a@", "git:a@-b"] {
            assert!(text.parse::<Upstream>().is_err(), "{text}");
        }
    }
}
