//! Do a Rust vat and a C++ vat understand each other, and is it told if they do not?

use std::process::Command;

use dismantle::{Check, Class, Harness, InProcess, Order, Scenario, check, find, vocabulary};
use dismantle_kj::SCENARIOS;
use dismantle_sim::{Plan, Seed, Value};

/// The root of the repository, where the program finds what is known.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// As many operations as a seed draws.
const OPERATIONS: u32 = 12;

fn mixed() -> &'static dyn Scenario {
    find(SCENARIOS, "kj-mixed").expect("one of ours")
}

/// No fault, an orderly end, and nothing of what either library is known to do wrong: a call
/// that is given up, pipelining, a promise that is passed on, a capability that comes home.
fn calm() -> Vec<(String, &'static str)> {
    let settings = [
        ("end", "orderly"),
        ("tail_calls", "no"),
        ("kept", "given-up"),
    ];
    let mut settings: Vec<_> = settings
        .map(|(name, value)| (name.to_owned(), value))
        .into();
    for direction in ["c2s", "s2c"] {
        settings.push((format!("pipe.{direction}.on_drop"), "closes"));
        for fault in 0..2 {
            settings.push((format!("pipe.{direction}.fault.{fault}.what"), "nothing"));
        }
    }
    for operation in 1..=OPERATIONS {
        for (what, value) in [
            ("then", "waits"),
            ("keep", "result"),
            ("argument", "none"),
            ("resolution", "object"),
        ] {
            settings.push((format!("op.{operation}.{what}"), value));
        }
    }
    settings
}

#[test]
fn a_calm_run_is_clean_either_way_round() {
    for client in ["kj", "rust"] {
        let with =
            |check: Check<'static>, (name, value): (String, &'static str)| check.set(&name, value);
        let check = check(mixed()).set("client", client);
        calm().into_iter().fold(check, with).seeds(0..300);
    }
}

/// The classes of what a seed finds in a calm run of a C++ client with this bug.
fn found(bug: &str, seed: u64) -> Vec<Class> {
    let mut plan = Plan::new(vocabulary(mixed()));
    let bug = [("client".to_owned(), "kj"), ("bug".to_owned(), bug)];
    for (name, value) in calm().into_iter().chain(bug) {
        let set = plan.set(&name, &Value::from_text(value));
        set.expect("one of its questions");
    }
    let order = Order {
        seed: Some(Seed(seed)),
        ..Order::of(&plan)
    };
    let ran = InProcess::new(SCENARIOS).run(order).expect("it runs");
    let findings = ran.report.findings.iter();
    findings.map(|finding| finding.class).collect()
}

#[test]
fn a_planted_bug_is_found_by_its_check_alone() {
    for (bug, class) in [("lies", Class::WrongError), ("swaps", Class::CallOrder)] {
        let found: Vec<_> = (0..100).flat_map(|seed| found(bug, seed)).collect();
        assert!(found.len() > 5, "{bug}: {found:?}");
        assert!(found.iter().all(|it| *it == class), "{bug}: {found:?}");
    }
}

#[test]
fn seeds_find_nothing_that_is_not_known() {
    let found = tempfile::tempdir().expect("a folder");
    let fuzz = Command::new(env!("CARGO_BIN_EXE_dismantle_kj"))
        .args(["fuzz", "kj-mixed", "--seeds", "0..500", "--known"])
        .args(["--json", "--out"])
        .arg(found.path())
        .current_dir(ROOT)
        .output()
        .expect("it starts");
    assert!(fuzz.status.success(), "{fuzz:?}");
}
