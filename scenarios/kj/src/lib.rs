//! Cap'n Proto for C++ as a system under test.
//!
//! The real library, unpatched, under the same plans, faults, measured stack, checks and commands
//! as the Rust one. [`bridge`] is the way into it, the other modules are scenarios.

pub mod bridge;

mod backlog;

use dismantle::Scenario;

/// Every scenario, in the order of `list`.
pub const SCENARIOS: &[&dyn Scenario] = &[&backlog::Backlog];
