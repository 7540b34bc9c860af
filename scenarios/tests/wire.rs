//! Does the raw peer keep to the rules where it says so, and reach what it is there for?

use std::process::Command;

use dismantle::{BUILT_IN, Harness, InProcess, Order, find, vocabulary};
use dismantle_sim::{Plan, Seed};
use dismantle_transport::compat::CAPNP_RPC_VERSION;
use serde_json::Value;

/// What legal messages and an orderly end bring out in capnp-rpc 0.27.3, by the function at fault.
const KNOWN: [&str; 13] = [
    // `Request::send` copies the parameters of a redirected call without their capabilities.
    "panic capnp-rpc-0.27.3/src/rpc.rs:2015",
    // `Pipeline::get_pipelined_cap_move` unwraps what the peer's results hold.
    "panic capnp-rpc-0.27.3/src/rpc.rs:2307",
    // `Client::write_target` follows a promise that was resolved to itself.
    "panic capnp-rpc-0.27.3/src/rpc.rs:3115",
    // `queued::ClientInner::resolve` calls out with its queues borrowed.
    "panic capnp-rpc-0.27.3/src/queued.rs:278",
    "panic capnp-rpc-0.27.3/src/queued.rs:321",
    // `ConnectionState::disconnect` leaves redirected results in the table of answers, and
    // running calls to whoever owns them: themselves, if their result was passed on.
    "leak object",
    "leak message-in object",
    // `send_unimplemented` cannot copy a message that holds a capability.
    "protocol abort of a connection on which all was legal: Message contained invalid capability",
    // `get_innermost_client` follows a call whose result is its own result.
    "spin in system",
    // One frame a call that waits behind another.
    "stack-growth ",
    // `Disconnector::disconnect` takes a connection that is not there, yet or any more, for one
    // that is shut down, and `ConnectionState::disconnect` an error for a success.
    "early-completion a disconnector ends and its connection does not",
    "early-completion a disconnector ends before the shutdown does",
    "early-completion a disconnector hides that the shutdown failed",
];

fn plan(settings: &[(&str, &str)]) -> Plan {
    let scenario = find(BUILT_IN, "wire").expect("a built-in scenario");
    let mut plan = Plan::new(vocabulary(scenario));
    for (name, value) in settings {
        let set = plan.set(name, &dismantle_sim::Value::from_text(value));
        set.expect("a parameter of the scenario");
    }
    plan
}

/// The findings of a campaign.
fn fuzz(arguments: &[&str]) -> Vec<Value> {
    let out = tempfile::tempdir().expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_dismantle"))
        .args(["fuzz", "wire", "--json", "--out"])
        .arg(out.path())
        .args(arguments)
        .output()
        .expect("it starts");
    assert!(
        output.status.code().is_some_and(|code| code < 2),
        "{output:?}"
    );
    let text = String::from_utf8(output.stdout).expect("JSON");
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    lines
        .filter(|line: &Value| line["type"] == "finding")
        .collect()
}

#[test]
fn legal_messages_and_an_orderly_end_show_nothing_but_what_was_traced() {
    if CAPNP_RPC_VERSION != "0.27.3" {
        eprintln!("nothing to compare: capnp-rpc is {CAPNP_RPC_VERSION}");
        return;
    }
    let settings = ["--set", "level=0", "--set", "end=orderly"];
    let found = fuzz(&[&["--seeds", "0..2000"], &settings[..]].concat());
    assert!(
        found.len() >= 3,
        "the conversations have become shallow: {found:?}"
    );
    for finding in found {
        let signature = finding["signature"].as_str().expect("text");
        assert!(
            KNOWN.iter().any(|known| signature.starts_with(known)),
            "{finding}"
        );
    }
}

#[test]
fn a_seed_and_its_plan_are_one_run() {
    let mut harness = InProcess::new(BUILT_IN);
    for level in ["0", "1", "2"] {
        let plan = plan(&[("level", level), ("end", "orderly")]);
        for seed in 0..40 {
            let order = Order {
                seed: Some(Seed(seed)),
                ..Order::of(&plan)
            };
            let by_seed = harness.run(order).expect("runs");
            let by_plan = harness.run(Order::of(&by_seed.plan)).expect("runs");
            assert_eq!(
                by_seed.report.digest, by_plan.report.digest,
                "{level}, {seed}"
            );
            assert_eq!(by_seed.report.signature, by_plan.report.signature);
        }
    }
}

#[test]
fn the_peer_says_and_the_vat_answers_every_kind_of_message() {
    let mut harness = InProcess::new(BUILT_IN);
    let plan = plan(&[("level", "0"), ("end", "orderly")]);
    let mut kinds: [Vec<String>; 2] = Default::default();
    for seed in 0..300 {
        let order = Order {
            seed: Some(Seed(seed)),
            trace: true,
            ..Order::of(&plan)
        };
        for event in harness.run(order).expect("runs").trace {
            for (kinds, pipe) in kinds.iter_mut().zip(["pipe/c2s", "pipe/s2c"]) {
                if event.subject == pipe {
                    kinds.push(event.kind.clone());
                }
            }
        }
    }
    let spoken = [
        "bootstrap",
        "call",
        "return",
        "finish",
        "resolve",
        "release",
        "disembargo",
        "abort",
        "unimplemented",
    ];
    for (kinds, pipe) in kinds.iter().zip(["the peer", "the vat"]) {
        for kind in spoken {
            // A Resolve that it could give back is rare.
            if (pipe, kind) == ("the peer", "unimplemented") {
                continue;
            }
            let said = |said: &String| said == kind;
            assert!(kinds.iter().any(said), "{pipe} never says {kind}");
        }
    }
}
