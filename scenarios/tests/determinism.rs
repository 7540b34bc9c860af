//! Is a run a function of its plan: in two processes, in either order, after other runs or not?
#![expect(
    clippy::disallowed_methods,
    reason = "a child of this test is told so by a variable"
)]

use std::process::Command;

use dismantle::{BUILT_IN, Harness, InProcess, Order, find, vocabulary};
use dismantle_sim::{Options, Plan, Runner, Seed};

const SEEDS: u64 = 500;

/// The digests of the seeds `from..to` of a scenario whose runs do not abort this process.
fn digests(name: &str, seeds: impl Iterator<Item = u64>) -> Vec<(u64, String)> {
    let plan = plan(name);
    let harness = InProcess::new(BUILT_IN);
    let digest = |seed| {
        let report = harness.glance(&plan, Seed(seed)).expect("runs");
        (seed, report.digest.to_string())
    };
    seeds.map(digest).collect()
}

fn plan(name: &str) -> Plan {
    Plan::new(vocabulary(
        find(BUILT_IN, name).expect("a built-in scenario"),
    ))
}

/// Prints the digests, backwards and after other runs, when the test below asks for it.
#[test]
fn child_digests() {
    if std::env::var_os("DISMANTLE_CHILD").is_some() {
        digests("exception", 9_000..9_050);
        for (seed, digest) in digests("program", (0..SEEDS).rev()) {
            println!("{seed} {digest}");
        }
    }
}

#[test]
fn five_hundred_seeds_have_the_same_digest_in_two_processes() {
    let child = Command::new(std::env::current_exe().expect("this test"))
        .args(["child_digests", "--exact", "--nocapture"])
        .env("DISMANTLE_CHILD", "1")
        .output()
        .expect("it starts");
    let text = String::from_utf8_lossy(&child.stdout).into_owned();
    let mut there: Vec<(u64, String)> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(seed, digest)| Some((seed.parse().ok()?, digest.to_owned())))
        .collect();
    there.reverse();
    let here = digests("program", 0..SEEDS);
    assert_eq!(there.len(), here.len(), "the child ran all seeds");
    for (there, here) in there.iter().zip(&here) {
        assert_eq!(there, here, "the same seed, in two processes");
    }
}

/// The canary: if this fails, the pin of the process's entropy shows nothing any more, because
/// upstream's order no longer depends on hash keys or the standard library no longer asks.
#[test]
fn without_the_pin_the_digests_differ() {
    let scenario = find(BUILT_IN, "program").expect("a built-in scenario");
    let runner = Runner::new();
    let unpinned = || -> Vec<String> {
        let options = |seed| Options {
            seed: Some(Seed(seed)),
            unpinned: true,
            ..Options::default()
        };
        let run = |seed| runner.run(&plan("program"), &options(seed), |sim| scenario.run(sim));
        (0..200).map(|seed| run(seed).digest.to_string()).collect()
    };
    assert_ne!(unpinned(), unpinned());
}

#[test]
fn a_recorded_plan_gives_the_report_of_its_seed() {
    let mut harness = InProcess::new(BUILT_IN);
    for scenario in ["program", "backlog", "exception", "orderly", "pipeline"] {
        let plan = plan(scenario);
        for seed in 0..60 {
            let by_seed = harness.run(Order {
                seed: Some(Seed(seed)),
                ..Order::of(&plan)
            });
            let by_seed = by_seed.expect("runs");
            let by_plan = harness.run(Order::of(&by_seed.plan)).expect("runs");
            assert_eq!(
                by_seed.report.digest, by_plan.report.digest,
                "{scenario} {seed}"
            );
            assert_eq!(by_seed.report.signature, by_plan.report.signature);
            assert_eq!(by_seed.plan.to_string(), by_plan.plan.to_string());
        }
    }
}
