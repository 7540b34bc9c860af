//! Is a run the same wherever and after whatever it runs, and what is the pin of entropy for?
#![allow(clippy::unwrap_used, missing_docs)]
// Maps in random order, the environment and a second process are what this is about.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::process::Command;

use dismantle_sim::{
    Digest, EventKind, Limits, Name, Options, Plan, Report, Runner, Seed, Sim, Stopped, Tracked,
    Vocabulary, asked_bytes,
};

const SEEDS: u64 = 50;
const OBJECTS: u64 = 20;
const HASHED: EventKind = EventKind::new("hashed");

fn plan() -> Plan {
    Plan::new(Vocabulary {
        scenario: "determinism",
        limits: Limits::default(),
        parameters: &[],
        questions: dismantle_sim::questions().to_vec(),
    })
}

/// Drops two maps: std gives every map of a thread keys of its own.
fn body(sim: &Sim) -> Result<(), Stopped> {
    for owner in ["first", "second"] {
        let object = |key: u64| sim.track(Name::numbered(owner, "object", key as u32), ());
        let map: HashMap<u64, Tracked<()>> = (0..OBJECTS).map(|key| (key, object(key))).collect();
        let clock = sim.clone();
        sim.spawn(Name::new(owner, "task"), async move {
            clock.sleep_us(map.keys().next().copied().unwrap()).await;
            drop(map);
        });
    }
    sim.settle()?;
    let subject = Name::new("owner", "hash");
    sim.event(HASHED, subject, [RandomState::new().hash_one(1_u64), 0]);
    Ok(())
}

fn report(runner: &Runner, seed: u64, unpinned: bool) -> Report {
    let options = Options {
        seed: Some(Seed(seed)),
        unpinned,
        ..Options::default()
    };
    let report = runner.run(&plan(), &options, body);
    assert_eq!(report.destroyed_count, 2 * OBJECTS + 2);
    report
}

fn digests(runner: &Runner, seeds: impl Iterator<Item = u64>) -> HashMap<u64, Digest> {
    seeds
        .map(|seed| (seed, report(runner, seed, false).digest))
        .collect()
}

#[test]
fn a_seed_gives_one_digest_in_whatever_order_seeds_are_run() {
    let runner = Runner::new();
    let forwards = digests(&runner, 0..SEEDS);
    assert_eq!(forwards, digests(&runner, (0..SEEDS).rev()));
    assert_eq!(
        forwards,
        digests(&Runner::new(), (0..SEEDS).map(|i| i * 7 % SEEDS))
    );
    let distinct: HashSet<_> = forwards.values().collect();
    assert_eq!(
        distinct.len() as u64,
        SEEDS,
        "each seed has hash keys of its own"
    );
}

#[test]
fn a_run_does_not_depend_on_maps_made_outside() {
    let runner = Runner::new();
    let before = report(&runner, 1, false);
    let maps: Vec<HashMap<u64, u64>> = (0..100).map(|_| HashMap::from([(1, 2)])).collect();
    let after = report(&runner, 1, false);
    assert_eq!(maps.len(), 100);
    assert_eq!(before.digest, after.digest);
    assert_eq!(before.destroyed, after.destroyed);
}

#[test]
fn without_the_pin_the_same_seed_gives_other_digests() {
    let runner = Runner::new();
    let distinct = |unpinned: bool| {
        let digests: HashSet<Digest> = (0..20)
            .map(|_| report(&runner, 1, unpinned).digest)
            .collect();
        digests.len()
    };
    assert_eq!(distinct(false), 1);
    // One event is a hash under std's own keys: twenty equal ones would be a miracle.
    assert!(distinct(true) > 1);
}

#[test]
fn without_the_pin_the_destruction_order_differs() {
    let runner = Runner::new();
    let orders: BTreeSet<Vec<Name>> = (0..20)
        .map(|_| report(&runner, 1, true))
        .map(|report| report.destroyed.iter().map(|d| d.name).collect())
        .collect();
    assert!(orders.len() > 1);
}

#[test]
fn std_asks_the_pinned_entropy_for_the_keys_of_its_maps() {
    let mut asked = [u64::MAX; 2];
    Runner::new().run(&plan(), &Options::default(), |sim| {
        asked[0] = asked_bytes();
        let map: HashMap<u64, Tracked<()>> =
            HashMap::from([(1, sim.track(Name::new("test", "object"), ()))]);
        asked[1] = asked_bytes();
        drop(map);
        Ok(())
    });
    assert_eq!(asked[0], 0, "nothing before the body takes the first keys");
    assert!(
        asked[1] > 0,
        "std no longer asks `getrandom`: no run can be relied on"
    );
    assert_eq!(asked_bytes(), 0, "a thread without a run is not pinned");

    Runner::new().run(
        &plan(),
        &Options {
            unpinned: true,
            ..Options::default()
        },
        |_| {
            drop(HashMap::from([(1, 2)]));
            asked[1] = asked_bytes();
            Ok(())
        },
    );
    assert_eq!(asked[1], 0);
}

#[test]
fn without_a_seed_the_keys_are_the_default_ones() {
    let runner = Runner::new();
    let digest = |options: &Options| runner.run(&plan(), options, body).digest;
    assert_eq!(digest(&Options::default()), digest(&Options::default()));
    assert_ne!(
        digest(&Options::default()),
        report(&runner, 1, false).digest
    );
}

/// Set in the child: it prints its digests and compares nothing.
const CHILD: &str = "DISMANTLE_TEST_PRINT_DIGESTS";

#[test]
fn another_process_gives_the_same_digests() {
    let own: Vec<String> = (0..SEEDS)
        .map(|seed| {
            format!(
                "digest {seed} {}",
                report(&Runner::new(), seed, false).digest
            )
        })
        .collect();
    if std::env::var_os(CHILD).is_some() {
        println!("\n{}", own.join("\n"));
        return;
    }
    for _ in 0..2 {
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "another_process_gives_the_same_digests",
                "--exact",
                "--nocapture",
            ])
            .env(CHILD, "1")
            .output()
            .unwrap();
        assert!(
            child.status.success(),
            "{}",
            String::from_utf8_lossy(&child.stderr)
        );
        let text = String::from_utf8(child.stdout).unwrap();
        let theirs: Vec<&str> = text.lines().filter(|l| l.starts_with("digest ")).collect();
        assert_eq!(theirs, own);
    }
}
