//! Does an injected server do to its callers what the plan says?
#![allow(clippy::unwrap_used, missing_docs)]
// What is a conversion in one release of upstream is none in another.
#![allow(clippy::useless_conversion)]

mod typed;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use capnp::ErrorKind;
use capnp::capability::{Client, DispatchCallResult, Promise};
use capnp_rpc::rpc_twoparty_capnp::Side;
use dismantle_sim::{
    Limits, Name, Options, Pending, Plan, Report, Runner, Seed, Sim, Value, Vocabulary,
};
use dismantle_transport::compat::{self, AnyParams, AnyResults};
use dismantle_transport::{Link, Vat, inject};
use typed::{Served, Typed};

const INTERFACE: u64 = 0xd15_a471e;
const CALLS: u32 = 3;

/// A server that notes when its work is done.
struct Worker(Sim, Rc<RefCell<Vec<u64>>>);

impl Served for Worker {
    fn served(&self, _: u16, _: AnyParams, _: AnyResults) -> DispatchCallResult {
        let (sim, worked_us) = (self.0.clone(), self.1.clone());
        let work = Promise::from_future(async move {
            worked_us.borrow_mut().push(sim.now_us());
            Ok(())
        });
        DispatchCallResult::new(work, false)
    }
}

/// How a call ended, and when.
type Ended = (u64, Result<(), (ErrorKind, String)>);

struct Ran {
    /// For each call: `None` while it waits.
    calls: Vec<Option<Ended>>,
    /// When the server's own work was done.
    worked_us: Vec<u64>,
    report: Report,
}

fn plan(text: &str) -> Plan {
    let mut questions = dismantle_sim::questions().to_vec();
    questions.extend(dismantle_transport::questions());
    let mut plan = Plan::new(Vocabulary {
        scenario: "exception",
        limits: Limits::default(),
        parameters: &[],
        questions,
    });
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(" = ").unwrap();
        plan.set(name, &Value::from_text(value)).unwrap();
    }
    plan
}

/// Makes three calls, one after the other unless one never ends; over a link if `remote`.
fn ran(plan: &Plan, seed: Option<Seed>, remote: bool, healed: bool) -> Ran {
    let mut calls = Vec::new();
    let mut worked_us = Vec::new();
    let options = Options {
        seed,
        trace: true,
        ..Options::default()
    };
    let report = Runner::new().run(plan, &options, |sim| {
        let worked: Rc<RefCell<Vec<u64>>> = Rc::default();
        let name = Name::new("server", "worker");
        let Typed(served) = inject(sim, name, Worker(sim.clone(), worked.clone()));
        let target = if remote { connect(sim, served) } else { served };
        if healed {
            sim.heal();
        }
        for number in 0..CALLS {
            let sent = compat::send(&target, INTERFACE, 0, |_| Ok(()));
            let clock = sim.clone();
            let task = sim.spawn(Name::numbered("client", "call", number), async move {
                let result = sent.promise.await;
                let result = result.map(drop).map_err(|error| (error.kind, error.extra));
                (clock.now_us(), result)
            });
            calls.push(sim.run_until(&task)?);
        }
        worked_us = worked.take();
        Ok(())
    });
    assert_eq!(report.panics, []);
    assert_eq!(report.limit, None);
    Ran {
        calls,
        worked_us,
        report,
    }
}

fn connect(sim: &Sim, served: Client) -> Client {
    let (link, client, server) = Link::new(sim);
    let client = Vat::new(sim, Side::Client, client, None);
    let server = Vat::new(sim, Side::Server, server, Some(served));
    let bootstrap = client.bootstrap();
    client.start();
    server.start();
    drop(link);
    bootstrap
}

/// A run whose second call is treated so.
fn second_call(what: &str, when: &str, remote: bool) -> Ran {
    let text = format!(
        "server.\"server/worker\".call.1.what = {what}
         server.\"server/worker\".call.1.when = {when}
         server.\"server/worker\".call.1.late_us = 7000"
    );
    let ran = ran(&plan(&text), None, remote, false);
    let behaved = |event: &&dismantle_sim::Event| event.kind.text() == "server-behaves";
    let events: Vec<_> = ran
        .report
        .trace
        .as_ref()
        .unwrap()
        .iter()
        .filter(behaved)
        .collect();
    assert_eq!(events.len(), 1, "only the call that was named");
    assert_eq!(events[0].numbers[0], 1);
    ran
}

const OK: Option<Ended> = Some((0, Ok(())));

#[test]
fn by_default_calls_answer() {
    for remote in [false, true] {
        let ran = ran(&plan(""), None, remote, false);
        assert_eq!(ran.calls, [OK, OK, OK]);
        assert_eq!(ran.worked_us, [0; CALLS as usize]);
    }
}

#[test]
fn an_exception_reaches_the_caller_with_its_type() {
    let kinds = [
        ("failed", ErrorKind::Failed),
        ("overloaded", ErrorKind::Overloaded),
        ("disconnected", ErrorKind::Disconnected),
        ("unimplemented", ErrorKind::Unimplemented),
    ];
    for remote in [false, true] {
        for (when, worked) in [("before", 2), ("after", 3)] {
            for (word, kind) in kinds {
                let ran = second_call(word, when, remote);
                let Some((0, Err((seen, message)))) = &ran.calls[1] else {
                    panic!("{word} {when}: {:?}", ran.calls[1]);
                };
                assert_eq!(*seen, kind, "{word} {when}");
                assert!(message.contains("injected exception"), "{message}");
                assert_eq!([&ran.calls[0], &ran.calls[2]], [&OK, &OK], "{word} {when}");
                assert_eq!(ran.worked_us, vec![0; worked], "{word} {when}");
            }
        }
    }
}

#[test]
fn a_call_that_never_answers_waits_and_holds_up_no_other() {
    for remote in [false, true] {
        for (when, worked) in [("before", 2), ("after", 3)] {
            let ran = second_call("never", when, remote);
            assert_eq!(ran.calls, [OK, None, OK], "{when}");
            assert_eq!(ran.worked_us, vec![0; worked], "{when}");
            let waits: Vec<&Pending> = ran
                .report
                .pending
                .iter()
                .filter(|p| p.task.kind() == "call")
                .collect();
            assert!(remote || waits.len() == 1, "{waits:?}");
        }
    }
}

#[test]
fn a_late_call_answers_later() {
    for remote in [false, true] {
        for when in ["before", "after"] {
            let ran = second_call("late", when, remote);
            let late = Some((7000, Ok(())));
            assert_eq!(ran.calls, [OK, late.clone(), late], "{when}");
            let worked_us = if when == "before" {
                [0, 7000, 7000]
            } else {
                [0, 0, 7000]
            };
            assert_eq!(ran.worked_us, worked_us, "{when}");
        }
    }
}

#[test]
fn a_panic_of_a_remote_server_ends_its_system_and_is_no_panic_of_the_run() {
    for (when, worked) in [("before", 1), ("after", 2)] {
        let ran = second_call("panics", when, true);
        assert_eq!(ran.calls[0], OK);
        for call in &ran.calls[1..] {
            let Some((_, Err((kind, _)))) = call else {
                panic!("{when}: {:?}", ran.calls);
            };
            assert_eq!(*kind, ErrorKind::Disconnected, "{when}");
        }
        assert_eq!(ran.worked_us, vec![0; worked], "{when}");
        let trace = ran.report.trace.as_ref().unwrap();
        let injected = trace
            .iter()
            .find(|e| e.kind.text() == "injected-panic")
            .unwrap();
        assert_eq!(injected.subject, Name::new("server", "system"));
    }
}

#[test]
fn a_panic_of_a_local_server_takes_its_caller_along() {
    for (when, worked) in [("before", 2), ("after", 3)] {
        let ran = second_call("panics", when, false);
        assert_eq!(ran.calls, [OK, None, OK], "{when}");
        assert_eq!(ran.worked_us, vec![0; worked], "{when}");
        let pending: Vec<_> = ran.report.pending.iter().map(|p| p.task).collect();
        assert_eq!(pending, [], "the task is gone");
    }
}

#[test]
fn after_the_healing_every_call_answers() {
    let text = "server.\"server/worker\".call.0.what = failed
                server.\"server/worker\".call.1.what = never
                server.\"server/worker\".call.2.what = panics";
    for remote in [false, true] {
        let ran = ran(&plan(text), None, remote, true);
        assert_eq!(ran.calls, [OK, OK, OK]);
    }
}

#[test]
fn seeds_draw_every_behaviour_but_panics() {
    let mut seen: BTreeMap<u64, u32> = BTreeMap::new();
    for seed in 0..300 {
        let ran = ran(&plan(""), Some(Seed(seed)), false, false);
        for event in ran.report.trace.as_ref().unwrap() {
            if event.kind.text() == "server-behaves" {
                *seen.entry(event.numbers[1]).or_default() += 1;
            }
        }
        let done = ran
            .calls
            .iter()
            .filter(|call| matches!(call, Some((_, Ok(())))))
            .count();
        assert!(
            ran.worked_us.len() >= done,
            "seed {seed}: an answer without its work"
        );
    }
    let words: Vec<u64> = seen.keys().copied().collect();
    assert_eq!(words, [1, 2, 3, 4, 5, 6], "{seen:?}");
}
