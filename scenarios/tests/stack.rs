//! Does a run on a stack of a given size overflow it where it was said to, and is it told as such?

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const STACK: &str = "256KiB";

fn dismantle(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dismantle"));
    command.args(arguments).output().expect("it starts")
}

/// The JSON lines on standard output.
fn json(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines();
    let lines = lines.map(|line| serde_json::from_str(line).expect("a JSON line"));
    lines.collect()
}

fn fuzz(out: &Path, more: &[&str]) -> Output {
    let out = out.to_str().expect("text");
    let options = ["--seeds", "0..40", "--stack", STACK, "--out", out];
    let known = ["--json", "--known-dir", out];
    dismantle(&[&["fuzz", "planted-queue"], &options[..], &known, more].concat())
}

#[test]
fn a_stack_overflows_where_threshold_says() {
    let threshold = dismantle(&["threshold", "planted-queue", "--stack", STACK, "--json"]);
    let size = json(&threshold)[0]["size"].as_u64().expect("a size");
    let run = |messages: u64| {
        let set = format!("messages={messages}");
        let run = dismantle(&[
            "run",
            "planted-queue",
            "--stack",
            STACK,
            "--set",
            &set,
            "--json",
        ]);
        json(&run).swap_remove(0)
    };
    // The stack begins somewhat before the phase that is measured.
    let below = run(size / 4 * 3);
    assert_ne!(below["findings"][0]["class"], "overflow", "{below}");
    assert!(below["stack_bytes"]["teardown"].is_u64(), "{below}");
    let above = run(size / 4 * 5);
    assert_eq!(above["signature"], "overflow in teardown of drop-queue");
    let detail = above["findings"][0]["detail"].as_str().expect("text");
    assert!(detail.contains("of stack: cycle of "), "{detail}");
    assert!(detail.contains("queue"), "{detail}");
}

#[test]
fn a_campaign_survives_overflows_and_their_plans_keep_the_stack() {
    let out = tempfile::tempdir().expect("a folder");
    let output = fuzz(out.path(), &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let lines = json(&output);
    let is_overflow = |line: &&Value| line["class"] == "overflow";
    let finding = lines.iter().find(is_overflow).expect("an overflow");
    let summary = lines.last().expect("a summary");
    assert_eq!(summary["seeds"], 40, "{summary}");
    assert_eq!(summary["complete"], true);
    let path = finding["plan"].as_str().expect("a path");
    let plan = std::fs::read_to_string(path).expect("a plan");
    assert!(plan.contains("stack_bytes = 262144\n"), "{plan}");
    let replayed = json(&dismantle(&["replay", path, "--json"]));
    assert_eq!(replayed[0]["signature"], finding["signature"]);
    let larger = json(&dismantle(&["replay", path, "--stack", "64MiB", "--json"]));
    assert_ne!(larger[0]["findings"][0]["class"], "overflow");
}

#[test]
fn what_needs_no_more_does_not_overflow() {
    let out = tempfile::tempdir().expect("a folder");
    let output = fuzz(out.path(), &["--set", "queue=vector"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let refused = dismantle(&["run", "planted-queue", "--stack", "1KiB"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
}
