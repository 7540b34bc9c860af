//! Does `dismantle::check` find what is there, say how to run it again, and stay silent else?
#![expect(
    clippy::disallowed_methods,
    reason = "a child of this test is told so by a variable"
)]

use std::process::{Command, Output};

use dismantle::{BUILT_IN, Scenario, check, find};

fn scenario(name: &str) -> &'static dyn Scenario {
    find(BUILT_IN, name).expect("a built-in scenario")
}

/// Runs one of the `child_*` tests below in a process of its own.
fn child(test: &str, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command
        .args([test, "--exact", "--nocapture", "--include-ignored"])
        .env("DISMANTLE_CHILD", "1")
        .envs(variables.iter().copied());
    command.output().expect("it starts")
}

fn in_child() -> bool {
    std::env::var_os("DISMANTLE_CHILD").is_some()
}

#[test]
fn child_panic() {
    if in_child() {
        check(scenario("planted-panic")).seeds(0..100);
    }
}

#[test]
fn child_abort() {
    if in_child() {
        check(scenario("planted-abort")).seeds(0..100);
    }
}

#[test]
fn child_overflow() {
    if in_child() {
        check(scenario("planted-overflow")).seeds(0..100);
    }
}

#[test]
fn clean_scenarios_are_silent() {
    let no_fault =
        [0, 1].map(|fault| ["c2s", "s2c"].map(|pipe| format!("pipe.{pipe}.fault.{fault}.what")));
    let orderly = no_fault.iter().flatten();
    orderly
        .fold(check(scenario("orderly")), |check, fault| {
            check.set(fault, "nothing")
        })
        .seeds(0..200);
    check(scenario("planted-leak")).set("rare", 3).seeds(0..100);
}

#[test]
fn a_failure_names_its_seed_and_the_line_that_runs_it_again() {
    let output = child("child_panic", &[]);
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(text.contains("planted-panic, seed "), "{text}");
    let line = text
        .lines()
        .find(|line| line.contains("run it again: DISMANTLE_SEEDS="));
    let line = line.expect("the line to paste");
    let seeds = line
        .split(['=', ' '])
        .find(|word| word.contains(".."))
        .expect("A..B");
    let only = child("child_panic", &[("DISMANTLE_SEEDS", seeds)]);
    assert!(!only.status.success(), "that seed alone fails too");
    let from: u64 = seeds
        .split("..")
        .next()
        .and_then(|from| from.parse().ok())
        .expect("a seed");
    let before = child("child_panic", &[("DISMANTLE_SEEDS", &format!("0..{from}"))]);
    assert!(before.status.success(), "no seed before it fails");
    let plan = text
        .lines()
        .find_map(|line| line.strip_prefix("its plan: "))
        .expect("a plan");
    let replayed = child("child_panic", &[("DISMANTLE_PLAN", plan)]);
    assert!(!replayed.status.success(), "its plan fails too");
}

#[test]
fn an_abort_names_its_seed_too() {
    let output = child("child_abort", &[]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        text.contains("aborts the process; run it again: DISMANTLE_SEEDS="),
        "{text}"
    );
    assert!(text.contains("cargo test child_abort"), "{text}");
}

#[test]
fn an_overflow_of_the_measured_stack_names_its_seed_too() {
    let output = child("child_overflow", &[]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        text.contains("the stack of the run has overflowed\n"),
        "{text}"
    );
    assert!(
        text.contains("aborts the process; run it again: DISMANTLE_SEEDS="),
        "{text}"
    );
}

#[test]
fn a_plan_of_another_scenario_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("plan.toml");
    std::fs::write(&path, "dismantle = 1\nscenario = \"orderly\"\n").expect("written");
    let path = path.to_str().expect("text");
    let output = child("child_panic", &[("DISMANTLE_PLAN", path)]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("line 2: unknown scenario `orderly`"),
        "{text}"
    );
}
