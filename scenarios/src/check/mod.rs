//! The checks: from what a run measured to findings, each with a signature.
//!
//! A signature says what is wrong in words that no seed, schedule or count changes, so that a
//! campaign can group by it; `kin` is the part of it that other versions of upstream share.

mod blame;
#[cfg(feature = "cli")]
mod death;
mod hang;
mod leak;
mod nondeterminism;
mod panicked;
mod words;

use std::collections::BTreeSet;
use std::fmt;

use dismantle_sim::{Breach, Report};
use serde::{Deserialize, Serialize};

pub use blame::Blame;
#[cfg(feature = "cli")]
pub use death::{Turn, aborted, killed, out_of_memory, overflowed, spun};
#[cfg(feature = "cli")]
pub use leak::origin;
pub use leak::{LeftGroup, leaves_heap, left_groups, left_heap};
pub use nondeterminism::nondeterministic;
pub use panicked::panicked;
pub use words::Place;
#[cfg(feature = "cli")]
pub use words::kin_of;

/// What is wrong, in the order in which one run's findings are ranked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// The process aborted: a panic while another was unwinding.
    Abort,
    /// The stack overflowed.
    Overflow,
    /// The memory was used up.
    Oom,
    /// One poll never returned.
    Spin,
    /// A panic.
    Panic,
    /// The wire broke the protocol.
    Protocol,
    /// Calls arrived out of order.
    CallOrder,
    /// An ordering rule was broken.
    DestructionOrder,
    /// A call ended with the wrong kind of error.
    WrongError,
    /// Something was said to be done before it was.
    EarlyCompletion,
    /// What had to end did not.
    Hang,
    /// Tracked objects were never destroyed.
    Leak,
    /// Stack grows with the size of the workload.
    StackGrowth,
    /// Work grows faster than the size of the workload.
    WorkGrowth,
    /// A replay of one plan differs.
    Nondeterminism,
}

impl Class {
    /// The classes of properties that are observed while a run is on, as [`Breach`]es.
    pub(crate) const OBSERVED: [Self; 5] = [
        Self::Protocol,
        Self::CallOrder,
        Self::DestructionOrder,
        Self::WrongError,
        Self::EarlyCompletion,
    ];

    /// The word that signatures begin with: `stack-growth`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Abort => "abort",
            Self::Overflow => "overflow",
            Self::Oom => "oom",
            Self::Spin => "spin",
            Self::Panic => "panic",
            Self::Protocol => "protocol",
            Self::CallOrder => "call-order",
            Self::DestructionOrder => "destruction-order",
            Self::WrongError => "wrong-error",
            Self::EarlyCompletion => "early-completion",
            Self::Hang => "hang",
            Self::Leak => "leak",
            Self::StackGrowth => "stack-growth",
            Self::WorkGrowth => "work-growth",
            Self::Nondeterminism => "nondeterminism",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One thing that is wrong with a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// What.
    pub class: Class,
    /// What, where and which kinds: findings with one signature are one.
    pub signature: String,
    /// The signature without version and line: what `bisect` compares.
    pub kin: String,
    /// Where, as `crate-version/path:line`, if there is a place.
    pub site: Option<String>,
    /// More for people: names, counts, messages.
    pub detail: String,
    /// What is known of it.
    #[serde(flatten)]
    pub judged: Judged,
}

/// What is known of a finding before anybody looks at it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Judged {
    /// Whose fault it is.
    pub blame: Blame,
    /// Whether it is in the list of known findings.
    pub known: bool,
    /// Under which name.
    pub known_as: Option<String>,
    /// Where upstream documents it, or `no`, if that was looked for.
    pub documented: Option<String>,
}

impl Judged {
    /// For people: `blame: upstream; known as panic-import-drop, not documented`.
    pub fn text(&self) -> String {
        let mut text = format!("blame: {}", self.blame.text());
        if let Some(name) = &self.known_as {
            text += &format!("; known as {name}");
        }
        match self.documented.as_deref() {
            None => {}
            Some("no") => text += ", not documented",
            Some(place) => text += &format!(", documented: {place}"),
        }
        text
    }
}

/// Applies every check to `report`; the findings, the principal one first.
///
/// After a panic, hangs and leaks are its consequences and are not reported, nor is any panic
/// but the first; nor are hangs and leaks of a run that a limit cut short. Nothing is said of a
/// run with a destructor of its own that panicked within upstream's code: only that the process
/// survives it can be asked, and whoever watches the process asks it.
pub fn check(report: &Report) -> Vec<Finding> {
    if report.own_panic {
        return Vec::new();
    }
    if let Some(first) = report.panics.first() {
        return vec![panicked(first)];
    }
    let mut seen = BTreeSet::new();
    let broken = report.breaches.iter().map(broken);
    let mut findings: Vec<Finding> = broken
        .filter(|finding| seen.insert(finding.signature.clone()))
        .collect();
    // A run that a limit cut short has not come to its end: nothing is said of it.
    if report.limit.is_none() {
        findings.extend(hang::hang(report));
        findings.extend(leak::leak(report));
    }
    findings.sort_by_key(|finding| finding.class);
    findings
}

/// The finding of a property that an observer saw broken.
///
/// # Panics
/// If there is no check of that name: whoever observes brings words of [`Class`].
fn broken(breach: &Breach) -> Finding {
    let class = Class::OBSERVED
        .into_iter()
        .find(|class| class.word() == breach.property)
        .expect("a property that a check is named after");
    let signature = format!("{class} {}", breach.rule);
    Finding {
        class,
        kin: signature.clone(),
        signature,
        site: None,
        detail: format!(
            "{}, step {}: {}",
            breach.subject, breach.step, breach.detail
        ),
        judged: Judged::default(),
    }
}
