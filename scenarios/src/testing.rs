//! The way in from `#[test]`: seeds of one scenario, in this process.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dismantle_sim::{Plan, Seed, Value};

use crate::harness::{Harness, InProcess, Order, Ran};
use crate::scenario::{Scenario, vocabulary};

/// A plan file to run instead of the seeds.
const PLAN_VARIABLE: &str = "DISMANTLE_PLAN";
/// Seeds to run instead of those that the test names: `17..18`.
const SEEDS_VARIABLE: &str = "DISMANTLE_SEEDS";

/// Checks `scenario` under seeds; see [`Check::seeds`].
///
/// ```no_run
/// # fn doc(MY_SERVICE: &'static dyn dismantle::Scenario) {
/// dismantle::check(MY_SERVICE).seeds(0..500);
/// # }
/// ```
pub fn check(scenario: &dyn Scenario) -> Check<'_> {
    Check {
        scenario,
        plan: Plan::new(vocabulary(scenario)),
    }
}

/// A check of one scenario, about to run.
pub struct Check<'a> {
    scenario: &'a dyn Scenario,
    plan: Plan,
}

impl Check<'_> {
    /// Fixes a parameter or any decision.
    ///
    /// # Panics
    /// If the scenario never asks it, or it takes another type.
    pub fn set(mut self, name: &str, value: impl Into<Setting>) -> Self {
        if let Err(error) = self.plan.set(name, &value.into().0) {
            panic!("{}: {error}", self.scenario.name());
        }
        self
    }

    /// Runs these seeds, or what `DISMANTLE_SEEDS` (`17..18`) or `DISMANTLE_PLAN` (a file) say.
    ///
    /// # Panics
    /// At the first run with a finding: with the report, the seed and the line that runs it
    /// again. The line is printed as well if the run aborts the process.
    pub fn seeds(self, seeds: Range<u64>) {
        let scenarios = [self.scenario];
        let mut harness = InProcess::new(&scenarios);
        let test = std::thread::current().name().unwrap_or("").to_owned();
        if let Some(path) = variable(PLAN_VARIABLE) {
            let line = again(PLAN_VARIABLE, &path, &test);
            harness.last_words(words(&format!("the plan {path}"), &line));
            self.judge(run(&mut harness, &self.read(Path::new(&path)), None), &line);
            return;
        }
        for seed in variable(SEEDS_VARIABLE).map_or(seeds, |text| range(&text)) {
            let line = again(SEEDS_VARIABLE, &format!("{seed}..{}", seed + 1), &test);
            harness.last_words(words(&format!("seed {seed}"), &line));
            self.judge(run(&mut harness, &self.plan, Some(Seed(seed))), &line);
        }
    }

    fn read(&self, path: &Path) -> Plan {
        let known = |name: &str| (name == self.scenario.name()).then(|| vocabulary(self.scenario));
        let text = std::fs::read_to_string(path);
        let text =
            text.unwrap_or_else(|error| panic!("{PLAN_VARIABLE}: {}: {error}", path.display()));
        Plan::read(&text, known).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn judge(&self, ran: Ran, line: &str) {
        if ran.report.findings.is_empty() {
            return;
        }
        let folder = PathBuf::from("target/dismantle");
        let hash = dismantle_sim::hash(ran.plan.to_string().as_bytes());
        let path = folder.join(format!("{}-{hash:016x}.toml", self.scenario.name()));
        let kept = std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(&path, ran.plan.to_string()));
        let plan = match kept {
            Ok(()) => format!("its plan: {}", path.display()),
            Err(error) => format!("its plan could not be kept in {}: {error}", path.display()),
        };
        panic!("{}\nrun it again: {line}\n{plan}", ran.report.text());
    }
}

/// A value for [`Check::set`].
pub struct Setting(Value);

impl From<u64> for Setting {
    fn from(count: u64) -> Self {
        Self(Value::Count(count))
    }
}

impl From<&str> for Setting {
    fn from(word: &str) -> Self {
        Self(Value::from_text(word))
    }
}

fn run(harness: &mut InProcess<'_>, plan: &Plan, seed: Option<Seed>) -> Ran {
    let order = Order {
        seed,
        ..Order::of(plan)
    };
    harness.run(order).expect("a run in this process starts")
}

fn words(what: &str, line: &str) -> Arc<str> {
    format!("\n{what} aborts the process; run it again: {line}\n").into()
}

fn again(variable: &str, value: &str, test: &str) -> String {
    format!("{variable}={value} cargo test {test}")
}

#[expect(clippy::disallowed_methods, reason = "how a test is told what to run")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn range(text: &str) -> Range<u64> {
    let read = |text: &str| text.parse::<Seed>().ok().map(|seed| seed.0);
    let bounds = text
        .split_once("..")
        .and_then(|(from, to)| Some(read(from)?..read(to)?));
    bounds
        .filter(|range| !range.is_empty())
        .unwrap_or_else(|| panic!("{SEEDS_VARIABLE}={text}: expected A..B, such as 17..18"))
}
