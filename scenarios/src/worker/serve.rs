//! The worker's side: takes jobs, runs them, says what came of them.

#![expect(
    clippy::disallowed_methods,
    reason = "a thread waits for the end of standard input, whatever a run does"
)]

use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use dismantle_sim::{Phase, Plan, Seed, report_faults};
use rustix::process::{Resource, Rlimit, Signal, getpid, getrlimit, kill_process, setrlimit};

use super::log::{Log, Of};
use super::progress::Progress;
use super::{Job, Papers, Reply};
use crate::harness::{InProcess, Order, Seeds};
use crate::scenario::{Scenario, find, vocabulary};

/// Serves jobs until standard input ends, and the process with it. `arguments` are what follows
/// [`WORKER_ARGUMENT`](super::WORKER_ARGUMENT).
///
/// # Errors
/// The arguments are not those of a worker, or the streams or papers cannot be used.
pub fn serve(
    scenarios: &[&dyn Scenario],
    arguments: impl Iterator<Item = String>,
) -> io::Result<()> {
    let arguments: Vec<String> = arguments.collect();
    let Some((memory_bytes, papers)) = arguments
        .split_first_chunk()
        .and_then(|([bytes], papers)| Some((bytes.parse().ok()?, papers.as_array()?)))
    else {
        return Err(io::Error::other("a worker is started by its supervisor"));
    };
    let papers = Papers::open(papers)?;
    report_faults(papers.faults)?;
    let mut replies = File::from(rustix::io::dup(rustix::stdio::stdout())?);
    let null = File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    let mut worker = Worker {
        harness: InProcess::new(scenarios),
        scenarios,
        progress: Arc::new(Progress::open(&papers.progress)?),
        log: Arc::new(papers.log),
        prints: Arc::new(papers.prints),
        first_bytes: None,
    };
    let jobs = jobs();
    limit_memory(memory_bytes)?;
    // A worker may die with a gibibyte of stack: that is no file that anybody wants.
    let none = Rlimit {
        current: Some(0),
        ..getrlimit(Resource::Core)
    };
    setrlimit(Resource::Core, none)?;
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    say(&mut replies, &Reply::Ready { maps })?;
    for line in jobs {
        let job: Job = serde_json::from_str(&line?)?;
        let reply = worker.work(job, &mut replies);
        let reply = reply.unwrap_or_else(|error| Reply::Refused {
            why: error.to_string(),
        });
        say(&mut replies, &reply)?;
    }
    Ok(())
}

/// The lines of standard input. At its end the process dies, in the middle of a run or not: the
/// supervisor is gone. (A parent-death signal would come when the thread that started the worker
/// ends, and not its process.)
fn jobs() -> Receiver<io::Result<String>> {
    let (sender, jobs) = channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            if sender.send(line).is_err() {
                return;
            }
        }
        kill_process(getpid(), Signal::KILL).expect("a process may end itself");
    });
    jobs
}

/// From here on an allocation fails, and with it the process, when so many bytes of address space
/// are used beside what is mapped now.
fn limit_memory(bytes: u64) -> io::Result<()> {
    let mapped = memory_bytes(0);
    let Rlimit { current, maximum } = getrlimit(Resource::As);
    let wanted = mapped.saturating_add(bytes);
    let limit = current.map_or(wanted, |current| current.min(wanted));
    let limit = Rlimit {
        current: Some(limit),
        maximum,
    };
    Ok(setrlimit(Resource::As, limit)?)
}

/// A number of pages in `/proc/self/statm`, as bytes: 0 is what is mapped, 1 what is resident. 0
/// where there is none.
fn memory_bytes(field: usize) -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(field).and_then(|n| n.parse().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

fn say(replies: &mut File, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    replies.write_all(&line)
}

struct Worker<'a> {
    harness: InProcess<'a>,
    scenarios: &'a [&'a dyn Scenario],
    progress: Arc<Progress>,
    log: Arc<File>,
    prints: Arc<File>,
    /// What was resident after the first job.
    first_bytes: Option<u64>,
}

impl Worker<'_> {
    fn work(&mut self, job: Job, replies: &mut File) -> io::Result<Reply> {
        match job {
            Job::Seeds {
                plan,
                from,
                to,
                sample,
            } => {
                let seeds = Seeds {
                    plan: &self.read(&plan)?,
                    from,
                    to,
                    sample,
                };
                for seed in from..to {
                    self.progress.note(seed, [0, 0], Phase::Build, None);
                    if let Some(report) = self.harness.look(&seeds, seed)? {
                        say(replies, &Reply::Seed(Box::new(report)))?;
                    }
                }
                self.progress.note(to, [0, 0], Phase::Build, None);
                Ok(Reply::Done {
                    grown_bytes: self.grown_bytes(),
                })
            }
            Job::Run {
                plan,
                seed,
                trace,
                prints,
                reached,
                over,
                script,
                wanted,
            } => {
                let plan = self.read(&plan)?;
                let of = Of {
                    seed: seed.unwrap_or(0),
                    events: trace,
                    prints: prints.then(|| self.prints.clone()),
                    script,
                };
                let log = Log::new(of, self.log.clone(), self.progress.clone());
                self.harness.record(Some(Arc::new(log)));
                let printing = prints.then(|| Printing::to(&self.prints)).transpose()?;
                let ran = self.harness.run_unnamed(Order {
                    plan: &plan,
                    seed: seed.map(Seed),
                    trace,
                    prints,
                    reached,
                    over,
                    // The log has it.
                    script: false,
                    probe: wanted.probe(),
                });
                self.harness.record(None);
                printing.map_or(Ok(()), Printing::end)?;
                let (ran, _) = ran?;
                Ok(Reply::Ran {
                    report: Box::new(ran.report),
                    plan: ran.plan.to_string(),
                    reached: ran.reached,
                    left: ran.left,
                    stack_depth: ran.stack_depth,
                    grown_bytes: self.grown_bytes(),
                })
            }
        }
    }

    fn read(&self, plan: &str) -> io::Result<Plan> {
        let known = |name: &str| find(self.scenarios, name).map(vocabulary);
        Plan::read(plan, known).map_err(io::Error::other)
    }

    fn grown_bytes(&mut self) -> u64 {
        let bytes = memory_bytes(1);
        bytes.saturating_sub(*self.first_bytes.get_or_insert(bytes))
    }
}

/// Standard output and standard error in a file, and where they went before.
struct Printing {
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl Printing {
    fn to(file: &File) -> io::Result<Self> {
        let printing = Self {
            stdout: rustix::io::dup(rustix::stdio::stdout())?,
            stderr: rustix::io::dup(rustix::stdio::stderr())?,
        };
        rustix::stdio::dup2_stdout(file)?;
        rustix::stdio::dup2_stderr(file)?;
        Ok(printing)
    }

    fn end(self) -> io::Result<()> {
        io::stdout().flush()?;
        rustix::stdio::dup2_stdout(&self.stdout)?;
        rustix::stdio::dup2_stderr(&self.stderr)?;
        Ok(())
    }
}
