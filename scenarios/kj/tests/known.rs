//! Does the program know its own findings, of its own release, from the root of the repository?
//! Do the plans of those that it knows show them, and is growth explained by what repeats?

use std::path::Path;
use std::process::{Command, Output};

use dismantle::golden::plans;
use dismantle_kj::SCENARIOS;
use dismantle_kj::bridge::RELEASE;
use dismantle_sim::Plan;
use serde_json::Value;

/// Runs it as from a root of a repository.
fn dismantle(root: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dismantle_kj"));
    let command = command.current_dir(root).args(arguments);
    command.output().expect("it starts")
}

#[test]
fn what_is_accepted_is_known_without_a_word() {
    let root = tempfile::tempdir().expect("a folder");
    let root = root.path();
    let fuzz = ["fuzz", "planted-kj-throw", "--seeds", "0..40", "--known"];
    let status = |arguments: &[&str]| dismantle(root, arguments).status.code();
    assert_eq!(status(&fuzz), Some(1));
    let run = [
        "run",
        "planted-kj-throw",
        "--set",
        "rare=7",
        "-o",
        "throw.toml",
    ];
    assert_eq!(status(&run), Some(1));
    let accepted = dismantle(root, &["accept", "throw.toml"]);
    assert!(accepted.status.success(), "{accepted:?}");
    let known = root.join("scenarios/kj/known").join(RELEASE);
    assert!(known.join("throw.toml").is_file());
    assert_eq!(status(&fuzz), Some(0));
    // That, and nothing else.
    let other = ["fuzz", "planted-kj-panic", "--seeds", "0..40", "--known"];
    assert_eq!(status(&other), Some(1));
}

#[test]
fn goldens_are_beside_their_plans_in_a_folder_of_the_release() {
    let root = tempfile::tempdir().expect("a folder");
    let root = root.path();
    let run = [
        "run",
        "planted-kj-throw",
        "--set",
        "rare=7",
        "-o",
        "throw.toml",
    ];
    assert_eq!(dismantle(root, &run).status.code(), Some(1));
    let proposed = dismantle(root, &["snapshot", "throw.toml"]);
    assert!(proposed.status.success(), "{proposed:?}");
    let tests = root.join("scenarios/kj/tests");
    let golden = tests.join("snapshots").join(RELEASE).join("throw.snap.new");
    let text = std::fs::read_to_string(golden).expect("a golden");
    assert!(text.contains("planted.c++"), "{text}");
    assert!(tests.join("plans/throw.toml").is_file());
}

/// The known plans of the release that is linked, and their names.
fn known() -> Vec<(String, Plan)> {
    let folder = Path::new("known").join(RELEASE);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let known: Vec<_> = plans(&folder, SCENARIOS)
        .expect("plans")
        .into_iter()
        .collect();
    assert!(!known.is_empty());
    known
}

/// What a known plan is replayed to.
fn replay(name: &str, how: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let plan = format!("scenarios/kj/known/{RELEASE}/{name}.toml");
    let output = dismantle(&root, &["replay", how, &plan]);
    assert_eq!(output.status.code(), Some(1), "{name}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn every_known_plan_shows_its_finding_and_says_what_is_wrong() {
    for (name, plan) in known() {
        let note = plan.note.clone().unwrap_or_default();
        assert!(note.len() > 200, "{name}: {note}");
        assert!(
            plan.upstream
                .as_deref()
                .is_some_and(|it| it.contains(RELEASE)),
            "{name}"
        );
        let text = replay(&name, "--json");
        let report: Value =
            serde_json::from_str(text.lines().next().expect("a line")).expect("a report");
        assert_eq!(
            report["signature"].as_str(),
            plan.signature.as_deref(),
            "{name}"
        );
    }
}

#[test]
fn growth_is_explained_by_a_cycle() {
    let growth = |plan: &Plan| {
        let signature = plan.signature.as_deref().unwrap_or_default();
        signature.starts_with("stack-growth ")
    };
    let grown: Vec<_> = known()
        .into_iter()
        .filter(|(_, plan)| growth(plan))
        .collect();
    assert!(!grown.is_empty(), "each release has some");
    for (name, _) in grown {
        let told = replay(&name, "--explain");
        let cycle = told.lines().find(|line| line.starts_with("deepest "));
        let cycle = cycle.expect("the deepest stack of the run is told");
        assert!(cycle.contains(": a cycle of "), "{name}: {cycle}");
        let (_, turns) = cycle.rsplit_once("x ").expect("how often");
        let turns: u64 = turns.parse().expect("a number");
        assert!(turns >= 90, "{name}, with 100 items at least: {cycle}");
    }
}
