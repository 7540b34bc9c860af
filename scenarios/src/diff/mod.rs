//! Two runs compared: where they part, and what changed in what they came to.
//!
//! Values in, values out: whoever has two plans runs them first. Reports may be of two builds or
//! of two releases of upstream, so that a finding is known by its kin, without version and line.

mod compare;
mod text;

use dismantle_sim::Plan;
use serde::Serialize;

use crate::growth::{Growth, Law};
use crate::report::{Outcome, RunReport};
use compare::{decisions, findings, laws, order, parting, peaks, unified};

/// One of two runs.
#[derive(Clone, Debug)]
pub struct Side {
    /// What it came to.
    pub report: RunReport,
    /// The plan that it is a run of, if that is at hand.
    pub plan: Option<Plan>,
    /// Its events, one a line, if they were kept: without their numbers.
    pub trace: Option<Vec<String>>,
    /// What is known of how its gauges grow.
    pub growths: Vec<Growth>,
}

/// How two runs differ.
#[derive(Clone, Debug, Serialize)]
pub struct Diff {
    /// `diff`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Whether nothing of all that follows has changed.
    pub same: bool,
    /// The scenario, if it is not the same.
    pub scenario: Option<Change<String>>,
    /// The version of upstream, which is no difference in itself.
    pub upstream: Option<Change<String>>,
    /// Answers that the plans do not share.
    pub decisions: Vec<Decision>,
    /// How they ended, if differently.
    pub outcome: Option<Change<Outcome>>,
    /// Signatures of findings that only one has, by their kin, or that both have.
    pub findings: Findings,
    /// The digests, if they are not the same and both ran to the end.
    pub digest: Option<Change<String>>,
    /// The first event at which the traces part.
    pub parting: Option<Parting>,
    /// The destruction orders, as a unified diff: names, children indented; empty if the same.
    pub order: Vec<String>,
    /// Gauges that changed.
    pub peaks: Vec<Peak>,
    /// Laws of growth that changed.
    pub laws: Vec<LawChange>,
}

/// A value that changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Change<T> {
    /// In the first run.
    pub old: T,
    /// In the second.
    pub new: T,
}

impl<T: PartialEq> Change<T> {
    fn of(old: T, new: T) -> Option<Self> {
        (old != new).then_some(Self { old, new })
    }
}

/// An answer that changed; none where a plan leaves it at its default.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Decision {
    /// The decision: `op.2.what`.
    pub name: String,
    /// The first plan's answer.
    pub old: Option<String>,
    /// The second's.
    pub new: Option<String>,
}

/// Findings by signature.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Findings {
    /// Only in the first run.
    pub gone: Vec<String>,
    /// Only in the second.
    pub new: Vec<String>,
    /// In both, as the second calls them.
    pub kept: Vec<String>,
}

/// Where two traces part.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Parting {
    /// The number of the first event that is not the same, from 0.
    pub event: u64,
    /// That event of the first run; none if it has ended.
    pub old: Option<String>,
    /// That of the second.
    pub new: Option<String>,
    /// The events around it, as a unified diff.
    pub context: Vec<String>,
}

/// A gauge that changed.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Peak {
    /// Its path in the report: `stack_bytes.teardown`.
    pub metric: String,
    /// In the first run; none where it was not measured.
    pub old: Option<u64>,
    /// In the second.
    pub new: Option<u64>,
    /// New by old.
    pub ratio: Option<f64>,
}

/// A law that changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LawChange {
    /// The gauge: `stack_bytes.drive`.
    pub metric: String,
    /// What was enlarged.
    pub over: String,
    /// In the first run; none where it was not measured.
    pub old: Option<Law>,
    /// In the second.
    pub new: Option<Law>,
}

impl Diff {
    /// Compares `old` with `new`.
    pub fn of(old: &Side, new: &Side) -> Self {
        let (before, after) = (&old.report, &new.report);
        let text =
            |of: fn(&RunReport) -> &String| Change::of(of(before).clone(), of(after).clone());
        let mut diff = Self {
            kind: "diff",
            same: false,
            scenario: text(|report| &report.scenario),
            upstream: text(|report| &report.upstream),
            decisions: match (&old.plan, &new.plan) {
                (Some(old), Some(new)) => decisions(old, new),
                _ => Vec::new(),
            },
            outcome: Change::of(before.outcome, after.outcome),
            findings: findings(&before.findings, &after.findings),
            digest: text(|report| &report.digest).filter(|_| !before.died() && !after.died()),
            parting: match (&old.trace, &new.trace) {
                (Some(old), Some(new)) => parting(old, new),
                _ => None,
            },
            order: unified(&order(before), &order(after)),
            peaks: peaks(before, after),
            laws: laws(&old.growths, &new.growths),
        };
        diff.same = diff.is_empty();
        diff
    }

    fn is_empty(&self) -> bool {
        self.scenario.is_none()
            && self.decisions.is_empty()
            && self.outcome.is_none()
            && self.findings.gone.is_empty()
            && self.findings.new.is_empty()
            && self.digest.is_none()
            && self.parting.is_none()
            && self.order.is_empty()
            && self.peaks.is_empty()
            && self.laws.is_empty()
    }
}
