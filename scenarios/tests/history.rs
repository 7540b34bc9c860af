//! Is every plan of a bug that upstream has mended one, and is it gone?
//!
//! `history/` holds what was found against releases of the past, each with the releases that it
//! separates. That it does so is for `bisect` and `matrix` to show; here the plans are run with
//! the release that the tests are built with.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use dismantle::{BUILT_IN, find, vocabulary};
use dismantle_sim::{Plan, Releases};
use dismantle_transport::compat::CAPNP_RPC_VERSION;
use serde_json::Value;

const HISTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/history");

fn plans() -> Vec<(PathBuf, Plan, Releases)> {
    let mut paths: Vec<PathBuf> = fs::read_dir(HISTORY)
        .expect("a folder of plans")
        .map(|entry| entry.expect("a file").path())
        .collect();
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a file of ours");
        let plan = Plan::read(&text, |name| find(BUILT_IN, name).map(vocabulary));
        let plan = plan.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(plan.to_string(), text, "{}", path.display());
        let releases = plan.releases.clone();
        let releases = releases.unwrap_or_else(|| panic!("{}: which releases?", path.display()));
        (path, plan, releases)
    };
    paths.into_iter().map(read).collect()
}

fn numbers(version: &str) -> [u32; 3] {
    let numbers: Result<Vec<u32>, _> = version.split('.').map(str::parse).collect();
    let numbers = numbers.unwrap_or_else(|error| panic!("`{version}`: {error}"));
    numbers.try_into().expect("three numbers")
}

/// The names of the files are the class and a few words, as those of the known findings.
#[test]
fn every_plan_says_what_was_wrong_and_in_which_releases() {
    let plans = plans();
    assert!(!plans.is_empty());
    for (path, plan, releases) in plans {
        let at = path.display();
        let signature = plan.signature.as_deref();
        let signature = signature.expect("what it was kept for");
        let (class, _) = signature.split_once(' ').expect("a class");
        let name = path.file_stem().expect("a name").to_string_lossy();
        assert!(
            class.starts_with(name.split('-').next().expect("one")),
            "{at}"
        );
        assert_eq!(releases.kin.split(' ').next(), Some(class), "{at}");
        let note = plan.note.as_deref().unwrap_or_default();
        assert!(note.len() > 200 && note.contains(".rs:"), "{at}: {note}");
        let first_bad = releases.first_bad.as_deref().unwrap_or("0.0.0");
        let [first_bad, bad, good] = [first_bad, &releases.bad, &releases.good].map(numbers);
        assert!(first_bad <= bad && bad < good, "{at}: {releases}");
        assert!(!plan.this_build_only(), "{at}: it is for other builds");
    }
}

#[test]
fn no_bug_that_was_mended_comes_back() {
    let this = numbers(CAPNP_RPC_VERSION);
    for (path, _, releases) in plans() {
        if this < numbers(&releases.good) {
            eprintln!("{}: capnp-rpc is {CAPNP_RPC_VERSION}", path.display());
            continue;
        }
        let output = Command::new(env!("CARGO_BIN_EXE_dismantle"))
            .args(["replay", "--json"])
            .arg(&path)
            .output()
            .expect("it starts");
        let ended = output.status.code();
        assert!(ended.is_some_and(|code| code < 2), "{output:?}");
        let report: Value = serde_json::from_slice(&output.stdout).expect("one report");
        let findings = report["findings"].as_array().expect("a list");
        let came_back = findings
            .iter()
            .find(|finding| finding["kin"] == *releases.kin);
        assert_eq!(came_back, None, "{}", path.display());
    }
}
