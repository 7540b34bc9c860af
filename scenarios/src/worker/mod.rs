//! Worker processes: runs that may abort, overflow or never return, in a process of their own.
//!
//! The worker is the same binary with a hidden argument. The protocol is JSON Lines: one
//! `Job` a line on its standard input, one `Reply` a line on its standard output. What runs
//! print goes nowhere: upstream prints on standard output (`SystemTaskReaper`, `lib.rs`). Of what
//! it prints on standard error the supervisor keeps the end.
//!
//! What is left when the process is gone stands in four files, its `Papers`: what it was
//! doing, what a run gave away, the raw stack of a fault, and, if somebody wants to see it, what
//! was printed in a single run. It ends with its standard input: a
//! thread of it waits for that, so that no run outlives the supervisor, however that dies.

mod cpp;
mod log;
mod places;
mod process;
mod progress;
mod remains;
mod serve;
mod supervisor;
pub(crate) mod symbols;

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use dismantle_sim::Probe;
use rustix::fs::{MemfdFlags, memfd_create};
use serde::{Deserialize, Serialize};

use crate::check::LeftGroup;
use crate::harness::SeedReport;
use crate::over::Over;
use crate::reached::Reached;
use crate::report::{PHASES, Phases, RunReport, phase_word};

pub use places::Places;
pub use serve::serve;
pub use supervisor::Isolated;

/// The hidden first argument of a worker. The bytes of memory that it may use follow, and the
/// paths of its papers.
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
    /// Run once; write answers, panics, and events if asked for, to the log as they come.
    Run {
        plan: String,
        seed: Option<u64>,
        trace: bool,
        prints: bool,
        reached: bool,
        over: Over,
        script: bool,
        #[serde(default, skip_serializing_if = "Wanted::is_nothing")]
        wanted: Wanted,
    },
}

/// A [`Probe`] on its way.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Wanted {
    deepest: Option<(String, u64)>,
    destructions: bool,
}

impl Wanted {
    fn of(probe: Probe) -> Self {
        let Probe {
            deepest,
            destructions,
        } = probe;
        Self {
            deepest: deepest.map(|(phase, depth)| (phase_word(phase).to_owned(), depth)),
            destructions,
        }
    }

    fn is_nothing(&self) -> bool {
        self.deepest.is_none() && !self.destructions
    }

    fn probe(&self) -> Probe {
        let phase = |word: &str| PHASES.into_iter().find(|phase| phase_word(*phase) == word);
        let deepest = self.deepest.as_ref();
        Probe {
            deepest: deepest.and_then(|(word, depth)| Some((phase(word)?, *depth))),
            destructions: self.destructions,
        }
    }
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
        reached: Reached,
        left: Vec<LeftGroup>,
        stack_depth: Phases,
        grown_bytes: u64,
    },
    /// The job could not be started.
    Refused { why: String },
}

/// The files that outlive a worker: they are the supervisor's, in memory and without a name, so
/// that nothing is left when both processes are killed.
struct Papers {
    /// What it is doing, in memory that both map: see `Progress`.
    progress: File,
    /// The log of a single run, see `Log`.
    log: File,
    /// The faults: see `dismantle_sim::report_faults`.
    faults: File,
    /// What was printed in a single run, if somebody wants to see it.
    prints: File,
}

impl Papers {
    /// Makes the files.
    fn create() -> io::Result<Self> {
        let create = |name: &str| -> io::Result<File> {
            Ok(memfd_create(name, MemfdFlags::CLOEXEC)?.into())
        };
        let progress = create("progress")?;
        progress::Doing::clear(&progress)?;
        Ok(Self {
            progress,
            log: create("log")?,
            faults: create("faults")?,
            prints: create("prints")?,
        })
    }

    /// The paths by which a worker finds the files of this process, progress first.
    fn paths(&self) -> [String; 4] {
        let process = std::process::id();
        let path = |file: &File| format!("/proc/{process}/fd/{}", file.as_raw_fd());
        [&self.progress, &self.log, &self.faults, &self.prints].map(path)
    }

    /// Those that are emptied for a new job. Not the progress: the worker has it mapped.
    fn emptied(&self) -> [&File; 3] {
        [&self.log, &self.faults, &self.prints]
    }

    /// Opens the files of the supervisor.
    fn open([progress, log, faults, prints]: &[String; 4]) -> io::Result<Self> {
        // For appending: the supervisor empties them between jobs.
        let append = |path: &str| File::options().append(true).open(path);
        Ok(Self {
            // To be mapped, which takes reading, too.
            progress: File::options().read(true).write(true).open(progress)?,
            log: append(log)?,
            faults: append(faults)?,
            prints: append(prints)?,
        })
    }
}
