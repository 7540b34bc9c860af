//! Are the stories of streams, callbacks and promises clean by default, and do their rules bite?

use std::process::{Command, Output};

use serde_json::Value;

const STORIES: [&str; 3] = ["streaming", "callback", "promise"];

fn dismantle(command: &[&str], settings: &[&str]) -> Output {
    let set = settings.iter().flat_map(|setting| ["--set", setting]);
    let output = Command::new(env!("CARGO_BIN_EXE_dismantle"))
        .args(command)
        .args(set)
        .arg("--json")
        .output()
        .expect("it starts");
    assert!(
        output.status.code().is_some_and(|code| code < 2),
        "{command:?}: {output:?}"
    );
    output
}

fn report(story: &str, settings: &[&str]) -> Value {
    let output = dismantle(&["run", story], settings);
    serde_json::from_slice(&output.stdout).expect("one report")
}

/// The classes of what a run found.
fn classes(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().expect("a list");
    findings
        .iter()
        .map(|finding| finding["class"].as_str().expect("a word"))
        .collect()
}

#[test]
fn the_default_plan_is_clean() {
    for story in STORIES {
        let report = report(story, &[]);
        assert_eq!(report["outcome"], "clean", "{story}: {report}");
        assert!(report["destroyed_count"].as_u64() > Some(40), "{story}");
    }
}

#[test]
fn every_end_with_a_disconnect_is_clean_at_rest() {
    for story in STORIES {
        for end in [
            "disconnect",
            "peer-disconnects",
            "both-disconnect",
            "caps-first",
            "tasks-first",
            "reset",
            "half-close",
            "half-close-back",
        ] {
            let report = report(story, &[&format!("end={end}")]);
            assert_eq!(report["outcome"], "clean", "{story} {end}: {report}");
        }
    }
}

#[test]
fn what_holds_up_a_story_ends_with_its_connection() {
    for (story, setting) in [
        ("streaming", "sink=stuck"),
        ("streaming", "sink=fails"),
        ("callback", "bottom=never"),
        ("promise", "becomes=never"),
    ] {
        for more in ["steps=10000", "steps=9"] {
            let report = report(story, &[setting, more]);
            assert_eq!(report["outcome"], "clean", "{story} {setting}: {report}");
        }
    }
}

#[test]
fn every_rule_of_a_story_finds_its_planted_bug() {
    let flood = ["bug=floods", "sink=stuck", "bytes=9000"];
    let cases: [(&str, &[&str], &str); 6] = [
        ("streaming", &["bug=swaps"], "call-order"),
        ("streaming", &["bug=forgets", "sink=fails"], "wrong-error"),
        (
            "streaming",
            &["bug=forgets", "sink=slow"],
            "early-completion",
        ),
        ("streaming", &flood, "early-completion"),
        ("promise", &["bug=swaps"], "call-order"),
        ("promise", &["bug=swaps", "becomes=peer"], "call-order"),
    ];
    for (story, settings, class) in cases {
        let found = report(story, settings);
        assert_eq!(classes(&found), [class], "{story} {settings:?}");
        let without = report(story, &settings[1..]);
        assert_eq!(classes(&without), [""; 0], "{story} {settings:?}");
    }
}

#[test]
fn a_writer_waits_when_the_window_is_full() {
    let destroyed = |window: &str| {
        let window = format!("vat.client.window_bytes={window}");
        let stuck = report("streaming", &["sink=stuck", "bytes=100", &window]);
        assert_eq!(stuck["outcome"], "clean", "{stuck}");
        stuck["destroyed_count"].as_u64().expect("a number")
    };
    // Each write that is sent is a message at both ends.
    assert!(destroyed("1") < destroyed("1000"));
    assert!(destroyed("1000") < destroyed("65536"));
}

#[test]
fn growth_measures_each_of_them() {
    let cases: [(&str, &str, &str); 4] = [
        ("streaming", "writes", "O(1)"),
        ("callback", "depth", "O(1)"),
        ("callback", "calls", "O(1)"),
        ("promise", "calls", "O(1)"),
    ];
    for (story, over, law) in cases {
        let growth = ["growth", story, "--over", over, "--sizes", "100,200,400"];
        let output = dismantle(&[&growth[..], &["--expect", law]].concat(), &[]);
        assert_eq!(output.status.code(), Some(0), "{story} {over}: {output:?}");
    }
    // Its own size: what upstream does with that is a known finding.
    let output = dismantle(&["growth", "promise", "--sizes", "100,200,400"], &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines = String::from_utf8(output.stdout).expect("text");
    assert!(lines.contains(r#""over":"length""#), "{lines}");
}
