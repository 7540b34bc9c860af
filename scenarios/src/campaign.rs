//! Campaigns: many seeds, on all cores, with every finding kept once.
//!
//! Findings are grouped by signature, never by seed. Each has one plan file, the smallest seen,
//! written before the finding is announced and replaced atomically; further seeds are only counted.
//! A plan is kept only after it was run again, alone and in another process, and gave the same
//! signature and digest; of the seeds without a finding a sample is run again in this way.
//!
//! Workers may die, of a run or by somebody else's hand: a seed counts if it was run, once.

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

use crate::check::{Class, Finding, nondeterministic};
use crate::growth;
use crate::harness::{Fatal, Harness, Order, Ran, SeedReport, Seeds};
use crate::over::{OverUnix, over_unix};
use crate::reached::{Coverage, Reached};
use crate::scenario::{Scenario, vocabulary};

/// Seeds of one job: few enough for an even end, many enough to cost nothing.
const CHUNK_SEEDS: u64 = 64;

/// Of every so many chunks of a scenario the first seed is run again in another process: one seed
/// in 256, which costs half a percent.
const SAMPLED_CHUNKS: u64 = 4;

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
    /// Whether the kept plan shows it over a Unix socketpair, too.
    pub over_unix: OverUnix,
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
    /// Workers that were killed from outside; what they were at was run again.
    pub killed: u64,
    /// Seeds without a finding that were run again in another process, with the same digest.
    pub sampled: u64,
    /// What these samples did of all that the scenarios may do.
    pub coverage: Coverage,
    /// Seeds that were run when the last finding was new.
    pub last_new_finding: Option<u64>,
    /// Seeds that were run when a sample did something that none before it did.
    pub last_newly_reached: Option<u64>,
}

/// What a campaign found.
pub struct Outcome {
    /// Findings, most frequent first.
    pub groups: Vec<Group>,
    /// The rest.
    pub summary: Summary,
    /// Why it ended early, if not because it was told to.
    pub error: Option<io::Error>,
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
    /// Runs that stood out, by scenario and gauge.
    suspects: BTreeMap<String, u64>,
    limited: BTreeMap<String, u64>,
    seeds: u64,
    deaths: u64,
    killed: u64,
    sampled: u64,
    reached: Reached,
    last_new_finding: Option<u64>,
    last_newly_reached: Option<u64>,
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
    /// The folder for plans cannot be used. What goes wrong later is in the outcome, beside what
    /// was found until then.
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
        let vocabularies: Vec<_> = self
            .plans
            .iter()
            .map(|(scenario, _)| vocabulary(*scenario))
            .collect();
        let coverage = state.reached.coverage(vocabularies.iter());
        Ok(Outcome {
            summary: Summary {
                kind: "summary",
                seeds: state.seeds,
                findings: groups.len(),
                known: groups.iter().filter(|group| group.known).count(),
                seconds,
                seeds_per_second: state.seeds as f64 / seconds.max(1e-9),
                complete: !state.interrupted && state.error.is_none(),
                from: self.from.to_string(),
                limited: state.limited,
                deaths: state.deaths,
                killed: state.killed,
                sampled: state.sampled,
                coverage,
                last_new_finding: state.last_new_finding,
                last_newly_reached: state.last_newly_reached,
            },
            groups,
            error: state.error,
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
            self.insert(finding.clone(), seed, ran.report.steps, &ran)?;
            self.confirm(hands, &finding, seed, &ran.plan)?;
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
        self.insert(finding.clone(), seed, steps, &ran)?;
        self.confirm(hands, &finding, seed, &ran.plan)
    }

    /// Runs the plan that was kept for a finding over a Unix socketpair: is it made by our pipe?
    fn confirm(
        &self,
        hands: &mut Hands,
        finding: &Finding,
        seed: u64,
        plan: &Plan,
    ) -> io::Result<()> {
        let kept = |state: &State| {
            let group = state.groups.get(&finding.signature);
            group.is_some_and(|group| group.first_seed == seed)
        };
        // Another plan may have been the one to keep.
        if !kept(&self.lock()) {
            return Ok(());
        }
        let mut scenarios = self.campaign.plans.iter().map(|(scenario, _)| *scenario);
        let scenario = scenarios.find(|scenario| scenario.name() == plan.scenario());
        let scenario = scenario.expect("a scenario of this campaign found it");
        let seen = over_unix(hands.first.as_mut(), scenario, plan, finding);
        let Some(seen) = unless_interrupted(seen)? else {
            return Ok(());
        };
        let mut state = self.lock();
        if kept(&state)
            && let Some(group) = state.groups.get_mut(&finding.signature)
        {
            group.over_unix = seen;
        }
        Ok(())
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
        let mut plan = ran.plan.clone();
        let path = self.campaign.out.join(file_name(&finding, &plan));
        plan.signature = Some(signature.clone());
        // A sweep has said already where its plan comes from.
        let scenario = plan.scenario();
        plan.note
            .get_or_insert_with(|| format!("{scenario} seed {seed}, {}", ran.report.upstream));
        write(&path, &plan.to_string())?;
        let group = Group {
            kind: "finding",
            scenario: plan.scenario().to_owned(),
            seed: seed.to_string(),
            count: 1,
            known: false,
            replay: format!("{} replay {}", self.campaign.program, path.display()),
            plan: path,
            over_unix: OverUnix::NotTried,
            finding,
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

fn unless_interrupted<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
        Err(error) => Err(error),
    }
}

/// A file name that is the same for the same signature: its class and a hash. A plan for this build
/// only has another one, or it would replace a better.
fn file_name(finding: &Finding, plan: &Plan) -> String {
    let hash = dismantle_sim::hash(finding.signature.as_bytes());
    let cut = if plan.this_build_only() { "cut-" } else { "" };
    format!("{cut}{}-{:08x}.toml", finding.class, hash as u32)
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
