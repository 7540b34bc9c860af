//! The built-in scenarios: a plain array, in the order of `list`.

mod object;
mod program;
mod waiting;

use crate::scenario::Scenario;

/// Every built-in scenario, the planted ones last.
pub fn built_in() -> Vec<&'static dyn Scenario> {
    vec![&program::Program]
}
