//! In which order do tasks run, and what ends them?
#![allow(clippy::unwrap_used, missing_docs)]

use std::cell::RefCell;
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use dismantle_sim::{
    JoinHandle, Limits, Name, Pending, Plan, Report, Sim, Stopped, Value, Vocabulary, run,
};
use futures::channel::oneshot;
use futures::task::{LocalSpawnExt, SpawnError};

fn plan(answers: &[(&str, u64)]) -> Plan {
    let mut plan = Plan::new(Vocabulary {
        scenario: "order",
        limits: Limits::default(),
        parameters: &[],
        questions: dismantle_sim::questions().to_vec(),
    });
    for (name, value) in answers {
        plan.set(name, &Value::Count(*value)).unwrap();
    }
    plan
}

/// What the tasks say, in the order in which they say it; outlives the run.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<&'static str>>>);

impl Log {
    fn say(&self, word: &'static str) {
        self.0.lock().unwrap().push(word);
    }
}

/// Says its word when it is dropped.
struct Says(Log, &'static str);

impl Drop for Says {
    fn drop(&mut self) {
        self.0.say(self.1);
    }
}

/// Runs `body` under `plan`; gives what was said and the report, which has no panic.
fn said(
    plan: &Plan,
    body: impl FnOnce(&Sim, &Log) -> Result<(), Stopped> + Send,
) -> (Vec<&'static str>, Report) {
    let log = Log::default();
    let report = run(plan, |sim| body(sim, &log));
    assert_eq!(report.panics, []);
    let words = log.0.lock().unwrap().clone();
    (words, report)
}

/// Spawns a task that says its own kind once it is polled.
fn speaker(sim: &Sim, log: &Log, kind: &'static str) -> JoinHandle<()> {
    let log = log.clone();
    sim.spawn(Name::new("task", kind), async move { log.say(kind) })
}

async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[test]
fn tasks_run_in_the_order_of_their_spawning() {
    let (words, report) = said(&plan(&[]), |sim, log| {
        for kind in ["a", "b", "c"] {
            speaker(sim, log, kind);
        }
        sim.settle()
    });
    assert_eq!(words, ["a", "b", "c"]);
    assert_eq!(report.steps, 3);
    assert_eq!(report.pending, []);
}

#[test]
fn tasks_run_in_the_order_of_their_wakes() {
    let (words, _) = said(&plan(&[]), |sim, log| {
        let mut gates = ["a", "b", "c"].map(|kind| {
            let (open, gate) = oneshot::channel::<()>();
            let log = log.clone();
            sim.spawn(Name::new("task", kind), async move {
                gate.await.unwrap();
                log.say(kind);
            });
            Some(open)
        });
        sim.settle()?;
        for index in [2, 0, 1] {
            gates[index].take().unwrap().send(()).unwrap();
        }
        sim.settle()
    });
    assert_eq!(words, ["c", "a", "b"]);
}

#[test]
fn many_wakes_of_a_task_are_one_poll() {
    let (_, report) = said(&plan(&[]), |sim, _| {
        let waker = Rc::new(RefCell::new(None));
        let kept = waker.clone();
        sim.spawn(Name::new("task", "a"), async move {
            poll_fn(|context| {
                kept.replace(Some(context.waker().clone()));
                Poll::<()>::Pending
            })
            .await;
        });
        sim.settle()?;
        for _ in 0..5 {
            waker.borrow().as_ref().unwrap().wake_by_ref();
        }
        sim.settle()
    });
    assert_eq!(report.steps, 2);
}

#[test]
fn a_task_that_wakes_itself_goes_behind_its_peers() {
    let (words, _) = said(&plan(&[]), |sim, log| {
        let (open, gate) = oneshot::channel::<()>();
        let inner = log.clone();
        sim.spawn(Name::new("task", "waiting"), async move {
            gate.await.unwrap();
            inner.say("woken");
        });
        let inner = log.clone();
        sim.spawn(Name::new("task", "yielding"), async move {
            inner.say("first");
            // Woken before the peer, and yet it comes after it.
            let mut open = Some(open);
            poll_fn(|context| {
                let Some(open) = open.take() else {
                    return Poll::Ready(());
                };
                context.waker().wake_by_ref();
                open.send(()).unwrap();
                Poll::Pending
            })
            .await;
            inner.say("again");
        });
        sim.settle()
    });
    assert_eq!(words, ["first", "woken", "again"]);
}

#[test]
fn the_plans_priorities_come_before_the_order_of_wakes() {
    let plan = plan(&[
        ("task.task/a.priority", 3),
        ("task.\"task/b\".priority", 1),
        ("task.task/d.priority", 1),
    ]);
    let (words, _) = said(&plan, |sim, log| {
        for kind in ["a", "b", "c", "d"] {
            speaker(sim, log, kind);
        }
        sim.settle()
    });
    assert_eq!(words, ["c", "b", "d", "a"]);
}

#[test]
fn priorities_change_at_an_operation_and_heal_to_none() {
    let plan = plan(&[
        ("task.\"task/a\".priority", 2),
        ("schedule.change.0.operation", 2),
        ("task.\"task/b\".priority_after.1", 5),
        ("task.\"task/c\".priority_after.1", 1),
    ]);
    let (words, _) = said(&plan, |sim, log| {
        for number in 1..=3 {
            if number == 3 {
                sim.heal();
            } else {
                sim.operation(number);
            }
            for kind in ["a", "b", "c"] {
                speaker(sim, log, kind);
            }
            sim.settle()?;
        }
        Ok(())
    });
    let expected = ["b", "c", "a", "a", "c", "b", "a", "b", "c"];
    assert_eq!(words, expected);
}

#[test]
fn an_aborted_task_is_dropped_at_once_and_never_polled() {
    let (words, report) = said(&plan(&[]), |sim, log| {
        let says = Says(log.clone(), "dropped");
        let inner = log.clone();
        let task = sim.spawn(Name::new("task", "a"), async move {
            inner.say("polled");
            drop(says);
        });
        task.abort();
        log.say("after");
        sim.settle()?;
        assert!(!task.is_finished());
        task.abort();
        Ok(())
    });
    assert_eq!(words, ["dropped", "after"]);
    assert_eq!(report.steps, 0);
}

#[test]
fn a_task_may_abort_another_one() {
    let (words, _) = said(&plan(&[]), |sim, log| {
        let says = Says(log.clone(), "dropped");
        let victim = sim.spawn(Name::new("task", "victim"), async move {
            pending::<()>().await;
            drop(says);
        });
        let inner = log.clone();
        sim.spawn(Name::new("task", "killer"), async move {
            victim.abort();
            inner.say("after");
        });
        sim.settle()
    });
    assert_eq!(words, ["dropped", "after"]);
}

#[test]
fn a_task_that_aborts_itself_is_dropped_after_its_poll() {
    let (words, report) = said(&plan(&[]), |sim, log| {
        let own: Rc<RefCell<Option<JoinHandle<()>>>> = Rc::default();
        let (handle, inner) = (own.clone(), log.clone());
        let says = Says(log.clone(), "dropped");
        let task = sim.spawn(Name::new("task", "a"), async move {
            handle.borrow().as_ref().unwrap().abort();
            inner.say("goes on");
            yield_now().await;
            inner.say("never");
            drop(says);
        });
        own.replace(Some(task));
        sim.settle()?;
        // The flag of that abort must not end the next task.
        speaker(sim, log, "next");
        let inner = log.clone();
        sim.spawn(Name::new("task", "last"), async move {
            yield_now().await;
            inner.say("last");
        });
        sim.settle()
    });
    assert_eq!(words, ["goes on", "dropped", "next", "last"]);
    assert_eq!(report.pending, []);
}

#[test]
fn a_task_that_aborts_itself_in_its_last_poll_takes_no_other_along() {
    let (words, report) = said(&plan(&[]), |sim, log| {
        let own: Rc<RefCell<Option<JoinHandle<()>>>> = Rc::default();
        let handle = own.clone();
        let task = sim.spawn(Name::new("task", "a"), async move {
            handle.borrow().as_ref().unwrap().abort();
        });
        own.replace(Some(task));
        let inner = log.clone();
        sim.spawn(Name::new("task", "b"), async move {
            yield_now().await;
            inner.say("b");
        });
        sim.settle()
    });
    assert_eq!(words, ["b"]);
    assert_eq!(report.pending, []);
}

#[test]
fn a_handle_of_an_ended_task_aborts_no_other() {
    let (words, _) = said(&plan(&[]), |sim, log| {
        let ended = speaker(sim, log, "first");
        sim.settle()?;
        // Takes the place that the first one left.
        let inner = log.clone();
        sim.spawn(Name::new("task", "second"), async move {
            ended.abort();
            yield_now().await;
            inner.say("second");
        });
        sim.settle()
    });
    assert_eq!(words, ["first", "second"]);
}

#[test]
fn an_aborted_ready_task_does_not_end_the_settling() {
    let (words, _) = said(&plan(&[]), |sim, log| {
        let (open, gate) = oneshot::channel::<()>();
        let waiting = sim.spawn(Name::new("task", "waiting"), gate);
        let (inner, clock) = (log.clone(), sim.clone());
        sim.spawn(Name::new("task", "sleeping"), async move {
            clock.sleep_us(10).await;
            inner.say("slept");
        });
        let (inner, clock) = (log.clone(), sim.clone());
        sim.spawn(Name::new("task", "waking"), async move {
            open.send(()).unwrap();
            drop((inner, clock));
        });
        // The waiting task is ready, and gone before its turn.
        sim.steps(3)?;
        waiting.abort();
        sim.settle()?;
        log.say("settled");
        Ok(())
    });
    assert_eq!(words, ["slept", "settled"]);
}

#[test]
fn a_task_may_spawn() {
    let (words, report) = said(&plan(&[]), |sim, log| {
        let (inner, spawner) = (log.clone(), sim.clone());
        sim.spawn(Name::new("task", "parent"), async move {
            speaker(&spawner, &inner, "child");
            inner.say("parent");
        });
        speaker(sim, log, "peer");
        sim.settle()
    });
    assert_eq!(words, ["parent", "peer", "child"]);
    assert_eq!(report.steps, 3);
}

#[test]
fn a_spawner_names_its_tasks_and_is_refused_after_the_end() {
    let (words, report) = said(&plan(&[]), |sim, log| {
        let spawner = sim.spawner("lib");
        for word in ["one", "two"] {
            let inner = log.clone();
            spawner
                .spawn_local(async move {
                    inner.say(word);
                    pending::<()>().await;
                })
                .unwrap();
        }
        sim.settle()?;
        let names: Vec<_> = sim.pending().iter().map(|p| p.task.to_string()).collect();
        assert_eq!(names, ["lib/task/0", "lib/task/1"]);
        sim.drop_executor()?;
        let refused: Result<(), SpawnError> = spawner.spawn_local(async {});
        assert!(refused.unwrap_err().is_shutdown());
        Ok(())
    });
    assert_eq!(words, ["one", "two"]);
    assert_eq!(report.pending, []);
}

#[test]
fn a_join_handle_is_a_future_of_the_output() {
    let (words, report) = said(&plan(&[]), |sim, log| {
        let task = sim.spawn(Name::new("task", "answering"), async {
            yield_now().await;
            42
        });
        let inner = log.clone();
        let waiting = sim.spawn(Name::new("task", "waiting"), async move {
            let answer = task.await;
            inner.say("joined");
            answer + 1
        });
        assert_eq!(sim.run_until(&waiting)?, Some(43));
        assert!(waiting.is_finished());
        assert_eq!(waiting.take(), None);

        let endless = sim.spawn(Name::new("task", "endless"), pending::<()>());
        assert_eq!(sim.run_until(&endless)?, None);
        Ok(())
    });
    assert_eq!(words, ["joined"]);
    assert_eq!(report.pending.len(), 1);
}

#[test]
fn dropping_the_executor_drops_the_oldest_first_and_takes_no_new_ones() {
    let (words, report) = said(&plan(&[]), |sim, log| {
        for kind in ["a", "b", "c"] {
            let says = Says(log.clone(), kind);
            let task = sim.spawn(Name::new("task", kind), async move {
                pending::<()>().await;
                drop(says);
            });
            // The second one leaves its place to a younger task.
            if kind == "b" {
                task.abort();
            }
        }
        sim.settle()?;
        sim.drop_executor()?;
        let says = Says(log.clone(), "refused");
        let late = sim.spawn(Name::new("task", "late"), async move { drop(says) });
        late.abort();
        sim.settle()?;
        assert!(!late.is_finished());
        log.say("end");
        Ok(())
    });
    assert_eq!(words, ["b", "a", "c", "refused", "end"]);
    let destroyed: Vec<_> = report.destroyed.iter().map(|d| d.name.kind()).collect();
    assert_eq!(destroyed, ["b", "a", "c"]);
}

#[test]
fn a_task_that_drops_the_executor_is_dropped_after_its_poll() {
    let (words, report) = said(&plan(&[]), |sim, log| {
        let (own, inner, clock) = (Says(log.clone(), "own"), log.clone(), sim.clone());
        sim.spawn(Name::new("task", "a"), async move {
            let dropped = clock.drop_executor();
            assert!(dropped.is_ok());
            inner.say("goes on");
            pending::<()>().await;
            drop(own);
        });
        let says = Says(log.clone(), "other");
        sim.spawn(Name::new("task", "b"), async move { drop(says) });
        sim.settle()
    });
    assert_eq!(words, ["other", "goes on", "own"]);
    assert_eq!(report.pending, []);
    assert_eq!(report.steps, 1);
}

#[test]
fn a_spawner_numbers_the_tasks_of_each_owner() {
    said(&plan(&[]), |sim, _| {
        for owner in ["a", "b", "a"] {
            sim.spawner(owner).spawn_local(pending()).unwrap();
        }
        let names: Vec<_> = sim.pending().iter().map(|p| p.task.to_string()).collect();
        assert_eq!(names, ["a/task/0", "b/task/0", "a/task/1"]);
        Ok(())
    });
}

#[test]
fn what_is_left_at_the_end_is_dropped_oldest_first() {
    let (words, _) = said(&plan(&[]), |sim, log| {
        for kind in ["a", "b", "c", "d"] {
            let says = Says(log.clone(), kind);
            let task = sim.spawn(Name::new("task", kind), async move {
                pending::<()>().await;
                drop(says);
            });
            if kind == "a" {
                task.abort();
            }
        }
        // In the first one's place, and yet the youngest.
        let says = Says(log.clone(), "e");
        sim.spawn(Name::new("task", "e"), async move {
            pending::<()>().await;
            drop(says);
        });
        Ok(())
    });
    assert_eq!(words, ["a", "b", "c", "d", "e"]);
}

#[test]
fn pending_names_what_a_task_waits_for() {
    let (_, report) = said(&plan(&[]), |sim, _| {
        let clock = sim.clone();
        let sleeping = sim.spawn(Name::new("task", "sleeping"), async move {
            clock.sleep_us(u64::MAX / 2).await;
        });
        sim.spawn_must_end(Name::new("task", "joining"), sleeping);
        let waiting = sim.clone();
        sim.spawn(Name::new("task", "saying"), async move {
            poll_fn(|_| {
                waiting.waits_for("bytes from", Name::new("pipe", "x"));
                Poll::<()>::Pending
            })
            .await;
        });
        sim.spawn(Name::new("task", "silent"), pending::<()>());
        sim.settle()
    });
    let expected = |task, waits_for, on, since_step, must_end| Pending {
        task: Name::new("task", task),
        waits_for,
        on,
        since_step,
        must_end,
    };
    let clock = Name::new("sim", "clock");
    let sleeping = Name::new("task", "sleeping");
    assert_eq!(
        report.pending,
        [
            expected("sleeping", "timer", Some(clock), 1, false),
            expected("joining", "end of", Some(sleeping), 2, true),
            expected(
                "saying",
                "bytes from",
                Some(Name::new("pipe", "x")),
                3,
                false
            ),
            expected("silent", "a wake", None, 4, false),
        ]
    );
}
