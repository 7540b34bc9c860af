//! The worker's side: takes jobs, runs them, says what came of them.

use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use dismantle_sim::{Name, Panic, Plan, Recorder, Seed, Value};

use super::{Job, LogLine, Reply};
use crate::harness::{Harness, InProcess, Order, SeedReport};
use crate::scenario::{Scenario, find, vocabulary};

/// Serves jobs until standard input ends. `progress` is the path of the progress file.
///
/// # Errors
/// The streams or the progress file cannot be used.
pub fn serve(scenarios: &[&dyn Scenario], progress: &str) -> io::Result<()> {
    let signal = rustix::process::Signal::KILL;
    rustix::process::set_parent_process_death_signal(Some(signal))?;
    let mut replies = File::from(rustix::io::dup(rustix::stdio::stdout())?);
    let null = File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    let progress = Arc::new(Progress(File::options().write(true).open(progress)?));
    let mut harness = InProcess::new(scenarios);
    let mut first_bytes = None;
    for line in io::stdin().lock().lines() {
        let job: Job = serde_json::from_str(&line?)?;
        let result = work(&mut harness, scenarios, &progress, job, &mut replies);
        let reply = match result {
            Ok(Some(reply)) => reply,
            Ok(None) => {
                let bytes = resident_bytes();
                Reply::Done {
                    grown_bytes: bytes.saturating_sub(*first_bytes.get_or_insert(bytes)),
                }
            }
            Err(error) => Reply::Refused {
                why: error.to_string(),
            },
        };
        say(&mut replies, &reply)?;
    }
    Ok(())
}

fn work(
    harness: &mut InProcess<'_>,
    scenarios: &[&dyn Scenario],
    progress: &Arc<Progress>,
    job: Job,
    replies: &mut File,
) -> io::Result<Option<Reply>> {
    let read = |text: &str| {
        Plan::read(text, |name| find(scenarios, name).map(vocabulary)).map_err(io::Error::other)
    };
    match job {
        Job::Seeds { plan, from, to } => {
            let plan = read(&plan)?;
            for seed in from..to {
                progress.note(seed, 0, "");
                let report = harness.glance(&plan, Seed(seed))?;
                if let Some(report) = SeedReport::of(seed, &report) {
                    say(replies, &Reply::Seed(Box::new(report)))?;
                }
            }
            progress.note(to, 0, "");
            Ok(None)
        }
        Job::Run {
            plan,
            seed,
            trace,
            log,
        } => {
            let plan = read(&plan)?;
            progress.note(seed.unwrap_or(0), 0, "");
            harness.record(Some(Arc::new(Log {
                file: File::options().append(true).open(log)?,
                progress: progress.clone(),
                seed: seed.unwrap_or(0),
            })));
            let ran = harness.run(Order {
                plan: &plan,
                seed: seed.map(Seed),
                trace,
            });
            harness.record(None);
            let ran = ran?;
            Ok(Some(Reply::Ran {
                report: Box::new(ran.report),
                plan: ran.plan.to_string(),
                trace: ran.trace,
            }))
        }
    }
}

fn say(replies: &mut File, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    replies.write_all(&line)
}

/// Memory of this process, in bytes, from `/proc/self/statm`; 0 where there is none.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm
        .split(' ')
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// What the worker is doing: `seed step task`, always of one length.
struct Progress(File);

const PROGRESS_BYTES: usize = 96;

impl Progress {
    fn note(&self, seed: u64, step: u64, task: &str) {
        let mut line = format!("{seed} {step} {task}");
        line.truncate(PROGRESS_BYTES);
        let line = format!("{line:<PROGRESS_BYTES$}");
        // Nothing depends on it but how the end of this process is explained.
        drop(self.0.write_all_at(line.as_bytes(), 0));
    }
}

/// Writes what a run gives away to a file, so that it outlives the process.
struct Log {
    file: File,
    progress: Arc<Progress>,
    seed: u64,
}

impl Log {
    fn write(&self, line: &LogLine) {
        if let Ok(mut line) = serde_json::to_vec(line) {
            line.push(b'\n');
            // A full disk costs the record, not the run.
            drop((&self.file).write_all(&line));
        }
    }
}

impl Recorder for Log {
    fn answer(&self, path: &str, value: &Value) {
        self.write(&match value {
            Value::Count(count) => LogLine::Count(path.to_owned(), *count),
            Value::Word(word) => LogLine::Word(path.to_owned(), word.clone()),
        });
    }

    fn panic(&self, panic: &Panic) {
        self.write(&LogLine::Panic(panic.site.clone(), panic.message.clone()));
    }

    fn step(&self, step: u64, task: Name) {
        self.progress.note(self.seed, step, &task.to_string());
    }
}
