//! The built-in scenarios: a plain array, in the order of `list`.

mod object;
mod program;
mod waiting;

use crate::scenario::Scenario;

/// Every built-in scenario, the planted ones last.
pub const BUILT_IN: &[&dyn Scenario] = &[&program::Program];
