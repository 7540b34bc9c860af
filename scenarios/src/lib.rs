//! Deterministic simulation testing of the end of life of Cap'n Proto RPC systems.
//!
//! Both ends of a connection run in one thread over a simulated byte pipe. A [`Scenario`] builds
//! them, drives them and takes them apart; a plan or a seed decides what goes wrong and in which
//! order everything is destroyed; checks say what must not have happened: a panic, a hang, a
//! leak, a stack that grows with the size of the workload.
//!
//! - From a test: [`check`]`(&MyScenario).seeds(0..500)`.
//! - From the command line: `cli::main(&[&MyScenario])` gives a binary `list`, `run`, `fuzz`,
//!   `replay` and `growth` (feature `cli`, on by default).
//! - Leaks of memory are measured in programs that install `dismantle_sim::heap::Counting` as their
//!   global allocator: one line. Elsewhere reports say that the heap was not measured.
//! - From code: a [`Harness`] runs plans, [`campaign`] runs many seeds, [`growth`] fits laws.
//!
//! Runs are simulated by `dismantle-sim`; pipes and vats are `dismantle-transport`'s.

mod scenario;

mod catalogue;

mod check;
mod file;
#[cfg(feature = "cli")]
mod git;
mod harness;
mod over;
mod reached;
mod report;
mod told;

#[cfg(feature = "cli")]
pub mod bisect;
pub mod campaign;
pub mod cuts;
#[cfg(feature = "cli")]
pub mod diff;
pub mod explain;
pub mod export;
pub mod golden;
pub mod growth;
pub mod known;
#[cfg(feature = "cli")]
pub mod matrix;
pub mod shrink;
pub mod threshold;
#[cfg(feature = "cli")]
pub mod upstream;

mod testing;

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "cli")]
pub mod worker;

pub use campaign::{OverUnix, over_unix};
pub use catalogue::{BUILT_IN, waiting};
pub use check::{Blame, Class, Finding, Judged, check as findings};
pub use golden::Golden;
pub use harness::{
    Fatal, Harness, InProcess, Notes, OnSockets, Order, Ran, SeedReport, Seeds, SeedsEnd,
};
pub use over::Over;
pub use reached::{Coverage, Reached};
pub use report::{Destruction, Hold, Outcome, RunReport, Stack, Wait};
pub use scenario::{Planted, Scenario, find, vocabulary};
pub use testing::{Check, Setting, check};
pub use told::{Said, Told};
