//! `bisect`: which release, or which commit, made a plan go wrong, or right.

mod asker;
mod outcome;

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use dismantle_sim::Plan;
use semver::Version;

use self::asker::Asker;
pub(super) use self::asker::shown;
use self::outcome::Outcome;
use super::against::Builds;
use super::words::limits;
use super::{Console, Ended, Exit, Failure, grow};
use crate::bisect::git::{Commit, Commits, is_ancestor};
use crate::bisect::{Ask, Change, Compare, Course, Found, Ordered, Progress, Wanted, bisect};
use crate::growth::{Law, Metric};
use crate::upstream::{Library, Shelf, Upstream};

/// What `bisect` takes.
#[derive(Args)]
pub(super) struct Arguments {
    /// The plan file. Where nothing else is compared, it is bad where the plan shows the finding
    /// that it was kept for, in whatever release and line
    pub(super) plan: PathBuf,
    /// Where it is good: a release of capnp-rpc such as 0.26.2 or of the C++ library such as
    /// kj:1.3.0, with --git a commit. Without this and --bad: what the plan says of itself in
    /// `[releases]`
    #[arg(long, value_name = "V", requires = "bad")]
    good: Option<String>,
    /// Where it is bad; if that is the older one, it is the fix that is looked for
    #[arg(long, value_name = "V", requires = "good")]
    bad: Option<String>,
    /// Bisect over the commits of this repository, which is upstream's, with `git bisect`
    #[arg(long, value_name = "DIR")]
    pub(super) git: Option<PathBuf>,
    #[command(flatten)]
    pub(super) by: By,
    /// Ask every build so often. If it is not given: once, each end three times, and all ten times
    /// as soon as one answer was uncertain
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) times: u32,
    #[command(flatten)]
    builds: Builds,
}

/// What is compared; the finding that the plan was kept for, if nothing else is.
#[derive(Args, Clone)]
pub(super) struct By {
    /// Compare a number of the report, by its path: `steps`, `stack_bytes.teardown`
    #[arg(long, value_name = "NAME", conflicts_with_all = ["order", "digest"])]
    pub(super) metric: Option<String>,
    /// It is bad where the number is above this
    #[arg(long, value_name = "X", requires = "metric")]
    pub(super) above: Option<f64>,
    /// It is bad where the gauge grows by more than this law; by more than O(1), if none is given
    #[arg(long, value_name = "LAW", requires = "metric", conflicts_with = "above",
          num_args = 0..=1, require_equals = true, default_missing_value = "O(1)",
          value_parser = |word: &str| {
              Law::from_word(word).ok_or("one of O(1), O(n), O(n^2), irregular")
          })]
    pub(super) law: Option<Law>,
    /// The number to enlarge for that; the scenario's own choice if it is not given
    #[arg(long, value_name = "NAME", requires = "law")]
    pub(super) over: Option<String>,
    /// Its sizes
    #[arg(
        long,
        value_name = "N,2N,4N",
        requires = "law",
        default_value = "1000,2000,4000"
    )]
    pub(super) sizes: String,
    /// It is bad where B is destroyed before A: "client/call before client/system"
    #[arg(long, value_name = "A before B", conflicts_with = "digest", value_parser = order)]
    pub(super) order: Option<[String; 2]>,
    /// It is bad where the digest is another one than at the good end
    #[arg(long)]
    pub(super) digest: bool,
}

fn order(text: &str) -> Result<[String; 2], String> {
    let (first, second) = text
        .split_once(" before ")
        .ok_or("expected \"A before B\"")?;
    let names = [first, second].map(|name| name.trim().to_owned());
    match names
        .iter()
        .all(|name| name.contains('/') && !name.contains(' '))
    {
        true => Ok(names),
        false => Err("expected names such as client/system".to_owned()),
    }
}

impl By {
    fn compare(&self) -> Result<Compare, Failure> {
        let compare = match (&self.metric, self.law, self.above) {
            (Some(metric), Some(most), _) => {
                let gauge = metric.split_once('.');
                let is_gauge = gauge.is_some_and(|(gauge, phase)| {
                    Metric::from_word(gauge).is_some()
                        && ["build", "drive", "teardown"].contains(&phase)
                });
                if !is_gauge {
                    return Err(Failure::input(format!(
                        "`{metric}` has no law: one of stack_bytes, heap_bytes, allocations, \
                         polls, with a phase, such as stack_bytes.teardown, has"
                    )));
                }
                if most == Law::Irregular {
                    return Err(Failure::input("--law irregular: no law is beyond that"));
                }
                let metric = metric.clone();
                Compare::Law { metric, most }
            }
            (Some(metric), None, Some(most)) => {
                let metric = metric.clone();
                Compare::Above { metric, most }
            }
            (Some(_), None, None) => {
                let message = "--metric needs --above X, or --law for how it grows";
                return Err(Failure::input(message));
            }
            (None, ..) => match (&self.order, self.digest) {
                (Some([first, second]), _) => Compare::Order {
                    first: first.clone(),
                    second: second.clone(),
                },
                (None, true) => Compare::Digest,
                (None, false) => Compare::Kin,
            },
        };
        Ok(compare)
    }

    /// The words after the plan for what a build is asked.
    fn options(&self, console: &Console, plan: &Plan) -> Result<Vec<String>, Failure> {
        if self.law.is_none() {
            return Ok(Vec::new());
        }
        let over = grow::over(console, plan, self.over.clone())?;
        let largest = self
            .sizes
            .rsplit(',')
            .next()
            .and_then(|size| size.parse().ok());
        grow::fits(plan, &over, largest.unwrap_or_default())?;
        Ok(["--over", &over, "--sizes", &self.sizes]
            .map(str::to_owned)
            .into())
    }
}

impl Arguments {
    /// The good and the bad end: as they are given, else as the plan of a mended bug has them.
    fn ends(&self, plan: &Plan) -> Result<[String; 2], Failure> {
        if let (Some(good), Some(bad)) = (&self.good, &self.bad) {
            return Ok([good.clone(), bad.clone()]);
        }
        match (&plan.releases, &self.git) {
            (Some(releases), None) => Ok([releases.good.clone(), releases.bad.clone()]),
            (_, Some(_)) => Err(Failure::input(
                "between which commits? give --good and --bad",
            )),
            (None, None) => Err(Failure::input(
                "between which releases? give --good and --bad: the plan has no `[releases]`",
            )),
        }
    }
}

/// Bisects and prints.
pub(super) fn run(console: &mut Console, arguments: &Arguments) -> Ended {
    let compare = arguments.by.compare()?;
    let plan = console.read_plan(&arguments.plan)?;
    let options = arguments.by.options(console, &plan)?;
    let [good, bad] = arguments.ends(&plan)?;
    if good == bad {
        return Err(Failure::input(format!("{good} cannot be good and bad")));
    }
    if plan.this_build_only() {
        eprintln!(
            "the plan counts steps or bytes of the build that it is from: elsewhere it may mean \
             something else"
        );
    }
    let shelf = console.shelf(&arguments.builds)?;
    let search = Search {
        arguments,
        good,
        bad,
        shelf: &shelf,
        compare,
        kept_for: kept_for(&plan),
        options,
        limits: limits(),
    };
    let ended = match &arguments.git {
        None => releases(console, &search),
        Some(repository) => commits(console, &search, repository),
    };
    match ended {
        Err(_) if console.is_interrupted() => Ok(to_go_on()),
        ended => ended,
    }
}

/// What both searches need.
struct Search<'a> {
    arguments: &'a Arguments,
    good: String,
    bad: String,
    shelf: &'a Shelf,
    compare: Compare,
    kept_for: Vec<String>,
    options: Vec<String>,
    /// What else the runs may use, if that was said.
    limits: Vec<String>,
}

/// Over all releases between the two ends.
fn releases(console: &mut Console, search: &Search<'_>) -> Ended {
    let read = |text: &str| {
        let (library, version) = Library::split(text);
        let version = Version::parse(version).map_err(|error| {
            let hint = "expected a release such as 0.26.1; commits are bisected with --git DIR";
            Failure::input(format!("`{text}`: {error}: {hint}"))
        });
        Ok::<_, Failure>((library, version?))
    };
    let (library, good) = read(&search.good)?;
    let (other, bad) = read(&search.bad)?;
    if library != other {
        let [one, other] = [library, other].map(Library::name);
        return Err(Failure::input(format!(
            "nothing is between {} and {}: one is a release of {one}, the other of {other}",
            search.good, search.bad
        )));
    }
    let mut between = search.shelf.releases(library, &[&good, &bad])?;
    let change = match good < bad {
        true => Change::Regression,
        false => Change::Fix,
    };
    let [old, new] = change.pair([&good, &bad]);
    between.retain(|version| old <= version && version <= new);
    let upstream = |version| Upstream::Release(library, version);
    let between: Vec<Upstream> = between.into_iter().map(upstream).collect();
    let ends = [good, bad].map(upstream);
    let mut course = || Ok(Ordered::new(between.clone()));
    let mut asker = Asker::new(search, Upstream::clone);
    let text = Upstream::to_string;
    let found = search.run(console, &mut asker, change, ends, &mut course, &text)?;
    let outcome = Outcome::of(console, search, &mut asker, change, &found)?;
    outcome.print(console)?;
    Ok(Exit::Clean)
}

/// Over the commits that git wants to know of.
fn commits(console: &mut Console, search: &Search<'_>, repository: &Path) -> Ended {
    let (good, bad) = (
        Commit::of(repository, &search.good)?.id,
        Commit::of(repository, &search.bad)?.id,
    );
    if good == bad {
        return Err(Failure::input(format!("{good} cannot be good and bad")));
    }
    let change = match is_ancestor(repository, &bad, &good)? {
        true => Change::Fix,
        false => Change::Regression,
    };
    let [old, new] = change.pair([good.clone(), bad.clone()]);
    let folder = search.shelf.cache().join("bisect");
    let mut course = || Commits::start(repository, &folder, &old, &new);
    let mut asker = Asker::new(search, |commit: &String| Upstream::Checkout {
        dir: repository.to_owned(),
        rev: commit.clone(),
    });
    let text = |at: &String| Commit::of(repository, at).map_or(at.clone(), |it| it.text());
    let found = search.run(console, &mut asker, change, [good, bad], &mut course, &text)?;
    let outcome = Outcome::of(console, search, &mut asker, change, &found)?;
    let commit = Commit::of(repository, &found.range.new)?;
    outcome.with_commit(commit).print(console)?;
    Ok(Exit::Clean)
}

/// The signatures, or kin, that a plan was kept for, the principal one first.
pub(super) fn kept_for(plan: &Plan) -> Vec<String> {
    let kin = plan.releases.iter().map(|releases| &releases.kin);
    let all = plan.signature.iter().chain(kin).chain(&plan.also);
    all.cloned().collect()
}

impl Search<'_> {
    /// The command that a build is asked by, and its options.
    fn question(&self, what: Ask) -> (&'static str, Vec<String>) {
        match what {
            Ask::Replay => ("replay", self.limits.clone()),
            Ask::Growth => ("growth", [&self.options[..], &self.limits].concat()),
        }
    }

    /// Searches, and says how it goes on; `text` is what a place is called for people.
    fn run<At, C>(
        &self,
        console: &mut Console,
        asker: &mut Asker<'_, At>,
        change: Change,
        [good, bad]: [At; 2],
        course: &mut dyn FnMut() -> io::Result<C>,
        text: &dyn Fn(&At) -> String,
    ) -> Result<Found<At>, Failure>
    where
        At: Clone + PartialEq + std::fmt::Display,
        C: Course<At = At>,
    {
        let wanted = Wanted {
            good,
            bad,
            change,
            compare: self.compare.clone(),
            kept_for: self.kept_for.clone(),
            times: self.arguments.times,
        };
        let quiet = console.json;
        let say = |line: &str| {
            if !quiet {
                eprintln!("{line}");
            }
        };
        say("confirming both ends");
        let mut lost = Ok(());
        let mut told = |progress: Progress<'_, At>| match progress {
            Progress::Probing(at, left) => {
                let (candidates, steps) = (left.candidates, left.steps);
                let left = format!("{candidates} left, about {steps} more to try");
                say(&format!("{left}: {}", text(at)));
            }
            Progress::Came(at, probed) => {
                say(&format!("{} is {}", text(at), probed.text()));
                let line = outcome::Line::of(at.to_string(), probed);
                if quiet && lost.is_ok() {
                    lost = console.json(&line);
                }
            }
            Progress::InDoubt => {
                say("not every answer was the same: once more, and each is asked ten times");
            }
        };
        let found = bisect(asker, &wanted, course, &mut told)?;
        lost?;
        found.map_err(Failure::input)
    }
}

/// Says of what was interrupted how it goes on.
pub(super) fn to_go_on() -> Exit {
    eprintln!("interrupted: what was built and run is kept, and the same line goes on from there");
    Exit::Interrupted
}
