//! By what law does each end of a backlog grow, with the release that is linked, and where does
//! the advice of issue #2195 lead to?

use std::process::Command;

use dismantle_kj::bridge::RELEASE;
use serde_json::Value;

/// Bytes of stack that 0.9.2 needs to destroy one queued message, and the next inside it.
const MESSAGE_BYTES: f64 = 160.0;

/// Whether the queue is a chain of promises, which is destroyed link inside link; it is a vector
/// from 1.0.0 on.
fn is_chain() -> bool {
    RELEASE == "0.9.2"
}

/// The JSON lines of a command, whatever its exit status.
fn lines(arguments: &[&str], set: &[(&str, &str)]) -> Vec<Value> {
    let set = set
        .iter()
        .map(|(key, value)| format!("--set={key}={value}"));
    let output = Command::new(env!("CARGO_BIN_EXE_dismantle_kj"))
        .args(arguments)
        .args(set)
        .arg("--json")
        .output()
        .expect("it starts");
    let text = String::from_utf8(output.stdout).expect("text");
    let lines = text.lines().map(serde_json::from_str);
    lines.map(|line| line.expect("a JSON line")).collect()
}

/// The bytes of stack that the teardown needs for each call: 0 if it is O(1).
#[track_caller]
fn bytes_a_call(scenario: &str, set: &[(&str, &str)]) -> f64 {
    let growth = [
        "growth",
        scenario,
        "--metric=stack_bytes",
        "--sizes=400,800,1600",
    ];
    let lines = lines(&growth, set);
    let teardown = lines.iter().find(|line| line["phase"] == "teardown");
    let teardown = teardown.unwrap_or_else(|| panic!("{scenario}, {set:?}: no teardown"));
    match teardown["law"].as_str() {
        Some("O(1)") => 0.0,
        Some("O(n)") => teardown["per_item"].as_f64().expect("a number"),
        _ => panic!("{scenario}, {set:?}: {teardown}"),
    }
}

/// Each end with the queued messages of a call that its owner's destructor meets one inside the
/// other before 1.0.0.
fn ends_need(scenario: &str, set: &[(&str, &str)], ends: &[(&str, f64)]) {
    for promises in ["held", "waited-for"] {
        for (end, messages) in ends {
            let mut set = set.to_vec();
            set.extend([("end", *end), ("promises", promises)]);
            let expected = if is_chain() {
                messages * MESSAGE_BYTES
            } else {
                0.0
            };
            let needed = bytes_a_call(scenario, &set);
            assert!((needed - expected).abs() < 1.0, "{set:?}: {needed}");
        }
    }
}

#[test]
fn each_end_of_a_client_with_a_backlog_has_its_law() {
    let ends = [
        ("destroy", 1.0),
        // A call that is given up queues a Finish.
        ("promises-first", 2.0),
        ("capability-first", 1.0),
        // The queue has failed, and is empty.
        ("reset", 0.0),
        // Nothing is read any more; what is to be written stays.
        ("half-close", 1.0),
        ("write-error", 0.0),
        ("server-first", 0.0),
        ("unsettled", 1.0),
    ];
    ends_need("kj-backlog", &[], &ends);
}

#[test]
fn each_end_of_a_server_with_queued_responses_has_its_law() {
    let ends = [
        ("destroy", 1.0),
        ("promises-first", 1.0),
        ("capability-first", 1.0),
        ("reset", 0.0),
        ("half-close", 1.0),
        ("write-error", 0.0),
        ("client-first", 0.0),
    ];
    for server in ["client", "server"] {
        ends_need("kj-responses", &[("server", server)], &ends);
    }
}

/// What following the advice comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Advice {
    Safe,
    Hangs,
    Throws,
}
use Advice::{Hangs, Safe, Throws};

/// As the library's own streams do with the same peer; see `bridge::Shutdown`. The peer, whether
/// the client hears of it first, and what comes of it on TCP, a socketpair and kj's pipe.
const ADVICE: [(&str, bool, [Advice; 3]); 10] = [
    ("stuck", false, [Safe, Hangs, Throws]),
    ("reads", false, [Safe, Safe, Safe]),
    ("closes", false, [Safe, Safe, Throws]),
    ("resets", false, [Safe, Safe, Throws]),
    ("closed", false, [Throws, Safe, Safe]),
    ("closed", true, [Throws, Safe, Safe]),
    ("reset", false, [Throws, Safe, Safe]),
    ("reset", true, [Throws, Safe, Safe]),
    ("half-closed", false, [Safe, Safe, Throws]),
    ("half-closed", true, [Safe, Safe, Throws]),
];

#[test]
fn the_advice_is_safe_hangs_or_throws_as_transport_and_peer_have_it() {
    for (peer, heard, outcomes) in ADVICE {
        for (transport, outcome) in ["tcp", "socketpair", "pipe"].into_iter().zip(outcomes) {
            let steps = if heard { "1000000" } else { "0" };
            let mut set = vec![("transport", transport), ("peer", peer), ("steps", steps)];
            let report = &lines(&["run", "kj-workaround"], &set)[0];
            let seen = match report["findings"][0]["class"].as_str() {
                None => Safe,
                Some("hang") => Hangs,
                Some("panic") => Throws,
                other => panic!("{set:?}: {other:?}"),
            };
            assert_eq!(seen, outcome, "{set:?}: {report}");
            // Who gives up and destroys the client has the queue that there was.
            set.push(("failed", "destroys"));
            let is_queued = outcome != Safe && !(heard && transport == "tcp");
            let expected = if is_chain() && is_queued {
                MESSAGE_BYTES
            } else {
                0.0
            };
            let needed = bytes_a_call("kj-workaround", &set);
            assert!((needed - expected).abs() < 1.0, "{set:?}: {needed}");
        }
    }
}
