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
use crate::campaign;
use crate::check::Class;
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
    let scenario = console.scenario(plan.scenario())?;
    let started = Instant::now();
    let ran = growth::examined(console.harness().as_mut(), scenario, Order::of(&plan))?;
    let kept_for = plan.signature.clone();
    let is_shown = |kept: &String| {
        let mut found = ran.report.findings.iter();
        found.any(|finding| finding.signature == *kept)
    };
    let kept_for = kept_for.filter(is_shown);
    let Some(finding) = ran.report.finding() else {
        return Err(Failure::input(format!(
            "{}: nothing to shrink, the run is not a failing one",
            path.display()
        )));
    };
    let signature = kept_for.unwrap_or_else(|| finding.signature.clone());
    if plan
        .signature
        .as_ref()
        .is_some_and(|kept| *kept != signature)
    {
        eprintln!("the plan was kept for another finding; shrunk is `{signature}`");
    }
    let class = finding.class;
    let before = Size::of(&plan);
    let interrupted = console.interrupted.clone();
    let stop = || interrupted.load(Ordering::Relaxed) || started.elapsed() >= arguments.time;
    let bar = progress_bar(None, "smaller plans");
    let mut harness = console.harness_to_shrink(class);
    let mut told = |size: Size| {
        bar.inc(1);
        bar.set_message(format!("; {size}"));
    };
    let shrunk = shrink(
        harness.as_mut(),
        scenario,
        &ran.plan,
        &signature,
        &stop,
        &mut told,
    )?;
    bar.finish_and_clear();
    let Some(shrunk) = shrunk else {
        return Err(Failure::input(format!(
            "`{signature}` did not come again within the time that a run has while it is shrunk"
        )));
    };
    let out = arguments
        .out
        .unwrap_or_else(|| path.with_extension("min.toml"));
    let mut smaller = shrunk.plan.clone();
    smaller.note = plan.note.clone();
    campaign::write(&out, &smaller.to_string())?;
    print(console, &out, &smaller, class, before, &shrunk)?;
    if interrupted.load(Ordering::Relaxed) {
        eprintln!("interrupted: the plan can still become smaller");
    }
    Ok(Exit::Clean)
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
