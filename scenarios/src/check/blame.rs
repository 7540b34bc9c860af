//! Whose fault a finding is, as far as it can be told.

use serde::{Deserialize, Serialize};

use super::Finding;

/// Whose fault a finding is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Blame {
    /// The library under test.
    Upstream,
    /// The scenario: the user's own code, or a bug planted there.
    User,
    /// This tool: a run that does not repeat, or a panic in its own code.
    Harness,
    /// Upstream's or the user's: somebody has to look.
    #[default]
    Unclear,
}

/// The packages of the library under test: from a registry, from a folder, and from its repository;
/// and the C++ library.
const UPSTREAM: [&str; 3] = ["capnp-", "capnproto-", "capnproto/"];

/// Our own packages, as a place in them begins: in their workspace, and from a registry.
const OWN: [&str; 7] = [
    "sim/src/",
    "transport/src/",
    "scenarios/src/",
    "scenarios/kj/src/bridge/",
    "kj/src/bridge/",
    "scenarios/kj/cpp/",
    "dismantle-",
];

impl Blame {
    /// By the place, if there is one: that of an abort is its second panic's. Else by the scenario:
    /// those of the catalogue (`is_catalogue`) do nothing that upstream does not allow, and one
    /// with a planted bug (`is_planted`) is to blame for it.
    pub(crate) fn of(finding: &Finding, is_catalogue: bool, is_planted: bool) -> Self {
        use super::Class::Nondeterminism;
        let begins = |parts: &[&str], site: &str| parts.iter().any(|part| site.starts_with(part));
        match finding.site.as_deref() {
            _ if is_planted => Self::User,
            _ if finding.class == Nondeterminism => Self::Harness,
            Some(site) if begins(&UPSTREAM, site) => Self::Upstream,
            Some(site) if begins(&OWN, site) => Self::Harness,
            // The standard library, called by whom?
            Some(site) if begins(&["core/", "alloc/", "std/"], site) => Self::Unclear,
            Some(_) => Self::User,
            None if is_catalogue => Self::Upstream,
            None => Self::Unclear,
        }
    }

    /// For people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::User => "the scenario's own code",
            Self::Harness => "this tool: please report it",
            Self::Unclear => "upstream or the scenario: look at the plan",
        }
    }
}
