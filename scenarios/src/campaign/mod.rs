//! Campaigns: many seeds, on all cores, with every finding kept once.
//!
//! Findings are grouped by signature, never by seed. Each has one plan file, the smallest seen,
//! written before the finding is announced and replaced atomically; further seeds are only counted.
//! A plan is kept only after it was run again, alone and in another process, and gave the same
//! signature and digest; of the seeds without a finding a sample is run again in this way.
//!
//! When the seeds are run (`work`), the plans of findings that are not known are shrunk and tried
//! over a socket, and known findings that did not come are replayed (`after`).
//!
//! Workers may die, of a run or by somebody else's hand: a seed counts if it was run, once.

#![expect(
    clippy::disallowed_types,
    reason = "a campaign lasts for a time and says how many seeds a second it ran"
)]

mod after;
mod over_unix;
mod work;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dismantle_sim::Plan;
use serde::Serialize;

pub use self::over_unix::{OverUnix, over_unix};
use self::work::{Next, Shared};
use crate::check::{Class, Finding};
use crate::file;
use crate::harness::Harness;
use crate::known::Known;
use crate::reached::Coverage;
use crate::scenario::{Scenario, vocabulary};
use crate::shrink::Size;

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
    /// Makes the place where the plans of new findings of a class are shrunk; without it they are
    /// not.
    pub shrink: Option<&'a (dyn Fn(Class) -> Box<dyn Harness> + Sync)>,
    /// The findings that are known already.
    pub known: &'a Known,
    /// Replay those of them that did not come: do they still?
    pub recheck: bool,
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
    /// The plan file.
    pub plan: PathBuf,
    /// How large that plan is.
    #[serde(flatten)]
    pub size: Size,
    /// Whether it was made small.
    pub shrunk: Shrinking,
    /// The line that replays it.
    pub replay: String,
    /// Whether the kept plan shows it over a Unix socketpair, too.
    pub over_unix: OverUnix,
    #[serde(skip)]
    kept: Plan,
    #[serde(skip)]
    steps: u64,
    #[serde(skip)]
    answers: usize,
    #[serde(skip)]
    first_seed: u64,
}

/// Whether a plan was made small.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum Shrinking {
    /// Nothing more can be left out.
    #[serde(rename = "minimal")]
    Minimal,
    /// As far as there was time.
    #[serde(rename = "partly")]
    Partly,
    /// It is known, or was not asked for.
    #[serde(rename = "not tried")]
    NotTried,
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
    /// Known findings that were replayed and did not come again.
    pub gone: Vec<String>,
    /// Wall-clock time.
    pub seconds: f64,
    /// Runs a second.
    pub seeds_per_second: f64,
    /// Whether all that was asked for was run.
    pub complete: bool,
    /// The first seed.
    pub from: String,
    /// What no seed did, because this upstream lacks it.
    pub missing: Vec<String>,
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
    /// After the seeds: so many findings of so many are shrunk or replayed.
    After(usize, usize),
}

impl Campaign<'_> {
    fn scenario(&self, name: &str) -> Option<&'static dyn Scenario> {
        let mut scenarios = self.plans.iter().map(|(scenario, _)| *scenario);
        scenarios.find(|scenario| scenario.name() == name)
    }

    /// Runs the campaign. `told` hears of progress, from several threads.
    ///
    /// # Errors
    /// The folder for plans cannot be used. What goes wrong later is in the outcome, beside what
    /// was found until then.
    pub fn run(&self, told: &(dyn Fn(Progress<'_>) + Sync)) -> io::Result<Outcome> {
        // Found out now, and not when there is something to write.
        let named = |error| file::at(&self.out, error);
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
        let mut state = shared
            .state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let mut groups: Vec<Group> = std::mem::take(&mut state.groups).into_values().collect();
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
        let gone = match self.after(&mut groups, told) {
            Ok(gone) => gone,
            Err(error) => {
                state.error.get_or_insert(error);
                Vec::new()
            }
        };
        state.interrupted |= self.is_interrupted();
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
                known: groups.iter().filter(|group| group.is_known()).count(),
                gone,
                seconds,
                seeds_per_second: state.seeds as f64 / seconds.max(1e-9),
                complete: !state.interrupted && state.error.is_none(),
                from: self.from.to_string(),
                missing: Vec::new(),
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

impl Group {
    /// Whether it is in the list of known findings.
    pub fn is_known(&self) -> bool {
        self.finding.judged.known
    }
}

/// A file name that is the same for the same signature: its class and a hash. A plan for this build
/// only has another one, or it would replace a better.
fn file_name(finding: &Finding, plan: &Plan) -> String {
    let hash = dismantle_sim::hash(finding.signature.as_bytes());
    let cut = if plan.this_build_only() { "cut-" } else { "" };
    format!("{cut}{}-{:08x}.toml", finding.class, hash as u32)
}
