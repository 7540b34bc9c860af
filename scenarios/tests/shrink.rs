//! Does shrinking keep the finding, come to an end, and leave little?

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use dismantle::shrink::{Size, shrink};
use dismantle::{BUILT_IN, Harness, InProcess, Order, find, vocabulary};
use dismantle_sim::{Plan, Value};
use serde_json::Value as Json;

fn dismantle(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dismantle"))
        .args(arguments)
        .output()
        .expect("it starts")
}

fn lines(output: &Output) -> Vec<Json> {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{output:?}")))
        .collect()
}

fn plan(path: &Path) -> Plan {
    let text = fs::read_to_string(path).expect("a plan");
    Plan::read(&text, |name| find(BUILT_IN, name).map(vocabulary)).expect("a plan")
}

/// `fuzz` shrinks what it finds; each is small, comes again ten times out of ten, and is as small
/// as it gets.
#[test]
fn a_campaign_leaves_small_plans_that_cannot_get_smaller() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().to_str().expect("text");
    let seeds = [
        "fuzz", "program", "--seeds", "0..150", "--json", "--out", out,
    ];
    let fuzz = dismantle(&seeds);
    assert_eq!(fuzz.status.code(), Some(1), "{fuzz:?}");
    let found = lines(&fuzz);
    // A law of growth takes thousands of runs, and in a debug build longer than a test should.
    let is_of_a_run = |line: &&Json| line["type"] == "finding" && line["class"] != "stack-growth";
    let findings = found.iter().filter(is_of_a_run);
    // What is known has its plan already.
    for finding in findings.clone().filter(|finding| finding["known"] == true) {
        assert_eq!(finding["shrunk"], "not tried", "{finding}");
        let plan = finding["plan"].as_str().expect("a path");
        let output = dismantle(&["shrink", plan, "-o", plan, "--json"]);
        let mut finding = finding.clone();
        let shrunk = &lines(&output)[0];
        finding["shrunk"] = "minimal".into();
        finding["operations"] = shrunk["operations"][1].clone();
        assert_eq!(shrunk["minimal"], true, "{shrunk}");
        assert_shrunk(&finding, folder.path());
    }
    for finding in findings.filter(|finding| finding["known"] == false) {
        assert_shrunk(finding, folder.path());
    }
}

fn assert_shrunk(finding: &Json, folder: &Path) {
    assert_eq!(finding["shrunk"], "minimal", "{finding}");
    assert!(finding["operations"].as_u64() < Some(10), "{finding}");
    let path = finding["plan"].as_str().expect("a path");
    for _ in 0..10 {
        let replay = dismantle(&["replay", "--json", path]);
        assert_eq!(lines(&replay)[0]["signature"], finding["signature"]);
    }
    let again = folder.join("again.toml");
    let again = again.to_str().expect("text");
    let output = dismantle(&["shrink", path, "-o", again, "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(lines(&output)[0]["minimal"], true);
    assert_eq!(fs::read(path).expect("it"), fs::read(again).expect("it"));
}

/// A known finding buried in decisions that have nothing to do with it.
#[test]
fn what_has_nothing_to_do_with_it_goes() {
    let known = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/known/panic-queued-resolve.toml"
    );
    let small = plan(Path::new(known));
    let mut large = small.clone();
    for number in 5..25 {
        for (name, value) in [("what", "call"), ("method", "new"), ("keep", "both")] {
            let name = format!("op.{number}.{name}");
            large.set(&name, &Value::from_text(value)).expect("known");
        }
        let steps = format!("op.{number}.steps");
        large.set(&steps, &Value::Count(7)).expect("known");
    }
    let signature = small.signature.as_deref().expect("a known finding");
    let mut harness = InProcess::new(BUILT_IN);
    let scenario = find(BUILT_IN, "program").expect("built in");
    let mut sizes = Vec::new();
    let shrunk = shrink(
        &mut harness,
        scenario,
        &large,
        signature,
        &|| false,
        &mut |size| {
            sizes.push(size.answers);
        },
    );
    let shrunk = shrunk.expect("runs").expect("it shows it");
    assert!(shrunk.is_minimal);
    assert_eq!(shrunk.report.signature.as_deref(), Some(signature));
    assert_eq!(Size::of(&shrunk.plan), Size::of(&small), "{}", shrunk.plan);
    assert!(sizes.is_sorted_by(|one, next| one >= next), "{sizes:?}");
    for (name, _) in shrunk.plan.answers() {
        let mut smaller = shrunk.plan.clone();
        smaller.remove(&name);
        let ran = harness.run(Order::of(&smaller)).expect("runs");
        assert_ne!(
            ran.report.signature.as_deref(),
            Some(signature),
            "{name} is needed"
        );
    }
}

/// Stopped at once it still gives a plan that shows the finding.
#[test]
fn stopped_early_it_keeps_what_it_has() {
    let known = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/known/panic-queued-resolve.toml"
    );
    let plan = plan(Path::new(known));
    let signature = plan.signature.as_deref().expect("a known finding");
    let scenario = find(BUILT_IN, "program").expect("built in");
    let runs = std::cell::Cell::new(0);
    let stop = || runs.replace(runs.get() + 1) >= 3;
    let mut harness = InProcess::new(BUILT_IN);
    let shrunk = shrink(&mut harness, scenario, &plan, signature, &stop, &mut |_| {});
    let shrunk = shrunk.expect("runs").expect("it shows it");
    assert!(!shrunk.is_minimal);
    assert_eq!(shrunk.runs, 3);
    assert_eq!(shrunk.report.signature.as_deref(), Some(signature));
    let none = shrink(
        &mut harness,
        scenario,
        &plan,
        "hang call",
        &|| false,
        &mut |_| {},
    );
    assert!(none.expect("runs").is_none(), "it does not show that");
}

/// A law of growth takes many runs to see: without any time for them the plan is what it was.
#[test]
fn a_law_without_time_to_shrink_keeps_its_plan() {
    let known = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/known/stack-growth-promise-chain.toml"
    );
    let plan = plan(Path::new(known));
    let signature = plan.signature.as_deref().expect("a known finding");
    let scenario = find(BUILT_IN, plan.scenario()).expect("built in");
    let mut harness = InProcess::new(BUILT_IN);
    let shrunk = shrink(
        &mut harness,
        scenario,
        &plan,
        signature,
        &|| true,
        &mut |_| {},
    );
    let shrunk = shrunk.expect("runs").expect("it shows it");
    assert!(!shrunk.is_minimal);
    assert_eq!(shrunk.plan.to_string(), plan.to_string());
}

/// Aborts, hangs of one poll, overflows and exhausted memory, in worker processes.
#[test]
fn what_kills_its_process_is_shrunk_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().to_str().expect("text");
    for (bug, allowance) in [
        ("planted-abort", &[][..]),
        ("planted-spin", &["--spin", "300ms"][..]),
        ("planted-overflow", &[][..]),
        ("planted-oom", &["--memory", "256MiB"][..]),
        ("planted-queue", &[][..]),
    ] {
        let mut arguments = vec!["fuzz", bug, "--seeds", "0..64", "--json", "--out", out];
        arguments.extend(allowance);
        let fuzz = dismantle(&arguments);
        let lines = lines(&fuzz);
        let finding = &lines[0];
        assert_eq!(finding["known"], false, "{fuzz:?}");
        assert_eq!(finding["shrunk"], "minimal", "{finding}");
        assert_eq!(finding["blame"], "user", "{finding}");
        let smallest = plan(Path::new(finding["plan"].as_str().expect("a path")));
        assert!(smallest.len() <= 2, "{smallest}");
    }
}

#[test]
fn a_campaign_can_leave_plans_as_they_came() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().to_str().expect("text");
    let fuzz = dismantle(&[
        "fuzz",
        "planted-leak",
        "--seeds",
        "0..64",
        "--no-shrink",
        "--json",
        "--out",
        out,
    ]);
    assert_eq!(lines(&fuzz)[0]["shrunk"], "not tried", "{fuzz:?}");
}

#[test]
fn what_cannot_be_shrunk_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let clean = folder.path().join("clean.toml");
    fs::write(&clean, "dismantle = 1\nscenario = \"orderly\"\n").expect("written");
    let shrink = dismantle(&["shrink", clean.to_str().expect("text")]);
    assert_eq!(shrink.status.code(), Some(2), "{shrink:?}");
    let errors = String::from_utf8_lossy(&shrink.stderr);
    assert!(errors.contains("nothing to shrink"), "{errors}");
    assert_eq!(fs::read_dir(folder.path()).expect("it").count(), 1);
}

/// Known findings are forgiven with `--known`; a new bug is not, until it is accepted.
#[test]
fn what_is_accepted_is_known() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let (out, dir) = (path("out"), path("known"));
    let fuzz = || {
        dismantle(&[
            "fuzz",
            "planted-leak",
            "planted-hang",
            "--seeds",
            "0..64",
            "--known",
            "--known-dir",
            &dir,
            "--json",
            "--out",
            &out,
        ])
    };
    let first = fuzz();
    assert_eq!(
        first.status.code(),
        Some(1),
        "a planted bug is new: {first:?}"
    );
    let found = lines(&first);
    for finding in found.iter().filter(|line| line["type"] == "finding") {
        let plan = finding["plan"].as_str().expect("a path");
        let accept = [
            "accept",
            plan,
            "--known-dir",
            &dir,
            "--documented",
            "no",
            "--json",
        ];
        let accepted = dismantle(&accept);
        assert_eq!(accepted.status.code(), Some(0), "{accepted:?}");
        assert_eq!(lines(&accepted)[0]["signature"], finding["signature"]);
        let again = dismantle(&["accept", plan, "--known-dir", &dir]);
        assert_eq!(again.status.code(), Some(0), "{again:?}");
        let text = String::from_utf8_lossy(&again.stdout);
        assert!(text.contains("known already"), "{text}");
    }
    let plan = found[0]["plan"].as_str().expect("a path");
    for name in ["", "../a"] {
        let folder = path("other");
        let refused = dismantle(&["accept", plan, "--known-dir", &folder, "--name", name]);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    }
    assert_eq!(fs::read_dir(&dir).expect("it").count(), 2);
    let second = fuzz();
    assert_eq!(second.status.code(), Some(0), "{second:?}");
    let found = lines(&second);
    assert_eq!(found[0]["known"], true);
    assert_eq!(found[0]["documented"], "no");
    // One that does not come any more is said.
    let name = found[0]["known_as"].as_str().expect("a name");
    let file = format!("{dir}/{name}.toml");
    let text = fs::read_to_string(&file).expect("an entry");
    let other = text.replace("signature = \"", "signature = \"was ");
    fs::write(&file, other).expect("written");
    let third = fuzz();
    assert_eq!(third.status.code(), Some(1), "{third:?}");
    let summary = lines(&third).pop().expect("a summary");
    assert_eq!(summary["gone"][0], name, "{summary}");
}
