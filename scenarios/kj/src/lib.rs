//! Cap'n Proto for C++ as a system under test.
//!
//! The real library, unpatched, under the same plans, faults, measured stack, checks and commands
//! as the Rust one. [`bridge`] is the way into it, the other modules are scenarios.

pub mod bridge;

mod backlog;
mod mixed;
mod planted;
mod program;
mod responses;
mod session;
mod workaround;

use dismantle::Scenario;
use dismantle::cli::Program;

/// Every scenario, in the order of `list`.
pub const SCENARIOS: &[&dyn Scenario] = &[
    &backlog::Backlog,
    &program::Program,
    &mixed::Mixed,
    &responses::Responses,
    &workaround::Workaround,
    &planted::PlantedThrow,
    &planted::PlantedTerminate,
    &planted::PlantedNoexcept,
    &planted::PlantedLeak,
    &planted::PlantedPanic,
    &planted::PlantedQueue,
];

/// The command line. What is known, and the goldens, are this release's, and found from the root of
/// the repository.
pub const PROGRAM: Program = Program::new(SCENARIOS)
    .catalogue()
    .known_in(concat!("scenarios/kj/known/", env!("DISMANTLE_KJ_RELEASE")))
    .goldens_in(&[concat!(
        "scenarios/kj/tests/snapshots/",
        env!("DISMANTLE_KJ_RELEASE")
    )]);

/// What the scenarios test, as reports say it: `capnproto-1.3.0`.
fn upstream() -> String {
    format!("capnproto-{}", bridge::RELEASE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_says_which_library_it_tests() {
        for scenario in SCENARIOS {
            let says = scenario.upstream();
            assert!(says.contains(&upstream()), "{}: {says}", scenario.name());
        }
    }
}
