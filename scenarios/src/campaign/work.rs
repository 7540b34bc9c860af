//! The seeds of a campaign: taken by several threads, grouped by what they come to.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use dismantle_sim::{Plan, Seed};

use super::{Campaign, Group, OverUnix, Progress, Shrinking, file_name};
use crate::check::{Class, Finding, nondeterministic};
use crate::file;
use crate::growth;
use crate::harness::{Fatal, Harness, Order, Ran, SeedReport, Seeds};
use crate::reached::Reached;
use crate::scenario::Scenario;
use crate::shrink::Size;

/// Seeds of one job: few enough for an even end, many enough to cost nothing.
const CHUNK_SEEDS: u64 = 64;

/// Of every so many chunks of a scenario the first seed is run again in another process: one seed
/// in 256, which costs half a percent.
const SAMPLED_CHUNKS: u64 = 4;

/// What is known so far, of all threads.
#[derive(Default)]
pub struct State {
    pub groups: BTreeMap<String, Group>,
    /// By signature, whether or not its plan is kept already: seeds, and the smallest of them.
    pub counts: BTreeMap<String, (u64, u64)>,
    /// Kinds of runs that stood out whose growth was looked at.
    pub examined: BTreeSet<String>,
    /// Runs that stood out, by scenario and gauge.
    pub suspects: BTreeMap<String, u64>,
    pub limited: BTreeMap<String, u64>,
    pub seeds: u64,
    pub deaths: u64,
    pub killed: u64,
    pub sampled: u64,
    pub reached: Reached,
    pub last_new_finding: Option<u64>,
    pub last_newly_reached: Option<u64>,
    pub error: Option<io::Error>,
    pub interrupted: bool,
}

/// Whose turn it is.
#[derive(Default)]
pub struct Next {
    /// The scenario's place.
    pub place: usize,
    /// Chunks that it has had in a row.
    pub turn: u32,
    /// By scenario: how far from the first seed it has come.
    pub offsets: Vec<u64>,
}

/// Where one thread's runs happen.
struct Hands {
    first: Box<dyn Harness>,
    /// Another process, for what has to come out the same there.
    second: Box<dyn Harness>,
}

/// A chunk of seeds.
struct Chunk<'a> {
    scenario: &'static dyn Scenario,
    plan: &'a Plan,
    from: u64,
    to: u64,
    sample: Option<u64>,
}

/// What the threads of a campaign share.
pub struct Shared<'a> {
    pub campaign: &'a Campaign<'a>,
    pub state: Mutex<State>,
    pub next: Mutex<Next>,
    pub started: Instant,
    pub told: &'a (dyn Fn(Progress<'_>) + Sync),
}

impl Shared<'_> {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn over(&self) -> bool {
        let campaign = self.campaign;
        campaign.interrupted.load(Ordering::Relaxed)
            || campaign
                .time
                .is_some_and(|time| self.started.elapsed() >= time)
            || self.lock().error.is_some()
    }

    /// Takes chunks of seeds, scenario by scenario, until there are none or time is up.
    pub fn work(&self) -> io::Result<()> {
        let campaign = self.campaign;
        let mut hands = Hands {
            first: (campaign.harness)(),
            second: (campaign.harness)(),
        };
        while !self.over() {
            let Some(chunk) = self.next_chunk() else {
                break;
            };
            self.chunk(&mut hands, chunk)?;
        }
        let cut_short = campaign.interrupted.load(Ordering::Relaxed);
        self.lock().interrupted |= cut_short;
        Ok(())
    }

    /// The next scenario's place and seeds: round and round, each by its weight.
    fn next_chunk(&self) -> Option<Chunk<'_>> {
        let campaign = self.campaign;
        let end = campaign.to.unwrap_or(u64::MAX);
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..campaign.plans.len() {
            let place = next.place;
            let offset = next.offsets[place];
            next.turn += 1;
            if next.turn >= campaign.plans[place].0.weight() {
                (next.turn, next.place) = (0, (place + 1) % campaign.plans.len());
            }
            let from = campaign.from.checked_add(offset).filter(|from| *from < end);
            if let Some(from) = from {
                let to = from.saturating_add(CHUNK_SEEDS).min(end);
                next.offsets[place] = offset + CHUNK_SEEDS;
                let (scenario, plan) = &campaign.plans[place];
                let is_sampled = (offset / CHUNK_SEEDS).is_multiple_of(SAMPLED_CHUNKS);
                return Some(Chunk {
                    scenario: *scenario,
                    plan,
                    from,
                    to,
                    sample: is_sampled.then_some(from),
                });
            }
            (next.turn, next.place) = (0, (place + 1) % campaign.plans.len());
        }
        None
    }

    fn chunk(&self, hands: &mut Hands, mut chunk: Chunk<'_>) -> io::Result<()> {
        while chunk.from < chunk.to && !self.over() {
            let seeds = Seeds {
                plan: chunk.plan,
                from: chunk.from,
                to: chunk.to,
                sample: chunk.sample,
            };
            let mut reports = Vec::new();
            let end = hands
                .first
                .seeds(&seeds, &mut |report| reports.push(report))?;
            chunk.from += end.run;
            self.ran(end.run);
            for report in reports {
                self.look(hands, &chunk, report)?;
            }
            if end.interrupted {
                return Ok(());
            }
            if let Some((seed, fatal)) = end.fatal {
                let is_run = self.autopsy(hands, &chunk, seed, fatal)?;
                if fatal == Fatal::Killed && is_run {
                    chunk.from += 1;
                    self.ran(1);
                }
            }
        }
        Ok(())
    }

    /// So many seeds more were run.
    fn ran(&self, seeds: u64) {
        let mut state = self.lock();
        state.seeds += seeds;
        (self.told)(Progress::Seeds(state.seeds));
    }

    /// A seed that failed, was limited or went deep, or is a sample.
    fn look(&self, hands: &mut Hands, chunk: &Chunk<'_>, report: SeedReport) -> io::Result<()> {
        let seed = report.seed;
        let Some(finding) = report.findings.first() else {
            if let Some(limit) = report.limited {
                *self.lock().limited.entry(limit).or_default() += 1;
            }
            if let Some(digest) = &report.digest {
                self.sample(hands, chunk.plan, seed, digest)?;
            }
            if let Some(suspect) = report.suspect {
                self.examine(hands, chunk, seed, &suspect)?;
            }
            return Ok(());
        };
        if self.count(&finding.signature, seed, report.steps) {
            let Some(ran) = rerun(hands.first.as_mut(), chunk.plan, seed)? else {
                return Ok(());
            };
            self.keep(hands, finding.clone(), seed, report.steps, ran)?;
        }
        Ok(())
    }

    /// Runs a seed in another process, where it has to come to the same.
    fn sample(&self, hands: &mut Hands, plan: &Plan, seed: u64, digest: &str) -> io::Result<()> {
        let order = Order {
            seed: Some(Seed(seed)),
            reached: true,
            ..Order::of(plan)
        };
        let Some(ran) = unless_interrupted(hands.second.run(order))? else {
            return Ok(());
        };
        let again = &ran.report.digest;
        if digest == again {
            let mut state = self.lock();
            state.sampled += 1;
            if state.reached.add(ran.reached) {
                state.last_newly_reached = Some(state.seeds);
            }
            return Ok(());
        }
        let detail = format!("seed {seed} gave {digest} in one process and {again} in another");
        self.differs(detail, seed, &ran)
    }

    fn differs(&self, detail: String, seed: u64, ran: &Ran) -> io::Result<()> {
        let finding = nondeterministic(detail);
        self.count(&finding.signature, seed, u64::MAX);
        self.insert(finding, seed, ran.report.steps, ran)
    }

    /// Counts one more seed of a signature; whether its plan should be looked at.
    fn count(&self, signature: &str, seed: u64, steps: u64) -> bool {
        let mut state = self.lock();
        let (count, smallest) = state
            .counts
            .entry(signature.to_owned())
            .or_insert((0, seed));
        *count += 1;
        *smallest = seed.min(*smallest);
        match state.groups.get(signature) {
            None => true,
            // Only a much shorter run is worth the price of recording it.
            Some(group) => steps < group.steps / 2,
        }
    }

    /// A seed that took its worker along: runs it again, alone, to learn how. Returns whether it
    /// was.
    fn autopsy(
        &self,
        hands: &mut Hands,
        chunk: &Chunk<'_>,
        seed: u64,
        fatal: Fatal,
    ) -> io::Result<bool> {
        {
            let mut state = self.lock();
            match fatal {
                Fatal::Killed => state.killed += 1,
                Fatal::Died | Fatal::Spun => state.deaths += 1,
            }
        }
        let Some(ran) = rerun(hands.first.as_mut(), chunk.plan, seed)? else {
            return Ok(false);
        };
        let died = ran.report.finding().filter(|_| ran.report.died());
        let Some(finding) = died.cloned() else {
            if fatal == Fatal::Died {
                let detail = format!("seed {seed} ended its process, and then it did not");
                self.differs(detail, seed, &ran)?;
            } else {
                // Killed from outside, or slow and not stuck: it has only now been run.
                let report = SeedReport::of_run(seed, &ran.report);
                self.look(hands, chunk, report)?;
            }
            return Ok(true);
        };
        if self.count(&finding.signature, seed, u64::MAX) {
            let steps = ran.report.steps;
            match finding.class {
                // Seen twice already, at seconds or gigabytes each.
                Class::Spin | Class::Oom => self.insert(finding, seed, steps, &ran)?,
                _ => self.keep(hands, finding, seed, steps, ran)?,
            }
        }
        Ok(true)
    }

    /// Asks a run that stood out for its law of growth, once for each kind of program.
    fn examine(
        &self,
        hands: &mut Hands,
        chunk: &Chunk<'_>,
        seed: u64,
        suspect: &str,
    ) -> io::Result<()> {
        // To see what kind of program it was it has to be run again: the more there were of them,
        // the rarer that is worth it.
        let of_gauge = format!("{} {suspect}", chunk.scenario.name());
        let nth = {
            let mut state = self.lock();
            let nth = state.suspects.entry(of_gauge.clone()).or_default();
            *nth += 1;
            *nth
        };
        if !nth.is_power_of_two() {
            return Ok(());
        }
        let Some(ran) = rerun(hands.first.as_mut(), chunk.plan, seed)? else {
            return Ok(());
        };
        let kinds: BTreeSet<String> = ran
            .plan
            .answers()
            .filter(|(name, _)| name.ends_with(".chain") || name.ends_with(".method"))
            .map(|(_, value)| value.to_string())
            .collect();
        let chained = kinds.contains("chained");
        let kind = format!("{of_gauge} {chained}");
        if !self.lock().examined.insert(kind) {
            return Ok(());
        }
        let harness = hands.first.as_mut();
        let found = growth::findings(harness, chunk.scenario, &ran.plan, suspect);
        let Some(found) = unless_interrupted(found)? else {
            return Ok(());
        };
        // A seed counts for its principal finding only, as everywhere.
        if let Some(finding) = found.into_iter().next()
            && self.count(&finding.signature, seed, u64::MAX)
        {
            self.insert(finding, seed, ran.report.steps, &ran)?;
        }
        Ok(())
    }

    /// Keeps a finding if its plan, run alone in another process, gives it again.
    fn keep(
        &self,
        hands: &mut Hands,
        finding: Finding,
        seed: u64,
        steps: u64,
        ran: Ran,
    ) -> io::Result<()> {
        let first = &finding.signature;
        if ran.report.signature.as_ref() != Some(first) {
            let detail = format!("seed {seed} gave `{first}`, and then something else");
            return self.differs(detail, seed, &ran);
        }
        let again = hands.second.run(Order::of(&ran.plan));
        let Some(Ran { report: again, .. }) = unless_interrupted(again)? else {
            return Ok(());
        };
        if (&again.signature, &again.digest) != (&ran.report.signature, &ran.report.digest) {
            let detail = format!("seed {seed} gave `{first}`, and its plan something else");
            return self.differs(detail, seed, &ran);
        }
        self.insert(finding, seed, steps, &ran)
    }

    fn insert(&self, finding: Finding, seed: u64, steps: u64, ran: &Ran) -> io::Result<()> {
        let mut state = self.lock();
        let signature = finding.signature.clone();
        let before = state.groups.get(&signature);
        let answers = ran.plan.len();
        if before.is_some_and(|group| (group.answers, group.first_seed) <= (answers, seed)) {
            return Ok(());
        }
        let is_new = before.is_none();
        let mut finding = finding;
        let mut plan = ran.plan.clone();
        let path = self.campaign.out.join(file_name(&finding, &plan));
        plan.signature = Some(signature.clone());
        // A sweep has said already where its plan comes from.
        let scenario = plan.scenario();
        plan.note
            .get_or_insert_with(|| format!("{scenario} seed {seed}, {}", ran.report.upstream));
        file::write(&path, &plan.to_string())?;
        self.campaign.known.judge(scenario, &mut finding);
        let group = Group {
            kind: "finding",
            scenario: scenario.to_owned(),
            seed: seed.to_string(),
            count: 1,
            size: Size::of(&plan),
            shrunk: Shrinking::NotTried,
            replay: format!("{} replay {}", self.campaign.program, path.display()),
            plan: path,
            over_unix: OverUnix::NotTried,
            finding,
            kept: plan,
            steps,
            answers,
            first_seed: seed,
        };
        if is_new {
            state.last_new_finding = Some(state.seeds);
            (self.told)(Progress::New(&group));
        }
        state.groups.insert(signature, group);
        Ok(())
    }
}

/// Runs a seed by itself; `None` if that was interrupted.
fn rerun(harness: &mut dyn Harness, plan: &Plan, seed: u64) -> io::Result<Option<Ran>> {
    unless_interrupted(harness.run(Order {
        seed: Some(Seed(seed)),
        ..Order::of(plan)
    }))
}

pub fn unless_interrupted<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
        Err(error) => Err(error),
    }
}
