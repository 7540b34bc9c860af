//! What is compared, one thing after the other.

use std::collections::{BTreeMap, BTreeSet};

use dismantle_sim::Plan;
use similar::{ChangeTag, TextDiff};

use super::{Decision, Findings, LawChange, Parting, Peak};
use crate::check::Finding;
use crate::growth::Growth;
use crate::report::{Destruction, RunReport};

/// So many events or destructions that are the same are shown around those that are not.
const CONTEXT: usize = 3;

/// So many events of each side are shown from where the traces part.
const EVENTS_SHOWN: usize = 8;

/// Answers and limits.
pub(super) fn decisions(old: &Plan, new: &Plan) -> Vec<Decision> {
    let all = |plan: &Plan| {
        let limits = [
            ("limits.seconds", Some(plan.limits.seconds)),
            ("limits.stack_bytes", plan.limits.stack_bytes),
            ("limits.steps", Some(plan.limits.steps)),
        ];
        let limits = limits.into_iter();
        let limits = limits.filter_map(|(name, limit)| Some((name.to_owned(), limit?.to_string())));
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

pub(super) fn findings(old: &[Finding], new: &[Finding]) -> Findings {
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

pub(super) fn parting(old: &[String], new: &[String]) -> Option<Parting> {
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
pub(super) fn order(report: &RunReport) -> Vec<String> {
    let destroyed = report.destruction.iter();
    let line = |it: &Destruction| "  ".repeat(it.depth as usize) + &it.name;
    destroyed.map(line).collect()
}

/// Two lists as one: `-` and `+` before lines that only one has, `…` where lines that both have
/// are left out. Empty if there is no difference.
pub(super) fn unified(old: &[String], new: &[String]) -> Vec<String> {
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
pub(super) fn peaks(old: &RunReport, new: &RunReport) -> Vec<Peak> {
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
pub(super) fn laws(old: &[Growth], new: &[Growth]) -> Vec<LawChange> {
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
