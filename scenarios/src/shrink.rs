//! Shrinking: from a failing plan to a small one with the same signature.
//!
//! A plan is a map, and what it does not answer is the default, the simplest thing: to shrink is to
//! delete answers and to lower what is left. Operations, faults and items of the teardown go as a
//! whole first, many at a time, then their answers one by one, at last two by two; numbers and
//! words are lowered one by one. It goes round until nothing of this keeps the signature: the
//! result is locally minimal, and shrinking it again changes nothing.
//!
//! Only runs decide. After each that still fails, the answers that it never asked for are gone,
//! too.

use std::collections::BTreeSet;
use std::fmt;
use std::io;

use dismantle_sim::{Plan, Value};
use serde::Serialize;

use crate::growth::{self, Driver};
use crate::harness::{Harness, Order, Ran};
use crate::report::RunReport;
use crate::scenario::Scenario;

/// Pairs are tried of so many answers at most: 435 runs. Larger plans than this were not seen to
/// get smaller by it.
const PAIRED_MAX: usize = 30;

/// What a plan was shrunk to.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The plan, with the signature that it shows.
    pub plan: Plan,
    /// The report of its run.
    pub report: RunReport,
    /// Runs that it took.
    pub runs: u64,
    /// Nothing can be deleted or lowered; otherwise shrinking was stopped before its end.
    pub is_minimal: bool,
}

/// How large a plan is, as a reader counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Size {
    /// Answers that are not the default.
    pub answers: usize,
    /// Operations of the workload: answers like `op.3.what`.
    pub operations: usize,
    /// Faults: answers like `pipe.c2s.fault.0.what`.
    pub faults: usize,
}

impl Size {
    /// Counts.
    pub fn of(plan: &Plan) -> Self {
        let names: Vec<String> = plan.answers().map(|(name, _)| name).collect();
        let whats = names.iter().filter_map(|name| name.strip_suffix(".what"));
        let (faults, operations): (Vec<&str>, Vec<&str>) =
            whats.partition(|name| name.split('.').any(|segment| segment == "fault"));
        Self {
            answers: names.len(),
            operations: operations.len(),
            faults: faults.len(),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |count: usize, what: &str| match count {
            1 => format!("1 {what}"),
            count => format!("{count} {what}s"),
        };
        write!(
            f,
            "{} ({}, {})",
            count(self.answers, "answer"),
            count(self.operations, "operation"),
            count(self.faults, "fault")
        )
    }
}

/// Shrinks `plan` as long as it shows `signature`; `None` if it does not. `stop` is asked before
/// each run, and ends it with what there is by then; `told` hears of each smaller plan.
///
/// # Errors
/// A run cannot be started, or the first ones were interrupted.
pub fn shrink(
    harness: &mut dyn Harness,
    scenario: &dyn Scenario,
    plan: &Plan,
    signature: &str,
    stop: &dyn Fn() -> bool,
    told: &mut dyn FnMut(Size),
) -> io::Result<Option<Shrunk>> {
    let mut plan = plan.clone();
    plan.signature = Some(signature.to_owned());
    let driver = match growth::is_of_growth(signature) {
        true => match growth::driver_of(harness, scenario, &plan, signature)? {
            None => return Ok(None),
            driver => driver,
        },
        false => None,
    };
    let mut shrinker = Shrinker {
        harness,
        driver,
        quickly: true,
        signature,
        stop,
        told,
        runs: 0,
        stopped: false,
        failed: BTreeSet::new(),
    };
    let first = match shrinker.first(&plan)? {
        None if shrinker.driver.is_some() => {
            shrinker.quickly = false;
            shrinker.first(&plan)?
        }
        first => first,
    };
    let Some(first) = first else {
        return Ok(None);
    };
    let mut shrunk = shrinker.shrink(first.clone())?;
    if shrinker.quickly && !shrinker.is_confirmed(&shrunk)? {
        // What is true of small sizes is not of larger ones: then only these count.
        shrinker.quickly = false;
        shrinker.failed.clear();
        shrunk = shrinker.shrink(first)?;
    }
    Ok(Some(Shrunk {
        plan: shrunk.plan,
        report: shrunk.report,
        runs: shrinker.runs,
        is_minimal: !shrinker.stopped,
    }))
}

struct Shrinker<'a> {
    harness: &'a mut dyn Harness,
    /// For a finding of growth: what is enlarged to show it. Its own size does not matter.
    driver: Option<Driver>,
    /// Ask for the law at small sizes only.
    quickly: bool,
    signature: &'a str,
    stop: &'a dyn Fn() -> bool,
    told: &'a mut dyn FnMut(Size),
    runs: u64,
    stopped: bool,
    /// Hashes of the plans that do not show it.
    failed: BTreeSet<u64>,
}

impl Shrinker<'_> {
    /// Runs what there is to shrink, though there be no time; `None` if it does not show the
    /// signature.
    fn first(&mut self, plan: &Plan) -> io::Result<Option<Ran>> {
        self.stopped |= (self.stop)();
        self.runs += 1;
        let ran = self.attempt(plan)?;
        if let Some(ran) = &ran {
            (self.told)(Size::of(&ran.plan));
        }
        Ok(ran)
    }

    /// Whether a finding of growth is there at sizes that count; any other is.
    fn is_confirmed(&mut self, ran: &Ran) -> io::Result<bool> {
        let Some(driver) = &self.driver else {
            return Ok(true);
        };
        match growth::grows(self.harness, &ran.plan, driver, self.signature, false) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.stopped = true;
                Ok(false)
            }
            grows => grows,
        }
    }

    /// Goes round until nothing changes.
    fn shrink(&mut self, mut best: Ran) -> io::Result<Ran> {
        loop {
            let before = best.plan.to_string();
            self.delete(&mut best, groups)?;
            self.delete(&mut best, single)?;
            self.lower(&mut best)?;
            if best.plan.to_string() == before {
                self.delete_pairs(&mut best)?;
            }
            if best.plan.to_string() == before || self.stopped {
                return Ok(best);
            }
        }
    }

    /// Runs `plan`; `None` if it does not show the signature, or there is no time.
    fn run(&mut self, plan: &Plan) -> io::Result<Option<Ran>> {
        let key = dismantle_sim::hash(plan.to_string().as_bytes());
        if self.failed.contains(&key) {
            return Ok(None);
        }
        self.stopped |= (self.stop)();
        if self.stopped {
            return Ok(None);
        }
        self.runs += 1;
        match self.attempt(plan) {
            Ok(Some(ran)) => {
                (self.told)(Size::of(&ran.plan));
                return Ok(Some(ran));
            }
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.stopped = true;
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        self.failed.insert(key);
        Ok(None)
    }

    fn attempt(&mut self, plan: &Plan) -> io::Result<Option<Ran>> {
        let ran = self.harness.run(Order::of(plan))?;
        let is_shown = match &self.driver {
            None => ran.report.signature.as_deref() == Some(self.signature),
            Some(driver) => {
                ran.report.findings.is_empty()
                    && growth::grows(
                        self.harness,
                        &ran.plan,
                        driver,
                        self.signature,
                        self.quickly,
                    )?
            }
        };
        Ok(is_shown.then_some(ran))
    }

    fn is_driver(&self, name: &str) -> bool {
        let driver = self.driver.as_ref();
        driver.is_some_and(|driver| driver.over == name)
    }

    /// Takes `plan` in the place of `best` if it shows the signature.
    fn take(&mut self, best: &mut Ran, plan: &Plan) -> io::Result<bool> {
        let ran = self.run(plan)?;
        let is_taken = ran.is_some();
        if let Some(ran) = ran {
            *best = ran;
        }
        Ok(is_taken)
    }

    /// Deletes what can be: halves of all units, quarters, and so on down to single ones.
    fn delete(&mut self, best: &mut Ran, units: fn(&str) -> &str) -> io::Result<()> {
        let mut size = usize::MAX;
        while size > 1 {
            size = (size / 2).min(units_of(&best.plan, units).len() / 2).max(1);
            let mut from = 0;
            loop {
                let all = units_of(&best.plan, units);
                let Some(chunk) = all.get(from..all.len().min(from + size)) else {
                    break;
                };
                if chunk.is_empty() {
                    break;
                }
                let mut smaller = best.plan.clone();
                for name in names(&best.plan) {
                    let is_meant = chunk.iter().any(|unit| units(&name) == unit);
                    if is_meant && !self.is_driver(&name) {
                        smaller.remove(&name);
                    }
                }
                let is_smaller = smaller.len() < best.plan.len();
                if !(is_smaller && self.take(best, &smaller)?) {
                    from += size;
                }
            }
        }
        Ok(())
    }

    /// Deletes what can only go together with another.
    fn delete_pairs(&mut self, best: &mut Ran) -> io::Result<()> {
        let mut first = 0;
        'first: while let Some(one) = names(&best.plan).get(first) {
            let names = names(&best.plan);
            if names.len() > PAIRED_MAX {
                return Ok(());
            }
            for other in &names[first + 1..] {
                let mut smaller = best.plan.clone();
                smaller.remove(one);
                smaller.remove(other);
                if self.take(best, &smaller)? {
                    continue 'first;
                }
            }
            first += 1;
        }
        Ok(())
    }

    /// Lowers numbers and words, each as far as it goes.
    fn lower(&mut self, best: &mut Ran) -> io::Result<()> {
        for name in names(&best.plan) {
            // Of growth the words are what matters; how large the rest is, is not asked.
            let is_number = matches!(best.plan.get(&name), Some(Value::Count(_)));
            if is_number && self.driver.is_some() {
                continue;
            }
            'lower: loop {
                for value in best.plan.simpler(&name) {
                    let mut smaller = best.plan.clone();
                    smaller
                        .set(&name, &value)
                        .expect("a value that the plan itself proposes");
                    if self.take(best, &smaller)? {
                        continue 'lower;
                    }
                }
                break;
            }
        }
        Ok(())
    }
}

/// An operation, a fault, an item: what the answers `op.3.what` and `op.3.on` are about.
fn groups(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(group, _)| group)
}

fn single(name: &str) -> &str {
    name
}

fn units_of(plan: &Plan, units: fn(&str) -> &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for name in names(plan) {
        let unit = units(&name);
        if all.last().is_none_or(|last| last != unit) {
            all.push(unit.to_owned());
        }
    }
    all
}

fn names(plan: &Plan) -> Vec<String> {
    plan.answers().map(|(name, _)| name).collect()
}
