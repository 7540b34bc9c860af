//! Sweeps: one plan, ended at every step and at every byte.
//!
//! The plan is run once to learn how many steps its owner lets the system make and how many bytes
//! each direction delivers; then once for each of these points. A sweep is a campaign whose seeds
//! are the points, so that findings are grouped, kept, run again and replayed as everywhere.

mod points;
mod table;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dismantle_sim::Plan;
use serde::Serialize;

use crate::campaign::{self, Campaign, Group, Progress, Summary};
use crate::harness::{Harness, Order, Ran, SeedReport, Seeds, SeedsEnd};
use crate::known::Known;
use crate::report::{Outcome, RunReport};
use crate::scenario::Scenario;

pub use points::{At, How, Series};
pub use table::{Cut, Row, rows};

use points::title;

/// The most points that a sweep runs: of more, every second, third, … is taken.
pub const POINTS_MAX: u64 = 100_000;

/// A sweep, about to run.
pub struct Sweep {
    /// The scenario.
    pub scenario: &'static dyn Scenario,
    base: Plan,
    /// What is swept, one after the other.
    pub series: Vec<Series>,
    /// Of the plan as it is.
    pub whole: RunReport,
}

/// A finding, with the first point that came to it. It has no seed.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// The finding.
    #[serde(flatten)]
    pub group: Group,
    /// What is counted.
    pub at: At,
    /// So many are done, or delivered.
    pub point: u64,
    /// Of which direction, if bytes.
    pub direction: Option<String>,
    /// How the run is ended there.
    pub how: How,
}

impl Found {
    /// Where the run was ended, for people: `after 42 steps`.
    pub fn place(&self) -> String {
        let title = title(self.direction.as_deref(), self.how);
        format!("after {} {title}", self.point)
    }
}

/// What a sweep came to.
pub struct Swept {
    /// All points that were run, in order.
    pub cuts: Vec<Cut>,
    /// Findings, most frequent first.
    pub findings: Vec<Found>,
    /// The rest.
    pub summary: Summary,
    /// Why it ended early, if not because it was told to.
    pub error: Option<io::Error>,
}

/// Where and with what a sweep runs.
pub struct Means<'a> {
    /// Workers.
    pub jobs: usize,
    /// Makes the place where one worker's runs happen.
    pub harness: &'a (dyn Fn() -> Box<dyn Harness> + Sync),
    /// The findings that are known already.
    pub known: &'a Known,
    /// The folder for plans.
    pub out: PathBuf,
    /// Raised by Ctrl-C.
    pub interrupted: Arc<AtomicBool>,
    /// The first word of replay lines.
    pub program: String,
}

impl Sweep {
    /// Runs `plan` to learn its points; `hows` are the ways in which its connection ends at bytes.
    ///
    /// # Errors
    /// The run cannot be started.
    pub fn learn(
        harness: &mut dyn Harness,
        scenario: &'static dyn Scenario,
        plan: &Plan,
        hows: &[How],
        points_max: u64,
    ) -> io::Result<Self> {
        let base = uncut(plan);
        let whole = harness.run(Order::of(&base))?.report;
        let mut series = vec![Series {
            at: At::Step,
            direction: None,
            how: How::Teardown,
            last: whole.owner_steps,
            stride: 1,
        }];
        let mut bytes = whole.delivered_bytes.clone();
        if whole.died() {
            // What it did up to there is known from the same run, ended just before.
            series[0].last = whole.steps;
            let before = series[0].cut(&base, whole.steps.saturating_sub(1));
            bytes = harness.run(Order::of(&before))?.report.delivered_bytes;
        }
        for (direction, last) in bytes {
            for how in hows {
                series.push(Series {
                    at: At::Byte,
                    direction: Some(direction.clone()),
                    how: *how,
                    last,
                    stride: 1,
                });
            }
        }
        let all: u64 = series.iter().map(Series::count).sum();
        for series in &mut series {
            series.stride = all.div_ceil(points_max);
        }
        Ok(Self {
            scenario,
            base,
            series,
            whole,
        })
    }

    /// How many points there are.
    pub fn count(&self) -> u64 {
        self.series.iter().map(Series::count).sum()
    }

    fn place(&self, mut index: u64) -> (&Series, u64) {
        for series in &self.series {
            if index < series.count() {
                return (series, series.point(index));
            }
            index -= series.count();
        }
        unreachable!("a campaign stops before the last seed")
    }

    /// Runs all points. `told` hears of progress, from several threads.
    ///
    /// # Errors
    /// A worker cannot be started or a plan not be written.
    pub fn run(
        self: &Arc<Self>,
        means: Means<'_>,
        told: &(dyn Fn(Progress<'_>) + Sync),
    ) -> io::Result<Swept> {
        let cuts = Arc::<Mutex<BTreeMap<u64, Cut>>>::default();
        let harness = || -> Box<dyn Harness> {
            Box::new(AtPoints {
                sweep: self.clone(),
                inner: (means.harness)(),
                cuts: cuts.clone(),
                interrupted: means.interrupted.clone(),
            })
        };
        let campaign = Campaign {
            plans: vec![(self.scenario, self.base.clone())],
            from: 0,
            to: Some(self.count()),
            time: None,
            jobs: means.jobs,
            harness: &harness,
            // A point is a step or a byte of this very run.
            shrink: None,
            known: means.known,
            recheck: false,
            out: means.out,
            interrupted: means.interrupted.clone(),
            program: means.program,
        };
        let campaign::Outcome {
            groups,
            mut summary,
            error,
        } = campaign.run(told)?;
        let cuts: Vec<Cut> = std::mem::take(&mut *lock(&cuts)).into_values().collect();
        summary.deaths = cuts.iter().filter(|cut| cut.drop_depth.is_none()).count() as u64;
        Ok(Swept {
            cuts,
            findings: groups.into_iter().map(|group| self.found(group)).collect(),
            summary,
            error,
        })
    }

    fn found(&self, mut group: Group) -> Found {
        let index = std::mem::take(&mut group.seed).parse();
        let (series, point) = self.place(index.expect("a campaign's seeds are numbers"));
        Found {
            group,
            at: series.at,
            point,
            direction: series.direction.clone(),
            how: series.how,
        }
    }
}

/// The same plan without any cut.
fn uncut(plan: &Plan) -> Plan {
    let mut uncut = plan.clone();
    let cut = |name: &String| name.starts_with("cut.") || name.contains(".cut.");
    for name in plan.answers().map(|(name, _)| name).filter(cut) {
        uncut.remove(&name);
    }
    uncut
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A harness whose seeds are the points of a sweep.
struct AtPoints {
    sweep: Arc<Sweep>,
    inner: Box<dyn Harness>,
    cuts: Arc<Mutex<BTreeMap<u64, Cut>>>,
    interrupted: Arc<AtomicBool>,
}

impl AtPoints {
    /// Runs the plan that ends at a point, and else as `order` says.
    fn at(&mut self, index: u64, order: Order<'_>) -> io::Result<Ran> {
        let (series, point) = self.sweep.place(index);
        let plan = series.cut(&self.sweep.base, point);
        self.inner.run(Order {
            plan: &plan,
            seed: None,
            ..order
        })
    }

    fn note(&self, index: u64, report: &RunReport) {
        let (series, point) = self.sweep.place(index);
        let cut = Cut {
            kind: "cut",
            at: series.at,
            point,
            direction: series.direction.clone(),
            how: series.how,
            outcome: report.outcome,
            signature: report.signature.clone(),
            drop_depth: (!report.died()).then_some(report.drop_depth),
            stack_bytes: report.stack_bytes,
        };
        let before = lock(&self.cuts).insert(index, cut);
        assert!(before.is_none(), "a point is run once");
    }
}

impl Harness for AtPoints {
    fn run(&mut self, order: Order<'_>) -> io::Result<Ran> {
        match order.seed {
            Some(seed) => self.at(seed.0, order),
            None => self.inner.run(order),
        }
    }

    fn seeds(
        &mut self,
        seeds: &Seeds<'_>,
        seen: &mut dyn FnMut(SeedReport),
    ) -> io::Result<SeedsEnd> {
        for index in seeds.from..seeds.to {
            let interrupted = SeedsEnd {
                run: index - seeds.from,
                fatal: None,
                interrupted: true,
            };
            if self.interrupted.load(Ordering::Relaxed) {
                return Ok(interrupted);
            }
            let report = match self.at(index, Order::of(seeds.plan)) {
                Ok(ran) => ran.report,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(interrupted),
                Err(error) => return Err(error),
            };
            self.note(index, &report);
            let digest = (seeds.sample == Some(index)).then(|| report.digest.clone());
            if report.outcome != Outcome::Clean || digest.is_some() {
                seen(SeedReport {
                    // The table shows the stack of every point; a law is asked of the whole plan.
                    suspect: None,
                    digest,
                    ..SeedReport::of_run(index, &report)
                });
            }
        }
        Ok(SeedsEnd {
            run: seeds.to - seeds.from,
            ..SeedsEnd::default()
        })
    }
}
