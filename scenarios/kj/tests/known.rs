//! Does the program know its own findings, of its own release, from the root of the repository?

use std::path::Path;
use std::process::{Command, Output};

use dismantle_kj::bridge::RELEASE;

/// Runs it as from a root of a repository.
fn dismantle(root: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dismantle_kj"));
    let command = command.current_dir(root).args(arguments);
    command.output().expect("it starts")
}

#[test]
fn what_is_accepted_is_known_without_a_word() {
    let root = tempfile::tempdir().expect("a folder");
    let root = root.path();
    let fuzz = ["fuzz", "planted-kj-throw", "--seeds", "0..40", "--known"];
    let status = |arguments: &[&str]| dismantle(root, arguments).status.code();
    assert_eq!(status(&fuzz), Some(1));
    let run = [
        "run",
        "planted-kj-throw",
        "--set",
        "rare=7",
        "-o",
        "throw.toml",
    ];
    assert_eq!(status(&run), Some(1));
    let accepted = dismantle(root, &["accept", "throw.toml"]);
    assert!(accepted.status.success(), "{accepted:?}");
    let known = root.join("scenarios/kj/known").join(RELEASE);
    assert!(known.join("throw.toml").is_file());
    assert_eq!(status(&fuzz), Some(0));
    // What is known of the other library's catalogue has no part in it.
    let list = dismantle(
        root,
        &["fuzz", "planted-kj-panic", "--seeds", "0..40", "--known"],
    );
    assert_eq!(list.status.code(), Some(1));
}

#[test]
fn goldens_are_beside_their_plans_in_a_folder_of_the_release() {
    let root = tempfile::tempdir().expect("a folder");
    let root = root.path();
    let run = [
        "run",
        "planted-kj-throw",
        "--set",
        "rare=7",
        "-o",
        "throw.toml",
    ];
    assert_eq!(dismantle(root, &run).status.code(), Some(1));
    let proposed = dismantle(root, &["snapshot", "throw.toml"]);
    assert!(proposed.status.success(), "{proposed:?}");
    let tests = root.join("scenarios/kj/tests");
    let golden = tests.join("snapshots").join(RELEASE).join("throw.snap.new");
    let text = std::fs::read_to_string(golden).expect("a golden");
    assert!(text.contains("planted.c++"), "{text}");
    assert!(tests.join("plans/throw.toml").is_file());
}
