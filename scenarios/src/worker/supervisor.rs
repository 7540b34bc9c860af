//! The supervisor's side: a harness whose runs happen in a worker that may die of them.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use dismantle_sim::{Plan, Probe};
use rustix::process::Signal;

use super::log::Read as Log;
use super::process::{Heard, Process};
use super::{Allowance, Job, Places, Reply, Wanted};
use crate::harness::{Fatal, Harness, Notes, Order, Ran, SeedReport, Seeds, SeedsEnd, scenario_of};
use crate::scenario::{Scenario, find, vocabulary};

/// A worker whose memory has grown by so much since its first job is replaced: runs that leak,
/// leak for good. With it, a campaign of 10,000 seeds peaks no higher than one of 1,000.
const GROWTH_BYTES_MAX: u64 = 3 << 20;

/// So many small workers in a row may be killed over one job.
const STARTS_MAX: usize = 20;

/// The signals that a run does not send itself: somebody else wanted the worker gone, or the
/// kernel its memory.
const FROM_OUTSIDE: [Signal; 4] = [Signal::KILL, Signal::TERM, Signal::HUP, Signal::INT];

/// Runs in a worker process, which is replaced when it dies.
///
/// A worker that is killed from outside costs nothing: what it was at is run again. If it had
/// taken much memory, and the second worker that has is killed over the same run, the run is out
/// of memory. Somebody who kills small workers makes no finding, unless they never stop.
pub struct Isolated {
    scenarios: Vec<&'static dyn Scenario>,
    interrupted: Arc<AtomicBool>,
    allowance: Allowance,
    process: Option<Process>,
    places: Places,
    /// The plan and the seed over which the last large worker was killed from outside.
    suspect: Option<(String, Option<u64>)>,
}

impl Isolated {
    /// For runs of these scenarios; a raised `interrupted` ends what is running.
    pub fn new(
        scenarios: Vec<&'static dyn Scenario>,
        interrupted: Arc<AtomicBool>,
        allowance: Allowance,
    ) -> Self {
        Self {
            scenarios,
            interrupted,
            allowance,
            process: None,
            places: Places::default(),
            suspect: None,
        }
    }

    /// Gives the job to a worker and waits for its first reply, or for its end. A worker that is
    /// killed before it begins is replaced.
    fn begin(&mut self, job: &Job) -> io::Result<Heard> {
        let mut starts = 0;
        loop {
            let process = match &mut self.process {
                Some(process) => process,
                none => none.insert(Process::start(self.allowance)?),
            };
            let heard = match process.send(job) {
                // Killed while it was idle: to be found out in the same way.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    process.hear(&self.interrupted)?
                }
                sent => {
                    sent?;
                    process.hear(&self.interrupted)?
                }
            };
            let Heard::Died(status) = &heard else {
                return Ok(heard);
            };
            if process.doing().is_some() {
                return Ok(heard);
            }
            starts += 1;
            let status = *status;
            let was_ready = process.was_ready();
            let remains = self.process.take().expect("it was started").end();
            if !(from_outside(status) || was_ready) || starts == STARTS_MAX {
                return Err(io::Error::other(format!(
                    "a worker could not start ({status}): {}",
                    remains.last_words()
                )));
            }
        }
    }

    fn hear(&mut self) -> io::Result<Heard> {
        let process = self.process.as_mut().expect("a job was begun");
        process.hear(&self.interrupted)
    }

    /// Ends the worker; the next job starts another.
    fn end(&mut self) {
        if let Some(process) = self.process.take() {
            process.end();
        }
    }

    fn replace_if_grown(&mut self, grown_bytes: u64) {
        if grown_bytes > GROWTH_BYTES_MAX {
            self.end();
        }
    }

    /// How a series ended that its worker did not see to the end. `reported` is the last seed
    /// that was heard of.
    fn cut_short(&mut self, seeds: &Seeds<'_>, heard: &Heard, reported: Option<u64>) -> SeedsEnd {
        let doing = self.process.as_ref().and_then(Process::doing);
        let is_large = self.process.as_ref().is_some_and(Process::is_large);
        self.end();
        // A seed that was reported is over, whether the worker came to say so or not.
        let seed = doing.map_or(seeds.from, |doing| doing.seed);
        let seed = reported.map_or(seed, |reported| seed.max(reported + 1));
        let before = seed - seeds.from;
        let fatal = match heard {
            Heard::Interrupted | Heard::Reply(_) => None,
            // The last seed is over, and only the reply is missing.
            _ if seed >= seeds.to => None,
            Heard::Spun => Some(Fatal::Spun),
            Heard::Died(status) if from_outside(*status) => {
                self.suspect = is_large.then(|| (seeds.plan.to_string(), Some(seed)));
                Some(Fatal::Killed)
            }
            Heard::Died(_) => Some(Fatal::Died),
        };
        SeedsEnd {
            run: match fatal {
                Some(Fatal::Died | Fatal::Spun) => before + 1,
                Some(Fatal::Killed) | None => before,
            },
            fatal: fatal.map(|fatal| (seed, fatal)),
            interrupted: matches!(heard, Heard::Interrupted),
        }
    }
}

impl Harness for Isolated {
    fn run(&mut self, order: Order<'_>) -> io::Result<Ran> {
        let scenario = scenario_of(order.plan, &self.scenarios)?;
        let job = Job::Run {
            plan: order.plan.to_string(),
            seed: order.seed.map(|seed| seed.0),
            trace: order.trace,
            prints: order.prints,
            reached: order.reached,
            over: order.over,
            script: order.script,
            wanted: Wanted::of(order.probe),
        };
        let this = (order.plan.to_string(), order.seed.map(|seed| seed.0));
        let mut kills = 0;
        loop {
            match self.begin(&job)? {
                Heard::Reply(Reply::Ran {
                    report,
                    plan,
                    reached,
                    left,
                    stack_depth,
                    grown_bytes,
                }) => {
                    let log = match (&self.process, order.trace || order.prints || order.script) {
                        (Some(process), true) => process.log(),
                        _ => Log::default(),
                    };
                    let notes = match &self.process {
                        Some(process) if order.probe != Probe::default() => process.notes(),
                        _ => Notes::default(),
                    };
                    self.replace_if_grown(grown_bytes);
                    self.suspect = None;
                    let vocabulary = |name: &str| find(&self.scenarios, name).map(vocabulary);
                    let plan = Plan::read(&plan, vocabulary).map_err(io::Error::other)?;
                    let mut ran = Ran {
                        report: *report,
                        plan,
                        trace: log.told,
                        said: if order.prints { log.said } else { Vec::new() },
                        reached,
                        left,
                        script: log.script,
                        stack_depth,
                        notes,
                    };
                    ran.name_left(|left| self.places.of(left));
                    return Ok(ran);
                }
                Heard::Reply(other) => return Err(unexpected(&other)),
                Heard::Interrupted => {
                    self.end();
                    return Err(io::ErrorKind::Interrupted.into());
                }
                Heard::Spun => {
                    let process = self.process.take().expect("it spins");
                    process.sample();
                    return Ok(process.end().spun(order, self.allowance).of(scenario));
                }
                Heard::Died(status) => {
                    let process = self.process.take().expect("it has died");
                    let is_large = process.is_large();
                    let remains = process.end();
                    if !from_outside(status) {
                        return Ok(remains.died(order, status, self.allowance).of(scenario));
                    }
                    kills += 1;
                    let again = is_large && self.suspect.as_ref() == Some(&this);
                    if again || kills == STARTS_MAX {
                        self.suspect = None;
                        return Ok(remains.killed(order, status).of(scenario));
                    }
                    if is_large {
                        self.suspect = Some(this.clone());
                    }
                }
            }
        }
    }

    fn seeds(
        &mut self,
        seeds: &Seeds<'_>,
        seen: &mut dyn FnMut(SeedReport),
    ) -> io::Result<SeedsEnd> {
        let mut heard = self.begin(&Job::Seeds {
            plan: seeds.plan.to_string(),
            from: seeds.from,
            to: seeds.to,
            sample: seeds.sample,
        })?;
        let mut reported = None;
        loop {
            match heard {
                Heard::Reply(Reply::Seed(mut report)) => {
                    reported = Some(report.seed);
                    report.name_left(|left| self.places.of(left));
                    seen(*report);
                }
                Heard::Reply(Reply::Done { grown_bytes }) => {
                    self.replace_if_grown(grown_bytes);
                    return Ok(SeedsEnd {
                        run: seeds.to - seeds.from,
                        ..SeedsEnd::default()
                    });
                }
                Heard::Reply(other) => return Err(unexpected(&other)),
                heard => return Ok(self.cut_short(seeds, &heard, reported)),
            }
            heard = self.hear()?;
        }
    }
}

impl Drop for Isolated {
    fn drop(&mut self) {
        self.end();
    }
}

fn from_outside(status: ExitStatus) -> bool {
    let of = |signal: i32| FROM_OUTSIDE.iter().any(|known| known.as_raw() == signal);
    status.signal().is_some_and(of)
}

fn unexpected(reply: &Reply) -> io::Error {
    match reply {
        Reply::Refused { why } => io::Error::other(why.clone()),
        other => io::Error::other(format!("a worker answered out of turn: {other:?}")),
    }
}
