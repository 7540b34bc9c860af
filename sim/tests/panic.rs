//! What does a panic do to a run, and what does it leave to be dropped?
#![allow(clippy::unwrap_used, missing_docs)]

use std::future::pending;
use std::sync::{Arc, Mutex};

use dismantle_sim::{
    Limits, Name, Options, Panic, Phase, Plan, Recorder, Report, Runner, Sim, Stopped, Value,
    Vocabulary, inject_panic, run,
};

fn plan() -> Plan {
    Plan::new(Vocabulary {
        scenario: "panic",
        limits: Limits::default(),
        parameters: &[],
        questions: dismantle_sim::questions().to_vec(),
    })
}

fn report(body: impl FnOnce(&Sim) -> Result<(), Stopped> + Send) -> Report {
    run(&plan(), body)
}

/// Dropped objects with whether their thread was panicking.
#[derive(Clone, Default)]
struct Drops(Arc<Mutex<Vec<(&'static str, bool)>>>);

impl Drops {
    fn watch(&self, word: &'static str) -> Watched {
        Watched(self.clone(), word)
    }

    fn seen(&self) -> Vec<(&'static str, bool)> {
        self.0.lock().unwrap().clone()
    }
}

struct Watched(Drops, &'static str);

impl Drop for Watched {
    fn drop(&mut self) {
        let entry = (self.1, std::thread::panicking());
        self.0.0.lock().unwrap().push(entry);
    }
}

fn holding(sim: &Sim, kind: &'static str, drops: &Drops) {
    let held = drops.watch(kind);
    sim.spawn(Name::new("task", kind), async move {
        pending::<()>().await;
        drop(held);
    });
}

#[test]
fn a_panic_in_a_poll_ends_the_run_and_is_recorded() {
    let drops = Drops::default();
    let report = report(|sim| {
        holding(sim, "older", &drops);
        let (own, clock) = (drops.watch("own"), sim.clone());
        sim.spawn(Name::new("task", "panics"), async move {
            let _own = own;
            clock.sleep_us(5).await;
            panic!("the {} message", "very");
        });
        holding(sim, "younger", &drops);
        let local = drops.watch("local");
        let clock = sim.clone();
        sim.spawn(Name::new("task", "later"), async move {
            clock.sleep_us(6).await;
        });
        let result = sim.settle();
        assert!(result.is_err());
        // Nothing runs any more.
        assert!(sim.steps(1).is_err());
        assert!(sim.enter(Phase::Drive, || sim.settle()).is_err());
        drop(local);
        result
    });
    let mut lines = include_str!("panic.rs").lines();
    let line = 1 + lines
        .position(|line| line.contains("panic!(\"the"))
        .unwrap();
    let [panic] = &report.panics[..] else {
        panic!("one panic, not {:?}", report.panics);
    };
    assert_eq!(panic.message, "the very message");
    let site = format!("tests/panic.rs:{line}");
    assert!(panic.site.ends_with(&site), "{} is {site}", panic.site);
    assert_eq!(report.time_us, 5);
    assert_eq!(
        drops.seen(),
        [
            ("own", true),
            ("local", false),
            ("older", false),
            ("younger", false)
        ]
    );
    // No verdict on the stack of a run that panicked.
    assert_eq!(report.stack_bytes.teardown, None);
    assert_eq!(report.stack_bytes.drive, None);
}

#[test]
fn an_injected_panic_is_no_panic_and_the_run_goes_on() {
    let drops = Drops::default();
    let report = report(|sim| {
        let held = drops.watch("held");
        let broken = sim.spawn(Name::new("task", "broken"), async move {
            let _held = held;
            if true {
                inject_panic();
            }
        });
        let other = sim.spawn(Name::new("task", "other"), async { 7 });
        assert_eq!(sim.run_until(&broken)?, None);
        assert_eq!(sim.run_until(&other)?, Some(7));
        let action = sim.act(Name::new("owner", "action"), || {
            if true {
                inject_panic();
            }
        })?;
        assert!(action.is_none());
        sim.settle()
    });
    assert_eq!(report.panics, []);
    assert_eq!(report.pending, []);
    assert_eq!(report.steps, 2);
    assert_eq!(drops.seen(), [("held", true)]);
    assert!(report.stack_bytes.teardown.is_some());
}

#[test]
fn a_panic_in_an_action_ends_the_run_and_later_actions_are_run_all_the_same() {
    let drops = Drops::default();
    let report = report(|sim| {
        holding(sim, "task", &drops);
        sim.enter(Phase::Teardown, || {
            let bad: Result<Option<()>, Stopped> =
                sim.act(Name::new("owner", "bad"), || panic!("in an action"));
            assert!(bad.is_err());
            let mut acted = false;
            let later = sim.act(Name::new("owner", "later"), || acted = true);
            assert!(later.is_err());
            assert!(acted);
            bad.map(drop)
        })
    });
    assert_eq!(report.panics.len(), 1);
    assert_eq!(report.panics[0].message, "in an action");
    assert_eq!(drops.seen(), [("task", false)]);
}

#[test]
fn a_panic_in_the_body_is_recorded_and_the_tasks_are_dropped_after_it() {
    let drops = Drops::default();
    let report = report(|sim| {
        holding(sim, "first", &drops);
        holding(sim, "second", &drops);
        let _local = drops.watch("local");
        sim.settle()?;
        panic!("in the body");
    });
    assert_eq!(report.panics[0].message, "in the body");
    assert_eq!(
        drops.seen(),
        [("local", true), ("first", false), ("second", false)]
    );
}

#[test]
fn a_panic_in_a_phase_does_not_unwind_the_body() {
    let drops = Drops::default();
    let report = report(|sim| {
        let local = drops.watch("local");
        let result = sim.enter(Phase::Drive, || -> Result<(), Stopped> {
            let _inner = drops.watch("inner");
            panic!("in a phase");
        });
        drop(local);
        result
    });
    assert_eq!(report.panics[0].message, "in a phase");
    assert_eq!(drops.seen(), [("inner", true), ("local", false)]);
}

#[test]
fn every_panic_among_the_last_drops_is_recorded_and_ends_no_other_drop() {
    struct Panics(&'static str);
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("{}", self.0);
        }
    }
    let drops = Drops::default();
    let report = report(|sim| {
        for (kind, message) in [("a", "one"), ("b", "two")] {
            let bad = Panics(message);
            sim.spawn(Name::new("task", kind), async move {
                pending::<()>().await;
                drop(bad);
            });
            holding(sim, "between", &drops);
        }
        Ok(())
    });
    let messages: Vec<_> = report.panics.iter().map(|p| p.message.as_str()).collect();
    assert_eq!(messages, ["one", "two"]);
    assert_eq!(drops.seen(), [("between", false), ("between", false)]);
}

#[test]
fn the_recorder_is_told_of_a_panic_before_the_end() {
    #[derive(Default)]
    struct Told(Mutex<Vec<String>>);
    impl Recorder for Told {
        fn answer(&self, _: &str, _: &Value) {}
        fn panic(&self, panic: &Panic) {
            self.0.lock().unwrap().push(panic.message.clone());
        }
        fn turn(&self, step: u64, _: u64, _: Phase, who: Option<Name>) {
            let who = who.map_or("owner".to_owned(), |name| name.to_string());
            self.0.lock().unwrap().push(format!("{step} {who}"));
        }
    }
    let told = Arc::new(Told::default());
    let options = Options {
        recorder: Some(told.clone()),
        ..Options::default()
    };
    Runner::new().run(&plan(), &options, |sim| {
        sim.spawn(Name::new("task", "ok"), async {});
        sim.spawn(Name::new("task", "panics"), async { panic!("told") });
        let result = sim.settle();
        told.0.lock().unwrap().push("end".to_owned());
        result
    });
    let seen = told.0.lock().unwrap().clone();
    let expected = [
        "1 task/ok",
        "1 owner",
        "2 task/panics",
        "told",
        "2 owner",
        "end",
        "2 owner",
    ];
    assert_eq!(seen, expected);
}

#[test]
fn a_panic_is_one_of_its_own_run_only() {
    let first = report(|_| panic!("first"));
    let second = report(|_| Ok(()));
    assert_eq!(first.panics.len(), 1);
    assert_eq!(second.panics, []);
}
