//! What is left of a worker, and what it says about the run that the worker died of.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use dismantle_sim::{Fault, Kind};
use rustix::process::Signal;

use super::Allowance;
use super::log::Read;
use super::progress::Doing;
use super::symbols::{Function, Symbols, Walked, common, fold};
use crate::check::{Finding, Turn, aborted, killed, out_of_memory, overflowed, spun};
use crate::harness::{Notes, Order, Ran, recorded};
use crate::reached::Reached;
use crate::report::{Phases, RunReport};

/// What the standard library prints when an allocation fails, before it aborts
/// (`library/std/src/alloc.rs`, `default_alloc_error_hook`). There is no stable hook.
const NO_MEMORY: &str = "memory allocation of ";

/// A stack that is deeper than this and still grows, step by step, is about to overflow. A guess:
/// five times what the deepest run of a scenario within its work budget was seen to need.
const DEEP_BYTES: u64 = 256 << 20;

/// Functions that a finding names of a stack.
const FRAMES_SHOWN_MAX: usize = 10;

/// What is left of a worker.
pub(super) struct Remains {
    pub(super) doing: Option<Doing>,
    /// What the run gave away.
    pub(super) log: Read,
    /// The end of what it printed on standard error.
    pub(super) errors: String,
    pub(super) faults: Vec<Fault>,
    /// Its `/proc/self/maps`.
    pub(super) maps: String,
}

impl Remains {
    /// The result of a run that its process died of.
    pub(super) fn died(self, order: Order<'_>, status: ExitStatus, allowance: Allowance) -> Ran {
        let panics = &self.log.panics;
        let turn = self.turn();
        let fault = self.faults.iter().rfind(|fault| fault.is_fatal());
        let finding = if let Some(fault) = fault.filter(|fault| fault.kind == Kind::Overflow) {
            overflowed(&turn, &self.stack(fault))
        } else if let Some(line) = self.line(|line| line.starts_with(NO_MEMORY)) {
            let mib = allowance.memory_bytes >> 20;
            out_of_memory(&turn, &format!("{line} (the limit is {mib} MiB)"))
        } else if panics.is_empty() {
            let how = match status.signal() {
                Some(signal) => signal_name(signal),
                None => status.to_string(),
            };
            let frames = fault.and_then(|fault| {
                let symbols = Symbols::new(&self.maps)?;
                Some(top(&symbols, &symbols.walk(fault)))
            });
            killed(
                &how,
                &turn,
                frames.unwrap_or_else(|| self.last_words()).trim(),
            )
        } else {
            aborted(panics)
        };
        self.ran(order, finding)
    }

    /// The result of a run whose process was killed by somebody else, as those before it.
    pub(super) fn killed(self, order: Order<'_>, status: ExitStatus) -> Ran {
        let how = status.signal().map_or_else(String::new, signal_name);
        let why = format!(
            "one process after the other was ended from outside ({how}), as the kernel does"
        );
        let finding = out_of_memory(&self.turn(), &why);
        self.ran(order, finding)
    }

    /// The result of a run that did not come back; the faults are samples of where it was.
    pub(super) fn spun(self, order: Order<'_>, allowance: Allowance) -> Ran {
        let turn = self.turn();
        let samples = self.faults.iter();
        let samples: Vec<&Fault> = samples.filter(|f| f.kind == Kind::Sample).collect();
        let deeper = |pair: &[&Fault]| pair[0].depth_bytes < pair[1].depth_bytes;
        let finding = match samples.last() {
            // Only the machine was too slow to come to the end of the stack in time.
            Some(last) if last.depth_bytes > DEEP_BYTES && samples.windows(2).all(deeper) => {
                overflowed(&turn, &self.stack(last))
            }
            _ => {
                let symbols = Symbols::new(&self.maps);
                let frames = |symbols: &Symbols| {
                    let samples = samples.iter();
                    samples.map(|sample| symbols.frames(sample)).collect()
                };
                let samples: Vec<_> = symbols.as_ref().map(frames).unwrap_or_default();
                let common = common(&samples);
                let place = common.iter().find_map(Function::upstream);
                spun(&turn, allowance.spin, place.as_ref(), &shown(&common))
            }
        };
        self.ran(order, finding)
    }

    fn ran(self, order: Order<'_>, finding: Finding) -> Ran {
        let answers = self
            .log
            .answers
            .iter()
            .map(|(path, value)| (path.as_str(), value));
        Ran {
            report: RunReport {
                steps: self.doing.as_ref().map_or(0, |doing| doing.step),
                over: order.over,
                ..RunReport::of_dead(order.plan, order.seed, vec![finding])
            },
            plan: recorded(order.plan, answers),
            trace: self.log.told,
            said: self.log.said,
            reached: Reached::default(),
            left: Vec::new(),
            script: self.log.script,
            stack_depth: Phases::default(),
            notes: Notes::default(),
        }
    }

    /// The last line that the worker printed, if it did.
    pub(super) fn last_words(&self) -> String {
        let line = self.line(|line| !line.trim().is_empty());
        line.unwrap_or_default().to_owned()
    }

    /// The last line on standard error that is like this.
    fn line(&self, like: impl Fn(&str) -> bool) -> Option<&str> {
        self.errors.lines().rfind(|line| like(line))
    }

    fn turn(&self) -> Turn {
        Turn {
            phase: self
                .doing
                .as_ref()
                .map_or("build", |doing| doing.phase)
                .to_owned(),
            who: self.doing.as_ref().and_then(|doing| doing.who.clone()),
        }
    }

    /// A very deep stack, folded: `1023 MiB of stack: cycle of 7 frames, 656 B, x 1636000: …`.
    fn stack(&self, fault: &Fault) -> String {
        let mib = fault.depth_bytes >> 20;
        let Some(symbols) = Symbols::new(&self.maps) else {
            return format!("{mib} MiB of stack");
        };
        let walked = symbols.walk(fault);
        let Some(cycle) = fold(&walked) else {
            return format!("{mib} MiB of stack: {}", top(&symbols, &walked));
        };
        format!(
            "{mib} MiB of stack: cycle of {} frames, {} B, x {}: {}",
            cycle.length,
            cycle.bytes,
            fault.depth_bytes / cycle.bytes.max(1),
            top(&symbols, &walked[cycle.frames()]),
        )
    }
}

/// The innermost functions of these frames.
fn top(symbols: &Symbols, walked: &[Walked]) -> String {
    let walked = walked.iter().take(FRAMES_SHOWN_MAX);
    let functions = walked.flat_map(|frame| symbols.functions(frame));
    shown(&functions.collect::<Vec<_>>())
}

fn shown(functions: &[Function]) -> String {
    let first = functions.iter().take(FRAMES_SHOWN_MAX);
    let shown: Vec<String> = first.map(Function::shown).collect();
    shown.join(" < ")
}

fn signal_name(signal: i32) -> String {
    let known = [
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::ILL, "SIGILL"),
        (Signal::KILL, "SIGKILL"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::TRAP, "SIGTRAP"),
    ];
    let name = known.iter().find(|(known, _)| known.as_raw() == signal);
    name.map_or_else(
        || format!("signal {signal}"),
        |(_, name)| (*name).to_owned(),
    )
}
