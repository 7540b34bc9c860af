//! Are findings seen over a real Unix socketpair, too, and is what is clean clean there?

use std::path::Path;
use std::process::Command;

use dismantle::{
    BUILT_IN, Finding, Harness, InProcess, Order, Outcome, Over, OverUnix, RunReport, find,
    over_unix, vocabulary,
};
use dismantle_sim::{Plan, Seed, Value};
use dismantle_transport::compat::CAPNP_RPC_VERSION;

const KNOWN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/known");

/// What capnp-rpc 0.27.3 does wrong in an orderly end when the pipe fails it; a plan of each is in
/// the known findings (`early-*`, `error-premature-end`).
const UPSTREAM: [&str; 3] = [
    "early-completion a disconnector hides that the shutdown failed",
    "early-completion a disconnector ends before the shutdown does",
    "wrong-error a lost connection fails its calls as PrematureEndOfFile",
];

fn plan(scenario: &str, answers: &[(&str, &str)]) -> Plan {
    let mut plan = Plan::new(vocabulary(find(BUILT_IN, scenario).expect("one of ours")));
    for (name, value) in answers {
        plan.set(name, &Value::from_text(value)).expect(name);
    }
    plan
}

fn on_sockets(plan: &Plan) -> RunReport {
    let order = Order {
        over: Over::Unix,
        ..Order::of(plan)
    };
    InProcess::new(BUILT_IN).run(order).expect("runs").report
}

/// Under every seed, with all that a socket can do of the plan done to it.
#[test]
fn the_orderly_end_is_clean() {
    let mut harness = InProcess::new(BUILT_IN);
    let all = plan("orderly", &[]);
    let mut broken = 0;
    for seed in 0..400 {
        let by_seed = Order {
            seed: Some(Seed(seed)),
            ..Order::of(&all)
        };
        let recorded = harness.run(by_seed).expect("runs").plan;
        let report = on_sockets(&recorded);
        // What upstream does wrong when a pipe fails it shows over a socket as well.
        let ours = |finding: &&Finding| !UPSTREAM.contains(&finding.signature.as_str());
        let unknown: Vec<_> = report.findings.iter().filter(ours).collect();
        assert!(unknown.is_empty(), "seed {seed}: {}", report.text());
        assert_eq!(report.over, Over::Unix);
        broken += u32::from(recorded.answers().any(|(name, value)| {
            name.ends_with(".what") && ["reset", "half-close"].contains(&&*value.to_string())
        }));
    }
    assert!(broken > 20, "{broken} runs lost their connection");
}

/// A panic, a hang, a leak and an abort that are no doing of the simulated pipe.
#[test]
fn known_findings_are_seen() {
    if CAPNP_RPC_VERSION != "0.27.3" {
        eprintln!("nothing to compare: capnp-rpc is {CAPNP_RPC_VERSION}");
        return;
    }
    for name in [
        "panic-import-drop.toml",
        "panic-message-loop.toml",
        "panic-queued-resolve.toml",
        "hang-system-dropped.toml",
        "leak-system-dropped.toml",
        "abort-sender-queue.toml",
    ] {
        let path = Path::new(KNOWN).join(name);
        let text = std::fs::read_to_string(&path).expect("a file of ours");
        let known = |name: &str| find(BUILT_IN, name).map(vocabulary);
        let kept = Plan::read(&text, known).expect("a plan");
        let output = Command::new(env!("CARGO_BIN_EXE_dismantle"))
            .args(["replay", "--over", "unix", "--json"])
            .arg(&path)
            .output()
            .expect("it starts");
        assert_eq!(output.status.code(), Some(1), "{name}: {output:?}");
        let report: RunReport = serde_json::from_slice(&output.stdout).expect("one report");
        assert_eq!(report.over, Over::Unix, "{name}");
        assert_eq!(report.signature, kept.signature, "{name}");
    }
}

#[test]
fn what_a_socket_cannot_do_is_said_and_left_out() {
    let report = on_sockets(&plan(
        "orderly",
        &[
            ("pipe.c2s.delay_us", "5"),
            ("pipe.s2c.delivery", "byte"),
            ("pipe.s2c.fault.0.what", "read-error"),
            ("pipe.s2c.fault.1.what", "half-close"),
            ("task.\"client/system\".priority", "3"),
        ],
    ));
    let ignored = [
        "pipe.c2s.delay_us",
        "pipe.s2c.delivery",
        "pipe.s2c.fault.0.what",
        "task.\"client/system\".priority",
    ];
    assert_eq!(report.ignored, ignored);
    assert_eq!(report.time_us, 0);
    assert!(report.text().contains("cannot be done over a socket: pipe"));
    assert_eq!(report.outcome, Outcome::Clean);
}

/// The verdicts of a campaign, each from a plan that earns it.
#[test]
fn a_finding_is_seen_or_not_seen_or_cannot_be() {
    let mut harness = InProcess::new(BUILT_IN);
    let buggy = plan("planted-hang", &[("rare", "7")]);
    let ran = harness.run(Order::of(&buggy)).expect("runs");
    let hang = ran.report.finding().expect("it hangs").clone();
    let mut verdict = |plan: &Plan| {
        let scenario = find(BUILT_IN, plan.scenario()).expect("one of ours");
        over_unix(&mut harness, scenario, plan, &hang).expect("runs")
    };
    assert_eq!(verdict(&buggy), OverUnix::Seen);
    assert_eq!(verdict(&plan("planted-hang", &[])), OverUnix::NotSeen);
    assert_eq!(verdict(&plan("orderly", &[])), OverUnix::NotSeen);
    let delayed = plan("orderly", &[("pipe.c2s.delay_us", "1")]);
    assert_eq!(verdict(&delayed), OverUnix::Cannot);
}

/// Growth is no property of one run: it is measured over the socket, too.
#[test]
fn growth_is_seen() {
    let mut harness = InProcess::new(BUILT_IN);
    let scenario = find(BUILT_IN, "planted-queue").expect("one of ours");
    let ran = harness.run(Order::of(&plan("planted-queue", &[("messages", "1000")])));
    let ran = ran.expect("runs");
    let grows = dismantle::growth::findings(&mut harness, scenario, &ran.plan, "teardown");
    let grows = grows.expect("measured");
    assert_eq!(grows.len(), 1);
    for finding in grows {
        let verdict = over_unix(&mut harness, scenario, &ran.plan, &finding);
        assert_eq!(verdict.expect("runs"), OverUnix::Seen, "{finding:?}");
    }
}

#[test]
fn a_campaign_says_of_each_finding_whether_it_was_seen() {
    let out = tempfile::tempdir().expect("a folder");
    let fuzz = |more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_dismantle"))
            .args(["fuzz", "planted-hang", "--seeds", "0..100", "--out"])
            .arg(out.path())
            .args(more)
            .output()
            .expect("it starts");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let json = fuzz(&["--json"]);
    let finding: serde_json::Value =
        serde_json::from_str(json.lines().next().expect("a finding")).expect("a JSON line");
    assert_eq!(finding["class"], "hang");
    assert_eq!(finding["over_unix"], "seen");
    assert!(fuzz(&[]).contains(OverUnix::Seen.text()));
}
