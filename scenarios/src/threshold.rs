//! Threshold: the smallest size of the workload at which a run needs more stack than there is.
//!
//! By bisection over the size, each a run of its own. A run whose stack overflows needs more than
//! any; one that panics, aborts or never returns says nothing of stacks. It is taken for granted
//! that a larger size needs no less.

use std::io;

use dismantle_sim::{Phase, Plan, Value};
use serde::Serialize;

use crate::check::{Class, Finding};
use crate::harness::{Harness, Order, Ran};
use crate::report::{PHASES, RunReport, phase_word};

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
    /// The phase that needs most at `size`; `None` if its stack overflowed, or if there is none.
    pub phase: Option<String>,
    /// What that phase needs there, in bytes.
    pub needs_bytes: Option<u64>,
    /// Runs that it took.
    pub runs: u64,
}

/// What a search for it came to.
pub enum Search {
    /// It was seen where it is, or that it is beyond the largest size.
    Found(Threshold),
    /// The run at one size did not end well, or was not measured.
    Broken {
        /// The size.
        size: u64,
        /// That run.
        ran: Box<Ran>,
    },
}

/// The size from 1 to `size_max` at which `plan` begins to need more than `stack_bytes`. `told`
/// hears of each run: its size, and what it needs.
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
) -> io::Result<Search> {
    let mut runs = 0;
    let mut need = |size: u64| -> io::Result<Result<Need, Search>> {
        let mut plan = plan.clone();
        plan.set(over, &Value::Count(size))
            .map_err(io::Error::other)?;
        // What is measured is to fit.
        plan.limits.stack_bytes = None;
        runs += 1;
        let ran = harness.run(Order::of(&plan))?;
        Ok(match Need::of(&ran.report) {
            Some(need) => {
                told(size, need);
                Ok(need)
            }
            None => Err(Search::Broken {
                size,
                ran: Box::new(ran),
            }),
        })
    };
    let (mut fits, mut over_it) = (None, None);
    let mut size = 1;
    loop {
        let found = match need(size)? {
            Ok(found) => found,
            Err(broken) => return Ok(broken),
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
        let found = match need(middle)? {
            Ok(found) => found,
            Err(broken) => return Ok(broken),
        };
        match found.is_more_than(stack_bytes) {
            true => over_it = Some((middle, found)),
            false => fits = Some(middle),
        }
    }
    let most = over_it.and_then(|(_, need)| need.phase);
    Ok(Search::Found(Threshold {
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
    /// The phase that needs most stack, and how many bytes; `None` if it overflowed.
    pub phase: Option<(Phase, u64)>,
}

impl Need {
    fn of(report: &RunReport) -> Option<Self> {
        let is_overflow = |finding: &Finding| finding.class == Class::Overflow;
        if report.finding().is_some_and(is_overflow) {
            return Some(Self { phase: None });
        }
        let needs = PHASES.map(|phase| Some((phase, report.stack_bytes.phase(phase)?)));
        let most = needs.into_iter().flatten().max_by_key(|(_, bytes)| *bytes);
        most.map(|most| Self { phase: Some(most) })
    }

    fn is_more_than(self, bytes: u64) -> bool {
        self.phase.is_none_or(|(_, needs)| needs > bytes)
    }
}
