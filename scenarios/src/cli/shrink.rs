//! `shrink`: a failing plan made small.

#![expect(
    clippy::disallowed_types,
    reason = "a user gives it so much time and no more"
)]

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;
use dismantle_sim::Plan;
use serde::Serialize;

use super::fuzz::progress_bar;
use super::{Console, Ended, Exit, Failure, duration};
use crate::check::{Class, Finding};
use crate::file;
use crate::growth;
use crate::harness::Order;
use crate::shrink::{Shrunk, Size, shrink};

/// What `shrink` takes.
#[derive(Args)]
pub struct Arguments {
    /// The plan file of a run that fails
    plan: PathBuf,
    /// Where to write the smaller plan; `PLAN.min.toml` beside it if not given
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Stop after so long (500ms, 60s, 10m) with the smallest plan so far
    #[arg(long, value_parser = duration, default_value = "60s")]
    time: Duration,
}

/// The line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    signature: &'a str,
    class: Class,
    scenario: &'a str,
    plan: PathBuf,
    answers: [usize; 2],
    operations: [usize; 2],
    faults: [usize; 2],
    runs: u64,
    minimal: bool,
    replay: String,
}

/// Shrinks and writes.
pub fn run(console: &mut Console, arguments: Arguments) -> Ended {
    let path = &arguments.plan;
    let plan = console.read_plan(path)?;
    let before = Size::of(&plan);
    let Some((shrunk, class)) = shrunk(console, &plan, arguments.time)? else {
        return Err(Failure::input(format!(
            "{}: nothing to shrink, the run is not a failing one",
            path.display()
        )));
    };
    let out = arguments
        .out
        .unwrap_or_else(|| path.with_extension("min.toml"));
    let mut smaller = shrunk.plan.clone();
    smaller.note = plan.note.clone();
    file::write(&out, &smaller.to_string())?;
    print(console, &out, &smaller, class, before, &shrunk)?;
    if console.interrupted.load(Ordering::Relaxed) {
        eprintln!("interrupted: the plan can still become smaller");
    }
    Ok(Exit::Clean)
}

/// The smallest plan that comes to what `plan` does, with the class of that; `None` if it comes to
/// nothing.
pub(super) fn shrunk(
    console: &Console,
    plan: &Plan,
    time: Duration,
) -> Result<Option<(Shrunk, Class)>, Failure> {
    let scenario = console.scenario(plan.scenario())?;
    let started = Instant::now();
    let ran = growth::examined(console.harness().as_mut(), scenario, Order::of(plan))?;
    let Some(principal) = ran.report.finding() else {
        return Ok(None);
    };
    let kept_for = plan.signature.as_ref();
    // Of one run only the principal finding is followed; any growth is measured by itself.
    let is_kept_for = |finding: &&Finding| {
        growth::is_of_growth(&finding.signature) && Some(&finding.signature) == kept_for
    };
    let mut found = ran.report.findings.iter();
    let finding = found.find(is_kept_for).unwrap_or(principal);
    let signature = &finding.signature;
    if kept_for.is_some_and(|kept| kept != signature) {
        eprintln!("the plan was kept for another finding; shrunk is `{signature}`");
    }
    let stop = || console.interrupted.load(Ordering::Relaxed) || started.elapsed() >= time;
    let bar = progress_bar(None, "smaller plans");
    let mut told = |size: Size| {
        bar.inc(1);
        bar.set_message(format!("; {size}"));
    };
    let mut harness = console.harness_to_shrink(finding.class);
    let harness = harness.as_mut();
    let shrunk = shrink(harness, scenario, &ran.plan, signature, &stop, &mut told)?;
    bar.finish_and_clear();
    match shrunk {
        Some(shrunk) => Ok(Some((shrunk, finding.class))),
        None => Err(Failure::input(format!(
            "`{signature}` did not come again within the time that a run has while it is shrunk"
        ))),
    }
}

fn print(
    console: &mut Console,
    out: &std::path::Path,
    plan: &Plan,
    class: Class,
    before: Size,
    shrunk: &Shrunk,
) -> Result<(), Failure> {
    let after = Size::of(plan);
    let signature = plan.signature.as_deref().unwrap_or_default();
    let replay = format!("{} replay {}", console.program, out.display());
    if console.json {
        return Ok(console.json(&Line {
            kind: "shrunk",
            signature,
            class,
            scenario: plan.scenario(),
            plan: out.to_owned(),
            answers: [before.answers, after.answers],
            operations: [before.operations, after.operations],
            faults: [before.faults, after.faults],
            runs: shrunk.runs,
            minimal: shrunk.is_minimal,
            replay,
        })?);
    }
    let end = match shrunk.is_minimal {
        true => "nothing more can be left out",
        false => "time was up; it may still become smaller",
    };
    let mut text = format!(
        "{signature}\nshrunk from {before} to {after} in {} runs; {end}\n",
        shrunk.runs
    );
    for (name, value) in plan.answers() {
        text += &format!("    {name} = {value}\n");
    }
    text += &format!("{replay}\n");
    Ok(console.text(&text)?)
}
