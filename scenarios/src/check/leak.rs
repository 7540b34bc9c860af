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
/// others keep things in, messages, the harness. And all of kj.
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
    // It may have called Rust's allocator.
    let is_new = |place: &Place| place.function.starts_with("operator new");
    let is_container = |place: &Place| {
        let path = place.path.as_str();
        let is_kj = path.starts_with("capnproto") && path.contains("/src/kj");
        is_kj || path.is_empty() || CONTAINERS.iter().any(|part| path.starts_with(part))
    };
    let hook = frames.iter().position(is_new);
    let hook = hook.or_else(|| frames.iter().position(is_hook));
    let caller = hook.map_or(0, |hook| hook + 1);
    frames[caller..].iter().find(|place| !is_container(place))
}

/// The finding of memory that a run leaves each time; `places` are the named frames of each
/// group's trace, where there are names.
///
/// It is called after what was allocated first: the one that owns the others, as a rule.
pub fn left_heap(groups: &[LeftGroup], places: &[Vec<Place>]) -> Option<Finding> {
    groups.first()?;
    let by = |group: usize| places.get(group).and_then(|frames| allocated_by(frames));
    let owner = by(0);
    let site = owner.and_then(Place::site);
    let of = |owner: String| format!("leak heap {owner}").trim_end().to_owned();
    let owner = owner.map_or_else(String::new, Place::owner);
    let kin = site
        .as_deref()
        .map_or_else(|| owner.clone(), without_version);
    let mut largest: Vec<usize> = (0..groups.len()).collect();
    largest.sort_by_key(|place| std::cmp::Reverse(groups[*place].blocks * groups[*place].bytes));
    let shown = largest.iter().take(SHOWN_MAX).map(|place| {
        let LeftGroup { blocks, bytes, .. } = groups[*place];
        let by = by(*place).map_or_else(String::new, |by| format!(" by {}", by.owner()));
        format!("{blocks} x {bytes} B{by}")
    });
    let shown = with_rest(shown.collect(), groups.len());
    let bytes: u64 = groups.iter().map(|group| group.blocks * group.bytes).sum();
    Some(Finding {
        class: Class::Leak,
        signature: of(owner),
        kin: of(kin),
        site,
        detail: format!("{bytes} B were never given back: {shown}"),
        judged: Judged::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_belongs_to_whoever_asked_the_allocator_of_either_language() {
        let place = |path: &str, line, function: &str| Place {
            path: path.to_owned(),
            line,
            function: function.to_owned(),
        };
        let outermost = place(
            "std/src/sys/backtrace.rs",
            9,
            "__rust_begin_short_backtrace",
        );
        let cpp = |caller: Place| {
            [
                place("sim/src/heap.rs", 1, "Counting::alloc"),
                place("kj/src/main.rs", 1, "__rust_alloc"),
                place("kj/src/bridge/memory.rs", 2, "dk_host_allocate"),
                place("kj/cpp/memory.c++", 3, "operator new"),
                place("capnproto/src/kj", 0, "kj::heap"),
                place("", 0, "std::vector::push_back"),
                caller,
                outermost.clone(),
            ]
        };
        let owner = |frames: &[Place]| allocated_by(frames).map(Place::owner);
        let shim = cpp(place("kj/cpp/planted.c++", 7, "dk_planted_leak"));
        assert_eq!(owner(&shim).as_deref(), Some("kj/cpp/planted.c++:7"));
        let library = cpp(place(
            "capnproto/src/capnp",
            0,
            "RpcConnectionState::handleCall",
        ));
        let finding = left_heap(
            &[LeftGroup {
                blocks: 1,
                bytes: 8,
                trace: Vec::new(),
            }],
            &[library.to_vec()],
        );
        let finding = finding.expect("a block is left");
        let signature = "leak heap capnproto/src/capnp RpcConnectionState::handleCall";
        assert_eq!((&*finding.signature, &*finding.kin), (signature, signature));
        assert_eq!(finding.site, None);
        let rust = [
            place("a/src/main.rs", 1, "__rust_alloc"),
            place("a/src/x.rs", 2, "f"),
        ];
        assert_eq!(owner(&rust).as_deref(), Some("a/src/x.rs:2"));
    }
}
