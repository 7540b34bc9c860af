//! Is a run with the C++ library a function of its plan: in two processes, in either order?
#![expect(
    clippy::disallowed_methods,
    reason = "a child of this test is told so by a variable"
)]

use std::collections::BTreeMap;
use std::process::Command;

use dismantle::{InProcess, Scenario, vocabulary};
use dismantle_kj::SCENARIOS;
use dismantle_sim::{Plan, Seed};

const SEEDS: u64 = 500;

/// A scenario, a first seed, and whether the others come before it and not behind.
const CHILD: &str = "DISMANTLE_KJ_CHILD";

/// The scenarios without a bug of ours, which may take the process along at will.
fn scenarios() -> impl Iterator<Item = &'static dyn Scenario> {
    let all = SCENARIOS.iter().copied();
    all.filter(|scenario| scenario.planted().is_none())
}

fn seeds(from: u64, backwards: bool) -> Box<dyn Iterator<Item = u64>> {
    match backwards {
        false => Box::new(from..SEEDS),
        true => Box::new((0..=from).rev()),
    }
}

/// Prints the digests, one by one, when the test below asks for it.
#[test]
fn child_digests() {
    let Ok(order) = std::env::var(CHILD) else {
        return;
    };
    let words: Vec<&str> = order.split(' ').collect();
    let [name, from, backwards] = words[..] else {
        panic!("three words: {order}");
    };
    let scenario = scenarios().find(|scenario| scenario.name() == name);
    let plan = Plan::new(vocabulary(scenario.expect("one of ours")));
    let harness = InProcess::new(SCENARIOS);
    for seed in seeds(from.parse().expect("a seed"), backwards == "true") {
        println!("seed {seed}");
        let report = harness.glance(&plan, Seed(seed)).expect("runs");
        println!("digest {}", report.digest);
    }
    println!("end");
}

/// What each seed comes to, in processes that go on behind a seed that one of them dies of.
fn digests(name: &str, backwards: bool) -> BTreeMap<u64, String> {
    let mut digests = BTreeMap::new();
    let mut from = Some(if backwards { SEEDS - 1 } else { 0 });
    while let Some(first) = from {
        let child = Command::new(std::env::current_exe().expect("this test"))
            .args(["child_digests", "--exact", "--nocapture"])
            .env(CHILD, format!("{name} {first} {backwards}"))
            .output()
            .expect("it starts");
        let text = String::from_utf8_lossy(&child.stdout).into_owned();
        let mut seed: Option<u64> = None;
        let mut ended = false;
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("seed", it)) => {
                    seed = it.parse().ok();
                    digests.insert(seed.expect("a seed"), "died".to_owned());
                }
                Some(("digest", it)) => {
                    digests.insert(seed.expect("a seed before it"), it.to_owned());
                }
                _ => ended |= line == "end",
            }
        }
        let died = seed.expect("a child runs a seed at least");
        from = match (ended, backwards) {
            (true, _) => None,
            (false, false) => Some(died + 1).filter(|seed| *seed < SEEDS),
            (false, true) => died.checked_sub(1),
        };
    }
    digests
}

#[test]
fn five_hundred_seeds_of_each_scenario_have_the_same_digest_in_two_processes() {
    for scenario in scenarios() {
        let name = scenario.name();
        let (there, here) = (digests(name, true), digests(name, false));
        assert_eq!(here.len() as u64, SEEDS, "{name}: all seeds were run");
        for (seed, digest) in &here {
            assert_eq!(digest, &there[seed], "{name}, seed {seed}");
        }
        let different: std::collections::BTreeSet<&String> = here.values().collect();
        assert!(different.len() > 100, "{name}: seeds are not all the same");
    }
}
