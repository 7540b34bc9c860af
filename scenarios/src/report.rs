//! The report of one run as users get it: the contract's JSON, and text for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use dismantle_sim::{
    ByPhase, Destroyed, Held, Name, Pending, Phase, Plan, Report, Seed, StackBytes,
};
use serde::{Deserialize, Serialize};

use crate::check::Finding;
use crate::harness::upstream;
use crate::over::Over;

/// The most entries of a list in a report; the counts beside them are exact.
const LIST_MAX: usize = 200;

/// How a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It came to rest and no check found anything.
    Clean,
    /// A check found something.
    Failed,
    /// A limit was reached, or an injected stall held it up for good.
    Limited,
}

impl Outcome {
    /// Its word in reports: `clean`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Failed => "failed",
            Self::Limited => "limited",
        }
    }
}

/// The report of one run. Fields may be added, never removed or renamed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunReport {
    /// `report`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The scenario.
    pub scenario: String,
    /// The seed, if one answered; a string, because JSON numbers lose 64-bit integers.
    pub seed: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// The principal finding's signature.
    pub signature: Option<String>,
    /// All findings, the principal one first.
    pub findings: Vec<Finding>,
    /// The hash of the trace, 16 hexadecimal digits; empty if the process died.
    pub digest: String,
    /// Polls of one task.
    pub steps: u64,
    /// Those of them before the teardown.
    #[serde(default)]
    pub drive_steps: u64,
    /// Those of them before the owner was done, and the healed phase began.
    #[serde(default)]
    pub owner_steps: u64,
    /// Bytes that each direction delivered before the healed phase, by its name.
    #[serde(default)]
    pub delivered_bytes: BTreeMap<String, u64>,
    /// The plan counts steps or bytes of this build: another one may do other things.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub this_build_only: bool,
    /// The release that the plan was recorded with, if it says so.
    #[serde(default)]
    pub recorded_with: Option<String>,
    /// Answers of the plan that may mean another moment to another release: what counts steps, or
    /// messages that a release sends by itself.
    #[serde(default)]
    pub moving: Vec<String>,
    /// Virtual time at the end.
    pub time_us: u64,
    /// High-water marks of the stack; null where not measured.
    pub stack_bytes: Stack,
    /// Bytes of the run's heap; null where not measured.
    #[serde(default)]
    pub heap_bytes: Heap,
    /// Blocks of the heap that were allocated, by phase; null where not measured.
    #[serde(default)]
    pub allocations: Phases,
    /// Steps by phase.
    #[serde(default)]
    pub polls: Phases,
    /// The greatest number of destructions nested in one another.
    pub drop_depth: u32,
    /// Who was destroyed, in order; at most 200.
    pub destroyed: Vec<String>,
    /// How many were.
    pub destroyed_count: u64,
    /// Who was not; at most 200.
    pub never_destroyed: Vec<String>,
    /// How many were not.
    pub never_destroyed_count: u64,
    /// The destruction order as a forest; at most 200.
    pub destruction: Vec<Destruction>,
    /// The limit that was reached: `steps` or `seconds`.
    pub limit: Option<String>,
    /// Tasks still pending at the end; at most 200.
    pub pending: Vec<Wait>,
    /// Injected faults that never let go.
    pub held: Vec<Hold>,
    /// The run's own code made a cycle; hangs and leaks were not judged.
    pub own_cycle: bool,
    /// Answers of the plan that the run never asked for; at most 200.
    pub never_asked: Vec<String>,
    /// What carried the bytes.
    pub over: Over,
    /// Answers of the plan that could not be followed over that; at most 200.
    pub ignored: Vec<String>,
    /// The version of capnp-rpc under test.
    pub upstream: String,
}

/// Bytes of stack by phase.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Stack {
    /// While both ends were made.
    pub build: Option<u64>,
    /// While the workload ran.
    pub drive: Option<u64>,
    /// While everything was taken apart.
    pub teardown: Option<u64>,
    /// In the owner's own teardown actions, polls apart; with a trace only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teardown_actions: Option<u64>,
}

/// Bytes of the run's heap: the most that lived at once, and what was never given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Heap {
    /// While both ends were made.
    pub build: Option<u64>,
    /// While the workload ran.
    pub drive: Option<u64>,
    /// While everything was taken apart.
    pub teardown: Option<u64>,
    /// In the whole run.
    pub peak: Option<u64>,
    /// When the run's thread had ended.
    pub left: Option<u64>,
}

/// A figure by phase.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Phases {
    /// While both ends were made.
    pub build: Option<u64>,
    /// While the workload ran.
    pub drive: Option<u64>,
    /// While everything was taken apart.
    pub teardown: Option<u64>,
}

/// One destruction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Destruction {
    /// Who.
    pub name: String,
    /// How many destructions it happened in.
    pub depth: u32,
    /// The task that was being polled; null for an action of the owner.
    pub task: Option<String>,
    /// `build`, `drive` or `teardown`.
    pub phase: String,
    /// The step.
    pub step: u64,
    /// Whether it happened inside the call of a waker that says so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_wake: bool,
}

/// A task that had not ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Wait {
    /// The task.
    pub task: String,
    /// What it waits for.
    pub waits_for: String,
    /// The step of its last poll.
    pub since_step: u64,
    /// Whether its end was promised.
    pub must_end: bool,
}

/// An injected fault that held the run up.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hold {
    /// The pipe.
    pub by: String,
    /// The fault.
    pub fault: String,
    /// Bytes kept back.
    pub backlog_bytes: u64,
}

impl RunReport {
    /// The report of a run that came back.
    pub fn new(plan: &Plan, seed: Option<Seed>, report: &Report, findings: Vec<Finding>) -> Self {
        let outcome = match findings.first() {
            Some(_) => Outcome::Failed,
            None if report.limit.is_some() || !report.held.is_empty() => Outcome::Limited,
            None => Outcome::Clean,
        };
        let never = &report.never_destroyed;
        Self {
            outcome,
            digest: report.digest.to_string(),
            steps: report.steps,
            drive_steps: report.drive_steps,
            owner_steps: report.owner_steps,
            delivered_bytes: {
                let carried = report.carried.iter();
                let pipes = carried.filter(|(by, _)| by.owner() == "pipe");
                pipes
                    .map(|(by, bytes)| (by.kind().to_owned(), *bytes))
                    .collect()
            },
            time_us: report.time_us,
            stack_bytes: Stack::of(&report.stack_bytes),
            heap_bytes: Heap::of(report),
            allocations: Phases::of(&report.allocations),
            polls: Phases::of(&report.polls),
            drop_depth: report.drop_depth,
            destroyed: capped(&report.destroyed, |destroyed| destroyed.name.to_string()),
            destroyed_count: report.destroyed_count,
            never_destroyed: never.keys().take(LIST_MAX).map(Name::to_string).collect(),
            never_destroyed_count: never.values().copied().map(u64::from).sum(),
            destruction: capped(&report.destroyed, Destruction::of),
            limit: report.limit.map(|limit| limit.word().to_owned()),
            pending: capped(&report.pending, Wait::of),
            held: capped(&report.held, Hold::of),
            own_cycle: report.own_cycle,
            never_asked: capped(&report.never_asked, String::clone),
            ignored: capped(&report.ignored, String::clone),
            ..Self::of_dead(plan, seed, findings)
        }
    }

    /// The report of a run that took its process with it.
    pub fn of_dead(plan: &Plan, seed: Option<Seed>, findings: Vec<Finding>) -> Self {
        Self {
            kind: "report".to_owned(),
            scenario: plan.scenario().to_owned(),
            seed: seed.map(|seed| seed.to_string()),
            outcome: Outcome::Failed,
            signature: findings.first().map(|finding| finding.signature.clone()),
            findings,
            digest: String::new(),
            steps: 0,
            drive_steps: 0,
            owner_steps: 0,
            delivered_bytes: BTreeMap::new(),
            this_build_only: plan.this_build_only(),
            time_us: 0,
            stack_bytes: Stack::default(),
            heap_bytes: Heap::default(),
            allocations: Phases::default(),
            polls: Phases::default(),
            drop_depth: 0,
            destroyed: Vec::new(),
            destroyed_count: 0,
            never_destroyed: Vec::new(),
            never_destroyed_count: 0,
            destruction: Vec::new(),
            limit: None,
            pending: Vec::new(),
            held: Vec::new(),
            own_cycle: false,
            never_asked: Vec::new(),
            over: Over::Pipe,
            ignored: Vec::new(),
            upstream: upstream(),
            recorded_with: plan.upstream.clone(),
            moving: plan.moving().collect(),
        }
    }

    /// Whether the run took its process with it.
    pub fn died(&self) -> bool {
        self.digest.is_empty()
    }

    /// The release that the plan was recorded with, if it was another one.
    pub fn recorded_elsewhere(&self) -> Option<&str> {
        let recorded_with = self.recorded_with.as_deref();
        recorded_with.filter(|recorded_with| *recorded_with != self.upstream)
    }

    /// Adds what further runs have shown.
    pub fn add(&mut self, findings: Vec<Finding>) {
        self.findings.extend(findings);
        self.findings.sort_by_key(|finding| finding.class);
        self.signature = self
            .findings
            .first()
            .map(|finding| finding.signature.clone());
        if !self.findings.is_empty() {
            self.outcome = Outcome::Failed;
        }
    }

    /// The principal finding.
    pub fn finding(&self) -> Option<&Finding> {
        self.findings.first()
    }

    /// The report for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("a String takes all writes");
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let outcome = match self.outcome {
            Outcome::Clean => "clean",
            Outcome::Failed => "FAILED",
            Outcome::Limited => "limited",
        };
        let seed = self
            .seed
            .as_ref()
            .map_or_else(String::new, |seed| format!(", seed {seed}"));
        let over = match self.over {
            Over::Pipe => "",
            Over::Unix => ", over a Unix socketpair",
        };
        writeln!(
            text,
            "{}{seed}: {outcome} ({}{over})",
            self.scenario, self.upstream
        )?;
        for finding in &self.findings {
            writeln!(text, "  {}", finding.signature)?;
            if !finding.signature.ends_with(&finding.detail) {
                writeln!(text, "      {}", finding.detail)?;
            }
            writeln!(text, "      {}", finding.judged.text())?;
        }
        if self.this_build_only {
            writeln!(
                text,
                "  this build only: the plan counts steps or bytes, which others have more or fewer of"
            )?;
        }
        if let Some(recorded_with) = self.recorded_elsewhere() {
            writeln!(text, "  the plan was recorded with {recorded_with}")?;
            if !self.moving.is_empty() {
                writeln!(
                    text,
                    "  what counts steps or messages may mean another moment here: {}",
                    self.moving.join(", ")
                )?;
            }
        }
        if let Some(limit) = &self.limit {
            writeln!(text, "  the limit of {limit} was reached")?;
        }
        for hold in &self.held {
            let Hold {
                by,
                fault,
                backlog_bytes,
            } = hold;
            writeln!(
                text,
                "  {by}: injected {fault} keeps back {backlog_bytes} bytes"
            )?;
        }
        if self.died() {
            return writeln!(text, "  the process died: nothing else was measured");
        }
        let bytes = |bytes: Option<u64>| {
            bytes.map_or_else(|| "not measured".to_owned(), |bytes| format!("{bytes} B"))
        };
        let Stack {
            build,
            drive,
            teardown,
            teardown_actions,
        } = self.stack_bytes;
        writeln!(text, "digest      {}", self.digest)?;
        writeln!(
            text,
            "steps       {} in {} us of virtual time",
            self.steps, self.time_us
        )?;
        writeln!(
            text,
            "stack       build {}, drive {}, teardown {}",
            bytes(build),
            bytes(drive),
            bytes(teardown)
        )?;
        if teardown_actions.is_some() {
            writeln!(
                text,
                "            of the owner's teardown actions {}",
                bytes(teardown_actions)
            )?;
        }
        match self.heap_bytes {
            Heap {
                peak: Some(peak),
                left: Some(left),
                ..
            } => writeln!(text, "heap        at most {peak} B at once, {left} B left")?,
            _ => writeln!(text, "heap        not measured")?,
        }
        writeln!(text, "drop depth  {}", self.drop_depth)?;
        writeln!(text, "destroyed   {}", self.destroyed_count)?;
        let mut cause = String::new();
        for destruction in &self.destruction {
            let by = destruction
                .task
                .as_ref()
                .map_or("the owner", String::as_str);
            let now = format!("{}, step {}, by {by}", destruction.phase, destruction.step);
            if destruction.depth == 0 && now != cause {
                writeln!(text, "  {now}")?;
                cause = now;
            }
            let indent = 2 * destruction.depth as usize;
            writeln!(text, "    {:indent$}{}", "", destruction.name)?;
        }
        let hidden = self.destroyed_count - self.destruction.len() as u64;
        if hidden > 0 {
            writeln!(text, "    and {hidden} more")?;
        }
        if self.never_destroyed_count > 0 {
            writeln!(text, "never destroyed  {}", self.never_destroyed_count)?;
            for name in &self.never_destroyed {
                writeln!(text, "    {name}")?;
            }
        }
        if !self.never_asked.is_empty() {
            writeln!(text, "never asked: {}", self.never_asked.join(", "))?;
        }
        if !self.ignored.is_empty() {
            let ignored = self.ignored.join(", ");
            writeln!(text, "cannot be done over a socket: {ignored}")?;
        }
        if self.own_cycle {
            writeln!(
                text,
                "the run's own code made a cycle: hangs and leaks are not judged"
            )?;
        }
        let pending = self.pending.iter().filter(|wait| wait.must_end).peekable();
        for wait in pending {
            let Wait {
                task,
                waits_for,
                since_step,
                ..
            } = wait;
            writeln!(
                text,
                "pending     {task} waits for {waits_for} since step {since_step}"
            )?;
        }
        Ok(())
    }
}

impl Stack {
    /// The marks that a run measured.
    pub fn of(stack: &StackBytes) -> Self {
        Self {
            build: stack.build,
            drive: stack.drive,
            teardown: stack.teardown,
            teardown_actions: stack.teardown_actions,
        }
    }

    /// The mark of one phase.
    pub fn phase(&self, phase: Phase) -> Option<u64> {
        match phase {
            Phase::Build => self.build,
            Phase::Drive => self.drive,
            Phase::Teardown => self.teardown,
        }
    }
}

impl Heap {
    fn of(report: &Report) -> Self {
        let ByPhase {
            build,
            drive,
            teardown,
        } = report.heap_bytes;
        Self {
            build,
            drive,
            teardown,
            peak: build.max(drive).max(teardown),
            left: report.left.as_ref().map(|left| left.bytes),
        }
    }
}

impl Heap {
    /// The mark of one phase.
    pub fn phase(&self, phase: Phase) -> Option<u64> {
        match phase {
            Phase::Build => self.build,
            Phase::Drive => self.drive,
            Phase::Teardown => self.teardown,
        }
    }
}

impl Phases {
    /// The figure of one phase.
    pub fn phase(&self, phase: Phase) -> Option<u64> {
        match phase {
            Phase::Build => self.build,
            Phase::Drive => self.drive,
            Phase::Teardown => self.teardown,
        }
    }

    /// The figures of a run.
    pub fn of(figures: &ByPhase) -> Self {
        Self {
            build: figures.build,
            drive: figures.drive,
            teardown: figures.teardown,
        }
    }
}

impl Destruction {
    fn of(destroyed: &Destroyed) -> Self {
        Self {
            name: destroyed.name.to_string(),
            depth: destroyed.depth,
            task: destroyed.task.map(|task| task.to_string()),
            phase: phase_word(destroyed.phase).to_owned(),
            step: destroyed.step,
            in_wake: destroyed.in_wake,
        }
    }
}

impl Wait {
    fn of(pending: &Pending) -> Self {
        let on = pending.on.map_or_else(String::new, |on| format!(" {on}"));
        Self {
            task: pending.task.to_string(),
            waits_for: format!("{}{on}", pending.waits_for),
            since_step: pending.since_step,
            must_end: pending.must_end,
        }
    }
}

impl Hold {
    fn of(held: &Held) -> Self {
        Self {
            by: held.by.to_string(),
            fault: held.fault.to_owned(),
            backlog_bytes: held.count,
        }
    }
}

/// The phases, in their order.
pub const PHASES: [Phase; 3] = [Phase::Build, Phase::Drive, Phase::Teardown];

/// The word for a phase, as in JSON.
pub fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Build => "build",
        Phase::Drive => "drive",
        Phase::Teardown => "teardown",
    }
}

fn capped<T, U>(list: &[T], convert: impl Fn(&T) -> U) -> Vec<U> {
    list.iter().take(LIST_MAX).map(convert).collect()
}
