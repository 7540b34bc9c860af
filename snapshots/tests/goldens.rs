//! Do the plans that were kept still come to what was reviewed?
//!
//! Every plan has a golden and every golden a plan. The text is `dismantle snapshot`'s, made in
//! worker processes: some of the runs kill theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;

use dismantle::{BUILT_IN, golden};
use dismantle_sim::Plan;
use dismantle_transport::compat::CAPNP_RPC_VERSION;
use insta::internals::Content;
use serde_json::Value;

/// From the root: one plan of every scenario, and those of known findings, which are not copied.
const PLANS: &str = "snapshots/tests/plans";
const KNOWN: &str = "scenarios/known";

const GOLDENS: &str = "snapshots/tests/snapshots";

fn root() -> &'static Path {
    let this = Path::new(env!("CARGO_MANIFEST_DIR"));
    this.parent().expect("a package of the workspace")
}

/// All plans by name, each with its path from the root.
fn plans() -> BTreeMap<String, (PathBuf, Plan)> {
    let mut plans = BTreeMap::new();
    for folder in [PLANS, KNOWN] {
        let there = golden::plans(&root().join(folder), BUILT_IN).expect("plans");
        for (name, plan) in there {
            let path = Path::new(folder).join(format!("{name}.toml"));
            let before = plans.insert(name, (path.clone(), plan));
            assert!(before.is_none(), "two plans are called {}", path.display());
        }
    }
    plans
}

/// What all the plans come to, in one go.
fn goldens(plans: &BTreeMap<String, (PathBuf, Plan)>) -> BTreeMap<String, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_dismantle-snapshots"))
        // The one that runs out of memory need not take all of it.
        .args(["snapshot", "--print", "--json", "--memory", "512MiB"])
        .args(plans.values().map(|(path, _)| path))
        .current_dir(root())
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{output:?}");
    let lines = output.stdout.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.is_empty()).map(|line| {
        let line: Value = serde_json::from_slice(line).expect("a JSON line");
        let text = |field: &str| line[field].as_str().expect("text").to_owned();
        (text("name"), text("text"))
    });
    lines.collect()
}

/// The line that proposes a golden of a plan.
fn command(path: &Path) -> String {
    let in_place = if path.starts_with(KNOWN) {
        " --in-place"
    } else {
        ""
    };
    format!("cargo run -- snapshot {}{in_place}", path.display())
}

#[test]
fn every_plan_comes_to_what_was_reviewed() {
    if CAPNP_RPC_VERSION != "0.27.3" {
        eprintln!("nothing to compare: capnp-rpc is {CAPNP_RPC_VERSION}");
        return;
    }
    let plans = plans();
    let mut failed = Vec::new();
    for (name, text) in goldens(&plans) {
        let (path, plan) = &plans[&name];
        let lines = text.lines().count();
        if lines >= golden::LINES_MAX {
            failed.push(format!("{name}: {lines} lines are too many to review"));
        }
        let path_text = path.to_str().expect("text");
        let info = Content::Map(vec![(Content::from("plan"), Content::from(path_text))]);
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.set_description(plan.note.clone().unwrap_or_default());
        settings.set_raw_info(&info);
        // All of them, not only the first that differs.
        let compare = || settings.bind(|| insta::assert_snapshot!(name.as_str(), text));
        if catch_unwind(AssertUnwindSafe(compare)).is_err() {
            failed.push(format!("{name}: {}", command(path)));
        }
    }
    let failed = failed.join("\n  ");
    assert!(
        failed.is_empty(),
        "to be proposed, then reviewed with `cargo insta review`:\n  {failed}"
    );
}

#[test]
fn every_golden_has_its_plan_and_every_plan_its_golden() {
    let plans = plans();
    let stem = |path: PathBuf| {
        path.file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned()
    };
    let goldens: BTreeSet<String> = fs::read_dir(root().join(GOLDENS))
        .expect("goldens")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "snap")
        })
        .map(stem)
        .collect();
    let orphans = goldens.iter().filter(|name| !plans.contains_key(*name));
    let orphans = orphans.map(|name| format!("no plan: git rm {GOLDENS}/{name}.snap"));
    let missing = plans.iter().filter(|(name, _)| !goldens.contains(*name));
    let missing = missing.map(|(_, (path, _))| format!("no golden: {}", command(path)));
    let all: Vec<String> = orphans.chain(missing).collect();
    assert!(all.is_empty(), "\n  {}", all.join("\n  "));
}

#[test]
fn every_scenario_has_a_plan() {
    let plans = plans();
    let played: BTreeSet<&str> = plans.values().map(|(_, plan)| plan.scenario()).collect();
    let without: Vec<&str> = BUILT_IN
        .iter()
        .map(|scenario| scenario.name())
        .filter(|name| !played.contains(name))
        .collect();
    assert!(
        without.is_empty(),
        "of {without:?} there is no plan: \
         `cargo run -- run SCENARIO -o plan.toml`, then `cargo run -- snapshot plan.toml`"
    );
}
