//! Does `diff` say where two runs part and what changed, and nothing of two that are the same?

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn dismantle(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dismantle"));
    command.args(arguments).output().expect("it starts")
}

fn known(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("known");
    let path = folder.join(name).with_extension("toml");
    path.to_str().expect("text").to_owned()
}

/// The difference, and the exit status.
fn diff(arguments: &[&str]) -> (Value, i32) {
    let output = dismantle(&[&["diff", "--json"], arguments].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text.lines().count(), 1, "{output:?}");
    let diff: Value = serde_json::from_str(&text).expect("a JSON line");
    assert_eq!(diff["type"], "diff");
    (diff, output.status.code().expect("no signal"))
}

fn texts(list: &Value) -> Vec<&str> {
    let list = list.as_array().expect("a list").iter();
    list.map(|text| text.as_str().expect("text")).collect()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).expect("it is written");
        path.to_str().expect("text").to_owned()
    }

    /// What `replay` says of a plan.
    fn report(&self, name: &str, plan: &str, more: &[&str]) -> String {
        let output = dismantle(&[&["replay", plan, "--json"], more].concat());
        self.file(name, &String::from_utf8_lossy(&output.stdout))
    }
}

#[test]
fn a_plan_is_the_same_as_itself_and_as_its_report() {
    let folder = Folder::new();
    for name in ["hang-system-dropped", "abort-sender-queue"] {
        let plan = known(name);
        let report = folder.report("report", &plan, &[]);
        let traced = folder.report("traced", &plan, &["--trace"]);
        for [old, new] in [
            [&plan, &plan],
            [&plan, &report],
            [&report, &plan],
            [&traced, &plan],
        ] {
            let (diff, status) = diff(&[old, new]);
            assert_eq!(
                (&diff["same"], status),
                (&Value::Bool(true), 0),
                "{name}: {diff}"
            );
            assert_eq!(texts(&diff["findings"]["kept"]).len(), 1, "{name}");
        }
    }
    let plan = known("hang-system-dropped");
    let output = dismantle(&["diff", &plan, &plan]);
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("the same\n"));
}

#[test]
fn two_plans_part_at_the_first_event_that_only_one_has() {
    let folder = Folder::new();
    let old = known("hang-system-dropped");
    let text = std::fs::read_to_string(&old).expect("a plan");
    let text: Vec<&str> = text
        .lines()
        .filter(|line| !line.contains("op.1.what"))
        .collect();
    let new = folder.file("new.toml", &text.join("\n"));
    let (diff, status) = diff(&[&old, &new]);
    assert_eq!((&diff["same"], status), (&Value::Bool(false), 1));
    let decision = &diff["decisions"][0];
    assert_eq!(decision["name"], "op.1.what");
    assert_eq!(
        (&decision["old"], &decision["new"]),
        (&Value::from("call"), &Value::Null)
    );
    assert_eq!(diff["decisions"].as_array().map(Vec::len), Some(1));
    assert_eq!(texts(&diff["findings"]["gone"]), ["hang call"]);
    assert_eq!(diff["outcome"]["new"], "clean");

    // Looked for in the traces, and not by what `diff` goes by.
    let trace = |plan: &str| {
        let output = dismantle(&["replay", plan, "--trace"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines()
            .map(|line| line.trim().to_owned())
            .collect::<Vec<_>>()
    };
    let (one, other) = (trace(&old), trace(&new));
    let parts = one.iter().zip(&other).position(|(one, other)| one != other);
    let parts = parts.expect("they part");
    assert_eq!(diff["parting"]["event"], parts);
    let event = diff["parting"]["old"].as_str().expect("text");
    assert!(one[parts].ends_with(event), "{event}");
    let context = texts(&diff["parting"]["context"]);
    assert!(
        context.contains(&format!("- {event}").as_str()),
        "{context:?}"
    );

    let order = texts(&diff["order"]);
    assert!(order.contains(&"- client/call/1"), "{order:?}");
    assert!(order.contains(&"  client/system"), "{order:?}");
    let peaks = diff["peaks"].as_array().expect("a list");
    let drive = peaks
        .iter()
        .find(|peak| peak["metric"] == "stack_bytes.drive");
    let ratio = drive.expect("a call less")["ratio"]
        .as_f64()
        .expect("a number");
    assert!(ratio < 0.9, "{ratio}");
}

#[test]
fn a_report_of_another_release_is_the_same_finding_elsewhere() {
    let folder = Folder::new();
    let report = folder.report("old", &known("panic-queued-resolve"), &[]);
    let text = std::fs::read_to_string(&report).expect("a report");
    let other = text.replace("capnp-rpc-0.27.3", "capnp-rpc-0.26.9");
    let other = other.replace("queued.rs:321", "queued.rs:300");
    assert_ne!(text, other);
    let moved = folder.file("moved", &other);
    let (diff_moved, status) = diff(&[&report, &moved]);
    assert_eq!(status, 0, "{diff_moved}");
    assert_eq!(diff_moved["upstream"]["new"], "capnp-rpc-0.26.9");
    let kept = texts(&diff_moved["findings"]["kept"]);
    assert!(kept[0].contains("0.26.9/src/queued.rs:300"), "{kept:?}");

    let elsewhere = other.replace("capnp-rpc/src/queued.rs", "capnp-rpc/src/rpc.rs");
    let elsewhere = folder.file("elsewhere", &elsewhere);
    let (diff, status) = diff(&[&report, &elsewhere]);
    assert_eq!(status, 1, "{diff}");
    assert_eq!(texts(&diff["findings"]["gone"]).len(), 1);
    assert_eq!(texts(&diff["findings"]["new"]).len(), 1);
}

#[test]
fn a_law_that_changed_is_told() {
    let folder = Folder::new();
    let [chain, vector] = ["chain", "vector"].map(|queue| {
        let path = folder.file(queue, "");
        let set = format!("queue={queue}");
        let run = ["run", "planted-queue", "--set", &set, "--out", &path];
        assert!(dismantle(&run).status.code() < Some(2));
        path
    });
    let (diff, status) = diff(&[&chain, &vector, "--law"]);
    assert_eq!(status, 1);
    let laws = diff["laws"].as_array().expect("a list");
    // A vector is one block, which grows: its heap has another law, too.
    let law = laws
        .iter()
        .find(|law| law["metric"] == "stack_bytes.teardown");
    let law = law.expect("the queue's destructor");
    assert_eq!(law["over"], "messages");
    assert_eq!(
        (&law["old"], &law["new"]),
        (&Value::from("O(n)"), &Value::from("O(1)"))
    );
}

#[test]
fn what_is_neither_a_plan_nor_a_report_is_refused() {
    let folder = Folder::new();
    let plan = known("hang-system-dropped");
    let bad = [
        ("no.toml".to_owned(), "No such file"),
        (
            folder.file("empty.json", "{\"type\":\"summary\"}\n"),
            "no report",
        ),
        (folder.file("torn.json", "{\"type\":"), "line 1"),
        (
            folder.file("bad.toml", "dismantle = 1\nscenario = \"none\"\n"),
            "none",
        ),
    ];
    for (path, why) in bad {
        for arguments in [[path.as_str(), &plan], [&plan, path.as_str()]] {
            let output = dismantle(&[&["diff"], &arguments[..]].concat());
            assert_eq!(output.status.code(), Some(2), "{output:?}");
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(error.contains(why), "{error}");
            assert!(output.stdout.is_empty());
        }
    }
}
