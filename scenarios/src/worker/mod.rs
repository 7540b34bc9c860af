//! Worker processes: runs that may abort, overflow or never return, in a process of their own.
//!
//! The worker is the same binary with a hidden argument. The protocol is JSON Lines: one
//! [`Job`] a line on its standard input, one [`Reply`] a line on its standard output. What runs
//! print goes nowhere: upstream prints on standard output (`SystemTaskReaper`, `lib.rs`). Of what
//! it prints on standard error the supervisor keeps the end.
//!
//! What is left when the process is gone stands in three files, its [`Papers`]: what it was
//! doing, what a run gave away, and the raw stack of a fault. It ends with its standard input: a
//! thread of it waits for that, so that no run outlives the supervisor, however that dies.

mod process;
mod remains;
mod serve;
mod supervisor;
mod symbols;

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::harness::SeedReport;
use crate::over::Over;
use crate::reached::Reached;
use crate::report::RunReport;

pub use serve::serve;
pub use supervisor::Isolated;

/// The hidden first argument of a worker. The folder of its papers follows, then the bytes of
/// memory that it may use.
pub const WORKER_ARGUMENT: &str = "__worker";

/// What a run in a worker may use.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// Memory above what an idle worker has mapped, its stack of 1 GiB included.
    pub memory_bytes: u64,
    /// Processor time without a step, after which a poll is said never to return. Processor time,
    /// so that a busy machine makes no finding.
    pub spin: Duration,
}

impl Default for Allowance {
    /// 4 GiB, a guess: two hundred times what the built-in scenarios need. 3 s, a guess too: their
    /// longest step within their work budgets takes well under a second.
    fn default() -> Self {
        Self {
            memory_bytes: 4 << 30,
            spin: Duration::from_secs(3),
        }
    }
}

/// What a worker is told to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "lowercase")]
enum Job {
    /// Run the seeds `from..to` on top of a plan; reply to each that failed, and to `sample`.
    Seeds {
        plan: String,
        from: u64,
        to: u64,
        sample: Option<u64>,
    },
    /// Run once; write answers and panics to the log as they come.
    Run {
        plan: String,
        seed: Option<u64>,
        trace: bool,
        over: Over,
    },
}

/// What a worker says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "lowercase")]
enum Reply {
    /// It takes jobs; said once. `maps` is its `/proc/self/maps`.
    Ready { maps: String },
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
        reached: Reached,
        grown_bytes: u64,
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

/// The files that outlive a worker. It removes their names once it has opened them, so that
/// nothing is left when both processes are killed.
struct Papers {
    /// What it is doing, of one length: see `Progress`.
    progress: File,
    /// The [`LogLine`]s of a single run.
    log: File,
    /// The faults: see `dismantle_sim::report_faults`.
    faults: File,
}

impl Papers {
    /// Makes the files.
    fn create(folder: &Path) -> io::Result<Self> {
        let create = |name: &str| {
            let path = folder.join(name);
            File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .open(path)
        };
        Ok(Self {
            progress: create("progress")?,
            log: create("log")?,
            faults: create("faults")?,
        })
    }

    /// Opens the files that the supervisor has made.
    fn open(folder: &Path) -> io::Result<Self> {
        // For appending: the supervisor empties them between jobs.
        let append = |name: &str| File::options().append(true).open(folder.join(name));
        Ok(Self {
            progress: File::options().write(true).open(folder.join("progress"))?,
            log: append("log")?,
            faults: append("faults")?,
        })
    }
}
