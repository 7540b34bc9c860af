//! What had to end and did not.

use std::collections::BTreeSet;

use dismantle_sim::Report;

use super::words::{SHOWN_MAX, joined, with_rest};
use super::{Class, Finding, Judged};

/// The tasks that are still pending though their end was promised.
pub(super) fn hang(report: &Report) -> Option<Finding> {
    let waiting: Vec<_> = report
        .pending
        .iter()
        .filter(|pending| pending.must_end)
        .collect();
    // A promise that is to become the result of a call that waits for it keeps that call waiting.
    if waiting.is_empty() || report.own_cycle {
        return None;
    }
    let kinds: BTreeSet<&str> = waiting.iter().map(|pending| pending.task.kind()).collect();
    let signature = format!("hang {}", joined(&kinds));
    let names = waiting.iter().take(SHOWN_MAX).map(|pending| {
        let on = pending.on.map_or_else(String::new, |on| format!(" {on}"));
        let since = pending.since_step;
        format!(
            "{} waits for {}{on} since step {since}",
            pending.task, pending.waits_for
        )
    });
    Some(Finding {
        class: Class::Hang,
        kin: signature.clone(),
        signature,
        site: None,
        detail: with_rest(names.collect(), waiting.len()),
        judged: Judged::default(),
    })
}
