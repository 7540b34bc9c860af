//! Does a report say which library it is of, also of a run that took its process with it?

use std::process::Command;

use dismantle_kj::bridge::RELEASE;
use serde_json::Value;

fn run(more: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dismantle_kj"));
    command.args(["run", "kj-backlog", "--json"]).args(more);
    let output = command.output().expect("it starts");
    let line = output.stdout.split(|byte| *byte == b'\n').next();
    serde_json::from_slice(line.expect("a line")).expect("a report")
}

#[test]
fn a_report_names_the_library_and_its_release() {
    let upstream = format!("capnproto-{RELEASE}");
    // An end that is clean with either release.
    let clean = run(&["--set=end=reset"]);
    assert_eq!(
        (&clean["outcome"], &clean["upstream"]),
        (&"clean".into(), &upstream.clone().into())
    );
    let here = run(&["--set=end=reset", "--in-process"]);
    assert_eq!(here["upstream"], clean["upstream"]);
    let dead = run(&["--set", "calls=100000", "--memory", "64MiB"]);
    assert_eq!(dead["digest"], "");
    assert_eq!(dead["upstream"], upstream);
}
