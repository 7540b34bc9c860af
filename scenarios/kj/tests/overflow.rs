//! Does a destructor of the library's that recurses overflow a real stack, and is it told by name?

use std::process::Command;

use serde_json::Value;

/// The lines that the program prints.
fn dismantle(arguments: &[&str]) -> Vec<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dismantle_kj"));
    let output = command.args(arguments).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines();
    let lines = lines.map(|line| serde_json::from_str(line).expect("a JSON line"));
    lines.collect()
}

/// On any release: a chain of promises of our own.
#[test]
fn the_folded_cycle_of_an_overflow_has_readable_names() {
    let out = tempfile::tempdir().expect("a folder");
    let out = out.path().to_str().expect("text");
    let options = [
        "--seeds", "0..4", "--stack", "256KiB", "--out", out, "--json",
    ];
    let queue = ["fuzz", "planted-kj-queue", "--set", "messages=20000"];
    let lines = dismantle(&[&queue[..], &options].concat());
    let finding = &lines[0];
    assert_eq!(finding["signature"], "overflow in teardown of drop-queue");
    assert_eq!(finding["count"], 4, "the campaign goes on");
    let run = [
        "replay",
        finding["plan"].as_str().expect("a path"),
        "--json",
    ];
    let report = &dismantle(&run)[0];
    let detail = report["findings"][0]["detail"].as_str().expect("text");
    assert!(detail.contains("of stack: cycle of "), "{detail}");
    assert!(detail.contains("TransformPromiseNode"), "{detail}");
    assert!(
        !detail.contains("_ZN") && !detail.contains("kj::_::"),
        "{detail}"
    );
}

/// Where a run is deepest, and who destroyed what, are told in the same words.
#[test]
fn an_explanation_names_functions_and_types_of_the_library() {
    let out = tempfile::tempdir().expect("a folder");
    let plan = out.path().join("plan.toml");
    let plan = plan.to_str().expect("text");
    dismantle(&[
        "run",
        "planted-kj-queue",
        "--set",
        "messages=300",
        "-o",
        plan,
        "--json",
    ]);
    let lines = dismantle(&["replay", plan, "--explain", "--json"]);
    let of = |kind: &str| lines.iter().find(|line| line["type"] == kind).expect("one");
    let turn = of("explain-stack")["cycle"]["turn"]
        .as_array()
        .expect("a cycle");
    let is_node = |line: &&Value| {
        let function = line["function"].as_str().unwrap_or_default();
        function.contains("TransformPromiseNode<") && line["whose"] == "upstream"
    };
    assert!(turn.iter().any(|line| is_node(&line)), "{turn:?}");
    let tree = of("explain-tree").to_string();
    assert!(tree.contains("TransformPromiseNode<"), "{tree}");
}
