//! Builds of this program against other releases of upstream, and what they say of a plan.
//!
//! An [`Upstream`] is a release of capnp-rpc, a commit of its repository, or a release of the C++
//! library that is installed on this machine; the last for packages that have that library in them.
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
//!     0.26.1/             against this upstream (or `git-c406b4eec0de`, or `kj-0.9.2`): the
//!                         program, and what cargo said
//!         package/        the workspace: manifest, lock file, links to the package's own files
//! target/                 one target folder for all
//! asked/                  what was asked of builds, and what they answered
//! kj/0.9.2/               an installed release of the C++ library; always in the user's cache
//! ```
//!
//! A release or a commit of capnp-rpc is three folders of sources, of a release where cargo keeps
//! them, and `[patch]` puts them under the package. So there is one of each in the graph, pinned
//! exactly. A release of the C++ library is a word in the environment of the package's build
//! script, and the crates are those of the package's own lock file.
//!
//! Builds have a profile of their own: optimisation level 1, the harness at 0, line tables. Bytes of
//! stack are compared only within it.

mod asked;
mod build;
mod kj;
mod package;
mod releases;
mod sources;
mod workspace;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

pub use asked::Answer;
pub use build::{Build, Built, Shelf};
pub use kj::user_cache;
pub use package::Package;
use semver::Version;
pub use sources::Pins;

/// What is built against: a library that has releases.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Library {
    /// capnp-rpc, whose releases are on crates.io.
    CapnpRpc,
    /// Cap'n Proto for C++, with kj; of its releases those that are installed.
    Kj,
}

impl Library {
    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CapnpRpc => "capnp-rpc",
            Self::Kj => "Cap'n Proto for C++",
        }
    }

    /// The name that it has as a dependency, in reports.
    pub const fn dependency(self) -> &'static str {
        match self {
            Self::CapnpRpc => "capnp-rpc",
            Self::Kj => "capnproto",
        }
    }

    /// What stands before its versions on the command line.
    const fn prefix(self) -> &'static str {
        match self {
            Self::CapnpRpc => "",
            Self::Kj => "kj:",
        }
    }

    /// The library of what is written for one of its releases, and the version: `kj:0.9.2`.
    pub fn split(text: &str) -> (Self, &str) {
        match text.strip_prefix(Self::Kj.prefix()) {
            Some(version) => (Self::Kj, version),
            None => (Self::CapnpRpc, text),
        }
    }
}

/// An upstream to build against.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Upstream {
    /// A release: `0.26.1` of capnp-rpc, `kj:0.9.2` of the C++ library.
    Release(Library, Version),
    /// A commit of a repository that has the three crates of capnp-rpc: `git:DIR@REV`.
    Checkout {
        /// The repository, or a checkout of it.
        dir: PathBuf,
        /// The commit, as git reads it.
        rev: String,
    },
}

impl Upstream {
    /// Whose it is.
    pub const fn library(&self) -> Library {
        match self {
            Self::Release(library, _) => *library,
            Self::Checkout { .. } => Library::CapnpRpc,
        }
    }

    /// The same in words: `capnp-rpc 0.26.1`, `Cap'n Proto for C++ 0.9.2`.
    pub fn words(&self) -> String {
        match self {
            Self::Release(library, version) => format!("{} {version}", library.name()),
            Self::Checkout { .. } => format!("{} {self}", self.library().name()),
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Release(library, version) => write!(f, "{}{version}", library.prefix()),
            Self::Checkout { dir, rev } => write!(f, "git:{}@{rev}", dir.display()),
        }
    }
}

impl FromStr for Upstream {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(checkout) = text.strip_prefix("git:") else {
            let (library, version) = Library::split(text);
            let version = Version::parse(version).map_err(|error| {
                format!("expected a release such as 0.26.1 or kj:1.3.0, or git:DIR@REV: {error}")
            })?;
            return Ok(Self::Release(library, version));
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
            "kj:0.9.2",
            "git:../capnproto-rust@v0.20.0",
            "git:/a@b/c@HEAD~2",
        ] {
            let read: Upstream = text.parse().expect(text);
            assert_eq!(read.to_string(), text);
        }
        for text in [
            "",
            "0.27",
            "newest",
            "kj:",
            "kj:1.3",
            "kj:git:a@b",
            "git:",
            "git:@x",
            "git:a@",
            "git:a@-b",
        ] {
            assert!(text.parse::<Upstream>().is_err(), "{text}");
        }
    }

    #[test]
    fn its_words_name_the_library() {
        for (text, words) in [
            ("0.27.3", "capnp-rpc 0.27.3"),
            ("git:a@b", "capnp-rpc git:a@b"),
            ("kj:0.9.2", "Cap'n Proto for C++ 0.9.2"),
        ] {
            let read: Upstream = text.parse().expect(text);
            assert_eq!(read.words(), words);
        }
    }
}
