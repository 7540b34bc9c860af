//! Do the findings of `kj-program` that are known replay to the same finding, each with the
//! release that it is of? And does a law that is linear say by which cycle?

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dismantle_kj::bridge::RELEASE;
use serde_json::Value;

/// The known plans of the release that is linked.
fn known() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("known");
    let files = fs::read_dir(folder).expect("the folder");
    let mut plans: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    let ours = format!("upstream = \"capnproto-{RELEASE}\"");
    plans.retain(|plan| {
        let text = fs::read_to_string(plan).expect("a plan");
        text.contains("scenario = \"kj-program\"") && text.contains(&ours)
    });
    plans.sort();
    plans
}

/// The line of the plan's head that begins like this.
fn head(plan: &Path, key: &str) -> String {
    let text = fs::read_to_string(plan).expect("a plan");
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let line = line.expect("the head has it");
    line.trim_start_matches(" = ").trim_matches('"').to_owned()
}

fn dismantle(arguments: &[&str], plan: &Path) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dismantle_kj"));
    let command = command.args(arguments).arg(plan);
    command.output().expect("it starts")
}

#[test]
fn what_is_known_is_still_found() {
    let plans = known();
    assert!(!plans.is_empty(), "each release has some");
    for plan in plans {
        let output = dismantle(&["replay", "--json"], &plan);
        let name = plan.display();
        let line = output.stdout.split(|byte| *byte == b'\n').next();
        let report: Value = serde_json::from_slice(line.expect("a line")).expect("a report");
        let signature = head(&plan, "signature");
        assert_eq!(report["signature"], signature.as_str(), "{name}: {report}");
        assert_eq!(output.status.code(), Some(1), "{name}");
    }
}

#[test]
fn growth_is_explained_by_a_cycle() {
    let growths = known().into_iter();
    let growths = growths.filter(|plan| head(plan, "signature").starts_with("stack-growth "));
    for plan in growths {
        let output = dismantle(&["replay", "--explain"], &plan);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let cycle = told.lines().find(|line| line.starts_with("deepest "));
        let cycle = cycle.expect("the deepest stack of the run is told");
        assert!(cycle.contains(": a cycle of "), "{cycle}");
        let (_, turns) = cycle.rsplit_once("x ").expect("how often");
        let turns: u64 = turns.parse().expect("a number");
        assert!(
            (90..=100).contains(&turns),
            "about one for each of 100: {cycle}"
        );
    }
}
