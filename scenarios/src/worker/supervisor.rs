//! The supervisor's side: a harness whose runs happen in a worker that may die of them.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a supervisor watches the clock for polls that never return, and reads on a thread"
)]

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use dismantle_sim::{Panic, Plan, Value};

use super::{Job, LogLine, Reply, WORKER_ARGUMENT};
use crate::check::{aborted, killed, spun};
use crate::harness::{Harness, Order, Ran, SeedReport, SeedsEnd, recorded};
use crate::report::RunReport;
use crate::scenario::{Scenario, find, vocabulary};

/// A worker that uses so much processor time without a step is in a poll that never returns.
/// Processor time, so that a busy machine makes no finding. A guess: the longest step of the
/// built-in scenarios within their work budgets takes well under a second.
const SPIN_SECONDS: u64 = 3;

/// The same for a worker that waits and uses none: it is blocked, on a lock say.
const BLOCKED_SECONDS: u64 = 120;

/// A worker whose memory has grown by so much since its first job is replaced: runs that leak,
/// leak for good. With it, a campaign of 10,000 seeds peaks no higher than one of 1,000.
const GROWTH_BYTES_MAX: u64 = 3 << 20;

/// Runs in a worker process, which is replaced when it dies.
pub struct Isolated {
    scenarios: Vec<&'static dyn Scenario>,
    interrupted: Arc<AtomicBool>,
    process: Option<Process>,
}

struct Process {
    child: Child,
    stdin: ChildStdin,
    replies: Receiver<io::Result<String>>,
    progress: tempfile::NamedTempFile,
}

/// How waiting for a reply ended.
enum Heard {
    Reply(Reply),
    Died(ExitStatus),
    Spun,
    Interrupted,
}

impl Isolated {
    /// For runs of these scenarios; a raised `interrupted` ends what is running.
    pub fn new(scenarios: Vec<&'static dyn Scenario>, interrupted: Arc<AtomicBool>) -> Self {
        Self {
            scenarios,
            interrupted,
            process: None,
        }
    }

    fn start(&mut self) -> io::Result<&mut Process> {
        if self.process.is_none() {
            let progress = tempfile::NamedTempFile::new()?;
            let mut child = Command::new(std::env::current_exe()?)
                .arg(WORKER_ARGUMENT)
                .arg(progress.path())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                // Out of the terminal's foreground group: Ctrl-C is the supervisor's.
                .process_group(0)
                .spawn()?;
            let stdin = child.stdin.take().expect("piped");
            let stdout = child.stdout.take().expect("piped");
            let (sender, replies) = channel();
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines() {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
            self.process = Some(Process {
                child,
                stdin,
                replies,
                progress,
            });
        }
        Ok(self.process.as_mut().expect("started"))
    }

    fn send(&mut self, job: &Job) -> io::Result<()> {
        let mut line = serde_json::to_vec(job)?;
        line.push(b'\n');
        let process = self.start()?;
        process.progress.as_file().set_len(0)?;
        process.stdin.write_all(&line)
    }

    fn hear(&mut self) -> io::Result<Heard> {
        let mut seen = self.progress();
        let (mut since, mut used) = (Instant::now(), self.processor_seconds());
        loop {
            let process = self.process.as_mut().expect("a job was sent");
            match process.replies.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => return Ok(Heard::Reply(serde_json::from_str(&line?)?)),
                Err(RecvTimeoutError::Disconnected) => {
                    return Ok(Heard::Died(process.child.wait()?));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.interrupted.load(Ordering::Relaxed) {
                return Ok(Heard::Interrupted);
            }
            let now = self.progress();
            if now != seen {
                (seen, since, used) = (now, Instant::now(), self.processor_seconds());
            } else if self.processor_seconds() - used > SPIN_SECONDS as f64
                || since.elapsed() > Duration::from_secs(BLOCKED_SECONDS)
            {
                return Ok(Heard::Spun);
            }
        }
    }

    /// What the worker said last that it does: seed, step, task.
    fn progress(&self) -> Option<(u64, u64, String)> {
        let path = self.process.as_ref()?.progress.path();
        let line = std::fs::read_to_string(path).ok()?;
        let mut words = line.trim_end().splitn(3, ' ');
        let seed = words.next()?.parse().ok()?;
        let step = words.next()?.parse().ok()?;
        Some((seed, step, words.next().unwrap_or("").to_owned()))
    }

    /// Processor time that the worker has used; 0 where `/proc` does not tell.
    fn processor_seconds(&self) -> f64 {
        let pid = self
            .process
            .as_ref()
            .map_or(0, |process| process.child.id());
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Behind the name, which may hold anything but is in parentheses: fields 14 and 15 of
        // proc(5), user and system time in clock ticks.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let ticks: u64 = fields
            .split(' ')
            .skip(12)
            .take(2)
            .filter_map(|n| n.parse::<u64>().ok())
            .sum();
        ticks as f64 / rustix::param::clock_ticks_per_second() as f64
    }

    /// Ends the worker; the next job starts another.
    fn end(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have died already; either way it is gone then.
            drop(process.child.kill());
            drop(process.child.wait());
        }
    }

    /// The result of a run that its process did not survive, from what is left of it.
    fn post_mortem(&mut self, order: Order<'_>, heard: &Heard, log: &str) -> Ran {
        let task = self
            .progress()
            .map(|(_, _, task)| task)
            .filter(|task| !task.is_empty());
        self.end();
        let mut answers = Vec::new();
        let mut panics = Vec::new();
        for line in log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
        {
            match line {
                LogLine::Count(path, count) => answers.push((path, Value::Count(count))),
                LogLine::Word(path, word) => answers.push((path, Value::Word(word))),
                LogLine::Panic(site, message) => panics.push(Panic { site, message }),
            }
        }
        let finding = match heard {
            Heard::Spun => spun(task.as_deref(), SPIN_SECONDS),
            Heard::Died(status) => match (panics.is_empty(), status.signal()) {
                (false, _) => aborted(&panics),
                (true, Some(signal)) => killed(&signal_name(signal), task.as_deref()),
                (true, None) => killed(&status.to_string(), task.as_deref()),
            },
            Heard::Reply(_) | Heard::Interrupted => unreachable!("the process is alive"),
        };
        Ran {
            report: RunReport::died(order.plan, order.seed, vec![finding]),
            plan: recorded(
                order.plan,
                answers.iter().map(|(path, value)| (path.as_str(), value)),
            ),
            trace: Vec::new(),
        }
    }
}

impl Harness for Isolated {
    fn run(&mut self, order: Order<'_>) -> io::Result<Ran> {
        let log = tempfile::NamedTempFile::new()?;
        self.send(&Job::Run {
            plan: order.plan.to_string(),
            seed: order.seed.map(|seed| seed.0),
            trace: order.trace,
            log: log.path().to_string_lossy().into_owned(),
        })?;
        match self.hear()? {
            Heard::Reply(Reply::Ran {
                report,
                plan,
                trace,
            }) => {
                let vocabulary = |name: &str| find(&self.scenarios, name).map(vocabulary);
                let plan = Plan::read(&plan, vocabulary).map_err(io::Error::other)?;
                Ok(Ran {
                    report: *report,
                    plan,
                    trace,
                })
            }
            Heard::Reply(other) => Err(unexpected(&other)),
            Heard::Interrupted => {
                self.end();
                Err(io::ErrorKind::Interrupted.into())
            }
            heard @ (Heard::Died(_) | Heard::Spun) => {
                if matches!(heard, Heard::Spun)
                    && let Some(process) = &mut self.process
                {
                    process.child.kill()?;
                }
                let log = std::fs::read_to_string(log.path())?;
                Ok(self.post_mortem(order, &heard, &log))
            }
        }
    }

    fn seeds(
        &mut self,
        plan: &Plan,
        from: u64,
        to: u64,
        seen: &mut dyn FnMut(SeedReport),
    ) -> io::Result<SeedsEnd> {
        self.send(&Job::Seeds {
            plan: plan.to_string(),
            from,
            to,
        })?;
        loop {
            match self.hear()? {
                Heard::Reply(Reply::Seed(report)) => seen(*report),
                Heard::Reply(Reply::Done { grown_bytes }) => {
                    if grown_bytes > GROWTH_BYTES_MAX {
                        self.end();
                    }
                    return Ok(SeedsEnd {
                        run: to - from,
                        ..SeedsEnd::default()
                    });
                }
                Heard::Reply(other) => return Err(unexpected(&other)),
                Heard::Interrupted => {
                    // The seed under way is not counted: it was not seen to its end.
                    let run = self
                        .progress()
                        .map_or(0, |(seed, ..)| seed.saturating_sub(from));
                    self.end();
                    return Ok(SeedsEnd {
                        run,
                        fatal: None,
                        interrupted: true,
                    });
                }
                Heard::Died(_) | Heard::Spun => {
                    let seed = self
                        .progress()
                        .map_or(from, |(seed, ..)| seed.clamp(from, to - 1));
                    self.end();
                    return Ok(SeedsEnd {
                        run: seed - from + 1,
                        fatal: Some(seed),
                        interrupted: false,
                    });
                }
            }
        }
    }
}

impl Drop for Isolated {
    fn drop(&mut self) {
        self.end();
    }
}

fn unexpected(reply: &Reply) -> io::Error {
    match reply {
        Reply::Refused { why } => io::Error::other(why.clone()),
        other => io::Error::other(format!("a worker answered out of turn: {other:?}")),
    }
}

fn signal_name(signal: i32) -> String {
    match signal {
        6 => "SIGABRT".to_owned(),
        9 => "SIGKILL".to_owned(),
        11 => "SIGSEGV".to_owned(),
        other => format!("signal {other}"),
    }
}
