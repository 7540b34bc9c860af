//! What a campaign does with its findings when the seeds are run.

#![expect(
    clippy::disallowed_types,
    reason = "a finding is shrunk for so long and no longer"
)]

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::work::unless_interrupted;
use super::{Campaign, Group, Progress, Shrinking, over_unix};
use crate::file;
use crate::growth;
use crate::harness::{Harness, Order};
use crate::known::Entry;
use crate::shrink::{Size, shrink};

/// No finding is shrunk for longer.
const SHRINK_TIME_MAX: Duration = Duration::from_secs(60);

/// One thing to do.
enum Task<'a> {
    /// Shrink and confirm a finding.
    New(&'a mut Group),
    /// See whether a known finding still comes.
    Known(&'a Entry),
}

impl Campaign<'_> {
    /// Shrinks the plans of new findings and tries all over a socket; replays known findings that
    /// did not come. The names of those that are gone.
    ///
    /// # Errors
    /// A worker cannot be started or a plan not be written.
    pub(super) fn after(
        &self,
        groups: &mut [Group],
        told: &(dyn Fn(Progress<'_>) + Sync),
    ) -> io::Result<Vec<String>> {
        let absent: Vec<&Entry> = match self.recheck {
            true => self.absent(groups),
            false => Vec::new(),
        };
        let tasks = groups.iter_mut().map(Task::New);
        let tasks: Vec<Task<'_>> = tasks.chain(absent.into_iter().map(Task::Known)).collect();
        let all = tasks.len();
        let tasks = Mutex::new(tasks.into_iter());
        let done = AtomicUsize::new(0);
        let gone = Mutex::<Vec<String>>::default();
        let error = Mutex::<Option<io::Error>>::default();
        let next = || lock(&tasks).next();
        let work = || -> io::Result<()> {
            let mut harness = (self.harness)();
            while let Some(task) = next().filter(|_| !self.is_interrupted()) {
                match task {
                    Task::New(group) => self.settle(harness.as_mut(), group)?,
                    Task::Known(entry) => {
                        if !self.comes_again(harness.as_mut(), entry)? {
                            lock(&gone).push(entry.name.clone());
                        }
                    }
                }
                told(Progress::After(
                    done.fetch_add(1, Ordering::Relaxed) + 1,
                    all,
                ));
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            for _ in 0..self.jobs {
                scope.spawn(|| {
                    if let Err(failed) = work() {
                        lock(&error).get_or_insert(failed);
                    }
                });
            }
        });
        if let Some(error) = lock(&error).take() {
            return Err(error);
        }
        let mut gone = std::mem::take(&mut *lock(&gone));
        gone.sort();
        Ok(gone)
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// The known findings of the scenarios that were run which did not come.
    fn absent(&self, groups: &[Group]) -> Vec<&Entry> {
        let came = |entry: &Entry| {
            let mut groups = groups.iter();
            groups.any(|group| entry.is_of(&group.finding.signature))
        };
        let is_run = |entry: &Entry| {
            let mut plans = self.plans.iter();
            plans.any(|(scenario, _)| scenario.name() == entry.plan.scenario())
        };
        let entries = self.known.entries().iter();
        entries
            .filter(|entry| is_run(entry) && !came(entry))
            .collect()
    }

    fn comes_again(&self, harness: &mut dyn Harness, entry: &Entry) -> io::Result<bool> {
        let Some(scenario) = self.scenario(entry.plan.scenario()) else {
            return Ok(true);
        };
        let ran = growth::examined(harness, scenario, Order::of(&entry.plan));
        let Some(ran) = unless_interrupted(ran)? else {
            return Ok(true);
        };
        Ok(ran
            .report
            .findings
            .iter()
            .any(|finding| entry.is_of(&finding.signature)))
    }

    /// Shrinks the plan of a finding, if it is new, and tries what is kept over a socketpair: is
    /// it made by our pipe?
    fn settle(&self, harness: &mut dyn Harness, group: &mut Group) -> io::Result<()> {
        if !group.is_known() {
            self.shrink(harness, group)?;
        }
        let Some(scenario) = self.scenario(&group.scenario) else {
            return Ok(());
        };
        let seen = over_unix(harness, scenario, &group.kept, &group.finding);
        if let Some(seen) = unless_interrupted(seen)? {
            group.over_unix = seen;
        }
        Ok(())
    }

    fn shrink(&self, harness: &mut dyn Harness, group: &mut Group) -> io::Result<()> {
        let (Some(shrinking), Some(scenario)) = (self.shrink, self.scenario(&group.scenario))
        else {
            return Ok(());
        };
        let signature = group.finding.signature.clone();
        let started = Instant::now();
        let stop = || self.is_interrupted() || started.elapsed() >= SHRINK_TIME_MAX;
        let mut quick = shrinking(group.finding.class);
        let shrunk = shrink(
            quick.as_mut(),
            scenario,
            &group.kept,
            &signature,
            &stop,
            &mut |_| {},
        );
        let Some(shrunk) = unless_interrupted(shrunk)?.flatten() else {
            return Ok(());
        };
        // In a process that has as much of everything as any.
        let again = growth::examined(harness, scenario, Order::of(&shrunk.plan));
        let Some(again) = unless_interrupted(again)? else {
            return Ok(());
        };
        let mut found = again.report.findings.into_iter();
        let Some(finding) = found.find(|finding| finding.signature == signature) else {
            return Ok(());
        };
        file::write(&group.plan, &shrunk.plan.to_string())?;
        group.finding.detail = finding.detail;
        group.size = Size::of(&shrunk.plan);
        group.kept = shrunk.plan;
        group.shrunk = match shrunk.is_minimal {
            true => Shrinking::Minimal,
            false => Shrinking::Partly,
        };
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
