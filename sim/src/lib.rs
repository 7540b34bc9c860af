//! Deterministic simulation: one run is one function of its plan.
//!
//! This crate knows no bytes on a wire and no Cap'n Proto. It owns what makes a run repeatable
//! and its end measurable:
//!
//! - [`Question`]s answered by name, from a plan, a seed or nothing, and [`Plan`] files;
//! - [`Sim`], the context of one run: named tasks on a single-threaded executor, virtual time,
//!   the trace and its digest;
//! - [`Tracked`] objects, whose destruction order is part of the [`Report`];
//! - a very large measured stack, so that an overflow is a number;
//! - the heap ledger of a program that opts in: what a run never gives back, see [`heap`];
//! - process entropy, pinned per run.
//!
//! ```
//! use dismantle_sim::{Limits, Name, Phase, Plan, Vocabulary, run};
//!
//! let vocabulary = Vocabulary {
//!     scenario: "doc",
//!     limits: Limits::default(),
//!     parameters: &[],
//!     questions: dismantle_sim::questions().to_vec(),
//! };
//! let report = run(&Plan::new(vocabulary), |sim| {
//!     let outer = sim.track(Name::new("doc", "outer"), sim.track(Name::new("doc", "inner"), ()));
//!     sim.enter(Phase::Teardown, || {
//!         drop(outer);
//!         Ok(())
//!     })
//! });
//! assert_eq!(report.destroyed[0].name.to_string(), "doc/outer");
//! assert_eq!(report.destroyed[1].inside, Some(0));
//! assert_eq!(report.drop_depth, 2);
//! ```

mod name;

mod decision;
mod plan;
mod releases;

mod breach;
mod clock;
mod cut;
mod executor;
mod outside;
mod rule;
mod trace;
mod track;

mod entropy;
mod fault;
mod last_words;
mod panics;
mod probe;
mod stack;

pub mod heap;

mod report;
mod run;
mod script;

pub use breach::{BREACHES_MAX, Breach};
pub use clock::{Elapsed, Sleep, timeout};
pub use decision::{Draw, Part, Question, Seed, Share, Value, share};
pub use entropy::asked_bytes;
pub use executor::{JoinHandle, Pending, Spawner};
pub use fault::{Fault, Kind, report_faults};
pub use name::{Name, hash};
pub use panics::{Panic, inject_panic, raised_elsewhere, source_path};
pub use plan::{Limits, Plan, PlanError, Vocabulary};
pub use probe::Probe;
pub use releases::Releases;
pub use report::{ByPhase, Held, Report, StackBytes};
pub use rule::{Rule, Where};
pub use run::{Limit, Options, Phase, Recorder, Runner, Sim, Stopped, questions, run};
pub use stack::{Region, STACK_SIZES};
pub use trace::{Digest, Event, EventKind, TRACE_EVENTS_MAX};
pub use track::{DESTROYED_MAX, Destroyed, Tracked};
