//! Does `threshold` say where a stack begins to overflow, and nothing of runs that end otherwise?

use std::process::{Command, Output};

use serde_json::Value;

fn threshold(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dismantle"));
    let command = command.args(["threshold", "--json"]).args(arguments);
    command.output().expect("it starts")
}

fn line(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

#[test]
fn the_first_size_that_needs_more_is_next_to_the_last_that_fits() {
    let output = threshold(&["promise", "--stack", "256KiB"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let found = line(&output);
    let [size, fits, needs] = ["size", "fits", "needs_bytes"].map(|it| found[it].as_u64());
    assert!(needs > Some(256 << 10), "{found}");
    assert_eq!(size, fits.map(|fits| fits + 1), "{found}");
    let most = fits.expect("a size").to_string();
    let output = threshold(&["promise", "--stack", "256KiB", "--most", &most]);
    let found = line(&output);
    assert_eq!(found["size"], Value::Null, "{found}");
    assert_eq!(found["fits"].as_u64(), fits, "{found}");
}

/// A run that aborts says nothing of stacks: it is told, as a finding.
#[test]
fn what_does_not_come_to_an_end_is_no_threshold() {
    let known = concat!(env!("CARGO_MANIFEST_DIR"), "/known/abort-sender-queue.toml");
    let output = threshold(&[known, "--over", "op.1.repeat"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(line(&output)["findings"][0]["class"], "abort");
}
