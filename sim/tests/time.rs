//! How does virtual time pass, and what stops a run that does not stop by itself?
#![allow(clippy::unwrap_used, missing_docs)]

use std::cell::RefCell;
use std::future::{pending, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use dismantle_sim::{
    Elapsed, Limit, Limits, Name, Plan, Report, Sim, Stopped, Vocabulary, run, timeout,
};
use futures::FutureExt;

fn within(limits: Limits, body: impl FnOnce(&Sim) -> Result<(), Stopped> + Send) -> Report {
    let plan = Plan::new(Vocabulary {
        scenario: "time",
        limits,
        parameters: &[],
        questions: dismantle_sim::questions().to_vec(),
    });
    let report = run(&plan, body);
    assert_eq!(report.panics, []);
    report
}

fn unlimited(body: impl FnOnce(&Sim) -> Result<(), Stopped> + Send) -> Report {
    let report = within(Limits::default(), body);
    assert_eq!(report.limit, None);
    report
}

const HOUR_US: u64 = 3_600_000_000;

#[test]
fn the_clock_jumps_to_the_next_timer() {
    let report = unlimited(|sim| {
        let clock = sim.clone();
        let task = sim.spawn(Name::new("task", "a"), async move {
            assert_eq!(clock.now_us(), 0);
            clock.sleep_us(HOUR_US - 1).await;
            assert_eq!(clock.now_us(), HOUR_US - 1);
            clock.sleep_us(0).await;
            clock.sleep_us(1).await;
            clock.now_us()
        });
        assert_eq!(sim.run_until(&task)?, Some(HOUR_US));
        Ok(())
    });
    assert_eq!(report.time_us, HOUR_US);
    assert_eq!(report.steps, 3);
}

#[test]
fn time_stands_still_while_something_can_run() {
    unlimited(|sim| {
        let clock = sim.clone();
        sim.spawn(Name::new("task", "sleeping"), async move {
            clock.sleep_us(1).await;
        });
        let clock = sim.clone();
        let busy = sim.spawn(Name::new("task", "busy"), async move {
            let mut polls = 0;
            poll_fn(|context| {
                polls += 1;
                context.waker().wake_by_ref();
                if polls < 100 {
                    Poll::Pending
                } else {
                    Poll::Ready(clock.now_us())
                }
            })
            .await
        });
        assert_eq!(sim.run_until(&busy)?, Some(0));
        Ok(())
    });
}

/// The order in which sleeps end that are made at these times and all end at 1000 us.
fn order_of(made_at_us: &[u64]) -> Vec<usize> {
    let made_at_us = made_at_us.to_vec();
    let mut order = Vec::new();
    unlimited(|sim| {
        let ended: Rc<RefCell<Vec<usize>>> = Rc::default();
        for (index, at) in made_at_us.into_iter().enumerate() {
            let (clock, ended) = (sim.clone(), ended.clone());
            let name = Name::numbered("task", "sleep", index as u32);
            sim.spawn(name, async move {
                clock.sleep_us(at).await;
                clock.sleep_us(1000 - at).await;
                ended.borrow_mut().push(index);
            });
        }
        sim.settle()?;
        order = ended.take();
        Ok(())
    });
    order
}

#[test]
fn timers_with_one_deadline_fire_in_the_order_of_their_making() {
    assert_eq!(order_of(&[0, 0, 0]), [0, 1, 2]);
    assert_eq!(order_of(&[300, 100, 200, 0]), [3, 1, 2, 0]);
}

#[test]
fn a_sleep_that_is_polled_again_keeps_its_place() {
    let mut order = Vec::new();
    unlimited(|sim| {
        let ended: Rc<RefCell<Vec<&str>>> = Rc::default();
        let (clock, said) = (sim.clone(), ended.clone());
        sim.spawn(Name::new("task", "first"), async move {
            let mut sleep = pin!(clock.sleep_us(1000).fuse());
            let mut other = pin!(clock.sleep_us(10).fuse());
            loop {
                futures::select_biased! {
                    () = sleep => break,
                    () = other => {}
                }
            }
            said.borrow_mut().push("first");
        });
        let (clock, said) = (sim.clone(), ended.clone());
        sim.spawn(Name::new("task", "second"), async move {
            clock.sleep_us(1000).await;
            said.borrow_mut().push("second");
        });
        sim.settle()?;
        order = ended.take();
        Ok(())
    });
    assert_eq!(order, ["first", "second"]);
}

#[test]
fn a_timeout_gives_what_is_ready_in_time() {
    let report = unlimited(|sim| {
        let clock = sim.clone();
        let task = sim.spawn(Name::new("task", "a"), async move {
            let work = async {
                clock.sleep_us(99).await;
                "done"
            };
            timeout(&clock, 100, work).await
        });
        assert_eq!(sim.run_until(&task)?, Some(Ok("done")));
        Ok(())
    });
    // The timer of the timeout is forgotten: nothing moves the clock to it.
    assert_eq!(report.time_us, 99);
}

#[test]
fn a_timeout_that_is_up_drops_the_future() {
    let report = unlimited(|sim| {
        let object = sim.track(Name::new("task", "object"), ());
        let clock = sim.clone();
        let task = sim.spawn(Name::new("task", "a"), async move {
            let work = async move {
                pending::<()>().await;
                drop(object);
            };
            let result = timeout(&clock, 100, work).await;
            clock.sleep_us(50).await;
            result
        });
        assert_eq!(sim.run_until(&task)?, Some(Err(Elapsed)));
        Ok(())
    });
    assert_eq!(report.time_us, 150);
    assert_eq!(report.destroyed[0].name, Name::new("task", "object"));
    assert_eq!(report.destroyed[0].step, 2);
}

#[test]
fn a_dropped_sleep_is_forgotten() {
    let report = unlimited(|sim| {
        let clock = sim.clone();
        let task = sim.spawn(Name::new("task", "a"), async move {
            clock.sleep_us(HOUR_US).await;
        });
        sim.steps(1)?;
        task.abort();
        sim.settle()
    });
    assert_eq!(report.time_us, 0);
    assert_eq!(report.pending, []);
}

#[test]
fn a_run_stops_at_its_limit_of_seconds_and_says_what_was_pending() {
    let limits = Limits {
        seconds: 2,
        ..Limits::default()
    };
    let report = within(limits, |sim| {
        let clock = sim.clone();
        sim.spawn_must_end(Name::new("task", "ticking"), async move {
            loop {
                clock.sleep_us(300_000).await;
            }
        });
        sim.settle()
    });
    assert_eq!(report.limit, Some(Limit::Seconds));
    assert_eq!(report.time_us, 1_800_000);
    assert_eq!(report.pending.len(), 1);
    assert_eq!(report.pending[0].waits_for, "timer");
    assert!(report.pending[0].must_end);
}

#[test]
fn a_timer_at_the_very_limit_still_fires() {
    let limits = Limits {
        seconds: 2,
        ..Limits::default()
    };
    let report = within(limits, |sim| {
        let clock = sim.clone();
        let name = Name::new("task", "a");
        let task = sim.spawn(name, async move { clock.sleep_us(2_000_000).await });
        assert_eq!(sim.run_until(&task)?, Some(()));
        Ok(())
    });
    assert_eq!(report.limit, None);
    assert_eq!(report.time_us, 2_000_000);
}

/// A task that asks again and again whether it is time: waits for a flag, as some code does.
fn asks(sim: &Sim, name: Name, flag: &Rc<RefCell<bool>>) -> dismantle_sim::JoinHandle<()> {
    let flag = flag.clone();
    let asking = poll_fn(move |context| {
        context.waker().wake_by_ref();
        match *flag.borrow() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    });
    sim.spawn_must_end(name, asking)
}

#[test]
fn time_passes_for_those_who_ask_again_and_again() {
    let report = unlimited(|sim| {
        let flag: Rc<RefCell<bool>> = Rc::default();
        let asking = asks(sim, Name::new("task", "asking"), &flag);
        let clock = sim.clone();
        sim.spawn(Name::new("task", "sleeping"), async move {
            clock.sleep_us(HOUR_US).await;
            *flag.borrow_mut() = true;
        });
        sim.settle()?;
        assert!(asking.is_finished());
        Ok(())
    });
    assert_eq!(report.time_us, HOUR_US);
}

#[test]
fn who_asks_for_ever_is_at_rest_and_goes_on_when_it_can() {
    let report = unlimited(|sim| {
        let flag: Rc<RefCell<bool>> = Rc::default();
        let asking = asks(sim, Name::new("task", "asking"), &flag);
        asks(sim, Name::new("task", "hanging"), &Rc::default());
        sim.settle()?;
        let rested = sim.steps_done();
        assert!(!asking.is_finished() && rested > 1000);
        *flag.borrow_mut() = true;
        sim.settle()?;
        assert!(asking.is_finished());
        Ok(())
    });
    let pending: Vec<String> = report
        .pending
        .iter()
        .map(|it| it.task.to_string())
        .collect();
    assert_eq!(pending, ["task/hanging"]);
}

#[test]
fn a_run_stops_at_its_limit_of_steps() {
    let limits = Limits {
        steps: 500,
        ..Limits::default()
    };
    let report = within(limits, |sim| {
        sim.spawn(
            Name::new("task", "spinning"),
            poll_fn(|context| {
                context.waker().wake_by_ref();
                Poll::<()>::Pending
            }),
        );
        assert_eq!(sim.steps(499)?, 499);
        assert_eq!(sim.steps(499)?, 1);
        sim.settle()
    });
    assert_eq!(report.limit, Some(Limit::Steps));
    assert_eq!(report.steps, 500);
    assert_eq!(report.pending.len(), 1);
    assert_eq!(report.pending[0].since_step, 500);
}
