//! Do the plans come to what was reviewed, with the release of the C++ library that is linked?
//!
//! Each plan has a golden of each release, so that two of them can be read side by side. The text
//! is that of `dismantle_kj snapshot`.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;

use dismantle_kj::bridge::RELEASE;
use serde_json::Value;

/// Here and below from the package's folder.
const PLANS: &str = "tests/plans";
const GOLDENS: &str = "tests/snapshots";
const RELEASES: [&str; 2] = ["0.9.2", "1.3.0"];

fn of_package(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The names of the files with this extension.
fn names(folder: &Path, extension: &str) -> BTreeSet<String> {
    let files = fs::read_dir(folder).expect("a folder of the package");
    let files = files.map(|file| file.expect("a file").path());
    let names = files.filter(|path| path.extension().is_some_and(|it| it == extension));
    let stem = |path: PathBuf| path.file_stem().map(|it| it.to_string_lossy().into_owned());
    names.filter_map(stem).collect()
}

#[test]
fn every_plan_comes_to_what_was_reviewed() {
    let plans = names(&of_package(PLANS), "toml");
    let output = Command::new(env!("CARGO_BIN_EXE_dismantle_kj"))
        .args(["snapshot", "--print", "--json"])
        .args(plans.iter().map(|name| format!("{PLANS}/{name}.toml")))
        .current_dir(of_package(""))
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    let (mut failed, mut seen) = (Vec::new(), BTreeSet::new());
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("a JSON line");
        let (name, text) = (&line["name"], &line["text"]);
        let (name, text) = (name.as_str().expect("a name"), text.as_str().expect("text"));
        seen.insert(name.to_owned());
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(of_package(GOLDENS).join(RELEASE));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        // All of them, not only the first that differs.
        let compare = || settings.bind(|| insta::assert_snapshot!(name, text));
        if catch_unwind(AssertUnwindSafe(compare)).is_err() {
            failed.push(name.to_owned());
        }
    }
    assert!(failed.is_empty(), "to be reviewed: {failed:?}");
    assert_eq!(seen, plans);
}

#[test]
fn every_plan_has_a_golden_of_each_release() {
    let plans = names(&of_package(PLANS), "toml");
    assert!(!plans.is_empty());
    for release in RELEASES {
        let goldens = names(&of_package(GOLDENS).join(release), "snap");
        assert_eq!(goldens, plans, "{release}");
    }
}
