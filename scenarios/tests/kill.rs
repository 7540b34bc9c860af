//! Does a campaign lose anything when its workers, or it itself, are killed at any moment?
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "what is tested are processes that are killed at moments of the clock"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// What the campaigns run: quick to run, with findings that take a worker along and others.
const CAMPAIGN: [&str; 9] = [
    "fuzz",
    "orderly",
    "exception",
    "planted-abort",
    "planted-hang",
    "planted-leak",
    "planted-panic",
    "--jobs",
    "2",
];

const SEEDS: u64 = 300;
const KILLS: u32 = 50;

fn dismantle(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dismantle"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn campaign(out: &Path) -> Command {
    let mut command = dismantle(&CAMPAIGN);
    let seeds = format!("0..{SEEDS}");
    command
        .args(["--json", "--seeds", &seeds, "--out"])
        .arg(out);
    command
}

/// What a campaign has printed: its findings, with seeds and counts, and its summary.
fn lines(text: &str) -> (BTreeMap<String, (String, u64)>, Value) {
    let mut findings = BTreeMap::new();
    let mut summary = Value::Null;
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("a JSON line");
        let text = |key: &str| line[key].as_str().expect("text").to_owned();
        match line["type"].as_str() {
            // Which seed is asked first for its law of growth depends on the workers' race.
            Some("finding") if line["class"] == "stack-growth" => {}
            Some("finding") => {
                let count = line["count"].as_u64().expect("a number");
                findings.insert(text("signature"), (text("seed"), count));
            }
            _ => summary = line,
        }
    }
    (findings, summary)
}

/// The processes that this one has started and that live.
fn children(parent: u32) -> Vec<Pid> {
    let processes = std::fs::read_dir("/proc").expect("Linux");
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let of_parent =
        |pid: &i32| stat(*pid).is_some_and(|(state, its)| state != 'Z' && its == parent);
    pids.filter(of_parent).filter_map(Pid::from_raw).collect()
}

/// A process's state and its parent's id.
fn stat(pid: i32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Moments and choices that are the same in every run of the test.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 += 1;
        dismantle_sim::hash(&self.0.to_le_bytes()) % bound
    }
}

/// Waits until `is` gives something; fails after half a minute.
fn wait_for<T>(what: &str, mut is: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(it) = is() {
            return it;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "no {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn wait_for_end(pids: &[Pid]) {
    let lives = |pid: &Pid| stat(pid.as_raw_nonzero().get()).is_some_and(|(state, _)| state != 'Z');
    wait_for("end of the workers", || {
        (!pids.iter().any(lives)).then_some(())
    });
}

/// What a child that was started with pipes has printed in the end.
fn output(mut child: Child) -> (Option<i32>, String) {
    let mut text = String::new();
    let mut stdout = child.stdout.take().expect("piped");
    stdout.read_to_string(&mut text).expect("text");
    (child.wait().expect("it ends").code(), text)
}

#[test]
fn fifty_killed_workers_change_nothing_in_what_is_found_and_counted() {
    let out = tempfile::tempdir().expect("a folder");
    let quiet = campaign(out.path()).output().expect("it starts");
    let (expected, summary) = lines(&String::from_utf8_lossy(&quiet.stdout));
    assert_eq!(summary["seeds"], 6 * SEEDS, "{summary}");
    assert!(expected.len() >= 4, "{expected:?}");

    let mut dice = Dice(0);
    let (mut kills, mut noticed) = (0, 0);
    while kills < KILLS {
        let out = tempfile::tempdir().expect("a folder");
        let mut child = campaign(out.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        while child.try_wait().expect("a child").is_none() {
            std::thread::sleep(Duration::from_millis(50 + dice.below(150)));
            let workers = children(child.id());
            if kills < KILLS && !workers.is_empty() {
                let victim = workers[dice.below(workers.len() as u64) as usize];
                kills += u32::from(kill_process(victim, Signal::KILL).is_ok());
            }
        }
        let (status, text) = output(child);
        let (found, summary) = lines(&text);
        assert_eq!(found, expected);
        assert_eq!(status, quiet.status.code());
        assert_eq!(summary["seeds"], 6 * SEEDS, "{summary}");
        assert_eq!(summary["complete"], true);
        noticed += summary["killed"].as_u64().expect("a number");
    }
    assert!(noticed > 0, "a worker was at a seed when it was killed");
}

#[test]
fn a_killed_supervisor_leaves_whole_plans_and_no_worker() {
    let out = tempfile::tempdir().expect("a folder");
    let temporary = tempfile::tempdir().expect("a folder");
    let mut child = campaign(out.path())
        .env("TMPDIR", temporary.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let mut announced = BTreeSet::new();
    while announced.len() < 3 {
        let line = lines.next().expect("it goes on").expect("text");
        let (word, signature) = line.split_once(": ").expect("an announcement");
        assert!(["found", "known"].contains(&word), "{line}");
        announced.insert(signature.rsplit_once(" (").expect("a plan").0.to_owned());
    }
    let workers = children(child.id());
    assert!(workers.len() >= 2, "{workers:?}");
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    wait_for_end(&workers);

    let mut kept = BTreeSet::new();
    for entry in std::fs::read_dir(out.path()).expect("a folder") {
        let path = entry.expect("a file").path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let replay = dismantle(&["replay", "--json"]).arg(&path).output();
        let report: Value = serde_json::from_slice(&replay.expect("it starts").stdout)
            .unwrap_or_else(|error| panic!("{} is not whole: {error}", path.display()));
        kept.insert(report["signature"].as_str().expect("a finding").to_owned());
    }
    assert!(
        kept.is_superset(&announced),
        "{announced:?}, not in {kept:?}"
    );
    let left: Vec<_> = std::fs::read_dir(temporary.path())
        .expect("a folder")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Whether the process has used processor time: it is in its run by then.
fn is_busy(pid: Pid) -> bool {
    let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
    let stat = std::fs::read_to_string(path).unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks: Option<u64> = fields.split(' ').nth(11).and_then(|n| n.parse().ok());
    // A worker is ready after a few hundredths of a second.
    ticks.is_some_and(|ticks| ticks >= 20)
}

#[test]
fn a_worker_in_a_poll_that_never_returns_ends_with_its_supervisor() {
    let run = [
        "run",
        "planted-spin",
        "--set",
        "rare=7",
        "--spin",
        "1h",
        "--json",
    ];
    let mut child = dismantle(&run)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let worker = wait_for("worker", || children(child.id()).pop());
    wait_for("spin", || is_busy(worker).then_some(()));
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    wait_for_end(&[worker]);
}

/// Kills the next worker of `parent` once it has taken `kib` of memory.
fn kill_large(parent: &Child, kib: u64) {
    let resident = |pid: &Pid| {
        let path = format!("/proc/{}/status", pid.as_raw_nonzero());
        let status = std::fs::read_to_string(path).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()
    };
    let large = |pid: &Pid| resident(pid).is_some_and(|resident| resident >= kib);
    let worker = wait_for("large worker", || {
        children(parent.id()).into_iter().find(large)
    });
    kill_process(worker, Signal::KILL).expect("it runs");
    wait_for_end(&[worker]);
}

#[test]
fn a_run_over_which_two_large_workers_are_killed_is_out_of_memory() {
    let run = [
        "run",
        "backlog",
        "--set",
        "calls=200000",
        "--spin",
        "1h",
        "--json",
    ];
    let child = dismantle(&run)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    // `run` runs twice.
    for _ in 0..4 {
        kill_large(&child, 150 << 10);
    }
    let (status, text) = output(child);
    let report: Value = serde_json::from_str(&text).expect("a report");
    assert_eq!(status, Some(1));
    assert_eq!(report["findings"][0]["class"], "oom", "{report}");
}

#[test]
fn a_run_over_which_small_workers_are_killed_is_run_again() {
    let run = [
        "run",
        "planted-spin",
        "--set",
        "rare=7",
        "--spin",
        "2s",
        "--json",
    ];
    let child = dismantle(&run)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut seen: Vec<Pid> = Vec::new();
    for _ in 0..3 {
        let new = |pid: &Pid| !seen.contains(pid);
        let worker = wait_for("worker", || children(child.id()).into_iter().find(new));
        wait_for("spin", || is_busy(worker).then_some(()));
        kill_process(worker, Signal::KILL).expect("it runs");
        seen.push(worker);
    }
    let (status, text) = output(child);
    let report: Value = serde_json::from_str(&text).expect("a report");
    assert_eq!(status, Some(1));
    assert_eq!(report["signature"], "spin in spinner", "{report}");
}
