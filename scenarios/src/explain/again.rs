//! Where the stack of a run was deepest, and who destroyed what.
//!
//! A run is a function of its plan: a further one is stopped where that was deepest, and leaves notes
//! of what it destroys ([`Probe`]). They are unwound and named here, in the supervisor, which takes
//! tens of megabytes.

use std::io;

use dismantle_sim::{Phase, Probe};

use crate::harness::{Harness, Notes, Order, Ran};
use crate::over::Over;
use crate::report::{PHASES, phase_word};
use crate::worker::symbols::Symbols;

use super::stack::Deepest;
use super::tree::Tree;

/// A phase that needs more stack is explained too, if it is not the one that needs most. An
/// ordinary session needs 5 to 12 KiB.
const DEEP_BYTES: u64 = 64 << 10;

/// What further runs tell of a run.
#[derive(Debug, Default)]
pub struct Explanation {
    /// The stack at its deepest, in the phase that needs most and in others that need much.
    pub deepest: Vec<Deepest>,
    /// The phases of those that were not as deep again. There are none, unless a run is not a
    /// function of its plan.
    pub not_caught: Vec<&'static str>,
    /// What was destroyed in the teardown.
    pub tree: Tree,
}

impl Explanation {
    /// For people.
    pub fn text(&self) -> String {
        let mut text: String = self.deepest.iter().map(Deepest::text).collect();
        for phase in &self.not_caught {
            text += &format!("deepest     {phase}: not as deep again\n");
        }
        text + &self.tree.text()
    }
}

/// Explains what `ran` came to, which was run as `order` says: by running it once more, as a rule.
///
/// `None` if it takes its process along.
///
/// # Errors
/// A run cannot be started.
pub fn explain(
    harness: &mut dyn Harness,
    order: Order<'_>,
    ran: &Ran,
) -> io::Result<Option<Explanation>> {
    let mut explanation = Explanation::default();
    for probe in probes(order, ran) {
        let again = harness.run(Order { probe, ..order })?;
        let Notes { faults, maps } = again.notes;
        let Some(symbols) = Symbols::new(&maps).filter(|_| !again.report.died()) else {
            return Ok(None);
        };
        if let Some((phase, _)) = probe.deepest {
            let bytes = ran.report.stack_bytes.phase(phase).unwrap_or(0);
            match Deepest::of(&symbols, &faults, phase_word(phase), bytes) {
                Some(deepest) => explanation.deepest.push(deepest),
                None => explanation.not_caught.push(phase_word(phase)),
            }
        }
        if probe.destructions {
            explanation.tree = Tree::of(&symbols, &faults);
        }
    }
    Ok(Some(explanation))
}

/// What further runs are asked for, each of them a phase; the destructions with one that they do not
/// disturb.
fn probes(order: Order<'_>, ran: &Ran) -> Vec<Probe> {
    let bytes = |phase: Phase| ran.report.stack_bytes.phase(phase);
    let most = PHASES.into_iter().map(bytes).max().flatten();
    let is_told = |phase: &Phase| bytes(*phase) >= most.map(|most| most.min(DEEP_BYTES));
    // Over a socket the next run need not be as deep.
    let told = PHASES
        .into_iter()
        .filter(|_| most.is_some() && order.over == Over::Pipe);
    let deepest = |phase: Phase| Some((phase, ran.stack_depth.phase(phase)?));
    let mut probes: Vec<Probe> = told
        .filter(is_told)
        .map(|phase| Probe {
            deepest: deepest(phase),
            destructions: false,
        })
        .collect();
    let is_apart = |probe: &&mut Probe| {
        probe
            .deepest
            .is_some_and(|(phase, _)| phase != Phase::Teardown)
    };
    match probes.iter_mut().find(is_apart) {
        Some(probe) => probe.destructions = true,
        None => probes.push(Probe {
            deepest: None,
            destructions: true,
        }),
    }
    probes
}
