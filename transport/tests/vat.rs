//! Do two vats on a link talk, show what becomes of their messages, and end clean?
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::rc::Rc;

use capnp::capability::{Client, Promise};
use capnp::{Error, ErrorKind};
use capnp_rpc::rpc_twoparty_capnp::Side;
use dismantle_sim::{
    Destroyed, Digest, Event, Limits, Name, Options, Phase, Plan, Report, Runner, Seed, Sim,
    Stopped, Tracked, Value, Vocabulary,
};
use dismantle_transport::compat::{self, AnyParams, AnyResults, Serve, Untyped};
use dismantle_transport::{Disconnector, Link, Vat};

fn plan(answers: &[(&str, &str)]) -> Plan {
    let mut questions = dismantle_sim::questions().to_vec();
    questions.extend(dismantle_transport::questions());
    let mut plan = Plan::new(Vocabulary {
        scenario: "vat",
        limits: Limits::default(),
        parameters: &[],
        questions,
    });
    for (name, value) in answers {
        plan.set(name, &Value::from_text(value)).unwrap();
    }
    plan
}

fn traced(plan: &Plan, body: impl FnOnce(&Sim) -> Result<(), Stopped> + Send) -> Report {
    let options = Options {
        trace: true,
        ..Options::default()
    };
    let report = Runner::new().run(plan, &options, body);
    assert_eq!(report.panics, []);
    assert_eq!(report.limit, None);
    report
}

const INTERFACE: u64 = 0xd15_a471e;
const ECHO: u16 = 0;
/// Calls `ECHO` of its argument with its argument, and gives what it gets.
const CALL_BACK: u16 = 1;
const NEVER: u16 = 2;

struct Object(#[expect(dead_code, reason = "its drop is the record")] Tracked<()>);

fn object(sim: &Sim, owner: &'static str) -> Client {
    compat::client(Rc::new(Object(sim.track(Name::new(owner, "object"), ()))))
}

fn same(client: &Client) -> Client {
    Client::new(client.hook.add_ref())
}

impl Serve for Object {
    fn call(
        self: Rc<Self>,
        _interface_id: u64,
        method_id: u16,
        params: AnyParams,
        mut results: AnyResults,
    ) -> Promise<(), Error> {
        Promise::from_future(async move {
            let _alive = self;
            let Untyped(argument) = params.get()?.get_as_capability()?;
            let result = match method_id {
                ECHO => argument,
                CALL_BACK => call(&argument, ECHO, &argument).await?,
                _ => std::future::pending().await,
            };
            results.get().set_as_capability(result.hook);
            Ok(())
        })
    }
}

/// Calls a method with a capability; gives the capability that it answers with.
fn call(
    target: &Client,
    method: u16,
    argument: &Client,
) -> impl Future<Output = Result<Client, Error>> + use<> {
    let argument = same(argument);
    let sent = compat::send(target, INTERFACE, method, |mut params| {
        params.set_as_capability(argument.hook);
        Ok(())
    });
    async move {
        let response = sent.promise.await?;
        let Untyped(result) = response.get()?.get_as_capability()?;
        Ok(result)
    }
}

/// Whether what is behind a capability answers a call.
fn answers(sim: &Sim, target: &Client) -> Result<bool, Stopped> {
    let task = sim.spawn_must_end(Name::new("test", "probe"), call(target, ECHO, target));
    Ok(matches!(sim.run_until(&task)?, Some(Ok(_))))
}

struct Session {
    link: Link,
    client: Vat,
    server: Vat,
    bootstrap: Client,
    disconnectors: [Disconnector; 2],
}

fn connect(sim: &Sim) -> Session {
    let (link, client_end, server_end) = Link::new(sim);
    let client = Vat::new(sim, Side::Client, client_end, None);
    let served = Some(object(sim, "server"));
    let server = Vat::new(sim, Side::Server, server_end, served);
    let bootstrap = client.bootstrap();
    let disconnectors = [client.disconnector(), server.disconnector()];
    client.start();
    server.start();
    Session {
        link,
        client,
        server,
        bootstrap,
        disconnectors,
    }
}

/// How often something happened to each subject.
fn counts(report: &Report, kind: &str) -> BTreeMap<Name, u32> {
    let mut counts = BTreeMap::new();
    for event in events(report, kind) {
        *counts.entry(event.subject).or_default() += 1;
    }
    counts
}

fn events<'a>(report: &'a Report, kind: &str) -> Vec<&'a Event> {
    let trace = report.trace.as_ref().unwrap();
    trace
        .iter()
        .filter(|event| event.kind.text() == kind)
        .collect()
}

fn of(counts: &BTreeMap<Name, u32>, owner: &str, kind: &str) -> u32 {
    let all = counts.iter();
    all.filter(|(name, _)| name.owner() == owner && name.kind() == kind)
        .map(|(_, count)| count)
        .sum()
}

/// Every object that was tracked was destroyed, once for each creation.
fn all_destroyed(report: &Report) {
    assert_eq!(report.never_destroyed, BTreeMap::new());
    let destroyed = counts(report, "destroyed");
    for (name, count) in counts(report, "created") {
        assert_eq!(destroyed.get(&name), Some(&count), "{name}");
    }
}

#[test]
fn capabilities_cross_both_ways() {
    let report = traced(&plan(&[]), |sim| {
        let session = connect(sim);
        sim.enter(Phase::Drive, || {
            let own = object(sim, "client");
            let task = sim.spawn(
                Name::new("client", "echo"),
                call(&session.bootstrap, ECHO, &own),
            );
            let echoed = sim.run_until(&task)?.unwrap().unwrap();
            assert!(answers(sim, &echoed)?);
            // The server calls an object of the client's.
            let task = sim.spawn(
                Name::new("client", "call-back"),
                call(&session.bootstrap, CALL_BACK, &own),
            );
            let back = sim.run_until(&task)?.unwrap().unwrap();
            assert!(answers(sim, &back)?);
            // And the bootstrap itself goes there and back.
            let task = sim.spawn(
                Name::new("client", "bootstrap"),
                call(&session.bootstrap, ECHO, &session.bootstrap),
            );
            let back = sim.run_until(&task)?.unwrap().unwrap();
            assert!(answers(sim, &back)?);
            Ok(())
        })?;
        assert!(!session.client.has_ended() && !session.server.has_ended());
        drop(session.bootstrap);
        session.client.drop_system()?;
        sim.settle()?;
        assert!(session.server.has_ended());
        session.server.drop_system()
    });
    // Client to server: three calls of its own, and the probe of the bootstrap.
    let wire = |kind: &str, pipe: &'static str| {
        let subject = Name::new("pipe", pipe);
        events(&report, kind)
            .iter()
            .filter(|e| e.subject == subject)
            .count()
    };
    assert_eq!(wire("bootstrap", "c2s"), 1);
    assert_eq!(wire("call", "c2s"), 4);
    assert_eq!(wire("call", "s2c"), 1);
    assert_eq!(wire("return", "c2s"), 1);
    assert_eq!(wire("return", "s2c"), 5);
}

#[test]
fn a_message_is_queued_sent_and_received_once() {
    let report = traced(&plan(&[]), |sim| {
        let session = connect(sim);
        let own = object(sim, "client");
        for _ in 0..5 {
            let name = Name::new("client", "call");
            let task = sim.spawn_must_end(name, call(&session.bootstrap, ECHO, &own));
            assert!(sim.run_until(&task)?.unwrap().is_ok());
        }
        sim.settle()?;
        drop((own, session.bootstrap));
        sim.settle()?;
        // The end of the session sends what arrives nowhere: it is not looked at.
        sim.event(
            dismantle_sim::EventKind::new("end"),
            Name::new("test", "end"),
            [0, 0],
        );
        Ok(())
    });
    let trace = report.trace.as_ref().unwrap();
    let end = trace
        .iter()
        .position(|event| event.kind.text() == "end")
        .unwrap();
    let mut order: BTreeMap<Name, Vec<&str>> = BTreeMap::new();
    for event in &trace[..end] {
        if event.subject.kind().starts_with("message") {
            order
                .entry(event.subject)
                .or_default()
                .push(event.kind.text());
        }
    }
    assert!(order.len() > 40, "{order:?}");
    for (name, order) in &order {
        let expected: &[&str] = match name.kind() {
            "message-out" => &["created", "queued", "sent", "destroyed"],
            _ => &["received", "created", "destroyed"],
        };
        assert_eq!(order, expected, "{name}");
    }
    let of = |owner, kind| {
        order
            .keys()
            .filter(|n| n.owner() == owner && n.kind() == kind)
            .count()
    };
    assert_eq!(of("client", "message-out"), of("server", "message-in"));
    assert_eq!(of("server", "message-out"), of("client", "message-in"));
    for (name, words) in counts(&report, "queued")
        .keys()
        .zip(events(&report, "queued"))
    {
        assert!(words.numbers[0] > 0, "{name}: a size in words");
    }
}

#[test]
fn what_a_dropped_system_has_not_sent_is_dropped_unsent() {
    let report = traced(&plan(&[]), |sim| {
        let session = connect(sim);
        sim.enter(Phase::Drive, || sim.settle())?;
        session.link.to_server().clog();
        let own = object(sim, "client");
        let calls: Vec<_> = (0..20)
            .map(|number| {
                let name = Name::numbered("client", "call", number);
                sim.spawn(name, call(&session.bootstrap, NEVER, &own))
            })
            .collect();
        sim.settle()?;
        session.link.report_stalls(sim);
        drop((own, calls));
        sim.enter(Phase::Teardown, || {
            drop(session.bootstrap);
            session.client.drop_system()
        })
    });
    let out = |kind: &str| of(&counts(&report, kind), "client", "message-out");
    let (queued, sent, unsent) = (out("queued"), out("sent"), out("dropped-unsent"));
    assert_eq!(sent + unsent, queued, "each has one fate");
    for (name, count) in counts(&report, "dropped-unsent") {
        assert_eq!(count, 1, "{name}");
        assert_eq!(counts(&report, "sent").get(&name), None, "{name}");
    }
    // A leak of upstream's is no leak of messages.
    assert!(
        report
            .never_destroyed
            .keys()
            .all(|name| name.kind() != "message-out")
    );
    // The calls were queued before the end, and are destroyed inside the system's destruction;
    // their Finish messages come when nobody can send them any more.
    let trace = report.trace.as_ref().unwrap();
    let end = trace
        .iter()
        .position(|event| event.kind.text() == "action")
        .unwrap();
    let before: Vec<Name> = events(&report, "dropped-unsent")
        .into_iter()
        .map(|event| event.subject)
        .filter(|name| {
            trace[..end]
                .iter()
                .any(|e| e.kind.text() == "queued" && e.subject == *name)
        })
        .collect();
    // Twenty calls, and what the bootstrap still had to say.
    assert!((20..=22).contains(&before.len()), "{before:?}");
    for destroyed in report.destroyed.iter().filter(|d| before.contains(&d.name)) {
        let mut root = destroyed;
        while let Some(inside) = root.inside {
            root = &report.destroyed[inside];
        }
        assert_eq!(
            root.name,
            Name::new("client", "system"),
            "{}",
            destroyed.name
        );
        assert_eq!(destroyed.phase, Phase::Teardown);
        assert!(destroyed.in_wake, "the queue that lets go wakes who waits");
    }
    let received = |d: &&Destroyed| d.name.kind() == "message-in";
    assert!(report.destroyed.iter().filter(received).all(|d| !d.in_wake));
    assert_eq!(report.held.len(), 1);
    assert_eq!(report.held[0].by, Name::new("pipe", "c2s"));
}

/// Disconnects from one end in the recommended order, with a call that never returns.
fn orderly(by: usize) -> Report {
    traced(&plan(&[]), move |sim| {
        let session = connect(sim);
        let own = object(sim, "client");
        let (echo, never) = sim.enter(Phase::Drive, || {
            let echo = call(&session.bootstrap, ECHO, &own);
            let echo = sim.spawn_must_end(Name::new("client", "echo"), echo);
            let never = call(&session.bootstrap, NEVER, &own);
            let never = sim.spawn_must_end(Name::new("client", "never"), never);
            sim.settle()?;
            Ok((echo.take().unwrap().unwrap(), never))
        })?;
        assert!(!never.is_finished());
        sim.enter(Phase::Teardown, || {
            let [client, server] = session.disconnectors;
            let disconnector = if by == 0 { client } else { server };
            let done = sim.spawn_must_end(Name::new("owner", "disconnect"), disconnector);
            assert!(sim.run_until(&done)?.unwrap().is_ok());
            sim.settle()?;
            let error = never.take().unwrap().map(drop).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Disconnected, "{error}");
            assert!(session.client.has_ended() && session.server.has_ended());
            let late = call(&session.bootstrap, ECHO, &own);
            let late = sim.spawn_must_end(Name::new("client", "late"), late);
            let error = sim.run_until(&late)?.unwrap().map(drop).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Disconnected, "{error}");
            drop((echo, own, session.bootstrap));
            session.client.drop_system()?;
            sim.settle()?;
            session.server.drop_system()
        })
    })
}

#[test]
fn an_orderly_end_destroys_everything_once() {
    for by in 0..2 {
        let report = orderly(by);
        all_destroyed(&report);
        assert_eq!(report.pending, []);
        let created = counts(&report, "created");
        for (owner, kind, count) in [
            ("client", "network", 1),
            // Upstream has one for the bootstrap and one for what the peer would start.
            ("client", "connection", 2),
            ("client", "object", 1),
            ("server", "network", 1),
            ("server", "connection", 1),
            ("server", "object", 1),
        ] {
            assert_eq!(of(&created, owner, kind), count, "{owner}/{kind}");
        }
        let ended = counts(&report, "system-ended");
        assert_eq!(of(&ended, "client", "system"), 1);
        assert_eq!(of(&ended, "server", "system"), 1);
        let shut = counts(&report, "shutdown");
        assert_eq!(of(&shut, "client", "connection"), 1);
        assert_eq!(of(&shut, "server", "connection"), 1);
    }
}

#[test]
fn a_system_that_never_ran_can_be_dropped() {
    let report = traced(&plan(&[]), |sim| {
        let (_link, client_end, server_end) = Link::new(sim);
        let client = Vat::new(sim, Side::Client, client_end, None);
        let server = Vat::new(sim, Side::Server, server_end, Some(object(sim, "server")));
        assert_eq!((client.name(), server.name()), ("client", "server"));
        let bootstrap = client.bootstrap();
        assert!(!client.has_ended());
        client.drop_system()?;
        client.drop_system()?;
        client.start();
        assert!(!client.has_ended());
        drop((server, bootstrap));
        Ok(())
    });
    assert_eq!(of(&counts(&report, "destroyed"), "client", "network"), 1);
    assert_eq!(of(&counts(&report, "destroyed"), "server", "object"), 1);
    assert_eq!(report.steps, 0);
    assert_eq!(report.pending, []);
}

#[test]
fn a_reset_fails_the_call_that_waits() {
    let text = [
        ("pipe.c2s.fault.0.what", "reset"),
        ("pipe.c2s.fault.0.when", "call"),
        ("pipe.c2s.fault.0.at", "2"),
    ];
    let report = traced(&plan(&text), |sim| {
        let session = connect(sim);
        let own = object(sim, "client");
        let ends = [0, 1].map(|number| {
            let name = Name::numbered("client", "call", number);
            sim.spawn_must_end(name, call(&session.bootstrap, NEVER, &own))
        });
        sim.settle()?;
        for end in ends {
            let error = end.take().unwrap().map(drop).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Disconnected, "{error}");
        }
        assert!(session.client.has_ended() && session.server.has_ended());
        Ok(())
    });
    assert_eq!(events(&report, "fault").len(), 1);
    all_destroyed(&report);
}

/// A session whose end is not orderly, so that upstream's tables are dropped as they are.
fn session(runner: &Runner, seed: u64) -> (Digest, Vec<Name>) {
    let options = Options {
        seed: Some(Seed(seed)),
        ..Options::default()
    };
    let report = runner.run(&plan(&[]), &options, |sim| {
        let session = connect(sim);
        let tasks: Vec<_> = (1..=10)
            .map(|number| {
                let own = object(sim, "client");
                let method = if number % 3 == 0 { NEVER } else { CALL_BACK };
                session.link.operation(number);
                let name = Name::numbered("client", "call", number);
                sim.spawn(name, call(&session.bootstrap, method, &own))
            })
            .collect();
        sim.steps(40)?;
        drop(tasks);
        sim.spawn(
            Name::new("owner", "disconnect"),
            session.disconnectors.into_iter().next().unwrap(),
        );
        sim.settle()?;
        drop(session.bootstrap);
        session.server.drop_system()?;
        session.client.drop_system()
    });
    let order = report.destroyed.iter().map(|destroyed| destroyed.name);
    (report.digest, order.collect())
}

#[test]
fn a_session_is_the_same_in_whatever_order_seeds_are_run() {
    let runner = Runner::new();
    let forwards: Vec<_> = (0..60).map(|seed| session(&runner, seed)).collect();
    let mut backwards: Vec<_> = (0..60).rev().map(|seed| session(&runner, seed)).collect();
    backwards.reverse();
    assert_eq!(forwards, backwards);
    let mut orders: Vec<_> = forwards.iter().map(|(_, order)| order).collect();
    orders.sort_unstable();
    orders.dedup();
    assert!(orders.len() > 20, "{} orders", orders.len());
}
