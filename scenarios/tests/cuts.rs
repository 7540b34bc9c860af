//! Does a sweep cut everywhere, once, and find what shows at one place only?
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dismantle::cuts::{At, Cut, How, Means, Sweep, Swept, rows};
use dismantle::known::Known;
use dismantle::{BUILT_IN, Harness, InProcess, Order, Outcome, Scenario, find, vocabulary};
use dismantle_sim::{Name, Phase, Plan, Sim, Stopped, Value};
use dismantle_transport::Link;
use futures::{AsyncReadExt, AsyncWriteExt};
use serde_json::Value as Json;

/// Leaks if the owner goes on after exactly seven steps of its drive.
struct AtOneStep;

/// Leaks if exactly thirteen of forty bytes have arrived.
struct AtOneByte;

static MINE: [&dyn Scenario; 2] = [&AtOneStep, &AtOneByte];

impl Scenario for AtOneStep {
    fn name(&self) -> &'static str {
        "at-one-step"
    }

    fn about(&self) -> &'static str {
        "a bug that shows after seven steps"
    }

    fn run(&self, sim: &Sim) -> Result<(), Stopped> {
        let object = sim.track(Name::new("owner", "object"), ());
        sim.enter(Phase::Drive, || {
            let own = sim.clone();
            sim.spawn(Name::new("owner", "work"), async move {
                for _ in 0..20 {
                    own.sleep_us(1).await;
                }
            });
            sim.settle()
        })?;
        let forgets = sim.steps_done() == 7;
        sim.enter(Phase::Teardown, || {
            match forgets {
                true => std::mem::forget(object),
                false => drop(object),
            }
            Ok(())
        })
    }
}

impl Scenario for AtOneByte {
    fn name(&self) -> &'static str {
        "at-one-byte"
    }

    fn about(&self) -> &'static str {
        "a bug that shows after thirteen bytes"
    }

    fn run(&self, sim: &Sim) -> Result<(), Stopped> {
        let object = sim.track(Name::new("owner", "object"), ());
        let (_link, mut client, mut server) = Link::new(sim);
        let got = sim.enter(Phase::Drive, || {
            let reads = sim.spawn(Name::new("server", "reads"), async move {
                let mut got = Vec::new();
                // That it ends in an error is what a reset looks like.
                drop(server.reader.read_to_end(&mut got).await);
                got.len()
            });
            sim.spawn(Name::new("client", "writes"), async move {
                drop(client.writer.write_all(&[7; 40]).await);
            });
            sim.run_until(&reads)
        })?;
        sim.enter(Phase::Teardown, || {
            match got {
                Some(13) => std::mem::forget(object),
                _ => drop(object),
            }
            Ok(())
        })
    }
}

fn plan(scenario: &'static dyn Scenario, answers: &[(&str, &str)]) -> Plan {
    let mut plan = Plan::new(vocabulary(scenario));
    for (name, value) in answers {
        plan.set(name, &Value::from_text(value)).expect("known");
    }
    plan
}

fn learned(
    scenarios: &'static [&'static dyn Scenario],
    plan: &Plan,
    hows: &[How],
    points_max: u64,
) -> Arc<Sweep> {
    let scenario = find(scenarios, plan.scenario()).expect("one of them");
    let mut harness = InProcess::new(scenarios);
    let sweep = Sweep::learn(&mut harness, scenario, plan, hows, points_max);
    Arc::new(sweep.expect("it runs"))
}

fn sweep_all(
    scenarios: &'static [&'static dyn Scenario],
    sweep: &Arc<Sweep>,
    out: &Path,
    jobs: usize,
) -> Swept {
    let means = Means {
        known: &Known::default(),
        jobs,
        harness: &|| Box::new(InProcess::new(scenarios)),
        out: out.to_owned(),
        interrupted: Arc::default(),
        program: "dismantle".to_owned(),
    };
    sweep.run(means, &|_| ()).expect("it runs")
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

const BOTH: [How; 2] = [How::Reset, How::HalfClose];

fn orderly() -> Plan {
    let orderly = find(BUILT_IN, "orderly").expect("built in");
    plan(orderly, &[("calls", "1"), ("finish", "in-flight")])
}

/// The points that were run, by what was cut and how.
fn points(cuts: &[Cut]) -> BTreeMap<(String, &'static str), Vec<u64>> {
    let mut points = BTreeMap::<_, Vec<u64>>::new();
    for cut in cuts {
        let direction = cut.direction.clone().unwrap_or_default();
        let kind = (direction, cut.how.word());
        points.entry(kind).or_default().push(cut.point);
    }
    points
}

#[test]
fn every_step_and_every_byte_is_cut_once() {
    let plan = orderly();
    // Counted from the trace, and not by what the sweep goes by.
    let mut harness = InProcess::new(BUILT_IN);
    let whole = harness.run(Order {
        trace: true,
        ..Order::of(&plan)
    });
    let trace = whole.expect("it runs").trace;
    let owner = trace.split(|event| event.kind == "heal").next();
    let owner = owner.expect("what comes before");
    let steps = owner.iter().filter(|event| event.kind == "poll").count() as u64;
    let bytes = |direction: &str| -> u64 {
        let pipe = format!("pipe/{direction}");
        let reads = owner.iter().filter(|event| event.kind == "read");
        let reads = reads.filter(|event| event.subject == pipe);
        reads.map(|event| event.numbers[0]).sum()
    };
    let (to_server, to_client) = (bytes("c2s"), bytes("s2c"));
    assert!(steps > 5 && to_server > 100 && to_client > 20);

    let sweep = learned(BUILT_IN, &plan, &BOTH, u64::MAX);
    let out = folder();
    let swept = sweep_all(BUILT_IN, &sweep, out.path(), 2);
    let all = |last: u64| (0..=last).collect::<Vec<_>>();
    let text = |text: &str| text.to_owned();
    let expected = BTreeMap::from([
        ((text(""), "teardown"), all(steps)),
        ((text("c2s"), "reset"), all(to_server)),
        ((text("c2s"), "half-close"), all(to_server)),
        ((text("s2c"), "reset"), all(to_client)),
        ((text("s2c"), "half-close"), all(to_client)),
    ]);
    assert_eq!(points(&swept.cuts), expected);
    assert_eq!(swept.summary.seeds, sweep.count());
    assert!(swept.summary.complete);
}

#[test]
fn the_table_is_the_same_twice() {
    let sweep = learned(BUILT_IN, &orderly(), &BOTH, u64::MAX);
    let out = folder();
    let one = sweep_all(BUILT_IN, &sweep, out.path(), 1);
    let two = sweep_all(BUILT_IN, &sweep, out.path(), 3);
    assert_eq!(one.cuts, two.cuts);
    for series in &sweep.series {
        let table = rows(series, &one.cuts);
        assert_eq!(table, rows(series, &two.cuts));
        // The rows say of every point what it came to, and of none twice.
        let mut next = 0;
        for row in &table {
            assert_eq!(row.points.0, next);
            next = row.points.1 + 1;
        }
        assert_eq!(next, series.last + 1);
    }
}

#[test]
fn a_bug_that_shows_at_one_step_is_found_there() {
    let sweep = learned(&MINE, &plan(&AtOneStep, &[]), &BOTH, u64::MAX);
    assert_eq!(sweep.whole.outcome, Outcome::Clean);
    let out = folder();
    let swept = sweep_all(&MINE, &sweep, out.path(), 2);
    let failed: Vec<_> = swept
        .cuts
        .iter()
        .filter(|cut| cut.outcome != Outcome::Clean)
        .collect();
    assert_eq!(failed.len(), 1);
    assert_eq!((failed[0].at, failed[0].point), (At::Step, 7));
    let table = rows(&sweep.series[0], &swept.cuts);
    let points: Vec<_> = table.iter().map(|row| row.points).collect();
    assert_eq!(points, [(0, 6), (7, 7), (8, 21)]);

    let [found] = <[_; 1]>::try_from(swept.findings).expect("one finding");
    assert_eq!(
        (found.at, found.point, found.how),
        (At::Step, 7, How::Teardown)
    );
    assert_eq!(found.group.finding.signature, "leak object");
    // Its plan says what it is, and gives it again.
    let text = std::fs::read_to_string(&found.group.plan).expect("it is kept");
    assert!(text.contains("cut.step = 7 # this build only"), "{text}");
    let known = |name: &str| find(&MINE, name).map(vocabulary);
    let plan = Plan::read(&text, known).expect("a plan");
    let ran = InProcess::new(&MINE)
        .run(Order::of(&plan))
        .expect("it runs");
    assert_eq!(ran.report.signature.as_deref(), Some("leak object"));
    assert!(ran.report.this_build_only);
    assert!(ran.report.text().contains("this build only"));
}

#[test]
fn a_bug_that_shows_at_one_byte_is_found_there() {
    let sweep = learned(&MINE, &plan(&AtOneByte, &[]), &BOTH, u64::MAX);
    let out = folder();
    let swept = sweep_all(&MINE, &sweep, out.path(), 2);
    let failed = swept
        .cuts
        .iter()
        .filter(|cut| cut.outcome != Outcome::Clean);
    let failed: Vec<_> = failed
        .map(|cut| (cut.at, cut.point, cut.direction.as_deref(), cut.how))
        .collect();
    let there = |how| (At::Byte, 13, Some("c2s"), how);
    assert_eq!(failed, [there(How::Reset), there(How::HalfClose)]);
    let [found] = <[_; 1]>::try_from(swept.findings).expect("one finding");
    assert_eq!((found.point, found.group.count), (13, 2));
    assert_eq!(found.place(), "after 13 c2s bytes, reset");
}

#[test]
fn what_the_plan_cuts_itself_is_not_cut_twice() {
    let cut = [("cut.how", "teardown"), ("pipe.c2s.cut.how", "reset")];
    let sweep = learned(&MINE, &plan(&AtOneByte, &cut), &BOTH, u64::MAX);
    let whole = learned(&MINE, &plan(&AtOneByte, &[]), &BOTH, u64::MAX);
    assert_eq!(sweep.series, whole.series);
}

#[test]
fn of_too_many_points_every_few_are_taken_and_the_ends() {
    let sweep = learned(BUILT_IN, &orderly(), &BOTH, 50);
    assert!(sweep.count() <= 50 + 2 * sweep.series.len() as u64);
    let out = folder();
    let swept = sweep_all(BUILT_IN, &sweep, out.path(), 2);
    for series in &sweep.series {
        assert!(series.stride > 1);
        let of_series = swept.cuts.iter().filter(|cut| {
            (cut.at, &cut.direction, cut.how) == (series.at, &series.direction, series.how)
        });
        let points: Vec<u64> = of_series.map(|cut| cut.point).collect();
        assert_eq!(points.first(), Some(&0));
        assert_eq!(points.last(), Some(&series.last));
        assert!(points.is_sorted_by(|one, next| one < next && next - one <= series.stride));
    }
}

#[test]
fn an_interrupted_sweep_says_what_it_has() {
    let sweep = learned(BUILT_IN, &orderly(), &BOTH, u64::MAX);
    let out = folder();
    let interrupted = Arc::<AtomicBool>::default();
    let raise = interrupted.clone();
    let means = Means {
        known: &Known::default(),
        jobs: 1,
        harness: &|| Box::new(InProcess::new(BUILT_IN)),
        out: out.path().to_owned(),
        interrupted,
        program: "dismantle".to_owned(),
    };
    let told = |_: dismantle::campaign::Progress<'_>| raise.store(true, Ordering::Relaxed);
    let swept = sweep.run(means, &told).expect("it runs");
    assert!(!swept.summary.complete);
    let count = swept.cuts.len() as u64;
    assert_eq!(swept.summary.seeds, count);
    assert!(0 < count && count < sweep.count());
    let first = rows(&sweep.series[0], &swept.cuts);
    assert_eq!(
        first.last().map(|row| row.points.1),
        Some(sweep.series[0].last)
    );
    let last = sweep.series.last().expect("bytes to the client");
    assert_eq!(rows(last, &swept.cuts), []);
}

fn dismantle(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dismantle"));
    command.args(arguments).output().expect("it starts")
}

fn json(output: &Output) -> Vec<Json> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().expect("JSON lines")
}

fn of_type<'a>(lines: &'a [Json], kind: &str) -> Vec<&'a Json> {
    lines.iter().filter(|line| line["type"] == kind).collect()
}

const KNOWN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/known");

#[test]
fn the_command_line_prints_cuts_findings_and_a_summary() {
    let out = folder();
    let path = out.path().join("plan.toml");
    std::fs::write(&path, orderly().to_string()).expect("written");
    let out = out.path().join("out");
    let [path, out] = [&path, &out].map(|path| path.to_str().expect("text"));
    let output = dismantle(&["fuzz", "--cuts", path, "--out", out, "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines = json(&output);
    let cuts = of_type(&lines, "cut");
    let [summary] = of_type(&lines, "summary")[..] else {
        panic!("one summary: {lines:?}");
    };
    assert_eq!(summary["seeds"], cuts.len() as u64);
    assert_eq!(summary["complete"], true);
    assert_eq!(
        (&cuts[0]["at"], &cuts[0]["point"]),
        (&"step".into(), &0.into())
    );
    assert_eq!(cuts[0]["direction"], Json::Null);
    assert_eq!(cuts[0]["outcome"], "clean");
    assert!(cuts[0]["stack_bytes"]["teardown"].as_u64().is_some());
    assert!(
        cuts.iter()
            .any(|cut| cut["direction"] == "s2c" && cut["at"] == "byte")
    );
    let table = dismantle(&["fuzz", "--cuts", path, "--out", out]);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    for part in [
        "drop depth",
        "0..=",
        "c2s bytes, reset",
        "KiB  clean",
        "points in",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
}

/// The plan aborts its process at every point, so that nothing is known but its steps.
#[test]
fn a_plan_that_kills_its_process_is_swept_too() {
    if dismantle_transport::compat::CAPNP_RPC_VERSION != "0.27.3" {
        return;
    }
    let out = folder();
    let out = out.path().to_str().expect("text");
    let plan = format!("{KNOWN}/abort-sender-queue.toml");
    let output = dismantle(&["fuzz", "--cuts", &plan, "--out", out, "--json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let lines = json(&output);
    let cuts = of_type(&lines, "cut");
    assert!(cuts.len() > 5);
    assert!(cuts.iter().all(|cut| cut["at"] == "step"));
    assert!(cuts.iter().all(|cut| cut["drop_depth"].is_null()));
    let finding = of_type(&lines, "finding")[0];
    assert_eq!(
        (&finding["class"], &finding["count"]),
        (&"abort".into(), &cuts.len().into())
    );
    assert_eq!(
        (&finding["at"], &finding["point"]),
        (&"step".into(), &0.into())
    );
    let replayed = dismantle(&[
        "replay",
        finding["plan"].as_str().expect("a path"),
        "--json",
    ]);
    assert_eq!(replayed.status.code(), Some(1));
    assert_eq!(json(&replayed)[0]["signature"], finding["signature"]);
}

#[test]
fn a_sweep_takes_a_plan_and_no_seeds() {
    let plan = format!("{KNOWN}/leak-unanswered.toml");
    let cases: [(&[&str], &str); 4] = [
        (
            &["fuzz", "--cuts", &plan, "--seeds", "0..9"],
            "cannot be used with",
        ),
        (&["fuzz", "orderly", "--cuts", &plan], "cannot be used with"),
        (
            &["fuzz", "--cuts", &plan, "--cut-by", "stall"],
            "one of reset, half-close",
        ),
        (&["fuzz", "--cuts", "/nowhere.toml"], "/nowhere.toml"),
    ];
    for (arguments, message) in cases {
        let output = dismantle(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr.contains(message), "{arguments:?}: {stderr}");
    }
}
