//! Goldens: of a run, what is stable by construction, as a text that a person reviews.
//!
//! A golden tells the outcome and the findings' signatures, what was destroyed in which order,
//! why and how deep, and the laws by which stack and work grow. Debug and release builds agree on
//! it. It holds no bytes, no steps and no times, and nothing is redacted: what would need that
//! does not go in. The heap is left out as well, because some programs do not measure it.
//!
//! This is the only place that makes one: the command line proposes what it says, and a test
//! compares what it says.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use dismantle_sim::Plan;

use crate::file;
use crate::growth::{self, Metric, Series, measure};
use crate::harness::{Harness, Order};
use crate::report::{Destruction, RunReport};
use crate::scenario::{Scenario, find, vocabulary};

/// More lines are not reviewed but waved through: a guess.
pub const LINES_MAX: usize = 80;

/// Small: the law is what counts, and one test goes through all goldens.
const SIZES: [u64; 3] = [50, 100, 200];

/// What a run came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Golden {
    /// What is compared.
    pub text: String,
    /// The run's digest, which is no part of it: of this build, empty if the process died. What
    /// has another one in another process is not worth a golden.
    pub digest: String,
}

impl Golden {
    /// Of `plan`. Runs it once, and once for each size where the scenario has a number to enlarge
    /// ([`Scenario::over`]).
    ///
    /// A run that kills its process needs a harness of worker processes.
    ///
    /// # Errors
    /// The run cannot be started.
    pub fn of(harness: &mut dyn Harness, scenario: &dyn Scenario, plan: &Plan) -> io::Result<Self> {
        let mut report = harness.run(Order::of(plan))?.report;
        // Whether a run stands out depends on the build: asked is what the plan was kept for.
        let kept_for = plan.signature.as_deref().unwrap_or_default();
        if growth::is_of_growth(kept_for) {
            let mut found = growth::findings(harness, scenario, plan, "")?;
            found.sort_by_key(|finding| finding.signature != kept_for);
            report.add(found);
        }
        let mut text = story(&report);
        if let Some(over) = scenario.over().filter(|over| !over.contains('*'))
            && !report.died()
        {
            text += &laws(harness, plan, over)?;
        }
        Ok(Self {
            text,
            digest: report.digest,
        })
    }
}

/// The plans of a folder, by name.
///
/// # Errors
/// A file cannot be read, or is no plan of one of these scenarios.
pub fn plans(folder: &Path, scenarios: &[&dyn Scenario]) -> io::Result<Vec<(String, Plan)>> {
    let mut plans = Vec::new();
    for path in file::plans(folder)? {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let known = |name: &str| find(scenarios, name).map(vocabulary);
        let plan = Plan::read(&std::fs::read_to_string(&path)?, known);
        let complain = |error| io::Error::other(format!("{}: {error}", path.display()));
        plans.push((name.into_owned(), plan.map_err(complain)?));
    }
    plans.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(plans)
}

fn laws(harness: &mut dyn Harness, plan: &Plan, over: &str) -> io::Result<String> {
    let growths = match measure(harness, Order::of(plan), over, SIZES, |_| {})? {
        Series::Measured(growths) => growths,
        // After a panic there is nothing to compare.
        Series::Broken { .. } => return Ok(format!("\nno law over {over}: not measured\n")),
    };
    let told = [Metric::Stack, Metric::Polls].map(Metric::word);
    let told = growths
        .iter()
        .filter(|growth| told.contains(&growth.metric.as_str()));
    let line = |text, growth: &growth::Growth| {
        let law = growth.law.word();
        format!(
            "{text}{}.{} over {over}: {law}\n",
            growth.metric, growth.phase
        )
    };
    Ok(told.fold("\n".to_owned(), line))
}

/// The outcome, the findings, and the destruction order: a line for each, indented by depth,
/// under what caused it.
fn story(report: &RunReport) -> String {
    let mut text = String::new();
    write(report, &mut text).expect("a String takes all writes");
    text
}

fn write(report: &RunReport, text: &mut String) -> std::fmt::Result {
    writeln!(text, "outcome: {}", report.outcome.word())?;
    for finding in &report.findings {
        writeln!(text, "finding: {}", finding.signature)?;
    }
    if let Some(limit) = &report.limit {
        writeln!(text, "limit: {limit}")?;
    }
    for hold in &report.held {
        writeln!(text, "held: {} by {}", hold.fault, hold.by)?;
    }
    if report.died() {
        return writeln!(text, "the process died");
    }
    writeln!(text, "drop depth: {}\n", report.drop_depth)?;
    let mut cause = String::new();
    for group in report.destruction.chunk_by(follows) {
        let (first, last) = (&group[0], &group[group.len() - 1]);
        let by = first.task.as_deref().unwrap_or("the owner");
        let now = format!("{}, by {by}", first.phase);
        if first.depth == 0 && now != cause {
            writeln!(text, "{now}")?;
            cause = now;
        }
        let indent = 2 + 2 * first.depth as usize;
        write!(text, "{:indent$}{}", "", first.name)?;
        match numbered(&last.name) {
            Some((_, number)) if group.len() > 1 => writeln!(text, " to {number}")?,
            _ => writeln!(text)?,
        }
    }
    let hidden = report.destroyed_count - report.destruction.len() as u64;
    if hidden > 0 {
        writeln!(text, "  and {hidden} more")?;
    }
    for name in &report.never_destroyed {
        writeln!(text, "never: {name}")?;
    }
    for wait in report.pending.iter().filter(|wait| wait.must_end) {
        writeln!(text, "pending: {} waits for {}", wait.task, wait.waits_for)?;
    }
    Ok(())
}

/// Whether a destruction is the next one of a row: `client/message-out/3` after 2, of one cause.
fn follows(one: &Destruction, other: &Destruction) -> bool {
    let row = match (numbered(&one.name), numbered(&other.name)) {
        (Some((kind, number)), Some((same, next))) => kind == same && number + 1 == next,
        _ => false,
    };
    let cause = |of: &Destruction| (of.depth, of.phase.clone(), of.task.clone());
    row && cause(one) == cause(other)
}

fn numbered(name: &str) -> Option<(&str, u32)> {
    let (kind, number) = name.rsplit_once('/')?;
    Some((kind, number.parse().ok()?))
}
