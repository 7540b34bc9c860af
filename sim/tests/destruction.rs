//! Who was destroyed, when, and inside whose destruction?
#![allow(clippy::unwrap_used, missing_docs)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::pending;
use std::rc::Rc;

use dismantle_sim::{
    DESTROYED_MAX, Destroyed, Limits, Name, Phase, Plan, Report, Sim, Stopped, Tracked, Vocabulary,
    run,
};

fn report(body: impl FnOnce(&Sim) -> Result<(), Stopped> + Send) -> Report {
    let plan = Plan::new(Vocabulary {
        scenario: "destruction",
        limits: Limits::default(),
        parameters: &[],
        questions: dismantle_sim::questions().to_vec(),
    });
    run(&plan, body)
}

fn object(index: u32) -> Name {
    Name::numbered("test", "object", index)
}

#[test]
fn destructions_nest_as_a_forest() {
    let report = report(|sim| {
        let track = |index| sim.track(object(index), ());
        let left = sim.track(object(1), (track(2), track(3)));
        let root = sim.track(object(0), (left, track(4)));
        let other = track(5);
        sim.enter(Phase::Teardown, || {
            drop(root);
            drop(other);
            Ok(())
        })
    });
    let expected = |index, inside, depth| Destroyed {
        name: object(index),
        inside,
        depth,
        task: None,
        phase: Phase::Teardown,
        step: 0,
        in_wake: false,
    };
    assert_eq!(
        report.destroyed,
        [
            expected(0, None, 0),
            expected(1, Some(0), 1),
            expected(2, Some(1), 2),
            expected(3, Some(1), 2),
            expected(4, Some(0), 1),
            expected(5, None, 0),
        ]
    );
    assert_eq!(report.drop_depth, 3);
    assert_eq!(report.destroyed_count, 6);
    assert!(report.never_destroyed.is_empty());
}

#[test]
fn a_destruction_tells_its_task_phase_and_step() {
    let report = report(|sim| {
        let name = Name::new("task", "a");
        let in_build = sim.track(object(0), ());
        let in_poll = sim.track(object(1), ());
        let in_end = sim.track(object(2), ());
        sim.enter(Phase::Build, || {
            drop(in_build);
            Ok(())
        })?;
        sim.enter(Phase::Drive, || {
            let clock = sim.clone();
            sim.spawn(name, async move {
                clock.sleep_us(1).await;
                drop(in_poll);
                pending::<()>().await;
                drop(in_end);
            });
            sim.settle()
        })
    });
    let place = |d: &Destroyed| (d.name, d.inside, d.task, d.phase, d.step);
    let task = Name::new("task", "a");
    assert_eq!(
        report.destroyed.iter().map(place).collect::<Vec<_>>(),
        [
            (object(0), None, None, Phase::Build, 0),
            (object(1), None, Some(task), Phase::Drive, 2),
            (task, None, None, Phase::Teardown, 2),
            (object(2), Some(2), None, Phase::Teardown, 2),
        ]
    );
    assert_eq!(report.drop_depth, 2);
}

#[test]
fn what_a_task_drops_in_its_last_poll_is_not_inside_its_own_destruction() {
    let task = Name::new("task", "a");
    let report = report(|sim| {
        let held = sim.track(object(0), ());
        sim.spawn(task, async move { drop(held) });
        sim.settle()
    });
    let place = |d: &Destroyed| (d.name, d.inside, d.task, d.step);
    assert_eq!(
        report.destroyed.iter().map(place).collect::<Vec<_>>(),
        [
            (object(0), None, Some(task), 1),
            (task, None, Some(task), 1),
        ]
    );
}

#[test]
fn the_drop_depth_is_that_of_the_longest_chain() {
    struct Link {
        #[expect(dead_code, reason = "its drop is the test")]
        next: Option<Box<Tracked<Link>>>,
    }
    let report = report(|sim| {
        let chain = |length: u32| {
            (0..length).fold(None, |next, index| {
                Some(Box::new(sim.track(object(index), Link { next })))
            })
        };
        drop(chain(100));
        drop(chain(7));
        Ok(())
    });
    assert_eq!(report.drop_depth, 100);
    assert_eq!(report.destroyed_count, 107);
    assert_eq!(report.destroyed[99].depth, 99);
    assert_eq!(report.destroyed[99].inside, Some(98));
    assert_eq!(report.destroyed[100].depth, 0);
}

#[test]
fn a_leaked_cycle_is_counted_by_name() {
    type Cycle = Rc<RefCell<Option<Tracked<Box<dyn std::any::Any>>>>>;
    let report = report(|sim| {
        for index in [0, 1, 1, 1] {
            let cycle: Cycle = Rc::default();
            let inside: Box<dyn std::any::Any> = Box::new(cycle.clone());
            cycle.replace(Some(sim.track(object(index), inside)));
        }
        drop(sim.track(object(0), ()));
        drop(sim.track(object(2), ()));
        Ok(())
    });
    let expected = BTreeMap::from([(object(0), 1), (object(1), 3)]);
    assert_eq!(report.never_destroyed, expected);
    assert_eq!(report.destroyed_count, 2);
}

#[test]
fn the_end_of_a_task_does_not_hide_the_leak_of_an_object_of_its_name() {
    let report = report(|sim| {
        std::mem::forget(sim.track(object(0), ()));
        sim.spawn(object(0), async {});
        sim.settle()
    });
    assert_eq!(report.never_destroyed, BTreeMap::from([(object(0), 1)]));
}

#[test]
fn a_destruction_in_a_panic_is_recorded_and_closed() {
    let report = report(|sim| {
        let (outer, after) = (
            sim.track(object(0), sim.track(object(1), ())),
            sim.track(object(2), ()),
        );
        sim.spawn(Name::new("task", "a"), async move {
            let _held = outer;
            panic!("on purpose");
        });
        let result = sim.settle();
        drop(after);
        result
    });
    assert_eq!(report.panics.len(), 1);
    let place = |d: &Destroyed| (d.name, d.inside, d.depth, d.task.is_some());
    let task = Name::new("task", "a");
    assert_eq!(
        report.destroyed.iter().map(place).collect::<Vec<_>>(),
        [
            (object(0), None, 0, true),
            (object(1), Some(0), 1, true),
            (task, None, 0, true),
            (object(2), None, 0, false),
        ]
    );
}

#[test]
fn a_destructor_that_panics_closes_its_destruction() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }
    let report = report(|sim| {
        let bad = sim.track(object(0), (sim.track(object(1), ()), Panics));
        let after = sim.track(object(2), ());
        let result = sim.act(Name::new("owner", "drop"), || drop(bad));
        drop(after);
        result.map(drop)
    });
    assert_eq!(report.panics.len(), 1);
    let place = |d: &Destroyed| (d.name, d.inside, d.depth);
    assert_eq!(
        report.destroyed.iter().map(place).collect::<Vec<_>>(),
        [
            (object(0), None, 0),
            (object(1), Some(0), 1),
            (object(2), None, 0),
        ]
    );
}

#[test]
fn beyond_the_maximum_destructions_are_counted() {
    let count = DESTROYED_MAX as u32 + 5;
    let report = report(|sim| {
        for index in 0..count {
            drop(sim.track(object(index), ()));
        }
        Ok(())
    });
    assert_eq!(report.destroyed.len(), DESTROYED_MAX);
    assert_eq!(report.destroyed_count, u64::from(count));
    assert!(report.never_destroyed.is_empty());
}
