//! Does `snapshot` propose what is new or differs, and nothing else?

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const PLAN: &str = "dismantle = 1\nscenario = \"orderly\"\nnote = \"it says \\\"no\\\"\"\n";
const GOLDEN: &str = "tests/snapshots/three.snap";
const PENDING: &str = "tests/snapshots/three.snap.new";

fn snapshot(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dismantle"));
    let command = command.arg("snapshot").args(arguments);
    command.current_dir(folder).output().expect("it starts")
}

fn clean(folder: &Path, arguments: &[&str]) -> String {
    let output = snapshot(folder, arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// A folder with `three.toml`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("three.toml"), PLAN).expect("written");
    folder
}

#[test]
fn a_new_golden_is_proposed_and_an_accepted_one_only_if_it_differs() {
    let folder = folder();
    let path = folder.path();
    let read = |name: &str| fs::read_to_string(path.join(name)).ok();
    let told = clean(path, &["three.toml"]);
    assert!(
        told.contains("three: new, in tests/snapshots/three.snap.new"),
        "{told}"
    );
    assert!(told.ends_with("review: cargo insta review\n"), "{told}");
    assert_eq!(read("tests/plans/three.toml").as_deref(), Some(PLAN));
    assert_eq!(read(GOLDEN), None);
    let proposed = read(PENDING).expect("proposed");
    let header = "---\ndescription: \"it says \\\"no\\\"\"\ninfo:\n  plan: \"tests/plans/three.toml\"\n---\n";
    let body = proposed.strip_prefix(header).expect("a header of insta's");
    assert!(
        body.starts_with("outcome: clean\ndrop depth: 1\n"),
        "{body}"
    );
    assert!(body.contains("\n  client/call/1\n"), "{body}");
    assert!(
        body.ends_with("polls.teardown over calls: O(1)\n"),
        "{body}"
    );
    assert_eq!(clean(path, &["--print", "three.toml"]), body);

    // What was accepted is withdrawn; insta writes no last newline, and a source.
    let accepted = proposed.replacen("---\n", "---\nsource: tests/ends.rs\n", 1);
    fs::write(path.join(GOLDEN), accepted.trim_end()).expect("written");
    let told = clean(path, &["tests/plans/three.toml"]);
    assert_eq!(told, "three: as in tests/snapshots/three.snap\n");
    assert_eq!(read(PENDING), None);

    let other = accepted.replace("client/call/1", "client/call/7");
    fs::write(path.join(GOLDEN), other).expect("written");
    let told = clean(path, &["three.toml"]);
    assert!(told.contains("\n-  client/call/7\n"), "{told}");
    assert!(told.contains("\n+  client/call/1\n"), "{told}");
    assert_eq!(
        read(PENDING).expect("proposed").lines().nth(1),
        Some("source: \"tests/ends.rs\"")
    );
}

#[test]
fn json_says_how_each_golden_stands() {
    let folder = folder();
    let path = folder.path();
    let states = |arguments: &[&str]| -> Vec<String> {
        let text = clean(path, arguments);
        let line = |line: &str| -> Value { serde_json::from_str(line).expect("a JSON line") };
        let state = |line: Value| format!("{} {}", line["name"], line["state"]).replace('"', "");
        text.lines().map(line).map(state).collect()
    };
    fs::write(path.join("empty.toml"), PLAN).expect("written");
    let both = [
        "three.toml",
        "empty.toml",
        "--json",
        "--in-place",
        "--out",
        "goldens",
    ];
    assert_eq!(states(&both), ["three new", "empty new"]);
    assert!(!path.join("plans").exists());
    let pending = path.join("goldens/three.snap.new");
    fs::rename(&pending, path.join("goldens/three.snap")).expect("accepted");
    assert_eq!(states(&both), ["three same", "empty new"]);
    assert!(!pending.exists());
}

#[test]
fn a_run_that_kills_its_process_has_a_golden_too() {
    let folder = folder();
    let plan = "dismantle = 1\nscenario = \"planted-abort\"\n[parameters]\nrare = 7\n";
    fs::write(folder.path().join("dies.toml"), plan).expect("written");
    let golden = clean(folder.path(), &["--print", "dies.toml"]);
    assert!(
        golden.starts_with("outcome: failed\nfinding: abort "),
        "{golden}"
    );
    assert!(golden.ends_with("\nthe process died\n"), "{golden}");
}

#[test]
fn nothing_is_overwritten_and_bad_names_are_refused() {
    let folder = folder();
    let path = folder.path();
    fs::create_dir_all(path.join("tests/plans")).expect("made");
    fs::write(path.join("tests/plans/three.toml"), "another").expect("written");
    let cases: [(&[&str], &str); 4] = [
        (
            &["three.toml"],
            "tests/plans/three.toml is another plan; give a --name",
        ),
        (&["three.toml", "--name", "a/b"], "`a/b` is no plain name"),
        (
            &["three.toml", "three.toml", "--name", "x"],
            "--name is for one plan",
        ),
        (&["four.toml"], "four.toml"),
    ];
    for (arguments, message) in cases {
        let output = snapshot(path, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(errors.contains(message), "{errors}");
    }
    assert!(!path.join("tests/snapshots").exists());
    clean(path, &["three.toml", "--name", "other"]);
    assert!(path.join("tests/plans/other.toml").exists());
}

/// What two processes do not agree on is no golden.
#[test]
fn a_run_that_is_another_one_each_time_is_not_proposed() {
    let folder = folder();
    let plan = "dismantle = 1\nscenario = \"planted-nondeterminism\"\n";
    fs::write(folder.path().join("differs.toml"), plan).expect("written");
    let output = snapshot(folder.path(), &["differs.toml"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(!folder.path().join("tests").exists());
}
