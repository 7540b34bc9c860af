//! Places in the program by address, for what another process of the same program has seen.
//!
//! Naming takes tens of megabytes: whoever runs seeds does not do it. What it takes is given back
//! at once; the names are kept.

use std::collections::BTreeMap;

use super::symbols::Symbols;
use crate::check::{LeftGroup, Place, origin};

/// The places behind traces that were asked for before.
#[derive(Default)]
pub struct Places {
    known: BTreeMap<Vec<u64>, Vec<Place>>,
}

impl Places {
    /// For each group the frames of its trace, innermost first, functions that were inlined
    /// included.
    pub fn of(&mut self, groups: &[LeftGroup]) -> Vec<Vec<Place>> {
        let mut symbols = None;
        let mut places = Vec::new();
        for LeftGroup { trace, .. } in groups {
            if let Some(known) = self.known.get(trace) {
                places.push(known.clone());
                continue;
            }
            let symbols = symbols.get_or_insert_with(|| {
                let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
                Symbols::new(&maps)
            });
            let named = symbols.as_ref().map_or_else(Vec::new, |symbols| {
                // A return address is behind the call.
                let addresses = trace
                    .iter()
                    .map(|from| from.wrapping_add(origin() as u64).wrapping_sub(1));
                addresses
                    .flat_map(|address| symbols.places(address))
                    .collect()
            });
            self.known.insert(trace.clone(), named.clone());
            places.push(named);
        }
        places
    }
}
