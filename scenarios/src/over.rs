//! What carries the bytes of a run, and whether a finding is seen over a real socket, too.
//!
//! Over [`Over::Unix`] the same owner does the same things, but the bytes go through the kernel,
//! which also makes the ends and the errors, and tasks run first in, first out. A finding that is
//! seen there is not made by our pipe or our schedule. Not every one can be: what a socket cannot
//! do is left out, and named in the report.

use std::io;

use dismantle_sim::Plan;
use serde::{Deserialize, Serialize};

use crate::check::{Class, Finding};
use crate::growth;
use crate::harness::{Harness, Order, Ran, SeedReport, Seeds, SeedsEnd};
use crate::scenario::Scenario;

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

/// Runs over a Unix socketpair whatever it is told to run.
pub struct OnSockets<'a>(pub &'a mut dyn Harness);

impl Harness for OnSockets<'_> {
    fn run(&mut self, order: Order<'_>) -> io::Result<Ran> {
        let over = Over::Unix;
        self.0.run(Order { over, ..order })
    }

    fn seeds(&mut self, _: &Seeds<'_>, _: &mut dyn FnMut(SeedReport)) -> io::Result<SeedsEnd> {
        let refusal = "seeds are run over the simulated pipe only";
        Err(io::Error::new(io::ErrorKind::Unsupported, refusal))
    }
}
