//! `diff`: two plans or reports, compared.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::{Console, Ended, Exit, Failure};
use crate::diff::{Diff, Side};
use crate::growth::{self, Growth, Series, measure};
use crate::harness::Order;
use crate::report::RunReport;
use crate::told::Told;

/// The most that is read of a report: one with a trace of a million events has some 100 MB.
const REPORT_BYTES_MAX: u64 = 1 << 30;

/// The arguments of `diff`.
#[derive(Args)]
pub struct Arguments {
    /// A plan file, which is run, or what `run` or `replay` printed with `--json`, perhaps with
    /// `--trace`
    #[arg(value_name = "PLAN|REPORT")]
    old: PathBuf,
    /// What it is compared with
    #[arg(value_name = "PLAN|REPORT")]
    new: PathBuf,
    /// Measure how the gauges of plans grow, over what their scenario repeats
    #[arg(long)]
    law: bool,
    /// The number to enlarge for that
    #[arg(long, value_name = "NAME", requires = "law")]
    over: Option<String>,
}

/// Compares the two and prints how they differ.
pub fn diff(console: &mut Console, arguments: &Arguments) -> Ended {
    let [old, new] = [&arguments.old, &arguments.new];
    let (old, new) = (
        side(console, arguments, old)?,
        side(console, arguments, new)?,
    );
    let diff = Diff::of(&old, &new);
    if console.json {
        console.json(&diff)?;
    } else {
        console.text(&diff.text())?;
    }
    Ok(if diff.same {
        Exit::Clean
    } else {
        Exit::Findings
    })
}

fn side(console: &mut Console, arguments: &Arguments, path: &Path) -> Result<Side, Failure> {
    match is_report(path) {
        true => report(path),
        false => plan(console, arguments, path),
    }
}

/// Whether a file holds JSON; a plan is TOML, which never begins with a brace.
fn is_report(path: &Path) -> bool {
    let mut first = [0];
    let read = std::fs::File::open(path).and_then(|mut file| {
        use std::io::Read;
        file.read(&mut first)
    });
    read.is_ok() && &first == b"{"
}

/// Reads the last report of a file of JSON Lines, with the events and the laws beside it.
fn report(path: &Path) -> Result<Side, Failure> {
    let complain =
        |error: &dyn std::fmt::Display| Failure::input(format!("{}: {error}", path.display()));
    let file = std::fs::metadata(path).map_err(|error| complain(&error))?;
    if file.len() > REPORT_BYTES_MAX {
        return Err(complain(&"not a report: it has more than 1 GiB"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| complain(&error))?;
    let mut trace: Vec<String> = Vec::new();
    let (mut report, mut growths): (Option<RunReport>, _) = (None, Vec::<Growth>::new());
    for (number, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
    {
        let bad = |error: serde_json::Error| complain(&format!("line {}: {error}", number + 1));
        let value: Value = serde_json::from_str(line).map_err(bad)?;
        match value["type"].as_str() {
            Some("report") => report = Some(serde_json::from_value(value).map_err(bad)?),
            Some("growth") => growths.push(serde_json::from_value(value).map_err(bad)?),
            Some("event") => trace.extend(value["event"].as_str().map(|event| {
                let unnumbered = event.split_once(' ').map_or(event, |(_, event)| event);
                unnumbered.to_owned()
            })),
            _ => {}
        }
    }
    let report = report.ok_or_else(|| complain(&"no report: `replay --json` prints one"))?;
    Ok(Side {
        report,
        plan: None,
        trace: (!trace.is_empty()).then_some(trace),
        growths,
    })
}

/// Runs a plan: for its trace, for its report, and if asked for at three sizes.
fn plan(console: &mut Console, arguments: &Arguments, path: &Path) -> Result<Side, Failure> {
    let plan = console.read_plan(path)?;
    let order = Order::of(&plan);
    let mut harness = console.harness();
    let traced = harness.run(Order {
        trace: true,
        ..order
    })?;
    // Without a trace: to keep one takes some stack of its own.
    let scenario = console.scenario(plan.scenario())?;
    let ran = growth::examined(harness.as_mut(), scenario, order)?;
    let mut growths = Vec::new();
    if arguments.law {
        let overs = match &arguments.over {
            Some(over) => vec![over.clone()],
            None => growth::overs(scenario, &plan),
        };
        for over in overs {
            match measure(harness.as_mut(), order, &over, growth::CHECK_SIZES, |_| {})? {
                Series::Measured(measured) => growths.extend(measured),
                Series::Broken { .. } => {}
            }
        }
    }
    let unnumbered = |event: &Told| {
        let line = event.to_string();
        let line = line.trim_start();
        line.split_once(' ')
            .map_or(line, |(_, event)| event)
            .to_owned()
    };
    Ok(Side {
        report: ran.report,
        plan: Some(plan),
        trace: Some(traced.trace.iter().map(unnumbered).collect()),
        growths,
    })
}
