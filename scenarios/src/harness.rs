//! One run, wherever it happens: a plan in, a report and the plan that was really run out.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use dismantle_sim::{
    Event, Fault, Limit, Name, Options, Panic, Phase, Plan, Probe, Recorder, Report, Runner, Seed,
    Value,
};
use dismantle_transport::compat;
use serde::{Deserialize, Serialize};

use crate::check::{Finding, LeftGroup, Place, check, leaves_heap, left_groups, left_heap};
use crate::growth::{suspect, suspect_of};
use crate::over::Over;
use crate::reached::Reached;
use crate::report::{Phases, RunReport, Stack};
use crate::scenario::{Scenario, find, play, vocabulary};
use crate::told::{Said, Told};

/// What to run.
#[derive(Clone, Copy)]
pub struct Order<'a> {
    /// The answers that are given.
    pub plan: &'a Plan,
    /// What answers the rest, if not the defaults.
    pub seed: Option<Seed>,
    /// Keep the events.
    pub trace: bool,
    /// Keep what the run prints, and its panics.
    pub prints: bool,
    /// Look at the events for what the run reached.
    pub reached: bool,
    /// What carries the bytes.
    pub over: Over,
    /// Have the run say what a program of its own would do.
    pub script: bool,
    /// What the run leaves for its explanation, in [`Ran::notes`]. Only a worker's can.
    pub probe: Probe,
}

impl<'a> Order<'a> {
    /// A run of `plan` alone.
    pub fn of(plan: &'a Plan) -> Self {
        Self {
            plan,
            seed: None,
            trace: false,
            prints: false,
            reached: false,
            over: Over::Pipe,
            script: false,
            probe: Probe::default(),
        }
    }
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The report.
    pub report: RunReport,
    /// All answers that were not the default: running it again gives the same report.
    pub plan: Plan,
    /// The events, if they were asked for; those before its end if the process died.
    pub trace: Vec<Told>,
    /// What it printed, and its panics, if that was asked for. In this process only the panics:
    /// what is printed appears at once.
    pub said: Vec<Said>,
    /// What it did of all that it might have done, if that was asked for.
    pub reached: Reached,
    /// What it left on the heap, and leaves each time, if nothing else explains it.
    pub left: Vec<LeftGroup>,
    /// What a program of its own would do, if that was asked for: places and lines.
    pub script: Vec<(String, String)>,
    /// Bytes from the start of the stack to the deepest point of each phase.
    pub stack_depth: Phases,
    /// What it left for its explanation, if that was asked for.
    pub notes: Notes,
}

/// What a run has left for its explanation, as it was written down.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// The notes, oldest first.
    pub faults: Vec<Fault>,
    /// `/proc/self/maps` of its process.
    pub maps: String,
}

impl Ran {
    /// The same, as a run of this scenario: with the name of what that tests.
    pub(crate) fn of(mut self, scenario: &dyn Scenario) -> Self {
        self.report.upstream = scenario.upstream();
        self.plan.upstream = Some(scenario.upstream());
        self
    }

    /// Adds the finding of what was left; `places` names the frames of traces.
    pub fn name_left(&mut self, places: impl FnOnce(&[LeftGroup]) -> Vec<Vec<Place>>) {
        self.report.add(named(&self.left, places));
    }
}

fn named(left: &[LeftGroup], places: impl FnOnce(&[LeftGroup]) -> Vec<Vec<Place>>) -> Vec<Finding> {
    match left {
        [] => Vec::new(),
        left => left_heap(left, &places(left)).into_iter().collect(),
    }
}

/// A seed that did not just run clean and unremarkable.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SeedReport {
    /// The seed.
    pub seed: u64,
    /// What the checks found, the principal finding first.
    pub findings: Vec<Finding>,
    /// Steps of the run: the smaller the run, the better the example.
    pub steps: u64,
    /// The limit or the injected stall that ended it.
    pub limited: Option<String>,
    /// The gauge that stood out, if one is to be asked for its law: `stack_bytes.drive`.
    pub suspect: Option<String>,
    /// The digest, if the seed is the sample of its series.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// What it left on the heap, and leaves each time, if nothing else explains it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<LeftGroup>,
}

/// A series of seeds to run on top of a plan.
#[derive(Clone, Copy)]
pub struct Seeds<'a> {
    /// The answers that are given.
    pub plan: &'a Plan,
    /// The first seed.
    pub from: u64,
    /// The seed to stop before.
    pub to: u64,
    /// The seed that is reported whatever it comes to, with its digest.
    pub sample: Option<u64>,
}

/// How a series of seeds ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct SeedsEnd {
    /// Seeds that were run, from the first.
    pub run: u64,
    /// The seed that took its process along.
    pub fatal: Option<(u64, Fatal)>,
    /// The campaign was interrupted.
    pub interrupted: bool,
}

/// How a seed took its process along.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fatal {
    /// The process died of it. The seed counts as run.
    Died,
    /// It did not come back within its time. The seed counts as run.
    Spun,
    /// Somebody killed the process: the seed was not run to its end and does not count.
    Killed,
}

/// Where runs happen: in this process, or in one that may die of them.
pub trait Harness {
    /// Runs once.
    ///
    /// # Errors
    /// The run could not be started or its result not be had; never what the run came to.
    fn run(&mut self, order: Order<'_>) -> io::Result<Ran>;

    /// Runs a series of seeds; `seen` gets those worth a look.
    ///
    /// # Errors
    /// As for [`Harness::run`].
    fn seeds(
        &mut self,
        seeds: &Seeds<'_>,
        seen: &mut dyn FnMut(SeedReport),
    ) -> io::Result<SeedsEnd>;
}

impl SeedReport {
    /// What a campaign has to know of a run; `None` if it was clean and unremarkable.
    pub fn of(seed: u64, report: &Report, left: Vec<LeftGroup>) -> Option<Self> {
        let held = report.held.first();
        let limit = report.limit.map(Limit::word).map(str::to_owned);
        let report = Self {
            seed,
            findings: check(report),
            steps: report.steps,
            limited: limit.or_else(|| held.map(|held| format!("{} on {}", held.fault, held.by))),
            suspect: suspect(
                Stack::of(&report.stack_bytes),
                Phases::of(&report.allocations),
                Phases::of(&report.polls),
                report.destroyed_count,
            ),
            digest: None,
            left,
        };
        let dull = report.findings.is_empty()
            && report.left.is_empty()
            && report.limited.is_none()
            && report.suspect.is_none();
        (!dull).then_some(report)
    }

    /// The same of a run that was reported in full.
    pub fn of_run(seed: u64, report: &RunReport) -> Self {
        let held = report.held.first();
        let limit = report.limit.clone();
        Self {
            seed,
            findings: report.findings.clone(),
            steps: report.steps,
            limited: limit.or_else(|| held.map(|held| format!("{} on {}", held.fault, held.by))),
            suspect: suspect_of(report),
            digest: None,
            // Its finding is among the others.
            left: Vec::new(),
        }
    }

    /// Adds the finding of what was left; `places` names the frames of traces.
    pub fn name_left(&mut self, places: impl FnOnce(&[LeftGroup]) -> Vec<Vec<Place>>) {
        self.findings.extend(named(&self.left, places));
    }
}

/// Runs in this process: a run that aborts takes it along.
pub struct InProcess<'a> {
    runner: Runner,
    scenarios: &'a [&'a dyn Scenario],
    recorder: Option<Arc<dyn Recorder>>,
    last_words: Option<Arc<str>>,
    places: PlaceNames<'a>,
}

/// Names the frames of traces; empty where nothing has names.
type PlaceNames<'a> = Box<dyn FnMut(&[LeftGroup]) -> Vec<Vec<Place>> + 'a>;

impl<'a> InProcess<'a> {
    /// For runs of these scenarios.
    pub fn new(scenarios: &'a [&'a dyn Scenario]) -> Self {
        Self {
            runner: Runner::new(),
            scenarios,
            recorder: None,
            last_words: None,
            places: Box::new(|_| Vec::new()),
        }
    }

    /// Has `places` name who allocated what a run left. It must not do so on a run's thread.
    pub fn name_places(&mut self, places: impl FnMut(&[LeftGroup]) -> Vec<Vec<Place>> + 'a) {
        self.places = Box::new(places);
    }

    /// Has this line written to standard error if a run aborts the process.
    pub fn last_words(&mut self, words: Arc<str>) {
        self.last_words = Some(words);
    }

    /// Tells `recorder` of each run while it runs.
    pub fn record(&mut self, recorder: Option<Arc<dyn Recorder>>) {
        self.recorder = recorder;
    }

    /// The size of the measured stack, or `None` where stacks are not measured.
    pub fn stack_size_bytes(&self) -> Option<usize> {
        self.runner.stack_size_bytes()
    }

    /// Runs a seed for what was measured alone: no answers are recorded and no trace is kept.
    ///
    /// # Errors
    /// The plan's scenario is not one of ours.
    pub fn glance(&self, plan: &Plan, seed: Seed) -> io::Result<Report> {
        let scenario = self.scenario(plan)?;
        Ok(self
            .runner
            .run(plan, &self.quick(seed), |sim| play(scenario, sim)))
    }

    fn quick(&self, seed: Seed) -> Options {
        Options {
            seed: Some(seed),
            last_words: self.last_words.clone(),
            ..Options::default()
        }
    }

    /// Runs once, and, if that left memory that nothing else explains, twice more: to see whether
    /// the next run leaves it again, and then who allocates it.
    fn once(&self, plan: &Plan, options: &Options) -> io::Result<(Report, Vec<LeftGroup>)> {
        let scenario = self.scenario(plan)?;
        let run = |options: &Options| self.runner.run(plan, options, |sim| play(scenario, sim));
        let report = run(options);
        if !leaves_heap(&report) {
            return Ok((report, Vec::new()));
        }
        let again = |numbers: Vec<u64>| {
            let report = run(&Options {
                trace: false,
                record: false,
                list_left: Some(numbers.into()),
                probe: Probe::default(),
                ..options.clone()
            });
            report.left.map_or_else(Vec::new, |left| left.listed)
        };
        let numbers: Vec<u64> = again(Vec::new()).iter().map(|block| block.number).collect();
        let left = match numbers.is_empty() {
            true => Vec::new(),
            false => again(numbers),
        };
        Ok((report, left_groups(&left)))
    }

    /// Runs a seed of a series; `None` if there is nothing to say of it.
    ///
    /// # Errors
    /// As for [`InProcess::glance`].
    pub fn look(&self, seeds: &Seeds<'_>, seed: u64) -> io::Result<Option<SeedReport>> {
        let (report, left) = self.once(seeds.plan, &self.quick(Seed(seed)))?;
        let seen = SeedReport::of(seed, &report, left);
        if seeds.sample != Some(seed) {
            return Ok(seen);
        }
        let seen = seen.unwrap_or_else(|| SeedReport {
            seed,
            findings: Vec::new(),
            steps: report.steps,
            limited: None,
            suspect: None,
            digest: None,
            left: Vec::new(),
        });
        Ok(Some(SeedReport {
            digest: Some(report.digest.to_string()),
            ..seen
        }))
    }

    fn scenario(&self, plan: &Plan) -> io::Result<&'a dyn Scenario> {
        scenario_of(plan, self.scenarios)
    }
}

impl InProcess<'_> {
    /// Runs once; the finding of what was left is for whoever can name places.
    ///
    /// The events are given apart.
    pub(crate) fn run_unnamed(&self, order: Order<'_>) -> io::Result<(Ran, Vec<Event>)> {
        let options = Options {
            seed: order.seed,
            trace: order.trace || order.reached,
            record: true,
            recorder: self.recorder.clone(),
            last_words: self.last_words.clone(),
            real_io: order.over == Over::Unix,
            probe: order.probe,
            ..Options::default()
        };
        let (mut report, left) = self.once(order.plan, &options)?;
        let answers = report.answers.take().unwrap_or_default();
        let trace = report.trace.take().unwrap_or_default();
        let answers = answers.iter().map(|(path, value)| (path.as_str(), value));
        let plan = recorded(order.plan, answers);
        let scenario = self.scenario(order.plan)?;
        let reached = match order.reached {
            true => Reached::of(&vocabulary(scenario), &plan, &trace),
            false => Reached::default(),
        };
        let ran = Ran {
            plan,
            reached,
            trace: Vec::new(),
            said: Vec::new(),
            report: RunReport {
                over: order.over,
                ..RunReport::new(order.plan, order.seed, &report, check(&report))
            },
            left,
            script: Vec::new(),
            stack_depth: Phases::of(&report.stack_depth),
            notes: Notes::default(),
        };
        Ok((ran.of(scenario), trace))
    }
}

/// What a run in this process gives away: its panics, and its script.
#[derive(Default)]
struct Heard {
    panics: Mutex<(u64, u64, Vec<Said>)>,
    script: Option<Mutex<Vec<(String, String)>>>,
}

impl Recorder for Heard {
    fn answer(&self, _: &str, _: &Value) {}

    fn panic(&self, panic: &Panic) {
        let mut state = self.panics.lock().unwrap_or_else(PoisonError::into_inner);
        let (step, time_us, said) = &mut *state;
        said.push(Said::panic(*step, *time_us, &panic.site, &panic.message));
    }

    fn turn(&self, step: u64, time_us: u64, _: Phase, _: Option<Name>) {
        let mut state = self.panics.lock().unwrap_or_else(PoisonError::into_inner);
        (state.0, state.1) = (step, time_us);
    }

    fn scripts(&self) -> bool {
        self.script.is_some()
    }

    fn line(&self, place: &'static str, line: &str) {
        if let Some(script) = &self.script {
            let mut script = script.lock().unwrap_or_else(PoisonError::into_inner);
            script.push((place.to_owned(), line.to_owned()));
        }
    }
}

impl Harness for InProcess<'_> {
    fn run(&mut self, order: Order<'_>) -> io::Result<Ran> {
        let heard = Arc::new(Heard {
            script: order.script.then(Mutex::default),
            ..Heard::default()
        });
        let hears = order.prints || order.script;
        if hears {
            self.record(Some(heard.clone()));
        }
        let ran = self.run_unnamed(order);
        if hears {
            self.record(None);
        }
        let (mut ran, trace) = ran?;
        if order.trace {
            let numbered = (0..).zip(&trace);
            ran.trace = numbered
                .map(|(number, event)| Told::of(number, event))
                .collect();
        }
        if order.prints {
            let mut panics = heard.panics.lock().unwrap_or_else(PoisonError::into_inner);
            ran.said = std::mem::take(&mut panics.2);
        }
        if let Some(script) = &heard.script {
            let mut script = script.lock().unwrap_or_else(PoisonError::into_inner);
            ran.script = std::mem::take(&mut script);
        }
        ran.name_left(&mut self.places);
        Ok(ran)
    }

    fn seeds(
        &mut self,
        seeds: &Seeds<'_>,
        seen: &mut dyn FnMut(SeedReport),
    ) -> io::Result<SeedsEnd> {
        for seed in seeds.from..seeds.to {
            if let Some(mut report) = self.look(seeds, seed)? {
                report.name_left(&mut self.places);
                seen(report);
            }
        }
        Ok(SeedsEnd {
            run: seeds.to - seeds.from,
            ..SeedsEnd::default()
        })
    }
}

/// Runs over a Unix socketpair whatever it is told to run.
pub struct OnSockets<'a>(pub &'a mut dyn Harness);

impl Harness for OnSockets<'_> {
    fn run(&mut self, order: Order<'_>) -> io::Result<Ran> {
        let over = Over::Unix;
        self.0.run(Order { over, ..order })
    }

    fn seeds(&mut self, _: &Seeds<'_>, _: &mut dyn FnMut(SeedReport)) -> io::Result<SeedsEnd> {
        let refusal = "seeds are run over the simulated pipe only";
        Err(io::Error::new(io::ErrorKind::Unsupported, refusal))
    }
}

/// The scenario that a plan is of.
pub(crate) fn scenario_of<'a>(
    plan: &Plan,
    scenarios: &[&'a dyn Scenario],
) -> io::Result<&'a dyn Scenario> {
    find(scenarios, plan.scenario())
        .ok_or_else(|| io::Error::other(format!("no scenario `{}`", plan.scenario())))
}

/// What this was built against: `capnp-rpc-0.27.3`.
pub fn upstream() -> String {
    format!("capnp-rpc-{}", compat::CAPNP_RPC_VERSION)
}

/// `plan` with exactly the answers that a run was given and that are not the default.
pub fn recorded<'a>(plan: &Plan, answers: impl Iterator<Item = (&'a str, &'a Value)>) -> Plan {
    let mut recorded = plan.cleared();
    for (path, value) in answers {
        let set = recorded.set(path, value);
        set.expect("what a run asked is a question of its scenario");
    }
    recorded
}
