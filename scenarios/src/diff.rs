//! Two runs compared: where they part, and what changed in what they came to.
//!
//! Values in, values out: whoever has two plans runs them first. Reports may be of two builds or
//! of two releases of upstream, so that a finding is known by its kin, without version and line.

use std::collections::{BTreeMap, BTreeSet};

use dismantle_sim::Plan;
use serde::Serialize;
use similar::{ChangeTag, TextDiff};

use crate::check::Finding;
use crate::growth::{Growth, Law};
use crate::report::{Outcome, RunReport};

/// So many events or destructions that are the same are shown around those that are not.
const CONTEXT: usize = 3;

/// So many events of each side are shown from where the traces part.
const EVENTS_SHOWN: usize = 8;

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

    /// The difference for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut change = |what: &str, change: Option<(String, String)>| {
            if let Some((old, new)) = change {
                text += &format!("{what:<12} {old} -> {new}\n");
            }
        };
        let pair = |change: &Option<Change<String>>| {
            let change = change.as_ref();
            change.map(|it| (it.old.clone(), it.new.clone()))
        };
        change("scenario", pair(&self.scenario));
        change("upstream", pair(&self.upstream));
        let outcome = self.outcome.as_ref();
        let word = |outcome: Outcome| outcome.word().to_owned();
        change("outcome", outcome.map(|it| (word(it.old), word(it.new))));
        change("digest", pair(&self.digest));
        let given = |answer: &Option<String>| answer.clone().unwrap_or_else(|| "-".to_owned());
        let Findings { gone, new, kept } = &self.findings;
        let signed = |sign: &'static str| move |it: &String| format!("{sign} {it}");
        let findings = gone
            .iter()
            .map(signed("-"))
            .chain(new.iter().map(signed("+")));
        let parting = self
            .parting
            .iter()
            .flat_map(|it| it.context.iter().cloned());
        let parts = self.parting.as_ref().map_or(0, |parting| parting.event);
        let sections = [
            (
                "decisions".to_owned(),
                listed(&self.decisions, |it| {
                    format!("{} {} -> {}", it.name, given(&it.old), given(&it.new))
                }),
            ),
            (
                "findings".to_owned(),
                findings.chain(kept.iter().map(signed(" "))).collect(),
            ),
            (
                format!("the traces part at event {parts}"),
                parting.collect(),
            ),
            ("destruction order".to_owned(), self.order.clone()),
            ("peaks".to_owned(), listed(&self.peaks, Peak::text)),
            (
                "laws of growth".to_owned(),
                listed(&self.laws, LawChange::text),
            ),
        ];
        for (heading, lines) in sections {
            if !lines.is_empty() {
                text += &format!("{heading}\n");
            }
            for line in lines {
                text += &format!("    {line}\n");
            }
        }
        if self.same {
            text += "the same\n";
        }
        text
    }
}

impl Peak {
    fn text(&self) -> String {
        let measured = |value: Option<u64>| {
            value.map_or_else(|| "not measured".to_owned(), |value| value.to_string())
        };
        let ratio = self.ratio.map(|ratio| format!(", {ratio:.2} times"));
        let (old, new) = (measured(self.old), measured(self.new));
        format!(
            "{:<22} {old} -> {new}{}",
            self.metric,
            ratio.unwrap_or_default()
        )
    }
}

impl LawChange {
    fn text(&self) -> String {
        let word = |law: Option<Law>| law.map_or("not measured", Law::word);
        let Self { metric, over, .. } = self;
        format!(
            "{metric} over {over}: {} -> {}",
            word(self.old),
            word(self.new)
        )
    }
}

fn listed<T>(items: &[T], text: impl Fn(&T) -> String) -> Vec<String> {
    items.iter().map(text).collect()
}

/// Answers and limits.
fn decisions(old: &Plan, new: &Plan) -> Vec<Decision> {
    let all = |plan: &Plan| {
        let limits = [
            ("limits.seconds", plan.limits.seconds),
            ("limits.steps", plan.limits.steps),
        ];
        let limits = limits.map(|(name, limit)| (name.to_owned(), limit.to_string()));
        let answers = plan
            .answers()
            .map(|(name, value)| (name, value.to_string()));
        answers.chain(limits).collect::<BTreeMap<String, String>>()
    };
    let (old, new) = (all(old), all(new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let changed = names
        .into_iter()
        .filter(|name| old.get(*name) != new.get(*name));
    let decision = |name: &String| Decision {
        name: name.clone(),
        old: old.get(name).cloned(),
        new: new.get(name).cloned(),
    };
    changed.map(decision).collect()
}

fn findings(old: &[Finding], new: &[Finding]) -> Findings {
    let only_in = |these: &[Finding], those: &[Finding], is_there: bool| {
        let these = these.iter();
        let these = these.filter(|it| those.iter().any(|other| other.kin == it.kin) == is_there);
        these.map(|it| it.signature.clone()).collect()
    };
    Findings {
        gone: only_in(old, new, false),
        new: only_in(new, old, false),
        kept: only_in(new, old, true),
    }
}

fn parting(old: &[String], new: &[String]) -> Option<Parting> {
    let common = old
        .iter()
        .zip(new)
        .take_while(|(old, new)| old == new)
        .count();
    let (event, other) = (old.get(common), new.get(common));
    if event.is_none() && other.is_none() {
        return None;
    }
    let from = common.saturating_sub(CONTEXT);
    let window = |trace: &[String]| {
        let until = trace.len().min(common + EVENTS_SHOWN);
        trace[from..until].to_vec()
    };
    Some(Parting {
        event: common as u64,
        old: event.cloned(),
        new: other.cloned(),
        context: unified(&window(old), &window(new)),
    })
}

/// Who was destroyed, in order, those inside of another's destruction indented.
fn order(report: &RunReport) -> Vec<String> {
    let destroyed = report.destruction.iter();
    let line = |it: &crate::Destruction| "  ".repeat(it.depth as usize) + &it.name;
    destroyed.map(line).collect()
}

/// Two lists as one: `-` and `+` before lines that only one has, `…` where lines that both have
/// are left out. Empty if there is no difference.
fn unified(old: &[String], new: &[String]) -> Vec<String> {
    fn slices(lines: &[String]) -> Vec<&str> {
        lines.iter().map(String::as_str).collect()
    }
    let (old, new) = (slices(old), slices(new));
    let diff = TextDiff::from_slices(&old, &new);
    let mut lines = Vec::new();
    for (place, group) in diff.grouped_ops(CONTEXT).iter().enumerate() {
        if place > 0 {
            lines.push("…".to_owned());
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let sign = match change.tag() {
                ChangeTag::Delete => "-",
                ChangeTag::Insert => "+",
                ChangeTag::Equal => " ",
            };
            lines.push(format!("{sign} {}", change.value()));
        }
    }
    lines
}

/// The gauges that changed. What a run of one build needs is exact, so that any change is one.
fn peaks(old: &RunReport, new: &RunReport) -> Vec<Peak> {
    let gauges = |report: &RunReport| {
        let (stack, heap) = (report.stack_bytes, report.heap_bytes);
        let (allocations, polls) = (report.allocations, report.polls);
        let measured = |count: u64| (!report.died()).then_some(count);
        [
            ("stack_bytes.build", stack.build),
            ("stack_bytes.drive", stack.drive),
            ("stack_bytes.teardown", stack.teardown),
            ("heap_bytes.build", heap.build),
            ("heap_bytes.drive", heap.drive),
            ("heap_bytes.teardown", heap.teardown),
            ("heap_bytes.left", heap.left),
            ("allocations.build", allocations.build),
            ("allocations.drive", allocations.drive),
            ("allocations.teardown", allocations.teardown),
            ("polls.build", polls.build),
            ("polls.drive", polls.drive),
            ("polls.teardown", polls.teardown),
            ("steps", Some(report.steps)),
            ("time_us", measured(report.time_us)),
            ("drop_depth", measured(u64::from(report.drop_depth))),
            ("destroyed_count", measured(report.destroyed_count)),
            (
                "never_destroyed_count",
                measured(report.never_destroyed_count),
            ),
        ]
    };
    let pairs = gauges(old).into_iter().zip(gauges(new));
    let changed = pairs.filter(|((_, old), (_, new))| old != new);
    let peak = |((metric, old), (_, new)): ((&str, Option<u64>), (_, Option<u64>))| Peak {
        metric: metric.to_owned(),
        old,
        new,
        ratio: match (old, new) {
            (Some(old @ 1..), Some(new)) => Some(new as f64 / old as f64),
            _ => None,
        },
    };
    changed.map(peak).collect()
}

/// The laws that changed, of what was measured on both sides at all.
fn laws(old: &[Growth], new: &[Growth]) -> Vec<LawChange> {
    let by_gauge = |growths: &[Growth]| {
        let laws = growths.iter().map(|growth| {
            let gauge = format!("{}.{}", growth.metric, growth.phase);
            ((growth.over.clone(), gauge), growth.law)
        });
        laws.collect::<BTreeMap<_, _>>()
    };
    if old.is_empty() || new.is_empty() {
        return Vec::new();
    }
    let (old, new) = (by_gauge(old), by_gauge(new));
    let gauges: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let changed = gauges.into_iter().filter(|it| old.get(it) != new.get(it));
    let change = |gauge: &(String, String)| LawChange {
        metric: gauge.1.clone(),
        over: gauge.0.clone(),
        old: old.get(gauge).copied(),
        new: new.get(gauge).copied(),
    };
    changed.map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn traces_part_at_the_first_event_that_is_not_the_same() {
        let parting = parting(&lines("a b c d e f"), &lines("a b c d x e f"));
        let parting = parting.expect("they part");
        assert_eq!(parting.event, 4);
        assert_eq!(
            (parting.old.as_deref(), parting.new.as_deref()),
            (Some("e"), Some("x"))
        );
        assert_eq!(parting.context, ["  b", "  c", "  d", "+ x", "  e", "  f"]);
    }

    #[test]
    fn a_trace_that_ends_earlier_parts_there() {
        let parting = parting(&lines("a b c"), &lines("a b")).expect("they part");
        assert_eq!((parting.event, parting.new), (2, None));
        assert_eq!(parting.context, ["  a", "  b", "- c"]);
        assert_eq!(super::parting(&lines("a b"), &lines("a b")), None);
    }

    #[test]
    fn what_is_far_from_any_change_is_left_out() {
        let (old, new) = (
            lines("1 2 3 4 5 6 7 8 9 a b"),
            lines("0 2 3 4 5 6 7 8 9 a c"),
        );
        let unified = unified(&old, &new);
        let expected = [
            "- 1", "+ 0", "  2", "  3", "  4", "…", "  8", "  9", "  a", "- b", "+ c",
        ];
        assert_eq!(unified, expected);
    }
}
