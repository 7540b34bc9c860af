//! Worker processes: runs that may abort, overflow or never return, in a process of their own.
//!
//! The worker is the same binary with a hidden argument. The protocol is JSON Lines: one
//! `Job` a line on its standard input, one `Reply` a line on its standard output. What runs
//! print goes nowhere: upstream prints on standard output (`SystemTaskReaper`, `lib.rs`).
//!
//! What a worker is doing stands in its *progress file*, rewritten before each seed and, in a
//! single run, before each step; it is what is left when the process is gone. The worker is
//! killed with its supervisor (parent-death signal) and ends when its standard input ends.

mod serve;
mod supervisor;

use serde::{Deserialize, Serialize};

use crate::harness::SeedReport;
use crate::report::RunReport;

pub use serve::serve;
pub use supervisor::Isolated;

/// The hidden first argument of a worker.
pub const WORKER_ARGUMENT: &str = "__worker";

/// What a worker is told to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "lowercase")]
enum Job {
    /// Run the seeds `from..to` on top of a plan; reply to each that failed.
    Seeds { plan: String, from: u64, to: u64 },
    /// Run once; record answers and panics in the file `log` as they come.
    Run {
        plan: String,
        seed: Option<u64>,
        trace: bool,
        log: String,
    },
}

/// What a worker says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "lowercase")]
enum Reply {
    /// This seed did something worth a look.
    Seed(Box<SeedReport>),
    /// All seeds of the job are run.
    Done {
        /// Bytes of memory that the worker has gained since its first job.
        grown_bytes: u64,
    },
    /// The single run is over.
    Ran {
        report: Box<RunReport>,
        plan: String,
        trace: Vec<String>,
    },
    /// The job could not be started.
    Refused { why: String },
}

/// A line of the log of a single run.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LogLine {
    Count(String, u64),
    Word(String, String),
    Panic(String, String),
}
