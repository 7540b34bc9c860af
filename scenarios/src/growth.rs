//! Growth: how a gauge of one plan grows with the size of its workload.
//!
//! The same plan is run at sizes n, 2n and 4n. With v the gauge, the ratio
//! r = (v(4n) − v(2n)) / (v(2n) − v(n)) is 2 for a linear law, 4 for a quadratic one. Absolute
//! bytes move with the compiler and the profile; the law does not.

use std::collections::BTreeMap;
use std::io;

use dismantle_sim::{Phase, Plan, Value};
use serde::{Deserialize, Serialize};

use crate::check::{Class, Finding};
use crate::harness::{Harness, Order, Ran};
use crate::report::{Stack, phase_word};
use crate::scenario::Scenario;

/// Differences below this are no growth: the scan is exact to 8 bytes, but a deeper call on one
/// path (a grown hash map, a longer name) may add a frame or two.
const NOISE_BYTES: u64 = 1 << 10;

/// A law of growth.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Law {
    /// Does not grow.
    #[serde(rename = "O(1)")]
    Constant,
    /// In proportion (n log n included).
    #[serde(rename = "O(n)")]
    Linear,
    /// With the square, or faster.
    #[serde(rename = "O(n^2)")]
    Quadratic,
    /// None of these: no alarm.
    #[serde(rename = "irregular")]
    Irregular,
}

impl Law {
    /// The spelling of reports and of `--expect`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Constant => "O(1)",
            Self::Linear => "O(n)",
            Self::Quadratic => "O(n^2)",
            Self::Irregular => "irregular",
        }
    }

    /// The law with that spelling.
    pub fn from_word(word: &str) -> Option<Self> {
        let all = [
            Self::Constant,
            Self::Linear,
            Self::Quadratic,
            Self::Irregular,
        ];
        all.into_iter().find(|law| law.word() == word)
    }

    /// The law behind three values at n, 2n and 4n.
    pub fn fit([one, two, four]: [u64; 3]) -> Self {
        if one.max(two).max(four) - one.min(two).min(four) < NOISE_BYTES {
            return Self::Constant;
        }
        if two <= one || four <= two {
            return Self::Irregular;
        }
        // Tenths, so that no float decides: r of 1.6 to 2.6 is linear, above 3.2 quadratic.
        match (four - two) * 10 / (two - one) {
            16..=26 => Self::Linear,
            33.. => Self::Quadratic,
            _ => Self::Irregular,
        }
    }
}

/// How one gauge of one phase grows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Growth {
    /// `growth`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The scenario.
    pub scenario: String,
    /// The phase.
    pub phase: String,
    /// `stack_bytes`.
    pub metric: String,
    /// The decision that was enlarged.
    pub over: String,
    /// Its sizes.
    pub sizes: Vec<u64>,
    /// The gauge at each size.
    pub values: Vec<u64>,
    /// The law behind them.
    pub law: Law,
    /// Bytes an item, from the first size to the last; 0 unless it grows linearly.
    pub per_item: f64,
    /// At which size a stack of 2 MiB or 8 MiB overflows; empty unless it grows linearly.
    pub overflow_at: BTreeMap<String, u64>,
}

/// Stacks that users have: a Rust thread's default and a main thread's.
const STACKS: [(&str, u64); 2] = [("2MiB", 2 << 20), ("8MiB", 8 << 20)];

const PHASES: [Phase; 3] = [Phase::Build, Phase::Drive, Phase::Teardown];

/// What a series of runs came to.
pub enum Series {
    /// The phases that the scenario has, at every size.
    Measured(Vec<Growth>),
    /// The run at one size did not end well, or was not measured.
    Broken {
        /// The size.
        size: u64,
        /// That run.
        ran: Box<Ran>,
    },
}

/// Runs `plan` with `over` at each of `sizes` (n, 2n, 4n) and fits the stack of every phase.
///
/// # Errors
/// `over` is no number of the plan's scenario, or a run cannot be started.
pub fn measure(
    harness: &mut dyn Harness,
    order: Order<'_>,
    over: &str,
    sizes: [u64; 3],
    mut ran_one: impl FnMut(u64),
) -> io::Result<Series> {
    let mut stacks = Vec::new();
    for size in sizes {
        let mut plan = order.plan.clone();
        plan.set(over, &Value::Count(size))
            .map_err(io::Error::other)?;
        let ran = harness.run(Order {
            plan: &plan,
            ..order
        })?;
        let stack = ran.report.stack_bytes;
        // A finding (a leak, say) does not spoil the marks; a panic or a death leaves none.
        if stack == Stack::default() {
            return Ok(Series::Broken {
                size,
                ran: Box::new(ran),
            });
        }
        stacks.push(stack);
        ran_one(size);
    }
    let growths = PHASES.iter().filter_map(|phase| {
        let values: Option<Vec<u64>> = stacks.iter().map(|stack| stack.phase(*phase)).collect();
        let values = <[u64; 3]>::try_from(values?).expect("one for each size");
        Some(Growth::new(
            order.plan.scenario(),
            *phase,
            over,
            sizes,
            values,
        ))
    });
    Ok(Series::Measured(growths.collect()))
}

impl Growth {
    fn new(scenario: &str, phase: Phase, over: &str, sizes: [u64; 3], values: [u64; 3]) -> Self {
        let law = Law::fit(values);
        let items = sizes[2].saturating_sub(sizes[0]);
        let per_item = match law {
            Law::Linear if items > 0 => (values[2] - values[0]) as f64 / items as f64,
            _ => 0.0,
        };
        let base = values[0] as f64 - per_item * sizes[0] as f64;
        let overflow_at = STACKS
            .iter()
            .filter(|_| per_item > 0.0)
            .map(|(name, bytes)| {
                let size = (*bytes as f64 - base) / per_item;
                ((*name).to_owned(), size as u64)
            });
        Self {
            kind: "growth".to_owned(),
            scenario: scenario.to_owned(),
            phase: phase_word(phase).to_owned(),
            metric: "stack_bytes".to_owned(),
            over: over.to_owned(),
            sizes: sizes.to_vec(),
            values: values.to_vec(),
            law,
            per_item,
            overflow_at: overflow_at.collect(),
        }
    }
}

/// Sizes for the growth check of one run: small, because some workloads take O(n^2) time.
const CHECK_SIZES: [u64; 3] = [100, 200, 400];
/// A law is a finding only if this size, twice the last one, confirms it.
const CONFIRM_SIZES: [u64; 3] = [200, 400, 800];

/// The stack-growth findings of a run that was deep: which repetition drives its depth? The
/// principal one, that of the phase which went `deepest`, comes first.
///
/// Tries the scenario's `over` or, where that is a pattern (`op.*.repeat`), every answer of the
/// plan that it matches, one by one.
///
/// # Errors
/// A run cannot be started.
pub fn findings(
    harness: &mut dyn Harness,
    scenario: &dyn Scenario,
    plan: &Plan,
    deepest: &str,
) -> io::Result<Vec<Finding>> {
    let mut findings: Vec<Finding> = Vec::new();
    for (over, driver) in drivers(scenario, plan) {
        let laws = |harness: &mut dyn Harness, sizes| -> io::Result<Vec<Growth>> {
            match measure(harness, Order::of(plan), &over, sizes, |_| {})? {
                Series::Measured(growths) => Ok(growths),
                Series::Broken { .. } => Ok(Vec::new()),
            }
        };
        let grows = |growth: &Growth| matches!(growth.law, Law::Linear | Law::Quadratic);
        let first = laws(harness, CHECK_SIZES)?;
        if !first.iter().any(grows) {
            continue;
        }
        let confirmed = laws(harness, CONFIRM_SIZES)?;
        for (first, growth) in first.iter().zip(&confirmed) {
            if grows(first) && first.law == growth.law {
                let signature = format!(
                    "stack-growth {} {} {driver}",
                    growth.phase,
                    growth.law.word()
                );
                if findings
                    .iter()
                    .all(|finding| finding.signature != signature)
                {
                    findings.push(finding(growth, signature));
                }
            }
        }
    }
    let of_deepest = format!("stack-growth {deepest} ");
    findings.sort_by_key(|finding| !finding.signature.starts_with(&of_deepest));
    Ok(findings)
}

fn finding(growth: &Growth, signature: String) -> Finding {
    let Growth {
        phase,
        per_item,
        over,
        overflow_at,
        ..
    } = growth;
    let at = |stack: &str| {
        overflow_at.get(stack).map_or_else(String::new, |size| {
            format!("; {stack} overflows near {size}")
        })
    };
    Finding {
        class: Class::StackGrowth,
        kin: signature.clone(),
        signature,
        site: None,
        detail: format!(
            "{phase} needs {per_item:.0} B more stack for each of `{over}`{}{}",
            at("2MiB"),
            at("8MiB")
        ),
    }
}

/// What of `plan` can be enlarged, and how a signature calls it.
fn drivers(scenario: &dyn Scenario, plan: &Plan) -> Vec<(String, String)> {
    let Some(over) = scenario.over() else {
        return Vec::new();
    };
    let Some((before, after)) = over.split_once('*') else {
        return vec![(over.to_owned(), format!("{} {over}", scenario.name()))];
    };
    let answers: BTreeMap<String, String> = plan
        .answers()
        .map(|(name, value)| (name, value.to_string()))
        .collect();
    let driver = |name: &String| {
        let number = name.strip_prefix(before)?.strip_suffix(after)?;
        let word = |field: &str| answers.get(&format!("{before}{number}.{field}"));
        let chain = word("chain").map_or("parallel", String::as_str);
        Some((name.clone(), format!("{} {chain}", word("what")?)))
    };
    answers.keys().filter_map(driver).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laws_are_told_apart() {
        assert_eq!(Law::fit([5000, 5000, 5200]), Law::Constant);
        assert_eq!(Law::fit([5_000, 256_000, 758_000]), Law::Linear);
        assert_eq!(Law::fit([10_000, 40_000, 160_000]), Law::Quadratic);
        // n log n for n = 1000, 2000, 4000 counts as linear.
        assert_eq!(Law::fit([9_966, 21_932, 47_863]), Law::Linear);
        assert_eq!(Law::fit([5_000, 90_000, 5_000]), Law::Irregular);
        assert_eq!(Law::fit([5_000, 90_000, 91_000]), Law::Irregular);
    }
}
