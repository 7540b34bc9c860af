//! Campaigns: many seeds, on all cores, with every finding kept once.
//!
//! Findings are grouped by signature, never by seed. Each has one plan file, the smallest seen,
//! written when the finding is and replaced atomically; further seeds are only counted. A plan
//! is kept only after it was run again, alone, and gave the same signature and digest.

#![expect(
    clippy::disallowed_types,
    reason = "a campaign lasts for a time and says how many seeds a second it ran"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dismantle_sim::{Plan, Seed};
use serde::Serialize;

use crate::check::{Class, Finding};
use crate::growth;
use crate::harness::{Harness, Order, Ran, SeedReport};
use crate::scenario::Scenario;

/// Seeds of one job: few enough for an even end, many enough to cost nothing.
const CHUNK_SEEDS: u64 = 64;

/// What a campaign runs.
pub struct Campaign<'a> {
    /// The scenarios that are run, each with the answers given by hand.
    pub plans: Vec<(&'static dyn Scenario, Plan)>,
    /// The first seed; each scenario gets the same ones.
    pub from: u64,
    /// The seed to stop before, if not time does.
    pub to: Option<u64>,
    /// When to stop, if not a seed does.
    pub time: Option<Duration>,
    /// Workers.
    pub jobs: usize,
    /// Makes the place where one worker's runs happen.
    pub harness: &'a (dyn Fn() -> Box<dyn Harness> + Sync),
    /// The folder for plans.
    pub out: PathBuf,
    /// Raised by Ctrl-C.
    pub interrupted: Arc<AtomicBool>,
    /// How this program was called: the first word of replay lines.
    pub program: String,
}

/// All failures with one signature.
#[derive(Clone, Debug, Serialize)]
pub struct Group {
    /// `finding`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What is wrong.
    #[serde(flatten)]
    pub finding: Finding,
    /// The scenario of the kept plan.
    pub scenario: String,
    /// The smallest seed whose principal finding it is; the plan may come from another.
    pub seed: String,
    /// Seeds whose principal finding it is.
    pub count: u64,
    /// Whether it is in the list of known findings.
    pub known: bool,
    /// The plan file.
    pub plan: PathBuf,
    /// The line that replays it.
    pub replay: String,
    #[serde(skip)]
    steps: u64,
    #[serde(skip)]
    answers: usize,
    #[serde(skip)]
    first_seed: u64,
}

/// What a campaign came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// `summary`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Runs that were seen to their end, or to their process's.
    pub seeds: u64,
    /// Signatures.
    pub findings: usize,
    /// Those of them that are known.
    pub known: usize,
    /// Wall-clock time.
    pub seconds: f64,
    /// Runs a second.
    pub seeds_per_second: f64,
    /// Whether all that was asked for was run.
    pub complete: bool,
    /// The first seed.
    pub from: String,
    /// Runs that a limit or an injected stall ended, by what ended them.
    pub limited: BTreeMap<String, u64>,
    /// Runs that took their worker along.
    pub deaths: u64,
}

/// What a campaign found.
pub struct Outcome {
    /// Findings, most frequent first.
    pub groups: Vec<Group>,
    /// The rest.
    pub summary: Summary,
}

/// What is told while a campaign runs.
pub enum Progress<'a> {
    /// So many seeds are run in all.
    Seeds(u64),
    /// A finding with a new signature.
    New(&'a Group),
}

#[derive(Default)]
struct State {
    groups: BTreeMap<String, Group>,
    /// By signature, whether or not its plan is kept already: seeds, and the smallest of them.
    counts: BTreeMap<String, (u64, u64)>,
    /// Kinds of deep runs whose growth was looked at.
    examined: BTreeSet<String>,
    limited: BTreeMap<String, u64>,
    seeds: u64,
    deaths: u64,
    error: Option<io::Error>,
    interrupted: bool,
}

/// Whose turn it is.
#[derive(Default)]
struct Next {
    /// The scenario's place.
    place: usize,
    /// Chunks that it has had in a row.
    turn: u32,
    /// By scenario: how far from the first seed it has come.
    offsets: Vec<u64>,
}

struct Shared<'a> {
    campaign: &'a Campaign<'a>,
    state: Mutex<State>,
    next: Mutex<Next>,
    started: Instant,
    told: &'a (dyn Fn(Progress<'_>) + Sync),
}

impl Campaign<'_> {
    /// Runs the campaign. `told` hears of progress, from several threads.
    ///
    /// # Errors
    /// A worker cannot be started or a plan not be written.
    pub fn run(&self, told: &(dyn Fn(Progress<'_>) + Sync)) -> io::Result<Outcome> {
        // Found out now, and not when there is something to write.
        let named = |error| at(&self.out, error);
        fs::create_dir_all(&self.out).map_err(named)?;
        tempfile::NamedTempFile::new_in(&self.out).map_err(named)?;
        let shared = Shared {
            campaign: self,
            state: Mutex::default(),
            next: Mutex::new(Next {
                offsets: vec![0; self.plans.len()],
                ..Next::default()
            }),
            started: Instant::now(),
            told,
        };
        std::thread::scope(|scope| {
            for _ in 0..self.jobs {
                scope.spawn(|| {
                    if let Err(error) = shared.work() {
                        shared.lock().error.get_or_insert(error);
                    }
                });
            }
        });
        let seconds = shared.started.elapsed().as_secs_f64();
        let state = shared
            .state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = state.error {
            return Err(error);
        }
        let mut groups: Vec<Group> = state.groups.into_values().collect();
        for group in &mut groups {
            if let Some((count, smallest)) = state.counts.get(&group.finding.signature) {
                group.count = *count;
                group.seed = smallest.to_string();
            }
        }
        groups.sort_by_key(|group| {
            (
                std::cmp::Reverse(group.count),
                group.finding.signature.clone(),
            )
        });
        Ok(Outcome {
            summary: Summary {
                kind: "summary",
                seeds: state.seeds,
                findings: groups.len(),
                known: groups.iter().filter(|group| group.known).count(),
                seconds,
                seeds_per_second: state.seeds as f64 / seconds.max(1e-9),
                complete: !state.interrupted,
                from: self.from.to_string(),
                limited: state.limited,
                deaths: state.deaths,
            },
            groups,
        })
    }
}

impl Shared<'_> {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
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
    fn work(&self) -> io::Result<()> {
        let campaign = self.campaign;
        let mut harness = (campaign.harness)();
        while !self.over() {
            let Some((place, from, to)) = self.next_chunk() else {
                break;
            };
            let (scenario, plan) = &campaign.plans[place];
            self.chunk(harness.as_mut(), *scenario, plan, from, to)?;
        }
        let cut_short = campaign.interrupted.load(Ordering::Relaxed);
        self.lock().interrupted |= cut_short;
        Ok(())
    }

    /// The next scenario's place and seeds: round and round, each by its weight.
    fn next_chunk(&self) -> Option<(usize, u64, u64)> {
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
                return Some((place, from, to));
            }
            (next.turn, next.place) = (0, (place + 1) % campaign.plans.len());
        }
        None
    }

    fn chunk(
        &self,
        harness: &mut dyn Harness,
        scenario: &'static dyn Scenario,
        plan: &Plan,
        mut from: u64,
        to: u64,
    ) -> io::Result<()> {
        while from < to && !self.over() {
            let mut reports = Vec::new();
            let end = harness.seeds(plan, from, to, &mut |report| reports.push(report))?;
            from += end.run;
            {
                let mut state = self.lock();
                state.seeds += end.run;
                state.deaths += u64::from(end.fatal.is_some());
                (self.told)(Progress::Seeds(state.seeds));
            }
            for report in reports {
                self.look(harness, scenario, plan, report)?;
            }
            if end.interrupted {
                return Ok(());
            }
            if let Some(seed) = end.fatal {
                self.autopsy(harness, plan, seed)?;
            }
        }
        Ok(())
    }

    /// A seed that failed, was limited or went deep.
    fn look(
        &self,
        harness: &mut dyn Harness,
        scenario: &'static dyn Scenario,
        plan: &Plan,
        report: SeedReport,
    ) -> io::Result<()> {
        if let Some(limit) = report.limited.filter(|_| report.findings.is_empty()) {
            *self.lock().limited.entry(limit).or_default() += 1;
        }
        if let Some(finding) = report.findings.first()
            && self.count(&finding.signature, report.seed, report.steps)
        {
            let seed = report.seed;
            let Some(ran) = self.rerun(harness, plan, seed)? else {
                return Ok(());
            };
            self.keep(harness, finding.clone(), seed, report.steps, ran)?;
        }
        if let Some(phase) = report.deep
            && report.findings.is_empty()
        {
            self.examine(harness, scenario, plan, report.seed, &phase)?;
        }
        Ok(())
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

    fn rerun(&self, harness: &mut dyn Harness, plan: &Plan, seed: u64) -> io::Result<Option<Ran>> {
        let ran = harness.run(Order {
            plan,
            seed: Some(Seed(seed)),
            trace: false,
        });
        match ran {
            Ok(ran) => Ok(Some(ran)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A seed that killed its worker: run it again, alone, to learn how.
    fn autopsy(&self, harness: &mut dyn Harness, plan: &Plan, seed: u64) -> io::Result<()> {
        let Some(ran) = self.rerun(harness, plan, seed)? else {
            return Ok(());
        };
        let Some(finding) = ran.report.finding().cloned() else {
            // It survived this time: killed from outside, or slow and not stuck.
            return Ok(());
        };
        if !self.count(&finding.signature, seed, u64::MAX) {
            return Ok(());
        }
        let steps = ran.report.steps;
        match finding.class {
            // Seen twice already, at seconds each.
            Class::Spin => self.insert(finding, seed, steps, &ran),
            _ => self.keep(harness, finding, seed, steps, ran),
        }
    }

    /// Asks a deep run for its law of growth, once for each kind of program.
    fn examine(
        &self,
        harness: &mut dyn Harness,
        scenario: &'static dyn Scenario,
        plan: &Plan,
        seed: u64,
        phase: &str,
    ) -> io::Result<()> {
        let Some(ran) = self.rerun(harness, plan, seed)? else {
            return Ok(());
        };
        let kinds: BTreeSet<String> = ran
            .plan
            .answers()
            .filter(|(name, _)| name.ends_with(".chain") || name.ends_with(".method"))
            .map(|(_, value)| value.to_string())
            .collect();
        let chained = kinds.contains("chained");
        let kind = format!("{} {phase} {chained}", scenario.name());
        if !self.lock().examined.insert(kind) {
            return Ok(());
        }
        let found = match growth::findings(harness, scenario, &ran.plan, phase) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        };
        // A seed counts for its principal finding only, as everywhere.
        if let Some(finding) = found.into_iter().next()
            && self.count(&finding.signature, seed, u64::MAX)
        {
            self.insert(finding, seed, ran.report.steps, &ran)?;
        }
        Ok(())
    }

    /// Keeps a finding if its plan, run alone, gives it again.
    fn keep(
        &self,
        harness: &mut dyn Harness,
        finding: Finding,
        seed: u64,
        steps: u64,
        ran: Ran,
    ) -> io::Result<()> {
        let differs = |what: &str| Finding {
            class: Class::Nondeterminism,
            signature: format!("nondeterminism {what}"),
            kin: format!("nondeterminism {what}"),
            site: None,
            detail: format!(
                "seed {seed} gave `{}`, and then something else",
                finding.signature
            ),
        };
        let again = match harness.run(Order::of(&ran.plan)) {
            Ok(again) => again,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        };
        let first = ran.report.signature.as_deref();
        if first != Some(finding.signature.as_str()) {
            return self.insert(differs("of a seed"), seed, steps, &ran);
        }
        if again.report.signature != ran.report.signature
            || again.report.digest != ran.report.digest
        {
            return self.insert(differs("of a plan"), seed, steps, &ran);
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
        let path = self.campaign.out.join(file_name(&finding));
        let mut plan = ran.plan.clone();
        plan.signature = Some(signature.clone());
        plan.note = Some(format!(
            "{} seed {seed}, {}",
            plan.scenario(),
            ran.report.upstream
        ));
        write(&path, &plan.to_string())?;
        let group = Group {
            kind: "finding",
            scenario: plan.scenario().to_owned(),
            seed: seed.to_string(),
            count: 1,
            known: false,
            replay: format!("{} replay {}", self.campaign.program, path.display()),
            plan: path,
            finding,
            steps,
            answers,
            first_seed: seed,
        };
        if is_new {
            (self.told)(Progress::New(&group));
        }
        state.groups.insert(signature, group);
        Ok(())
    }
}

/// A file name that is the same for the same signature: its class and a hash.
fn file_name(finding: &Finding) -> String {
    let hash = dismantle_sim::hash(finding.signature.as_bytes());
    format!("{}-{:08x}.toml", finding.class, hash as u32)
}

/// Writes a file whole or not at all.
///
/// # Errors
/// The folder or the disk refuses.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let whole = || -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.persist(path)?;
        Ok(())
    };
    whole().map_err(|error| at(path, error))
}

/// An error that names what it is about.
fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
