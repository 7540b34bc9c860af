//! Runs that are no function of their plan.

use super::{Class, Finding, Judged};

/// The finding of two runs of one plan that differ; `detail` says in what.
///
/// It has one signature: what such runs differ in may differ from pair to pair.
pub fn nondeterministic(detail: String) -> Finding {
    Finding {
        class: Class::Nondeterminism,
        signature: "nondeterminism of a run".to_owned(),
        kin: "nondeterminism of a run".to_owned(),
        site: None,
        detail,
        judged: Judged::default(),
    }
}
