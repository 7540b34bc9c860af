//! Whether a finding is seen over a real socket, too.

use std::io;

use dismantle_sim::Plan;
use serde::Serialize;

use crate::check::{Class, Finding};
use crate::growth;
use crate::harness::{Harness, OnSockets, Order};
use crate::scenario::Scenario;

/// Whether a finding is seen over a Unix socketpair, too.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OverUnix {
    /// With the same signature.
    Seen,
    /// Though the socket did all that the plan says.
    #[serde(rename = "not seen")]
    NotSeen,
    /// A socket or a plain executor cannot do what the plan says.
    Cannot,
    /// It would take too long, or is no property of one run.
    #[default]
    #[serde(rename = "not tried")]
    NotTried,
}

impl OverUnix {
    /// For people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Seen => "seen over a Unix socketpair, too",
            Self::NotSeen => "not seen over a Unix socketpair",
            Self::Cannot => "a Unix socketpair cannot do what the plan says",
            Self::NotTried => "not tried over a Unix socketpair",
        }
    }
}

/// Runs `plan` over a Unix socketpair to see whether that shows `finding` as well.
///
/// # Errors
/// The run could not be started.
pub fn over_unix(
    harness: &mut dyn Harness,
    scenario: &dyn Scenario,
    plan: &Plan,
    finding: &Finding,
) -> io::Result<OverUnix> {
    // These take seconds or gigabytes each time; to differ is nothing that one run can do.
    if matches!(
        finding.class,
        Class::Spin | Class::Oom | Class::Nondeterminism
    ) {
        return Ok(OverUnix::NotTried);
    }
    let mut harness = OnSockets(harness);
    let report = harness.run(Order::of(plan))?.report;
    let found = match finding.class {
        Class::StackGrowth | Class::WorkGrowth => {
            growth::findings(&mut harness, scenario, plan, "")?
        }
        _ => report.findings,
    };
    let same = |other: &Finding| other.signature == finding.signature;
    Ok(match found.iter().any(same) {
        true => OverUnix::Seen,
        false if report.ignored.is_empty() => OverUnix::NotSeen,
        false => OverUnix::Cannot,
    })
}
