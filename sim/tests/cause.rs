//! Does an event that is kept name the event that brought it about?
#![allow(clippy::unwrap_used, missing_docs)]

use dismantle_sim::{
    Event, EventKind, Limits, Name, Options, Plan, Report, Runner, Sim, Stopped, Tracked,
    Vocabulary,
};
use futures::channel::oneshot;

const MARK: EventKind = EventKind::new("mark");

fn traced(
    options: Options,
    body: impl FnOnce(&Sim) -> Result<(), Stopped> + Send,
) -> (Report, Vec<Event>) {
    let plan = Plan::new(Vocabulary {
        scenario: "cause",
        limits: Limits::default(),
        parameters: &[],
        questions: dismantle_sim::questions().to_vec(),
    });
    let mut report = Runner::new().run(&plan, &options, body);
    let trace = report.trace.take().unwrap_or_default();
    (report, trace)
}

fn with_trace(body: impl FnOnce(&Sim) -> Result<(), Stopped> + Send) -> Vec<Event> {
    let options = Options {
        trace: true,
        ..Options::default()
    };
    traced(options, body).1
}

fn name(text: &'static str) -> Name {
    Name::new("test", text)
}

/// The place of the `nth` event, from 0, of this kind and subject.
fn nth(trace: &[Event], nth: usize, kind: &str, subject: &str) -> usize {
    let fits = |event: &Event| event.kind.text() == kind && event.subject.kind() == subject;
    let mut places = (0..).zip(trace).filter(|(_, event)| fits(event));
    places.nth(nth).expect("it happened").0
}

/// The events from this one back, each brought about by the next.
fn chain(trace: &[Event], from: usize) -> Vec<String> {
    let mut chain = Vec::new();
    let mut place = Some(from);
    while let Some(event) = place.map(|place| &trace[place]) {
        chain.push(format!("{} {}", event.kind.text(), event.subject));
        place = event.cause.map(|cause| cause as usize);
    }
    chain
}

/// Two tasks: one waits for a message that the other sends.
fn sender_and_receiver(sim: &Sim) -> Result<(), Stopped> {
    let (sender, receiver) = oneshot::channel::<()>();
    let (one, other) = (sim.clone(), sim.clone());
    sim.spawn(name("receiver"), async move {
        receiver.await.unwrap();
        one.event(MARK, name("received"), [0, 0]);
    });
    sim.spawn(name("sender"), async move {
        other.event(MARK, name("sends"), [0, 0]);
        sender.send(()).unwrap();
        other.event(MARK, name("sent"), [0, 0]);
    });
    sim.settle()
}

#[test]
fn a_poll_is_due_to_the_wake_and_the_wake_to_what_the_waker_had_done() {
    let trace = with_trace(sender_and_receiver);
    let received = nth(&trace, 0, "mark", "received");
    assert_eq!(
        chain(&trace, received),
        [
            "mark test/received",
            "poll test/receiver",
            "wake test/receiver",
            "mark test/sends",
            "poll test/sender",
            "wake test/sender",
            "spawn test/sender",
        ]
    );
    assert_eq!(trace[received].by, Some(name("receiver")));
    let sends = nth(&trace, 0, "mark", "sends");
    assert_eq!(trace[sends].by, Some(name("sender")));
}

#[test]
fn a_sleeper_is_woken_by_the_clock() {
    let trace = with_trace(|sim| {
        let clock = sim.clone();
        sim.spawn(name("sleeper"), async move { clock.sleep_us(7).await });
        sim.settle()
    });
    let again = nth(&trace, 1, "poll", "sleeper");
    assert_eq!(
        chain(&trace, again),
        ["poll test/sleeper", "wake test/sleeper", "time sim/clock"]
    );
    assert_eq!(trace[again].time_us, 7);
}

#[test]
fn what_is_dropped_within_a_drop_is_due_to_it_and_that_to_the_owners_action() {
    struct Outer(#[expect(dead_code, reason = "dropped")] Tracked<()>);
    let trace = with_trace(|sim| {
        let inner = sim.track(name("inner"), ());
        let outer = sim.track(name("outer"), Outer(inner));
        let after = sim.track(name("after"), ());
        sim.act(name("drop"), || drop(outer))?;
        sim.event(MARK, name("outside"), [0, 0]);
        drop(after);
        Ok(())
    });
    let inner = nth(&trace, 0, "destroyed", "inner");
    assert_eq!(
        chain(&trace, inner),
        [
            "destroyed test/inner",
            "destroyed test/outer",
            "action test/drop"
        ]
    );
    assert_eq!(trace[inner].by, Some(name("drop")));
    for (kind, subject) in [("mark", "outside"), ("destroyed", "after")] {
        let event = &trace[nth(&trace, 0, kind, subject)];
        assert_eq!((event.by, event.cause), (None, None), "{event}");
    }
}

#[test]
fn a_panic_is_told_where_it_is_raised_and_what_it_unwinds_comes_after() {
    let trace = with_trace(|sim| {
        let inside = sim.track(name("inside"), ());
        sim.act(name("fall"), move || {
            let _inside = inside;
            panic!("why");
        })?;
        Ok(())
    });
    let raised = nth(&trace, 0, "panic-raised", "action");
    assert!(trace[raised].text.as_deref().unwrap().ends_with(": why"));
    assert!(raised < nth(&trace, 0, "destroyed", "inside"));
    assert_eq!(
        chain(&trace, raised),
        ["panic-raised owner/action", "action test/fall"]
    );
}

#[test]
fn what_is_kept_beside_the_events_is_no_part_of_the_digest() {
    let run = |trace: bool| {
        let options = Options {
            trace,
            ..Options::default()
        };
        traced(options, |sim| {
            sim.remark(MARK, name("remark"), || "text".to_owned());
            sim.event_saying(MARK, name("event"), [1, 2], || "more".to_owned());
            assert_eq!(sim.is_traced(), trace);
            sender_and_receiver(sim)
        })
    };
    let (plain, none) = run(false);
    let (told, trace) = run(true);
    assert_eq!((plain.panics, none), (vec![], vec![]));
    assert_eq!(told.panics, []);
    assert_eq!(plain.digest, told.digest);
    let texts: Vec<_> = trace.iter().filter_map(|it| it.text.as_deref()).collect();
    assert_eq!(texts[..2], ["text", "more"]);
}
