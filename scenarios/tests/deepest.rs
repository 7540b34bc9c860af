//! Does `replay --explain` say what repeats where the stack is deepest, and who destroyed what?

use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn explain(plan: &str, json: bool) -> (String, Option<i32>) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("plan.toml");
    std::fs::write(&path, format!("dismantle = 1\n{plan}")).expect("a file");
    let output = replay(&path, json);
    let text = String::from_utf8(output.stdout).expect("text");
    (text, output.status.code())
}

fn replay(plan: &Path, json: bool) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dismantle"));
    command.args(["replay", "--explain"]).arg(plan);
    if json {
        command.arg("--json");
    }
    command.output().expect("it starts")
}

/// The lines of each type.
fn lines(plan: &str) -> impl Fn(&str) -> Vec<Value> + use<> {
    let (text, _) = explain(plan, true);
    let read = |line: &str| serde_json::from_str(line).expect("a JSON line");
    let lines: Vec<Value> = text.lines().map(read).collect();
    move |kind| {
        let of_kind = lines.iter().filter(|line| line["type"] == kind);
        of_kind.cloned().collect()
    }
}

fn pipeline(calls: u64) -> String {
    format!("scenario = \"pipeline\"\n[parameters]\ncalls = {calls}\n")
}

/// The functions of one turn that are whose.
fn turn<'a>(stack: &'a Value, whose: &str) -> Vec<&'a str> {
    let turn = stack["cycle"]["turn"].as_array().expect("a cycle");
    let its = turn.iter().filter(|line| line["whose"] == whose);
    its.map(|line| line["function"].as_str().expect("a name"))
        .collect()
}

#[test]
fn a_chain_of_pipelined_calls_is_one_cycle_of_upstreams() {
    let lines = lines(&pipeline(300));
    let [stack] = &lines("explain-stack")[..] else {
        panic!("one stack");
    };
    assert_eq!(stack["phase"], "drive");
    let count = stack["cycle"]["count"].as_u64().expect("a number");
    assert!((297..=303).contains(&count), "{stack}");
    let functions = turn(stack, "upstream");
    assert!(
        functions.contains(&"queued::Client::call::{closure}"),
        "{functions:?}"
    );
    assert_eq!(turn(stack, "own"), [""; 0]);
    let report = &lines("report")[0];
    assert_eq!(stack["bytes"], report["stack_bytes"]["drive"]);
    // All of it is this cycle, but for the ends.
    let of_cycle = count * stack["cycle"]["bytes"].as_u64().expect("a number");
    let bytes = stack["bytes"].as_u64().expect("a number");
    assert!((bytes * 98 / 100..=bytes).contains(&of_cycle), "{stack}");

    let (text, _) = explain(&pipeline(300), false);
    let line = text.lines().find(|line| line.starts_with("deepest"));
    let line = line.expect("a line of it");
    assert!(line.contains("drive: ") && line.contains(" x "), "{line}");
}

#[test]
fn a_chain_of_the_scenarios_own_is_told_from_upstreams() {
    let lines = lines("scenario = \"planted-queue\"\n[parameters]\nmessages = 400\n");
    let [stack] = &lines("explain-stack")[..] else {
        panic!("one stack");
    };
    assert_eq!(stack["phase"], "teardown");
    let count = stack["cycle"]["count"].as_u64().expect("a number");
    assert!((396..=404).contains(&count), "{stack}");
    let functions = turn(stack, "own");
    let after = "drop of queue::after::{closure}";
    assert!(functions.contains(&after), "{functions:?}");
    assert_eq!(turn(stack, "upstream"), [""; 0]);
}

#[test]
fn of_a_flat_run_nothing_is_said_to_repeat() {
    let (text, status) = explain("scenario = \"orderly\"\n", false);
    assert_eq!(status, Some(0));
    let line = text.lines().find(|line| line.starts_with("deepest"));
    assert!(line.expect("a line").ends_with("nothing repeats"), "{text}");
    let vector = "scenario = \"planted-queue\"\n[parameters]\nmessages = 400\nqueue = \"vector\"\n";
    let stacks = lines(vector)("explain-stack");
    assert!(stacks.iter().all(|stack| stack["cycle"].is_null()));
    assert!(!stacks.is_empty());
}

#[test]
fn an_orderly_end_is_a_tree_of_upstreams_objects_and_the_tracked_ones() {
    let tree = |lines: &dyn Fn(&str) -> Vec<Value>| {
        let trees = lines("explain-tree");
        assert_eq!(trees.len(), 1);
        trees.into_iter().next().expect("one")
    };
    let first = lines("scenario = \"orderly\"\n");
    let first_tree = tree(&first);
    let mut nodes = Vec::new();
    for turn in first_tree["turns"].as_array().expect("turns") {
        nodes.extend(turn["destroyed"].as_array().expect("nodes"));
    }
    let of = |whose: Option<&str>| -> Vec<&str> {
        let its = nodes.iter().filter(|node| node["whose"].as_str() == whose);
        its.map(|node| node["what"].as_str().expect("a name"))
            .collect()
    };
    let upstream = of(Some("upstream"));
    for name in [
        "rpc::ConnectionState",
        "task_set::TaskSet",
        "rpc::QuestionRef",
        "rpc::ExportTable<rpc::Question>",
        "rpc::Answer",
    ] {
        assert!(upstream.contains(&name), "{name}: {upstream:?}");
    }
    // Two vats: neither is destroyed twice, whoever holds what points to it.
    let states = upstream
        .iter()
        .filter(|name| **name == "rpc::ConnectionState");
    assert_eq!(states.count(), 2, "{upstream:?}");

    let report = &first("report")[0];
    let all = report["destruction"].as_array().expect("a list");
    let in_teardown = all.iter().filter(|it| it["phase"] == "teardown");
    let tracked: Vec<&str> = in_teardown
        .map(|it| it["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(of(None), tracked, "each tracked object, once, in order");

    assert_eq!(tree(&lines("scenario = \"orderly\"\n")), first_tree);
}

#[test]
fn in_this_process_only_the_story_is_told() {
    let plan = "dismantle = 1\nscenario = \"orderly\"\n";
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("plan.toml");
    std::fs::write(&path, plan).expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_dismantle"));
    let command = command.args(["replay", "--explain", "--in-process"]);
    let output = command.arg(&path).output().expect("it starts");
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(
        text.contains("the story") && !text.contains("deepest"),
        "{text}"
    );
}
