//! The command line: arguments in, findings and an exit status out.
//!
//! With `--json`, standard output carries JSON Lines and nothing else; progress and prose go to
//! standard error. Only this module and its children touch arguments, standard output and exit
//! statuses.

mod against;
mod bisect;
mod cuts;
mod diff;
mod export;
mod fuzz;
mod grow;
mod known;
mod matrix;
mod program;
mod shrink;
mod single;
mod snapshot;
mod threshold;
mod words;

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use dismantle_sim::{Plan, PlanError, STACK_SIZES, Seed, Value};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use self::known::KnownDir;
pub use self::program::Program;
use crate::check::Class;
use crate::growth::{Law, Metric};
use crate::harness::{Harness, InProcess, Order};
use crate::over::Over;
use crate::scenario::{Scenario, find, vocabulary};
use crate::worker::{self, Allowance, Isolated, Places, WORKER_ARGUMENT};

/// Deterministic simulation testing of the end of life of Cap'n Proto RPC systems.
#[derive(Parser)]
#[command(
    version,
    about,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(
    after_help = "Exit status: 0 clean or measured, 1 findings, 2 bad usage or input, \
                        3 not deterministic, 4 nothing ran, 125 cannot be built or replayed against \
                        that upstream, 130 interrupted with nothing found."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print JSON Lines on standard output, and nothing else there
    #[arg(long, global = true)]
    json: bool,
    /// Run in this process, for debuggers: a run that aborts takes it along
    #[arg(long, global = true)]
    in_process: bool,
    /// The memory that a worker's runs may use, beside their stack
    #[arg(long, global = true, value_name = "SIZE", value_parser = bytes, default_value = "4GiB")]
    memory: u64,
    /// Processor time without a step, after which a run is said to spin
    #[arg(long, global = true, value_name = "TIME", value_parser = duration, default_value = "3s")]
    spin: Duration,
}

#[derive(Subcommand)]
enum Command {
    /// List the scenarios with their parameters
    List {
        /// List every decision that a plan of this scenario may hold
        #[arg(value_name = "SCENARIO")]
        scenario: Option<String>,
    },
    /// Run a scenario once: as a seed says, or in its simplest form
    Run {
        /// The scenario
        scenario: String,
        /// Draw what is not set from this seed (decimal or 0x…)
        #[arg(long, value_name = "N")]
        seed: Option<Seed>,
        #[command(flatten)]
        set: Set,
        #[command(flatten)]
        stack: Stack,
        /// Print every event
        #[arg(long)]
        trace: bool,
        /// Write the plan of the run to this file
        #[arg(short, long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        known_dir: KnownDir,
    },
    /// Run many seeds and report what fails, grouped by cause
    Fuzz(fuzz::Arguments),
    /// Run a plan file again
    Replay {
        /// The plan file
        plan: PathBuf,
        /// What carries the bytes: `pipe` is the simulation, `unix` a real socketpair
        #[arg(long, value_name = "pipe|unix", default_value = "pipe", value_parser = over)]
        over: Over,
        #[command(flatten)]
        stack: Stack,
        /// Print every event
        #[arg(long)]
        trace: bool,
        #[command(flatten)]
        known_dir: KnownDir,
        /// Tell the story of the run: what happened, by whom and why, and what was in flight
        #[arg(long)]
        explain: bool,
    },
    /// Make a failing plan small: fewer operations and faults, the same finding
    Shrink(shrink::Arguments),
    /// Make what a failing plan shows known: `fuzz --known` then forgives it
    Accept(known::Arguments),
    /// Measure how stack, heap and work grow with the size of the workload
    Growth {
        /// The scenario, or a plan file
        #[arg(value_name = "SCENARIO|PLAN")]
        subject: String,
        /// The number to enlarge; the scenario's own choice if it is not given
        #[arg(long, value_name = "NAME")]
        over: Option<String>,
        /// Three sizes: n, 2n and 4n
        #[arg(
            long,
            value_delimiter = ',',
            default_value = "1000,2000,4000",
            value_name = "N,2N,4N"
        )]
        sizes: Vec<u64>,
        /// Draw what is not set from this seed
        #[arg(long, value_name = "N")]
        seed: Option<Seed>,
        #[command(flatten)]
        set: Set,
        /// Only this gauge: stack_bytes, heap_bytes, allocations or polls
        #[arg(long, value_name = "NAME", value_parser = |word: &str| {
            Metric::from_word(word).ok_or("one of stack_bytes, heap_bytes, allocations, polls")
        })]
        metric: Option<Metric>,
        /// Exit with 1 unless the greatest law of all phases is this one, of the stack or of the
        /// metric: O(1), O(n), O(n^2)
        #[arg(long, value_name = "LAW", value_parser = |word: &str| {
            Law::from_word(word).ok_or("one of O(1), O(n), O(n^2), irregular")
        })]
        expect: Option<Law>,
    },
    /// Find the smallest size at which a run needs more stack than there is
    Threshold(threshold::Arguments),
    /// Propose what plans come to as goldens, for `cargo insta review`
    ///
    /// A golden holds what is the same in debug and release: outcome, findings, destruction order,
    /// laws of growth. It is written as `NAME.snap.new`, which cargo-insta finds anywhere in a
    /// package, and the plan is copied to `plans` beside its folder for the test that compares
    /// them. One that is as it was accepted is said to be, and nothing is written.
    Snapshot(snapshot::Arguments),
    /// Compare two plans or reports: where they part, and what changed
    Diff(diff::Arguments),
    /// Write a plan as a program of its own that needs only capnp-rpc, capnp and futures
    Export(export::Arguments),
    /// Run a command of this same program, built against another release or commit of upstream
    ///
    /// The program is built from the same sources in a cache folder, with capnp, capnp-futures and
    /// capnp-rpc pinned exactly, or, if it has the C++ library in it, with another release of that;
    /// nothing is written beside your package. Exit status 125 says that it cannot be built there,
    /// or that a plan cannot be replayed.
    Against(against::Arguments),
    /// Find the release, or the commit, of upstream that made a plan go wrong, or right
    ///
    /// Both ends are confirmed first. What cannot be built or judged somewhere is skipped, and a
    /// neighbour is tried instead. Exit status 2 says that the ends do not separate.
    Bisect(bisect::Arguments),
    /// Run many plans against many releases of upstream: one table of what each comes to
    ///
    /// What was run once is remembered. A finding with a `*` is another one than its plan was kept
    /// for.
    Matrix(matrix::Arguments),
}

#[derive(Args, Clone)]
struct Set {
    /// Fix a parameter or any decision: `--set calls=1000`
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = assignment)]
    set: Vec<(String, Value)>,
}

/// The stack of runs; plans keep it.
#[derive(Args, Clone, Copy)]
struct Stack {
    /// Run on a stack of this size, as of a real thread: a run that needs more overflows it
    /// [default: 1GiB, or what the plan says]
    #[arg(long, value_name = "SIZE", value_parser = stack)]
    stack: Option<u64>,
}

impl Stack {
    fn apply(self, plan: &mut Plan) {
        plan.limits.stack_bytes = self.stack.or(plan.limits.stack_bytes);
    }
}

fn assignment(text: &str) -> Result<(String, Value), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), Value::from_text(value)))
}

/// Larger files are no plans; one that `fuzz` writes has a few KiB.
const PLAN_BYTES_MAX: u64 = 1 << 20;

/// Processor time without a step after which a run spins that is one of very many. A guess: some
/// ten times what the longest step of the built-in scenarios takes that does return.
const SPIN_TO_SHRINK: Duration = Duration::from_millis(300);

/// How a command ended that ran to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Exit {
    Clean,
    Findings,
    NotDeterministic,
    NothingRan,
    /// It cannot be built or run against that upstream.
    Cannot,
    Interrupted,
}

/// Why a command could not do what it was told.
#[derive(Debug)]
struct Failure {
    message: String,
    status: u8,
}

impl Failure {
    /// What was asked for cannot be done against this upstream: exit status 4, nothing ran.
    fn missing(what: impl ToString) -> Self {
        Self {
            message: format!("skipped: {}", what.to_string()),
            status: 4,
        }
    }

    /// What is wrong with a plan, and where: bad input, if it is not that something is missing.
    fn of_plan(place: impl fmt::Display, error: &PlanError) -> Self {
        let message = format!("{place}: {error}");
        match error.is_missing() {
            true => Self::missing(message),
            false => Self::input(message),
        }
    }

    /// Bad usage or input: exit status 2.
    fn input(message: impl ToString) -> Self {
        Self {
            message: message.to_string(),
            status: 2,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self {
            status: if error.kind() == io::ErrorKind::Interrupted {
                130
            } else {
                2
            },
            message: error.to_string(),
        }
    }
}

type Ended = Result<Exit, Failure>;

/// Where a command's words go, and what it may run.
struct Console {
    this: Program,
    scenarios: &'static [&'static dyn Scenario],
    /// Standard output, kept apart from what runs print.
    out: File,
    json: bool,
    in_process: bool,
    allowance: Allowance,
    interrupted: Arc<AtomicBool>,
    /// How this program was called, for lines to paste.
    program: String,
}

impl Console {
    fn json(&mut self, line: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.print(&text)
    }

    fn text(&mut self, text: &str) -> io::Result<()> {
        self.print(text.as_bytes())
    }

    /// A closed standard output (`| head`) is no failure of ours.
    fn print(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.out.write_all(bytes) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result,
        }
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    fn harness(&self) -> Box<dyn Harness> {
        self.harness_with(self.allowance)
    }

    /// For the many runs that shrinking a finding of this class takes: one that spins is given up
    /// sooner.
    fn harness_to_shrink(&self, class: Class) -> Box<dyn Harness> {
        let spin = match class {
            // These take longer than a step may, and are no spin.
            Class::Overflow | Class::Oom | Class::StackGrowth | Class::WorkGrowth => {
                self.allowance.spin
            }
            _ => self.allowance.spin.min(SPIN_TO_SHRINK),
        };
        self.harness_with(Allowance {
            spin,
            ..self.allowance
        })
    }

    fn harness_with(&self, allowance: Allowance) -> Box<dyn Harness> {
        match self.in_process {
            true => {
                let (mut harness, mut places) = (InProcess::new(self.scenarios), Places::default());
                harness.name_places(move |left| places.of(left));
                Box::new(harness)
            }
            false => Box::new(Isolated::new(
                self.scenarios.to_vec(),
                self.interrupted.clone(),
                allowance,
            )),
        }
    }

    fn scenario(&self, name: &str) -> Result<&'static dyn Scenario, Failure> {
        find(self.scenarios, name).ok_or_else(|| {
            let known: Vec<_> = self
                .scenarios
                .iter()
                .map(|scenario| scenario.name())
                .collect();
            Failure::input(format!(
                "no scenario `{name}`; there are {}",
                known.join(", ")
            ))
        })
    }

    fn empty_plan(&self, scenario: &dyn Scenario, set: &Set) -> Result<Plan, Failure> {
        can_run(scenario)?;
        let mut plan = Plan::new(vocabulary(scenario));
        self.assign(&mut plan, set)?;
        Ok(plan)
    }

    /// The plan that a user means by a scenario's name or a file's, with what was set by hand.
    fn subject(&self, subject: &str, set: &Set) -> Result<Plan, Failure> {
        if let Some(scenario) = find(self.scenarios, subject) {
            return self.empty_plan(scenario, set);
        }
        let is_path = subject.contains(['.', '/']) || Path::new(subject).exists();
        if !is_path {
            return self.empty_plan(self.scenario(subject)?, set);
        }
        let mut plan = self.read_plan(Path::new(subject))?;
        self.assign(&mut plan, set)?;
        Ok(plan)
    }

    /// Fixes what was set by hand. What a plan file clamps is refused here: a person is there.
    fn assign(&self, plan: &mut Plan, set: &Set) -> Result<(), Failure> {
        for (key, value) in &set.set {
            let hint = format!("`{} list {}` shows all", self.program, plan.scenario());
            plan.set(key, value).map_err(|error| {
                let mut failure = Failure::of_plan(format!("--set {key}"), &error);
                failure.message += &format!("; {hint}");
                failure
            })?;
            if plan.get(key) != Some(value) {
                return Err(Failure::input(format!(
                    "--set {key}: {value} is out of range; {hint}"
                )));
            }
        }
        Ok(())
    }

    fn read_plan(&self, path: &Path) -> Result<Plan, Failure> {
        let complain =
            |error: &dyn std::fmt::Display| Failure::input(format!("{}: {error}", path.display()));
        let file = std::fs::metadata(path).map_err(|error| complain(&error))?;
        if file.is_dir() {
            return Err(complain(&"not a plan: it is a folder, name a file in it"));
        }
        if !file.is_file() || file.len() > PLAN_BYTES_MAX {
            return Err(complain(&"not a plan: a plan is a file of at most 1 MiB"));
        }
        let text = std::fs::read_to_string(path).map_err(|error| complain(&error))?;
        if text.starts_with('{') {
            return Err(complain(
                &"not a plan: it is a report, which only `diff` takes",
            ));
        }
        let known = |name: &str| find(self.scenarios, name).map(vocabulary);
        let plan =
            Plan::read(&text, known).map_err(|error| Failure::of_plan(path.display(), &error))?;
        can_run(self.scenario(plan.scenario())?)?;
        Ok(plan)
    }
}

/// Whether this upstream has what the scenario is about.
fn can_run(scenario: &dyn Scenario) -> Result<(), Failure> {
    match scenario.missing() {
        Some(why) => Err(Failure::missing(format!(
            "{why}, which `{}` needs",
            scenario.name()
        ))),
        None => Ok(()),
    }
}

/// Runs the command line of a program with these scenarios; call it from `main`.
pub fn main(scenarios: &'static [&'static dyn Scenario]) -> ExitCode {
    Program::new(scenarios).main()
}

fn run(this: Program) -> ExitCode {
    let mut arguments = std::env::args();
    let program = arguments.next().unwrap_or_else(|| "dismantle".to_owned());
    if arguments.next().as_deref() == Some(WORKER_ARGUMENT) {
        return serve_as_worker(this.scenarios, arguments);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output and are no error.
            let status = if error.use_stderr() { 2 } else { 0 };
            drop(error.print());
            return ExitCode::from(status);
        }
    };
    match command(cli, this, program) {
        Ok(Exit::Clean) => ExitCode::SUCCESS,
        Ok(Exit::Findings) => ExitCode::from(1),
        Ok(Exit::NotDeterministic) => ExitCode::from(3),
        Ok(Exit::NothingRan) => ExitCode::from(4),
        Ok(Exit::Cannot) => ExitCode::from(against::CANNOT),
        Ok(Exit::Interrupted) => ExitCode::from(130),
        Err(failure) => {
            eprintln!("error: {}", failure.message);
            ExitCode::from(failure.status)
        }
    }
}

fn serve_as_worker(
    scenarios: &[&dyn Scenario],
    arguments: impl Iterator<Item = String>,
) -> ExitCode {
    match worker::serve(scenarios, arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("worker: {error}");
            ExitCode::from(2)
        }
    }
}

fn command(cli: Cli, this: Program, program: String) -> Ended {
    let mut console = Console {
        this,
        scenarios: this.scenarios,
        out: own_stdout()?,
        json: cli.json,
        in_process: cli.in_process,
        allowance: Allowance {
            memory_bytes: cli.memory,
            spin: cli.spin,
        },
        interrupted: on_interrupt()?,
        program,
    };
    let ended = match cli.command {
        Command::List { scenario } => list(&mut console, scenario.as_deref()),
        Command::Run {
            scenario,
            seed,
            set,
            stack,
            trace,
            out,
            known_dir,
        } => {
            let known = console.known(&known_dir)?;
            let mut plan = console.empty_plan(console.scenario(&scenario)?, &set)?;
            stack.apply(&mut plan);
            let order = Order {
                seed,
                trace,
                ..Order::of(&plan)
            };
            let wanted = single::Wanted {
                out: out.as_deref(),
                ..single::Wanted::default()
            };
            single::run(&mut console, order, &known, wanted)
        }
        Command::Fuzz(arguments) => fuzz::fuzz(&mut console, arguments),
        Command::Replay {
            plan,
            over,
            stack,
            trace,
            known_dir,
            explain,
        } => {
            let known = console.known(&known_dir)?;
            let mut plan = console.read_plan(&plan)?;
            stack.apply(&mut plan);
            let order = Order {
                trace,
                over,
                ..Order::of(&plan)
            };
            let wanted = single::Wanted {
                explain,
                ..single::Wanted::default()
            };
            single::run(&mut console, order, &known, wanted)
        }
        Command::Accept(arguments) => known::accept(&mut console, arguments),
        Command::Shrink(arguments) => shrink::run(&mut console, arguments),
        Command::Growth {
            subject,
            over,
            sizes,
            seed,
            set,
            metric,
            expect,
        } => {
            let plan = console.subject(&subject, &set)?;
            grow::growth(&mut console, &plan, seed, over, &sizes, metric, expect)
        }
        Command::Threshold(arguments) => threshold::run(&mut console, &arguments),
        Command::Snapshot(arguments) => snapshot::snapshot(&mut console, arguments),
        Command::Diff(arguments) => diff::diff(&mut console, &arguments),
        Command::Export(arguments) => export::export(&mut console, &arguments),
        Command::Against(arguments) => against::against(&mut console, &arguments),
        Command::Bisect(arguments) => bisect::run(&mut console, &arguments),
        Command::Matrix(arguments) => matrix::run(&mut console, &arguments),
    };
    match ended {
        Err(_) if console.is_interrupted() => {
            eprintln!("interrupted");
            Ok(Exit::Interrupted)
        }
        ended => ended,
    }
}

/// Takes standard output for ourselves: what runs print (upstream does) goes to standard error.
fn own_stdout() -> io::Result<File> {
    let out = rustix::io::dup(rustix::stdio::stdout())?;
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    Ok(File::from(out))
}

/// A flag that Ctrl-C raises; a second Ctrl-C ends the process at once.
fn on_interrupt() -> io::Result<Arc<AtomicBool>> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, flag.clone())?;
        signal_hook::flag::register(signal, flag.clone())?;
    }
    Ok(flag)
}

#[derive(Serialize)]
struct Listed<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    scenario: &'a str,
    about: &'a str,
    planted: bool,
    /// The check that finds the planted bug, and the setting that leaves the bug out.
    finds: Option<Class>,
    clean: Option<String>,
    over: Option<&'a str>,
    /// Why it cannot be run against this upstream, if it cannot.
    missing: Option<&'static str>,
    /// The rules of destruction order, in words.
    rules: Vec<String>,
    parameters: Vec<ListedQuestion>,
}

#[derive(Serialize)]
struct ListedQuestion {
    name: &'static str,
    default: String,
    possible: String,
    about: &'static str,
    /// The words that this upstream cannot do, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<(&'static [&'static str], &'static str)>,
    /// Whether an answer counts steps or bytes that another release makes more or fewer of.
    this_build_only: bool,
    /// The answers that may mean another moment to another release.
    #[serde(skip_serializing_if = "Option::is_none")]
    moving: Option<String>,
}

impl ListedQuestion {
    fn of(question: &dismantle_sim::Question) -> Self {
        Self {
            name: question.pattern(),
            default: question.default_value().to_string(),
            possible: question.possible(),
            about: question.description(),
            missing: question.missing(),
            this_build_only: question.is_this_build_only(),
            moving: question.moving_answers(),
        }
    }
}

fn list(console: &mut Console, only: Option<&str>) -> Ended {
    let scenarios = match only {
        Some(name) => vec![console.scenario(name)?],
        None => console.scenarios.to_vec(),
    };
    for scenario in scenarios {
        let mut questions = scenario.parameters().to_vec();
        if only.is_some() {
            let vocabulary = vocabulary(scenario);
            questions.extend(vocabulary.questions.into_iter().flatten().copied());
        }
        let listed = Listed {
            kind: "scenario",
            scenario: scenario.name(),
            about: scenario.about(),
            planted: scenario.planted().is_some(),
            finds: scenario.planted().map(|planted| planted.class),
            clean: scenario.planted().map(|planted| {
                let (name, value) = planted.clean;
                format!("{name}={value}")
            }),
            over: scenario.over(),
            missing: scenario.missing(),
            rules: {
                let rules = scenario.rules();
                rules.iter().map(|rule| rule.text().to_owned()).collect()
            },
            parameters: questions.iter().map(ListedQuestion::of).collect(),
        };
        if console.json {
            console.json(&listed)?;
            continue;
        }
        let mut text = format!("{:<16} {}\n", listed.scenario, listed.about);
        if let Some(why) = listed.missing {
            text += &format!("    not here: {why}\n");
        }
        for ListedQuestion {
            name,
            default,
            possible,
            about,
            missing,
            this_build_only,
            moving,
        } in &listed.parameters
        {
            text += &format!("    {name:<28} {about} ({possible}; {default})");
            if let Some((words, why)) = missing {
                text += &format!("; not {}: {why}", words.join(", "));
            }
            if let Some(moving) = moving {
                text += &match this_build_only {
                    true => "; this build only".to_owned(),
                    false => format!("; moves: {moving}"),
                };
            }
            text.push('\n');
        }
        for rule in listed.rules.iter().filter(|_| only.is_some()) {
            text += &format!("    rule: {rule}\n");
        }
        console.text(&text)?;
    }
    Ok(Exit::Clean)
}

/// The name under which something is kept of a plan, which is a file's as it stands: the given one,
/// or the plan's own, `panic-2811` of `some/panic-2811.min.toml`.
fn plain_name(plan: &Path, given: Option<&str>) -> Result<String, Failure> {
    let stem = plan.file_stem().unwrap_or_default().to_string_lossy();
    let name = given.unwrap_or(stem.strip_suffix(".min").unwrap_or(&stem));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || !name.chars().all(is_plain) {
        return Err(Failure::input(format!(
            "`{name}` is no plain name: letters, digits, `-` and `_`; give one with --name"
        )));
    }
    Ok(name.to_owned())
}

/// Shows on a terminal what is waited for.
fn spinner(what: String) -> ProgressBar {
    let template = ProgressStyle::with_template("{spinner} {msg}, {elapsed}");
    let bar = ProgressBar::new_spinner().with_style(template.expect("a template of ours"));
    bar.set_message(what);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Reads `pipe` or `unix`.
fn over(text: &str) -> Result<Over, &'static str> {
    match text {
        "pipe" => Ok(Over::Pipe),
        "unix" => Ok(Over::Unix),
        _ => Err("one of pipe, unix"),
    }
}

/// Reads `60s`, `10m`, `500ms` or plain seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number
        .parse()
        .map_err(|_| "expected a time such as 60s".to_owned())?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "" | "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        "h" => Ok(Duration::from_secs(number * 3600)),
        _ => Err("expected a time such as 500ms, 60s, 10m or 1h".to_owned()),
    }
}

/// Reads `4GiB`, `512MiB` or plain bytes.
fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err("expected a size such as 512MiB or 4GiB".to_owned()),
    };
    let number: Option<u64> = number.parse().ok();
    let bytes = number.and_then(|number| number.checked_mul(factor));
    bytes.ok_or_else(|| "expected a size such as 512MiB or 4GiB".to_owned())
}

/// Reads the size of a stack that can be had.
fn stack(text: &str) -> Result<u64, String> {
    let bytes = bytes(text)?;
    match STACK_SIZES.contains(&bytes) {
        true => Ok(bytes),
        false => Err("a stack has 64KiB to 1GiB".to_owned()),
    }
}

/// Reads `A..B`, half open, decimal or `0x…`.
fn seeds(text: &str) -> Result<(u64, u64), String> {
    let (from, to) = text.split_once("..").ok_or("expected A..B, half open")?;
    let read = |text: &str| {
        text.parse::<Seed>()
            .map_err(|error| format!("`{text}`: {error}"))
    };
    let (from, to) = (read(from)?.0, read(to)?.0);
    if from > to {
        return Err(format!("{from}..{to} runs backwards"));
    }
    Ok((from, to))
}
