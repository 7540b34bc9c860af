//! What was never given back.

use std::collections::BTreeSet;

use dismantle_sim::{Name, Report};

use super::words::{SHOWN_MAX, joined, with_rest};
use super::{Class, Finding};

/// The tracked objects that were never destroyed.
pub(super) fn leak(report: &Report) -> Option<Finding> {
    let names = &report.never_destroyed;
    if names.is_empty() || report.own_cycle {
        return None;
    }
    let kinds: BTreeSet<&str> = names.keys().map(Name::kind).collect();
    let signature = format!("leak {}", joined(&kinds));
    let shown = names.keys().take(SHOWN_MAX).map(Name::to_string);
    let count: u32 = names.values().sum();
    Some(Finding {
        class: Class::Leak,
        kin: signature.clone(),
        signature,
        site: None,
        detail: format!(
            "never destroyed: {}",
            with_rest(shown.collect(), count as usize)
        ),
    })
}
