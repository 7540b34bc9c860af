//! What was never given back: tracked objects, and memory of the run.
//!
//! Leaked memory is a finding of its own only where nothing else explains it: a tracked object
//! that is leaked keeps all that it owns, a panic or a hang what it held. And only if the run
//! leaves it again, in the same process: what the standard library or upstream makes once and
//! keeps is left by the first run alone.

use std::collections::{BTreeMap, BTreeSet};

use dismantle_sim::heap::LeftBlock;
use dismantle_sim::{Name, Report};
use serde::{Deserialize, Serialize};

use super::words::{Place, SHOWN_MAX, joined, with_rest, without_version};
use super::{Class, Finding, Judged, check};

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
        judged: Judged::default(),
    })
}

/// Blocks that were not given back, of one size and from one place in the program.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LeftGroup {
    /// How many.
    pub blocks: u64,
    /// The size of one, in bytes.
    pub bytes: u64,
    /// Where they were allocated: return addresses, innermost first, counted from [`origin`].
    pub trace: Vec<u64>,
}

/// What addresses are counted from: the same place in every process of this program, wherever
/// that was loaded. (A function may have several addresses, a static has one.)
pub fn origin() -> usize {
    static ORIGIN: u8 = 0;
    &raw const ORIGIN as usize
}

/// Whether memory that the run left is a finding, if a second run leaves it again.
pub fn leaves_heap(report: &Report) -> bool {
    report.left.as_ref().is_some_and(|left| left.blocks > 0)
        && report.never_destroyed.is_empty()
        && !report.own_cycle
        && !report.own_panic
        && report.limit.is_none()
        && check(report).is_empty()
}

/// Groups blocks by size and place, the first allocated first.
pub fn left_groups(blocks: &[LeftBlock]) -> Vec<LeftGroup> {
    let mut groups: Vec<LeftGroup> = Vec::new();
    let mut known = BTreeMap::new();
    for block in blocks {
        let from_origin = |address: &usize| address.wrapping_sub(origin()) as u64;
        let trace: Vec<u64> = block.trace.iter().map(from_origin).collect();
        let place = *known
            .entry((block.bytes, trace))
            .or_insert_with_key(|(bytes, trace)| {
                groups.push(LeftGroup {
                    blocks: 0,
                    bytes: *bytes,
                    trace: trace.clone(),
                });
                groups.len() - 1
            });
        groups[place].blocks += 1;
    }
    groups
}

/// Whose functions say how memory was allocated and not for whom: the standard library, what
/// others keep things in, messages, the harness.
const CONTAINERS: [&str; 11] = [
    "core/src/",
    "alloc/src/",
    "std/src/",
    "hashbrown-",
    "slab-",
    "futures-",
    "capnp-0",
    "capnp-1",
    "capnp-futures-",
    "dismantle-sim-",
    "sim/src/",
];

/// Who allocated for itself: the innermost function that is no container's.
fn allocated_by(frames: &[Place]) -> Option<&Place> {
    let is_hook = |place: &Place| place.function.contains("__rust_");
    let is_container = |place: &Place| {
        let path = place.path.as_str();
        path.is_empty() || CONTAINERS.iter().any(|part| path.starts_with(part))
    };
    let caller = frames.iter().position(is_hook).map_or(0, |hook| hook + 1);
    frames[caller..].iter().find(|place| !is_container(place))
}

fn site(place: &Place) -> String {
    format!("{}:{}", place.path, place.line)
}

/// The finding of memory that a run leaves each time; `places` are the named frames of each
/// group's trace, where there are names.
///
/// It is called after what was allocated first: the one that owns the others, as a rule.
pub fn left_heap(groups: &[LeftGroup], places: &[Vec<Place>]) -> Option<Finding> {
    groups.first()?;
    let site = |place: usize| {
        places
            .get(place)
            .and_then(|frames| allocated_by(frames))
            .map(site)
    };
    let owner = site(0);
    let of = |owner: &str| format!("leak heap {owner}").trim_end().to_owned();
    let (signature, kin) = match &owner {
        Some(owner) => (of(owner), of(&without_version(owner))),
        None => (of(""), of("")),
    };
    let mut largest: Vec<usize> = (0..groups.len()).collect();
    largest.sort_by_key(|place| std::cmp::Reverse(groups[*place].blocks * groups[*place].bytes));
    let shown = largest.iter().take(SHOWN_MAX).map(|place| {
        let LeftGroup { blocks, bytes, .. } = groups[*place];
        let by = site(*place).map_or_else(String::new, |site| format!(" by {site}"));
        format!("{blocks} x {bytes} B{by}")
    });
    let shown = with_rest(shown.collect(), groups.len());
    let bytes: u64 = groups.iter().map(|group| group.blocks * group.bytes).sum();
    Some(Finding {
        class: Class::Leak,
        signature,
        kin,
        site: owner,
        detail: format!("{bytes} B were never given back: {shown}"),
        judged: Judged::default(),
    })
}
