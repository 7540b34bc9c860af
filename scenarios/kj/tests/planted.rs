//! Is each planted bug, on either side of the bridge, found by its check and by no other?

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn dismantle(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dismantle_kj"));
    command.args(arguments).output().expect("it starts")
}

/// The JSON lines on standard output.
fn json(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines();
    let lines = lines.map(|line| serde_json::from_str(line).expect("a JSON line"));
    lines.collect()
}

fn fuzz(out: &Path, scenario: &str, more: &[&str]) -> Output {
    let out = out.to_str().expect("text");
    let options = [
        "--seeds",
        "0..200",
        "--out",
        out,
        "--json",
        "--known-dir",
        out,
    ];
    dismantle(&[&["fuzz", scenario], &options[..], more].concat())
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

/// The findings of a campaign that came to its end, and its summary.
fn findings(output: &Output, status: i32) -> Vec<Value> {
    assert_eq!(output.status.code(), Some(status), "{output:?}");
    let mut lines = json(output);
    let summary = lines.pop().expect("a summary");
    assert_eq!(summary["seeds"], 200, "{summary}");
    assert_eq!(summary["complete"], true);
    lines.retain(|line| line["type"] == "finding");
    lines
}

/// The planted scenarios with what `list` says of them.
fn planted() -> Vec<Value> {
    let mut listed = json(&dismantle(&["list", "--json"]));
    listed.retain(|line| line["planted"] == true);
    assert!(!listed.is_empty());
    listed
}

#[test]
fn planted_bugs_are_found_each_by_its_check_and_by_no_other() {
    for listed in planted() {
        let scenario = text(&listed["scenario"]);
        let out = tempfile::tempdir().expect("a folder");
        let findings = findings(&fuzz(out.path(), scenario, &[]), 1);
        assert_eq!(findings.len(), 1, "{scenario}: {findings:?}");
        assert_eq!(findings[0]["class"], listed["finds"], "{scenario}");
        assert_eq!(findings[0]["blame"], "user", "{scenario}");
        for _ in 0..10 {
            let replayed = dismantle(&["replay", text(&findings[0]["plan"]), "--json"]);
            assert_eq!(replayed.status.code(), Some(1), "{scenario}");
            assert_eq!(json(&replayed)[0]["signature"], findings[0]["signature"]);
        }
    }
}

#[test]
fn without_their_bug_the_planted_scenarios_are_clean() {
    for listed in planted() {
        let out = tempfile::tempdir().expect("a folder");
        let output = fuzz(
            out.path(),
            text(&listed["scenario"]),
            &["--set", text(&listed["clean"])],
        );
        assert_eq!(findings(&output, 0), [] as [Value; 0]);
    }
}

/// The signature of a run with its bug.
fn signature(scenario: &str) -> String {
    let run = dismantle(&["run", scenario, "--set", "rare=7", "--json"]);
    text(&json(&run)[0]["signature"]).to_owned()
}

#[test]
fn what_is_thrown_is_named_by_its_places() {
    let places = |scenario| -> Vec<String> {
        let signature = signature(scenario);
        let words = signature.split(' ').map(|word| word.split(':').next());
        let paths = words.flatten().filter(|word| word.contains('/'));
        paths.map(str::to_owned).collect()
    };
    let planted = "scenarios/kj/cpp/planted.c++";
    assert_eq!(places("planted-kj-throw"), [planted]);
    assert_eq!(places("planted-kj-noexcept"), [planted]);
    let both = [planted, planted];
    assert_eq!(
        places("planted-kj-terminate"),
        both,
        "the one in flight, too"
    );
    assert_eq!(places("planted-kj-panic"), ["scenarios/kj/src/planted.rs"]);
    // Of debug information, which has the paths of C++ whole: from the package's folder on.
    assert_eq!(places("planted-kj-leak"), ["kj/cpp/planted.c++"]);
}
