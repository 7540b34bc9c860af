//! Deterministic simulation testing of the end of life of Cap'n Proto RPC systems.

mod scenario;

mod catalogue;

mod check;
mod harness;
mod report;

mod growth;

mod testing;

#[cfg(feature = "cli")]
mod campaign;
#[cfg(feature = "cli")]
mod worker;

#[cfg(feature = "cli")]
pub mod cli;

pub use catalogue::BUILT_IN;
pub use check::{Class, Finding, check as findings};
pub use growth::{Growth, Law, Series, measure};
pub use harness::{Harness, InProcess, Order, Ran};
pub use report::{Outcome, RunReport};
pub use scenario::{Scenario, find, vocabulary};
pub use testing::{Check, Setting, check};
