//! Deterministic simulation testing of the end of life of Cap'n Proto RPC systems.

pub mod catalogue;
mod scenario;

pub use scenario::{Scenario, find, vocabulary};
