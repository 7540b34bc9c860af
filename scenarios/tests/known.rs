//! Does every known finding still come, and no false alarm that was mended?
//!
//! The plans were found by `fuzz` against capnp-rpc 0.27.3 and made small by deleting decisions.
//! Against another release the findings may be gone; then there is nothing to compare.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dismantle::{BUILT_IN, find, vocabulary};
use dismantle_sim::Plan;
use dismantle_transport::compat::CAPNP_RPC_VERSION;
use serde_json::Value;

const KNOWN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/known");

/// Plans in which a check once found what upstream is not to blame for: a note says what.
const CLEAN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clean");

fn plans(folder: &Path) -> Vec<(PathBuf, Plan)> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .expect("a folder of plans")
        .map(|entry| entry.expect("a file").path())
        .collect();
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a file of ours");
        let plan = Plan::read(&text, |name| find(BUILT_IN, name).map(vocabulary));
        let plan = plan.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(
            plan.to_string(),
            text,
            "{} is as it would be written",
            path.display()
        );
        (path, plan)
    };
    paths.into_iter().map(read).collect()
}

fn replay(path: &Path) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_dismantle"))
        .args(["replay", "--json"])
        .arg(path)
        .output()
        .expect("it starts");
    assert!(
        output.status.code().is_some_and(|code| code < 2),
        "{}: {output:?}",
        path.display()
    );
    serde_json::from_slice(&output.stdout).expect("one report")
}

#[test]
fn every_plan_shows_its_finding() {
    if CAPNP_RPC_VERSION != "0.27.3" {
        eprintln!("nothing to compare: capnp-rpc is {CAPNP_RPC_VERSION}");
        return;
    }
    for (path, plan) in plans(Path::new(KNOWN)) {
        let report = replay(&path);
        let signature = plan.signature.as_deref().expect("what it was kept for");
        assert_eq!(report["signature"], signature, "{}", path.display());
        let finding = &report["findings"][0];
        let name = path.file_stem().expect("a name").to_string_lossy();
        assert_eq!(finding["known_as"], &*name, "{finding}");
    }
}

/// An entry is a report to upstream: what a program does, what happens, why and what would be
/// right, with the place in upstream's code, and whether upstream says that it is so.
#[test]
fn every_entry_says_what_is_wrong() {
    let mut signatures = BTreeSet::new();
    for (path, plan) in plans(Path::new(KNOWN)) {
        let path = path.display();
        let note = plan.note.as_deref().unwrap_or_default();
        assert!(note.len() > 200 && note.contains(".rs:"), "{path}: {note}");
        let documented = plan.documented.as_deref().unwrap_or_default();
        assert!(!documented.is_empty(), "{path}: documented?");
        // A further sign of its cause is not one that another entry names, too.
        for signature in plan.also {
            assert!(signatures.insert(signature.clone()), "{path}: {signature}");
        }
    }
}

/// Shrinking again changes nothing.
#[test]
fn every_entry_is_minimal() {
    if CAPNP_RPC_VERSION != "0.27.3" {
        eprintln!("nothing to shrink: capnp-rpc is {CAPNP_RPC_VERSION}");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let smaller = folder.path().join("smaller.toml");
    for (path, plan) in plans(Path::new(KNOWN)) {
        let signature = plan.signature.as_deref().expect("what it was kept for");
        // Each run of a spin takes seconds, and a law of growth a dozen runs of large sizes.
        if ["spin", "stack-growth"].contains(&signature.split(' ').next().expect("a class")) {
            continue;
        }
        let shrink = Command::new(env!("CARGO_BIN_EXE_dismantle"))
            .args(["shrink", "--json", "-o"])
            .args([&smaller, &path])
            .output()
            .expect("it starts");
        assert!(shrink.status.success(), "{}: {shrink:?}", path.display());
        let report: Value = serde_json::from_slice(&shrink.stdout).expect("one line");
        assert_eq!(report["minimal"], true, "{report}");
        let smaller = fs::read_to_string(&smaller).expect("a plan");
        assert_eq!(smaller, plan.to_string(), "{}", path.display());
    }
}

#[test]
fn no_false_alarm_comes_back() {
    for (path, plan) in plans(Path::new(CLEAN)) {
        let report = replay(&path);
        assert_eq!(report["outcome"], "clean", "{}: {report}", path.display());
        assert!(plan.note.is_some(), "{}", path.display());
        assert_eq!(report["never_asked"], Value::Array(Vec::new()));
    }
}

/// Any single decision can be deleted: the plan runs, whatever it then comes to.
#[test]
fn every_deletion_leaves_a_plan_that_runs() {
    let found = tempfile::tempdir().expect("a folder");
    let fuzz = Command::new(env!("CARGO_BIN_EXE_dismantle"))
        .args(["fuzz", "program", "--seeds", "0..60", "--json", "--out"])
        .arg(found.path())
        .output()
        .expect("it starts");
    assert!(fuzz.status.code().is_some_and(|code| code < 2), "{fuzz:?}");
    let smaller = tempfile::tempdir().expect("a folder");
    let smaller_path = smaller.path().join("smaller.toml");
    // Larger plans, as a campaign finds them; two, because each deletion is a process.
    let all = plans(Path::new(KNOWN))
        .into_iter()
        .chain(plans(found.path()).into_iter().take(2));
    for (_, plan) in all {
        let names: Vec<String> = plan.answers().map(|(name, _)| name).collect();
        for name in names {
            let mut smaller = plan.clone();
            assert!(smaller.remove(&name));
            fs::write(&smaller_path, smaller.to_string()).expect("written");
            replay(&smaller_path);
        }
    }
}
