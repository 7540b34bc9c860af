//! Does each rule of destruction order speak when it is broken, and only then?
#![allow(missing_docs)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use dismantle_sim::{
    Breach, DESTROYED_MAX, Limits, Name, Phase, Plan, Rule, Sim, Stopped, Vocabulary, Where, run,
};

fn plan(limits: Limits) -> Plan {
    Plan::new(Vocabulary {
        scenario: "rules",
        limits,
        parameters: &[],
        questions: dismantle_sim::questions().to_vec(),
    })
}

fn breaches(body: impl FnOnce(&Sim) -> Result<(), Stopped> + Send) -> Vec<Breach> {
    let report = run(&plan(Limits::default()), body);
    assert!(report.panics.is_empty(), "{:?}", report.panics);
    let breaches = report.breaches;
    assert!(breaches.iter().all(|b| b.property == "destruction-order"));
    breaches
}

/// The texts of the rules that were broken.
fn broken(body: impl FnOnce(&Sim) -> Result<(), Stopped> + Send) -> Vec<String> {
    breaches(body)
        .into_iter()
        .map(|breach| breach.rule)
        .collect()
}

const CONNECTION: Name = Name::new("server", "connection");
const SILENT: [&str; 0] = [];

fn object(index: u32) -> Name {
    Name::numbered("server", "object", index)
}

fn connection_first() -> Rule {
    Rule::before("server/connection", "server/object")
}

#[test]
fn before_is_broken_by_the_wrong_order_only() {
    let run = |connection_is_first: bool| {
        breaches(move |sim| {
            sim.rule(connection_first());
            let connection = sim.track(CONNECTION, ());
            let objects = [sim.track(object(0), ()), sim.track(object(1), ())];
            if connection_is_first {
                drop(connection);
                drop(objects);
            } else {
                drop(objects);
                drop(connection);
            }
            Ok(())
        })
    };
    assert_eq!(run(true), []);
    let [breach] = run(false)
        .try_into()
        .expect("one breach, however many objects");
    assert_eq!(breach.rule, "server/connection before server/object");
    assert_eq!(breach.subject, CONNECTION);
    assert!(
        breach.detail.contains("server/object/1"),
        "{}",
        breach.detail
    );
}

#[test]
fn before_holds_for_each_owner_if_it_is_for_any() {
    let run = |first: &'static str| {
        broken(move |sim| {
            sim.rule(Rule::before(first, "*/object"));
            let other = sim.track(Name::new("client", "connection"), ());
            drop(sim.track(CONNECTION, ()));
            drop(sim.track(object(0), ()));
            drop(other);
            Ok(())
        })
    };
    assert_eq!(run("*/connection"), SILENT, "the client has no object");
    assert_eq!(run("client/connection").len(), 1);
}

#[test]
fn before_counts_a_destruction_from_its_start() {
    let owned = |outer: Name, inner: Name| {
        broken(move |sim| {
            sim.rule(connection_first());
            drop(sim.track(outer, sim.track(inner, ())));
            Ok(())
        })
    };
    assert_eq!(owned(CONNECTION, object(0)), SILENT);
    assert_eq!(owned(object(0), CONNECTION).len(), 1);
}

#[test]
fn before_says_nothing_of_what_was_not_there_or_is_never_destroyed() {
    let later = broken(|sim| {
        sim.rule(connection_first());
        drop(sim.track(object(0), ()));
        drop(sim.track(CONNECTION, ()));
        Ok(())
    });
    assert_eq!(
        later, SILENT,
        "the connection was made after the object was gone"
    );
    let leaked = broken(|sim| {
        sim.rule(connection_first());
        let connection = sim.track(CONNECTION, ());
        drop(sim.track(object(0), ()));
        std::mem::forget(connection);
        Ok(())
    });
    assert_eq!(leaked, SILENT, "that is a leak");
}

#[test]
fn before_holds_for_tasks_and_from_when_it_is_stated() {
    let tasks = |stated_late: bool| {
        broken(move |sim| {
            let rule = Rule::before("client/call/7", "client/system");
            if !stated_late {
                sim.rule(rule.clone());
            }
            let call = Name::numbered("client", "call", 7);
            let waits = sim.spawn(call, std::future::pending::<()>());
            sim.spawn(Name::new("client", "system"), async {});
            sim.settle()?;
            if stated_late {
                sim.rule(rule);
            }
            waits.abort();
            Ok(())
        })
    };
    assert_eq!(tasks(false), ["client/call/7 before client/system"]);
    assert_eq!(tasks(true), SILENT);
}

#[test]
fn once_is_broken_by_the_second_of_one_name() {
    let run = |numbers: [u32; 3]| {
        broken(move |sim| {
            sim.rule(Rule::once("server/object"));
            for number in numbers {
                drop(sim.track(object(number), ()));
            }
            drop(sim.track(CONNECTION, ()));
            drop(sim.track(CONNECTION, ()));
            Ok(())
        })
    };
    assert_eq!(run([0, 1, 2]), SILENT);
    assert_eq!(run([0, 1, 0]), ["server/object once"]);
}

#[test]
fn never_inside_a_destruction() {
    let run = |rule: Rule, nested: bool| {
        broken(move |sim| {
            sim.rule(rule);
            let inner = sim.track(object(0), ());
            match nested {
                true => drop(sim.track(CONNECTION, sim.track(Name::new("server", "box"), inner))),
                false => drop((sim.track(CONNECTION, ()), inner)),
            }
            Ok(())
        })
    };
    let of = |of| Rule::never_inside("server/object", Where::DestructionOf(of));
    let any = || Rule::never_inside("server/object", Where::Destruction);
    assert_eq!(run(any(), false), SILENT);
    assert_eq!(
        run(any(), true),
        ["server/object never inside a destruction"]
    );
    assert_eq!(run(of("client/connection"), true), SILENT);
    let text = "server/object never inside the destruction of */connection";
    assert_eq!(
        run(of("*/connection"), true),
        [text],
        "whatever is between the two"
    );
}

#[test]
fn never_inside_a_poll() {
    let run = |rule: Rule, by_task: bool| {
        broken(move |sim| {
            sim.rule(rule);
            let object = sim.track(object(0), ());
            if by_task {
                sim.spawn(Name::new("server", "system"), async { drop(object) });
            } else {
                sim.spawn(Name::new("server", "system"), async {});
                drop(object);
            }
            sim.settle()
        })
    };
    let any = |what| Rule::never_inside(what, Where::Poll);
    let of = |of| Rule::never_inside("server/object", Where::PollOf(of));
    assert_eq!(run(any("server/object"), false), SILENT);
    assert_eq!(
        run(any("server/object"), true),
        ["server/object never inside a poll"]
    );
    assert_eq!(
        run(any("server/system"), true),
        SILENT,
        "a task's own end is no re-entrance"
    );
    assert_eq!(run(of("client/system"), true), SILENT);
    assert_eq!(
        run(of("server/*"), true),
        ["server/object never inside a poll of server/*"]
    );
}

#[test]
fn never_inside_a_wake() {
    let run = |in_wake: bool| {
        let plan = plan(Limits::default());
        let report = dismantle_sim::run(&plan, |sim| {
            sim.rule(Rule::never_inside("server/object", Where::Wake));
            let object = sim.track(object(0), ());
            // A panic inside a wake ends it too.
            let panics = || sim.waking(|| std::panic::resume_unwind(Box::new("in a wake")));
            assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
            match in_wake {
                true => sim.waking(|| sim.waking(|| drop(object))),
                false => sim.waking(|| sim.waking(|| ())),
            }
            Ok(())
        });
        assert!(report.destroyed.iter().all(|d| d.in_wake == in_wake));
        report
            .breaches
            .into_iter()
            .map(|breach| breach.rule)
            .collect::<Vec<_>>()
    };
    assert_eq!(run(false), SILENT);
    assert_eq!(run(true), ["server/object never inside a wake"]);
}

#[test]
fn nothing_is_too_late_to_be_judged() {
    let last = broken(|sim| {
        sim.rule(connection_first());
        let connection = sim.track(CONNECTION, ());
        for index in 0..DESTROYED_MAX as u32 {
            drop(sim.track(Name::numbered("client", "call", index), ()));
        }
        drop(sim.track(object(0), ()));
        drop(connection);
        Ok(())
    });
    assert_eq!(last.len(), 1, "beyond what a report keeps");
}

#[test]
fn what_the_run_itself_cleans_up_breaks_no_rule_nor_does_what_a_limit_cut_short() {
    let body = |sim: &Sim| {
        sim.rule(Rule::before("client/call", "client/system"));
        let system = Name::new("client", "system");
        let system = sim.spawn(system, std::future::pending::<()>());
        let call = Name::new("client", "call");
        let call = sim.spawn(call, async { std::future::pending::<()>().await });
        sim.settle()?;
        Ok((system, call))
    };
    assert_eq!(broken(move |sim| body(sim).map(drop)), SILENT);
    let wrong = move |sim: &Sim| {
        let (system, call) = body(sim)?;
        sim.enter(Phase::Teardown, || {
            system.abort();
            call.abort();
            Ok(())
        })
    };
    assert_eq!(broken(wrong).len(), 1);
    let limits = Limits {
        steps: 1,
        ..Limits::default()
    };
    assert_eq!(run(&plan(limits), wrong).breaches, []);
}

#[test]
fn a_rule_speaks_of_names() {
    for text in ["object", "a/b/c", "a/b/1/2", "/b", "a/", ""] {
        let made = catch_unwind(|| Rule::once(text));
        let payload = made.expect_err("no name");
        let message = payload.downcast_ref::<String>().expect("a message");
        assert!(message.contains("is no name"), "{message}");
    }
}
