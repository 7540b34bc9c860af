//! Does a plan mean the same to a release that polls once more?
#![allow(missing_docs)]

use std::collections::BTreeMap;

use dismantle::{BUILT_IN, Harness, InProcess, Order, Ran, find, vocabulary};
use dismantle_sim::{Plan, Seed, Value};

/// The plan of a seed, without the answers that count steps or messages.
fn semantic(harness: &mut InProcess<'_>, scenario: &str, seed: u64) -> (Plan, Plan) {
    let plan = Plan::new(vocabulary(
        find(BUILT_IN, scenario).expect("a built-in scenario"),
    ));
    let order = Order {
        seed: Some(Seed(seed)),
        ..Order::of(&plan)
    };
    let recorded = harness.run(order).expect("it runs").plan;
    let mut semantic = recorded.clone();
    for name in recorded.moving() {
        semantic.remove(&name);
    }
    (recorded, semantic)
}

/// A release that polls more often: what waits for bytes is woken in vain before it gets any.
fn with_more_polls(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    for pipe in ["c2s", "s2c"] {
        let set = plan.set(&format!("pipe.{pipe}.spurious"), &Value::Count(3));
        set.expect("a decision of every pipe");
    }
    plan
}

fn run(harness: &mut InProcess<'_>, plan: &Plan) -> Ran {
    let order = Order {
        trace: true,
        ..Order::of(plan)
    };
    harness.run(order).expect("it runs")
}

/// What happened, without when: what the owner did, what broke and where, and what became of each
/// call.
fn meaning(ran: &Ran) -> BTreeMap<String, Vec<String>> {
    let mut meaning: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in &ran.trace {
        let what = match event.kind.as_str() {
            "action" | "operation" => "the owner",
            "fault" => &event.subject,
            "call-arrived" => &event.subject,
            "call-answered" | "call-failed" => &event.subject,
            _ => continue,
        };
        let said = format!(
            "{} {} {:?} {}",
            event.kind, event.subject, event.numbers, event.text
        );
        meaning.entry(what.to_owned()).or_default().push(said);
    }
    meaning
}

/// A plan of `program` with these decisions.
fn program(decisions: &str) -> Plan {
    let text = format!("dismantle = 1\nscenario = \"program\"\n[decisions]\n{decisions}");
    let known = |name: &str| find(BUILT_IN, name).map(vocabulary);
    Plan::read(&text, known).expect("a legal plan")
}

/// What the plan means here, and to a release that polls more often.
fn meanings(harness: &mut InProcess<'_>, plan: &Plan) -> [BTreeMap<String, Vec<String>>; 2] {
    [plan.clone(), with_more_polls(plan)].map(|plan| meaning(&run(harness, &plan)))
}

#[test]
fn what_counts_no_steps_means_the_same_to_a_release_that_polls_more() {
    let mut harness = InProcess::new(BUILT_IN);
    for scenario in ["program", "wire", "callback", "promise", "exception"] {
        let (mut waited, mut events) = (0, 0);
        for seed in 0..30 {
            let (_, semantic) = semantic(&mut harness, scenario, seed);
            let more = with_more_polls(&semantic);
            let [here, there] = [semantic, more].map(|plan| run(&mut harness, &plan));
            waited += u64::from(there.report.steps > here.report.steps);
            let (here, there) = (meaning(&here), meaning(&there));
            events += here.values().map(Vec::len).sum::<usize>();
            assert_eq!(here, there, "{scenario}, seed {seed}");
        }
        assert!(waited > 15, "{scenario}: {waited} plans took more steps");
        assert!(events > 30, "{scenario}: only {events} events compared");
    }
}

#[test]
fn a_fault_within_the_second_call_stays_there() {
    let mut harness = InProcess::new(BUILT_IN);
    let plan = program(
        "op.1.what = \"call\"\nop.1.steps = 10000\nop.2.what = \"call\"\nop.2.steps = 10000\n\
         pipe.c2s.fault.0.what = \"reset\"\npipe.c2s.fault.0.when = \"call\"\n\
         pipe.c2s.fault.0.at = 2\npipe.c2s.fault.0.byte = 9\n",
    );
    assert_eq!(plan.moving().count(), 0);
    let [here, there] = meanings(&mut harness, &plan);
    assert_eq!(here, there);
    let calls = |of: &str| here[of].join(", ");
    assert!(calls("client/call/1").contains("call-answered"));
    assert!(calls("client/call/2").contains("call-failed"));
}

#[test]
fn what_counts_steps_moves_and_the_plan_says_which() {
    let mut harness = InProcess::new(BUILT_IN);
    let mut moved = 0;
    for steps in 1..20 {
        let plan = program(&format!(
            "op.1.what = \"call\"\nop.1.steps = {steps}\nop.2.what = \"cancel\"\nop.2.on = 1\n"
        ));
        assert_eq!(plan.moving().collect::<Vec<_>>(), ["op.1.steps"]);
        let [here, there] = meanings(&mut harness, &plan);
        moved += u64::from(here != there);
    }
    assert!(moved > 0, "some number of steps is too few with more polls");
    for steps in [0, 10_000] {
        let plan = program(&format!(
            "op.1.what = \"call\"\nop.1.steps = {steps}\nop.2.what = \"cancel\"\nop.2.on = 1\n"
        ));
        assert_eq!(plan.moving().count(), 0);
        let [here, there] = meanings(&mut harness, &plan);
        assert_eq!(here, there, "{steps} steps");
    }
}

#[test]
fn a_plan_recorded_with_another_release_says_what_may_move() {
    let mut harness = InProcess::new(BUILT_IN);
    let mut plan = program(
        "op.1.what = \"call\"\nop.1.steps = 3\npipe.c2s.fault.0.what = \"stall\"\n\
         pipe.c2s.fault.0.when = \"release\"\n",
    );
    let text = run(&mut harness, &plan).report.text();
    assert!(!text.contains("recorded"), "{text}");
    plan.upstream = Some("capnp-rpc-0.1.0".to_owned());
    let ran = run(&mut harness, &plan);
    let text = ran.report.text();
    let says = "the plan was recorded with capnp-rpc-0.1.0\n  what counts steps or messages may \
                mean another moment here: op.1.steps, pipe.c2s.fault.0.when";
    assert!(text.contains(says), "{text}");
    let again = ran.plan.upstream.expect("a run says what it was with");
    assert_eq!(again, ran.report.upstream);
}
