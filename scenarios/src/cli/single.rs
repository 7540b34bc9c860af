//! `run` and `replay`: one run, and a second one that has to be the same. What the first one
//! prints, and its panics, are shown with their moments on standard error. With a trace a third run
//! says what stack is needed without.
//!
//! Over a Unix socketpair the second is left out: nothing promises that it is the same.

use std::path::Path;

use dismantle_sim::Plan;
use serde::Serialize;

use super::{Console, Ended, Exit};
use crate::check::{Class, Finding, nondeterministic};
use crate::explain::{Story, explain};
use crate::file;
use crate::growth;
use crate::harness::{Order, Ran};
use crate::known::Known;
use crate::over::Over;
use crate::report::Outcome;

/// One event of `--trace --json`.
#[derive(Serialize)]
struct TraceLine<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    event: &'a str,
}

/// What is wanted of a run beside its report.
#[derive(Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// Its plan, in this file.
    pub out: Option<&'a Path>,
    /// Its story; from a worker also where its stack was deepest and who destroyed what.
    pub explain: bool,
}

/// Runs as `order` says, twice, and prints the report and what else is wanted.
pub fn run(console: &mut Console, order: Order<'_>, known: &Known, wanted: Wanted<'_>) -> Ended {
    let (plan, seed) = (order.plan, order.seed);
    let mut harness = console.harness();
    let mut ran = harness.run(Order {
        prints: true,
        trace: order.trace || wanted.explain,
        ..order
    })?;
    for said in &ran.said {
        eprintln!("{said}");
    }
    let untraced = Order {
        trace: false,
        ..order
    };
    let mut again = None;
    if order.over == Over::Pipe {
        // In another process: what a run takes from its process is not its plan's.
        let second = console.harness().run(order)?;
        if (&ran.report.signature, &ran.report.digest)
            != (&second.report.signature, &second.report.digest)
        {
            diverged(&mut ran, &second);
        }
        // To keep a trace takes some stack of its own.
        let measured = match order.trace {
            true => console.harness().run(untraced)?,
            false => second,
        };
        ran.report.stack_bytes = measured.report.stack_bytes;
        again = Some(measured);
    }
    let explanation = match wanted.explain && !console.in_process && !ran.report.died() {
        true => explain(
            console.harness().as_mut(),
            untraced,
            again.as_ref().unwrap_or(&ran),
        )?,
        false => None,
    };
    let scenario = console.scenario(plan.scenario())?;
    growth::examine(harness.as_mut(), scenario, order, &mut ran)?;
    for finding in &mut ran.report.findings {
        known.judge(plan.scenario(), finding);
    }
    if let Some(path) = wanted.out {
        let mut recorded = ran.plan.clone();
        recorded.signature = ran.report.signature.clone();
        file::write(path, &recorded.to_string())?;
    }
    let report = &ran.report;
    let trace = ran.trace.iter().filter(|_| order.trace);
    let story = wanted.explain.then(|| Story::of(&ran.trace, report));
    if console.json {
        for event in trace {
            console.json(&TraceLine {
                kind: "event",
                event: event.to_string().trim_start(),
            })?;
        }
        if let Some(story) = &story {
            for line in &story.lines {
                console.json(line)?;
            }
            for item in &story.in_flight {
                console.json(item)?;
            }
        }
        console.json(report)?;
        if let Some(explanation) = &explanation {
            for deepest in &explanation.deepest {
                console.json(deepest)?;
            }
            console.json(&explanation.tree)?;
        }
    } else {
        for event in trace {
            console.text(&format!("{event}\n"))?;
        }
        if let Some(story) = &story {
            console.text(&story.text())?;
        }
        console.text(&report.text())?;
        if let Some(explanation) = &explanation {
            console.text(&explanation.text())?;
        }
        if let Some(kept_for) = &plan.signature {
            let is_kept_for = |finding: &Finding| finding.signature == *kept_for;
            console.text(&match &report.signature {
                Some(_) if report.findings.iter().any(is_kept_for) => {
                    "the same finding as the plan was kept for\n".to_owned()
                }
                Some(_) => format!("ANOTHER finding than the plan was kept for: {kept_for}\n"),
                None => format!("the plan was kept for `{kept_for}`, which did not happen\n"),
            })?;
        }
        if seed.is_some() && report.outcome == Outcome::Failed {
            let line = format!(
                "replay: {} run {} --seed {}",
                console.program,
                plan.scenario(),
                report.seed.as_deref().unwrap_or("0")
            );
            console.text(&format!("{line}{}\n", settings(plan)))?;
        }
    }
    let diverged = report
        .findings
        .iter()
        .any(|finding| finding.class == Class::Nondeterminism);
    Ok(match report.outcome {
        _ if diverged => Exit::NotDeterministic,
        Outcome::Failed => Exit::Findings,
        Outcome::Clean | Outcome::Limited => Exit::Clean,
    })
}

fn settings(plan: &Plan) -> String {
    let stack = plan.limits.stack_bytes.iter();
    let stack = stack.map(|bytes| format!(" --stack {bytes}"));
    let answers = plan.answers();
    let answers = answers.map(|(name, value)| format!(" --set '{name}={value}'"));
    answers.chain(stack).collect()
}

fn diverged(ran: &mut Ran, again: &Ran) {
    let parts = ran
        .trace
        .iter()
        .zip(&again.trace)
        .find(|(one, other)| one != other);
    let parts = parts.map_or_else(
        || "`--trace` shows where they part".to_owned(),
        |(one, other)| {
            let [one, other] = [one, other].map(ToString::to_string);
            format!("they part at `{}` against `{}`", one.trim(), other.trim())
        },
    );
    ran.report.add(vec![nondeterministic(format!(
        "two runs of one plan gave the digests {} and {}: {parts}",
        ran.report.digest, again.report.digest
    ))]);
}
