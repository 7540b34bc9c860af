//! Growth: how the gauges of one plan grow with the size of its workload.
//!
//! The same plan is run at sizes n, 2n and 4n. With v the gauge, the ratio
//! r = (v(4n) − v(2n)) / (v(2n) − v(n)) is 2 for a linear law, 4 for a quadratic one. Absolute
//! bytes move with the compiler and the profile; the law does not.

use std::collections::BTreeMap;
use std::io;

use dismantle_sim::{Phase, Plan, Value};
use serde::{Deserialize, Serialize};

use crate::check::{Class, Finding, Judged};
use crate::harness::{Harness, OnSockets, Order, Ran};
use crate::over::Over;
use crate::report::{PHASES, Phases, RunReport, Stack, phase_word};
use crate::scenario::Scenario;

/// A gauge that a report has for each phase, spelled as there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Metric {
    /// The most stack that was needed.
    Stack,
    /// The most heap that lived at once.
    Heap,
    /// Blocks of the heap that were allocated.
    Allocations,
    /// Steps: polls of one task.
    Polls,
}

impl Metric {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 4] = [Self::Stack, Self::Heap, Self::Allocations, Self::Polls];

    /// Its name in reports.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stack => "stack_bytes",
            Self::Heap => "heap_bytes",
            Self::Allocations => "allocations",
            Self::Polls => "polls",
        }
    }

    /// The metric of that name.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.word() == word)
    }

    /// Differences below this are no growth. The stack is measured to 8 bytes, but a deeper call
    /// on one path (a grown hash map, a longer name) may add a frame or two; a vector may grow
    /// once more, and a wake come once more.
    const fn noise(self) -> u64 {
        match self {
            Self::Stack => 1 << 10,
            Self::Heap => 16 << 10,
            Self::Allocations | Self::Polls => 64,
        }
    }

    fn of(self, report: &RunReport, phase: Phase) -> Option<u64> {
        match self {
            Self::Stack => report.stack_bytes.phase(phase),
            Self::Heap => report.heap_bytes.phase(phase),
            Self::Allocations => report.allocations.phase(phase),
            Self::Polls => report.polls.phase(phase),
        }
    }

    /// The class of a finding that it grows so; `None` if it may. Memory and work may be in
    /// proportion to what is asked for, stack may not.
    fn forbids(self, law: Law) -> Option<Class> {
        match (self, law) {
            (Self::Stack, Law::Linear | Law::Quadratic) => Some(Class::StackGrowth),
            (Self::Heap | Self::Allocations | Self::Polls, Law::Quadratic) => {
                Some(Class::WorkGrowth)
            }
            _ => None,
        }
    }
}

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

    /// The law behind three values at n, 2n and 4n; differences below `noise` are none.
    pub fn fit([one, two, four]: [u64; 3], noise: u64) -> Self {
        if one.max(two).max(four) - one.min(two).min(four) < noise {
            return Self::Constant;
        }
        if two <= one || four <= two {
            return Self::Irregular;
        }
        // r of 1.6 to 2.6 is linear, above 3.2 quadratic.
        match ratio(&[one, two, four]) {
            16..=26 => Self::Linear,
            33.. => Self::Quadratic,
            _ => Self::Irregular,
        }
    }
}

/// The ratio r of three ascending values, in tenths, so that no float decides.
fn ratio(values: &[u64]) -> u64 {
    let &[one, two, four] = values else { return 0 };
    four.saturating_sub(two) * 10 / two.saturating_sub(one).max(1)
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
    /// The gauge: a [`Metric`]'s word.
    pub metric: String,
    /// The decision that was enlarged.
    pub over: String,
    /// Its sizes.
    pub sizes: Vec<u64>,
    /// The gauge at each size.
    pub values: Vec<u64>,
    /// The law behind them.
    pub law: Law,
    /// The growth an item, from the first size to the last; 0 unless it is linear.
    pub per_item: f64,
    /// At which size a stack of 2 MiB or 8 MiB overflows; empty unless it is the stack, and grows
    /// linearly.
    pub overflow_at: BTreeMap<String, u64>,
}

/// Stacks that users have: a Rust thread's default and a main thread's.
const STACKS: [(&str, u64); 2] = [("2MiB", 2 << 20), ("8MiB", 8 << 20)];

/// What a series of runs came to.
pub enum Series {
    /// What was measured at every size, by metric and phase.
    Measured(Vec<Growth>),
    /// The run at one size did not end well, or was not measured.
    Broken {
        /// The size.
        size: u64,
        /// That run.
        ran: Box<Ran>,
    },
}

/// Runs `plan` with `over` at each of `sizes` (n, 2n, 4n) and fits every gauge of every phase.
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
    let mut reports = Vec::new();
    for size in sizes {
        let mut plan = order.plan.clone();
        plan.set(over, &Value::Count(size))
            .map_err(io::Error::other)?;
        // What is measured is to fit.
        plan.limits.stack_bytes = None;
        let ran = harness.run(Order {
            plan: &plan,
            ..order
        })?;
        // A finding (a leak, say) does not spoil the marks; a panic or a death leaves none.
        if ran.report.stack_bytes == Stack::default() {
            return Ok(Series::Broken {
                size,
                ran: Box::new(ran),
            });
        }
        reports.push(ran.report);
        ran_one(size);
    }
    let gauges = Metric::ALL
        .into_iter()
        .flat_map(|metric| PHASES.map(|phase| (metric, phase)));
    let growths = gauges.filter_map(|(metric, phase)| {
        let of = |report| metric.of(report, phase);
        let values: Option<Vec<u64>> = reports.iter().map(of).collect();
        let values = <[u64; 3]>::try_from(values?).expect("one for each size");
        let scenario = order.plan.scenario();
        Some(Growth::new(scenario, phase, metric, over, sizes, values))
    });
    Ok(Series::Measured(growths.collect()))
}

impl Growth {
    fn new(
        scenario: &str,
        phase: Phase,
        metric: Metric,
        over: &str,
        sizes: [u64; 3],
        values: [u64; 3],
    ) -> Self {
        let law = Law::fit(values, metric.noise());
        let items = sizes[2].saturating_sub(sizes[0]);
        let per_item = match law {
            Law::Linear if items > 0 => (values[2] - values[0]) as f64 / items as f64,
            _ => 0.0,
        };
        let base = values[0] as f64 - per_item * sizes[0] as f64;
        let overflow_at = STACKS
            .iter()
            .filter(|_| per_item > 0.0 && metric == Metric::Stack)
            .map(|(name, bytes)| {
                let size = (*bytes as f64 - base) / per_item;
                ((*name).to_owned(), size as u64)
            });
        Self {
            kind: "growth".to_owned(),
            scenario: scenario.to_owned(),
            phase: phase_word(phase).to_owned(),
            metric: metric.word().to_owned(),
            over: over.to_owned(),
            sizes: sizes.to_vec(),
            values: values.to_vec(),
            law,
            per_item,
            overflow_at: overflow_at.collect(),
        }
    }

    /// What is wrong with it, and the signature of that.
    fn alarm(&self, driver: &str) -> Option<(Class, String)> {
        let class = Metric::from_word(&self.metric)?.forbids(self.law)?;
        let gauge = match class {
            Class::StackGrowth => self.phase.clone(),
            _ => self.gauge(),
        };
        Some((
            class,
            format!("{class} {gauge} {} {driver}", self.law.word()),
        ))
    }

    /// The gauge as a path in the report: `polls.drive`.
    fn gauge(&self) -> String {
        format!("{}.{}", self.metric, self.phase)
    }
}

/// A phase that needs more stack than this is asked for its law; a session needs 5 to 12 KiB.
/// Only a filter, as the others: what it lets through is judged by its growth alone.
const DEEP_BYTES: u64 = if cfg!(debug_assertions) {
    160 << 10
} else {
    24 << 10
};

/// A phase that works more than this for each tracked object of the run is asked for its law. Of
/// 150 seeds of each built-in scenario none needed more than 56 and 79.
const BUSY_ALLOCATIONS: u64 = 150;
const BUSY_POLLS: u64 = 120;
/// Objects that a run is taken to have beside those that it tracks.
const OBJECTS_LEAST: u64 = 32;

/// The gauge that stands out of a run with so many tracked `objects`, if one does: the phase
/// that went deepest, else the one that worked most.
pub fn suspect(stack: Stack, allocations: Phases, polls: Phases, objects: u64) -> Option<String> {
    let busy = |per_object| per_object * (objects + OBJECTS_LEAST);
    let gauges = [
        (Metric::Stack, stack.drive, stack.teardown, DEEP_BYTES),
        (
            Metric::Allocations,
            allocations.drive,
            allocations.teardown,
            busy(BUSY_ALLOCATIONS),
        ),
        (Metric::Polls, polls.drive, polls.teardown, busy(BUSY_POLLS)),
    ];
    gauges
        .into_iter()
        .find_map(|(metric, drive, teardown, most)| {
            let phase = if teardown > drive {
                "teardown"
            } else {
                "drive"
            };
            (drive.max(teardown) > Some(most)).then(|| format!("{}.{phase}", metric.word()))
        })
}

/// The same of a run that was reported in full.
pub fn suspect_of(report: &RunReport) -> Option<String> {
    suspect(
        report.stack_bytes,
        report.allocations,
        report.polls,
        report.destroyed_count,
    )
}

/// Runs once, and asks what grows in it: see [`examine`].
///
/// # Errors
/// A run cannot be started.
pub fn examined(
    harness: &mut dyn Harness,
    scenario: &dyn Scenario,
    order: Order<'_>,
) -> io::Result<Ran> {
    let mut ran = harness.run(order)?;
    examine(harness, scenario, order, &mut ran)?;
    Ok(ran)
}

/// Asks what grows in a run, and adds it to the report: if nothing else was found and the run
/// stood out, or if it is for that that its plan was kept.
///
/// # Errors
/// A run cannot be started.
pub fn examine(
    harness: &mut dyn Harness,
    scenario: &dyn Scenario,
    order: Order<'_>,
    ran: &mut Ran,
) -> io::Result<()> {
    let kept_for = order.plan.signature.as_deref().unwrap_or_default();
    let suspect = suspect_of(&ran.report).or_else(|| is_of_growth(kept_for).then(String::new));
    if let Some(suspect) = suspect.filter(|_| ran.report.findings.is_empty()) {
        let mut found = match order.over {
            Over::Pipe => findings(harness, scenario, &ran.plan, &suspect)?,
            Over::Unix => findings(&mut OnSockets(harness), scenario, &ran.plan, &suspect)?,
        };
        found.sort_by_key(|finding| finding.signature != kept_for);
        ran.report.add(found);
    }
    Ok(())
}

/// Whether it is a signature of growth, which no single run shows.
pub fn is_of_growth(signature: &str) -> bool {
    let classes = [Class::StackGrowth, Class::WorkGrowth];
    let word = signature.split(' ').next();
    classes.iter().any(|class| word == Some(class.word()))
}

/// Sizes for the growth check of one run: small, because some workloads take O(n^2) time.
pub(crate) const CHECK_SIZES: [u64; 3] = [100, 200, 400];
/// Smaller still, for a plan that is to be shrunk, and run hundreds of times.
const QUICK_SIZES: [u64; 3] = [25, 50, 100];
/// A law is a finding only if this size, twice the last one, confirms it.
const CONFIRM_SIZES: [u64; 3] = [200, 400, 800];

/// What grows in a run of which `suspect`, a gauge such as `stack_bytes.drive`, stood out: which
/// repetition drives it? The principal finding, of that very gauge, comes first.
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
    suspect: &str,
) -> io::Result<Vec<Finding>> {
    let drivers = drivers(scenario, plan);
    findings_over(harness, plan, &drivers, suspect)
}

/// The one driver of `plan` over which it grows as `signature` says.
///
/// # Errors
/// A run cannot be started.
pub(crate) fn driver_of(
    harness: &mut dyn Harness,
    scenario: &dyn Scenario,
    plan: &Plan,
    signature: &str,
) -> io::Result<Option<Driver>> {
    for driver in drivers(scenario, plan) {
        if grows(harness, plan, &driver, signature, false)? {
            return Ok(Some(driver));
        }
    }
    Ok(None)
}

/// Whether `plan` grows over `driver` as `signature` says; `quickly` at [`QUICK_SIZES`] only.
///
/// # Errors
/// A run cannot be started.
pub(crate) fn grows(
    harness: &mut dyn Harness,
    plan: &Plan,
    driver: &Driver,
    signature: &str,
    quickly: bool,
) -> io::Result<bool> {
    if !quickly {
        let found = findings_over(harness, plan, std::slice::from_ref(driver), "")?;
        return Ok(found.iter().any(|finding| finding.signature == signature));
    }
    let measured = measure(harness, Order::of(plan), &driver.over, QUICK_SIZES, |_| {})?;
    let Series::Measured(growths) = measured else {
        return Ok(false);
    };
    let mut alarms = growths
        .iter()
        .filter_map(|growth| growth.alarm(&driver.word));
    Ok(alarms.any(|(_, alarm)| alarm == signature))
}

fn findings_over(
    harness: &mut dyn Harness,
    plan: &Plan,
    drivers: &[Driver],
    suspect: &str,
) -> io::Result<Vec<Finding>> {
    let mut findings: Vec<(String, Finding)> = Vec::new();
    for Driver { over, word: driver } in drivers {
        let laws = |harness: &mut dyn Harness, sizes| -> io::Result<Vec<Growth>> {
            match measure(harness, Order::of(plan), over, sizes, |_| {})? {
                Series::Measured(growths) => Ok(growths),
                Series::Broken { .. } => Ok(Vec::new()),
            }
        };
        let first = laws(harness, CHECK_SIZES)?;
        if first.iter().all(|growth| growth.alarm(driver).is_none()) {
            continue;
        }
        for growth in laws(harness, CONFIRM_SIZES)? {
            let Some((class, signature)) = growth.alarm(driver) else {
                continue;
            };
            let is_first = |first: &Growth| {
                first
                    .alarm(driver)
                    .is_some_and(|(_, before)| before == signature)
                    && growth.goes_on_as(first)
            };
            let is_known = |(_, finding): &(_, Finding)| finding.signature == signature;
            if first.iter().any(is_first) && !findings.iter().any(is_known) {
                findings.push((growth.gauge(), finding(&growth, class, signature)));
            }
        }
    }
    findings.sort_by_key(|(gauge, finding)| (gauge != suspect, finding.class));
    Ok(findings.into_iter().map(|(_, finding)| finding).collect())
}

impl Growth {
    /// Whether it grows at larger sizes as fast as `first`. A line that comes out of a plateau
    /// looks quadratic at its corner, with a ratio that falls from there on.
    fn goes_on_as(&self, first: &Self) -> bool {
        self.law != Law::Quadratic || 4 * ratio(&self.values) >= 3 * ratio(&first.values)
    }
}

fn finding(growth: &Growth, class: Class, signature: String) -> Finding {
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
    let detail = match class {
        Class::StackGrowth => format!(
            "{phase} needs {per_item:.0} B more stack for each of `{over}`{}{}",
            at("2MiB"),
            at("8MiB")
        ),
        _ => {
            let pairs = growth.sizes.iter().zip(&growth.values);
            let pairs = pairs.map(|(size, value)| format!("{value} at {size}"));
            let pairs = pairs.collect::<Vec<_>>().join(", ");
            format!("{} over `{over}`: {pairs}", growth.gauge())
        }
    };
    Finding {
        class,
        kin: signature.clone(),
        signature,
        site: None,
        detail,
        judged: Judged::default(),
    }
}

/// What of `plan` can be enlarged: the scenario's own size, or what the plan repeats.
#[cfg(feature = "cli")]
pub(crate) fn overs(scenario: &dyn Scenario, plan: &Plan) -> Vec<String> {
    let drivers = drivers(scenario, plan).into_iter();
    drivers.map(|driver| driver.over).collect()
}

/// A number of a plan that can be enlarged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Driver {
    /// The decision: `op.3.repeat`.
    pub over: String,
    /// What a signature calls it: `call chained`.
    word: String,
}

/// What of `plan` can be enlarged.
fn drivers(scenario: &dyn Scenario, plan: &Plan) -> Vec<Driver> {
    let Some(over) = scenario.over() else {
        return Vec::new();
    };
    let Some((before, after)) = over.split_once('*') else {
        return vec![Driver {
            over: over.to_owned(),
            word: format!("{} {over}", scenario.name()),
        }];
    };
    let answers: BTreeMap<String, String> = plan
        .answers()
        .map(|(name, value)| (name, value.to_string()))
        .collect();
    let driver = |name: &String| {
        let number = name.strip_prefix(before)?.strip_suffix(after)?;
        let word = |field: &str| answers.get(&format!("{before}{number}.{field}"));
        let chain = word("chain").map_or("parallel", String::as_str);
        Some(Driver {
            over: name.clone(),
            word: format!("{} {chain}", word("what")?),
        })
    };
    answers.keys().filter_map(driver).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laws_are_told_apart() {
        assert_eq!(Law::fit([5000, 5000, 5200], 1 << 10), Law::Constant);
        assert_eq!(Law::fit([5_000, 256_000, 758_000], 1 << 10), Law::Linear);
        assert_eq!(Law::fit([10_000, 40_000, 160_000], 1 << 10), Law::Quadratic);
        // n log n for n = 1000, 2000, 4000 counts as linear.
        assert_eq!(Law::fit([9_966, 21_932, 47_863], 1 << 10), Law::Linear);
        assert_eq!(Law::fit([5_000, 90_000, 5_000], 1 << 10), Law::Irregular);
        assert_eq!(Law::fit([5_000, 90_000, 91_000], 1 << 10), Law::Irregular);
    }

    #[test]
    fn a_corner_is_no_square() {
        let growth = |values: [u64; 3]| Growth {
            kind: "growth".to_owned(),
            scenario: "x".to_owned(),
            phase: "drive".to_owned(),
            metric: Metric::Heap.word().to_owned(),
            over: "calls".to_owned(),
            sizes: Vec::new(),
            law: Law::fit(values, 16 << 10),
            values: values.into(),
            per_item: 0.0,
            overflow_at: BTreeMap::new(),
        };
        // Peaks of kj-program seen at 100, 200 and 400, and the line that they come to.
        let corner = growth([662_328, 680_264, 828_136]);
        let behind = growth([680_264, 828_136, 1_440_536]);
        assert_eq!([corner.law, behind.law], [Law::Quadratic; 2]);
        assert!(!behind.goes_on_as(&corner));
        let square = |n: u64| 40 * n * n + 9_000 * n;
        let [first, confirmed] =
            [[100, 200, 400], [200, 400, 800]].map(|sizes| growth(sizes.map(square)));
        assert!(confirmed.goes_on_as(&first));
    }
}
