//! Threshold: the smallest size of the workload at which a run needs more stack than there is.
//!
//! By bisection over the size, each a run of its own. A run that takes its process along needs more
//! than any stack. It is taken for granted that a larger size needs no less.

use std::io;

use dismantle_sim::{Phase, Plan, Value};
use serde::Serialize;

use crate::harness::{Harness, Order};
use crate::report::{RunReport, phase_word};

/// Where a run begins to need more than a stack has.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Threshold {
    /// `threshold`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The scenario.
    pub scenario: String,
    /// The decision that was enlarged.
    pub over: String,
    /// The stack, in bytes.
    pub stack_bytes: u64,
    /// The smallest size that needs more; `None` if the largest tried does not.
    pub size: Option<u64>,
    /// The largest size that was seen to need no more.
    pub fits: Option<u64>,
    /// The phase that needs most at `size`; `None` if its process died, or if there is none.
    pub phase: Option<String>,
    /// What that phase needs there, in bytes.
    pub needs_bytes: Option<u64>,
    /// Runs that it took.
    pub runs: u64,
}

/// The size from 1 to `size_max` at which `plan` begins to need more than `stack_bytes`; `None`
/// where stacks are not measured. `told` hears of each run: its size, and what it needs.
///
/// # Errors
/// `over` is no number of the plan's scenario, or a run cannot be started.
pub fn threshold(
    harness: &mut dyn Harness,
    plan: &Plan,
    over: &str,
    stack_bytes: u64,
    size_max: u64,
    told: &mut dyn FnMut(u64, Need),
) -> io::Result<Option<Threshold>> {
    let mut runs = 0;
    let mut need = |size: u64| -> io::Result<Option<Need>> {
        let mut plan = plan.clone();
        plan.set(over, &Value::Count(size))
            .map_err(io::Error::other)?;
        runs += 1;
        let need = Need::of(&harness.run(Order::of(&plan))?.report);
        if let Some(need) = need {
            told(size, need);
        }
        Ok(need)
    };
    let (mut fits, mut over_it) = (None, None);
    let mut size = 1;
    loop {
        let Some(found) = need(size)? else {
            return Ok(None);
        };
        if found.is_more_than(stack_bytes) {
            over_it = Some((size, found));
            break;
        }
        fits = Some(size);
        if size == size_max {
            break;
        }
        size = size.saturating_mul(2).min(size_max);
    }
    while let Some((more, _)) = over_it
        && let least = fits.unwrap_or(0)
        && more - least > 1
    {
        let middle = least + (more - least) / 2;
        let Some(found) = need(middle)? else {
            return Ok(None);
        };
        match found.is_more_than(stack_bytes) {
            true => over_it = Some((middle, found)),
            false => fits = Some(middle),
        }
    }
    let most = over_it.and_then(|(_, need)| need.phase);
    Ok(Some(Threshold {
        kind: "threshold",
        scenario: plan.scenario().to_owned(),
        over: over.to_owned(),
        stack_bytes,
        size: over_it.map(|(size, _)| size),
        fits,
        phase: most.map(|(phase, _)| phase_word(phase).to_owned()),
        needs_bytes: most.map(|(_, bytes)| bytes),
        runs,
    }))
}

/// What a run needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Need {
    /// The phase that needs most stack, and how many bytes; `None` if the process died of it.
    pub phase: Option<(Phase, u64)>,
}

impl Need {
    fn of(report: &RunReport) -> Option<Self> {
        if report.died() {
            return Some(Self { phase: None });
        }
        let phases = [Phase::Build, Phase::Drive, Phase::Teardown];
        let needs = phases.map(|phase| Some((phase, report.stack_bytes.phase(phase)?)));
        let most = needs.into_iter().flatten().max_by_key(|(_, bytes)| *bytes);
        most.map(|most| Self { phase: Some(most) })
    }

    fn is_more_than(self, bytes: u64) -> bool {
        self.phase.is_none_or(|(_, needs)| needs > bytes)
    }
}
