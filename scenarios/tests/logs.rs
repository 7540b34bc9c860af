//! Is what a run prints seen where somebody looks at one run, with its moment, and nowhere else?

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn dismantle(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dismantle"));
    command.args(arguments).output().expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The lines on standard error that have a moment.
fn said(output: &Output) -> Vec<String> {
    let text = text(&output.stderr);
    let lines = text.lines().filter(|line| line.starts_with('['));
    lines.map(str::to_owned).collect()
}

/// The first seed of a planted scenario that has the bug.
fn striking(scenario: &str) -> String {
    let strikes = |seed: &u32| {
        let run = dismantle(&["run", scenario, "--seed", &seed.to_string(), "--json"]);
        run.status.code() == Some(1)
    };
    let seed = (0..200).find(strikes);
    seed.expect("one in sixteen strikes").to_string()
}

#[test]
fn a_run_shows_its_prints_and_panics_with_their_moments_and_beside_the_report() {
    let seed = striking("planted-panic");
    let output = dismantle(&["run", "planted-panic", "--seed", &seed, "--json"]);
    let said = said(&output);
    let site = "scenarios/src/catalogue/planted/death.rs:";
    assert_eq!(
        said[..3],
        [
            "[0.000 ms, step 0] a bomb, armed: true",
            "[1.250 ms, step 2] the fuse has burnt down",
            "[1.250 ms, step 2] a bomb goes off",
        ]
    );
    assert_eq!(said.len(), 4, "{said:?}");
    let panic = said[3].strip_prefix("[1.250 ms, step 2] panic at ");
    assert!(panic.is_some_and(|panic| panic.starts_with(site) && panic.ends_with(": planted")));
    let lines: Vec<Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON line"))
        .collect();
    assert_eq!(lines.len(), 1);
    assert_eq!(
        lines[0]["signature"].as_str().map(|it| &it[..5]),
        Some("panic")
    );
}

#[test]
fn what_was_printed_before_the_process_died_is_shown() {
    let seed = striking("planted-abort");
    let said = said(&dismantle(&["run", "planted-abort", "--seed", &seed]));
    let bombs = said.iter().filter(|line| line.ends_with("a bomb goes off"));
    assert_eq!(bombs.count(), 2, "{said:?}");
    let panics = said.iter().filter(|line| line.ends_with(": planted"));
    assert_eq!(panics.count(), 2, "{said:?}");
    let order: Vec<bool> = said.iter().map(|line| line.ends_with("planted")).collect();
    assert_eq!(order[..4], [false, true, false, true], "{said:?}");
}

/// What upstream prints of a task that failed (`SystemTaskReaper`, `lib.rs`, capnp-rpc 0.27.3)
/// goes the same way.
#[test]
fn a_campaign_shows_nothing_of_it() {
    let out = tempfile::tempdir().expect("a folder");
    let out: &Path = out.path();
    let output = dismantle(&[
        "fuzz",
        "planted-panic",
        "planted-abort",
        "--seeds",
        "0..100",
        "--out",
        out.to_str().expect("text"),
    ]);
    assert_eq!(output.status.code(), Some(1));
    let both = text(&output.stdout) + &text(&output.stderr);
    for word in ["bomb", "fuse", "panicked at", "panic at"] {
        assert!(!both.contains(word), "{word} in {both}");
    }
}
