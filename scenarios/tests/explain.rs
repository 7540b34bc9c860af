//! Does the story of a run say what happened, why, and what was in flight, in a length to read?

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn dismantle(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dismantle"));
    command.args(arguments).output().expect("it starts")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The plans of known findings.
fn plans() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("known");
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut plans: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
    plans.sort();
    plans
}

fn plan(name: &str) -> String {
    let is = |path: &PathBuf| path.file_stem().is_some_and(|stem| stem == name);
    let path = plans().into_iter().find(is).expect("a known plan");
    path.to_str().expect("text").to_owned()
}

/// A call is served and never answered, and the server's system is dropped without a disconnect.
const UNANSWERED: &str = r#"dismantle = 1
scenario = "program"

[limits]
seconds = 3600
steps = 1000000

[decisions]
op.1.outcome = "never"
op.1.outcome_when = "after"
op.1.steps = 6
op.1.what = "call"
teardown.server.disconnect.how = "none"
teardown.server.system.when = 0
"#;

fn unanswered() -> Story {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("unanswered.toml");
    std::fs::write(&path, UNANSWERED).expect("written");
    explained(path.to_str().expect("text"))
}

struct Story {
    events: Vec<Value>,
    in_flight: Vec<Value>,
    report: Value,
}

fn explained(path: &str) -> Story {
    let output = dismantle(&["replay", path, "--explain", "--json"]);
    let text = text(&output);
    let lines = text.lines();
    let lines = lines.map(|line| serde_json::from_str::<Value>(line).expect("a JSON line"));
    let (mut events, mut in_flight, mut report) = (Vec::new(), Vec::new(), Value::Null);
    for line in lines {
        match line["type"].as_str() {
            Some("explain-event") => events.push(line),
            Some("explain-in-flight") => in_flight.push(line),
            Some("report") => report = line,
            // See `deepest.rs`.
            Some("explain-stack" | "explain-tree") => {}
            other => panic!("{other:?}"),
        }
    }
    Story {
        events,
        in_flight,
        report,
    }
}

impl Story {
    /// The first event of which this is said.
    fn event(&self, what: &str) -> &Value {
        let is = |event: &&Value| event["what"].as_str().is_some_and(|it| it.contains(what));
        let event = self.events.iter().find(is);
        event.unwrap_or_else(|| panic!("nobody {what}: {:#?}", self.events))
    }

    /// The event that brought this one about, in this way.
    fn because(&self, event: &Value, how: &str) -> &Value {
        let because = event["because"].as_array().expect("a list");
        let because = because.iter().find(|because| because["how"] == how);
        let number = &because.unwrap_or_else(|| panic!("{event} is not {how}"))["number"];
        let event = self.events.iter().find(|event| event["number"] == *number);
        event.expect("it is told")
    }

    fn findings(&self) -> Vec<&Value> {
        let events = self.events.iter();
        events.filter(|event| event["is_finding"] == true).collect()
    }
}

fn what(event: &Value) -> &str {
    event["what"].as_str().expect("text")
}

#[test]
fn every_known_finding_has_a_story_whose_causes_come_first_and_that_shows_it() {
    let mut told = 0;
    for path in plans() {
        let path = path.to_str().expect("text");
        let story = explained(path);
        let mut before = None;
        for event in &story.events {
            let number = event["number"].as_u64().expect("a number");
            assert!(before < Some(number), "{path}: {event}");
            before = Some(number);
            assert!(event["step"].is_u64() && event["time_us"].is_u64());
            assert!(!event["who"].as_str().expect("text").is_empty(), "{event}");
            for because in event["because"].as_array().expect("a list") {
                let cause = because["number"].as_u64().expect("a number");
                assert!(cause < number, "{path}: {event}");
                // By itself, or as one of many of a kind.
                let is_told = |event: &Value| {
                    let last = event["repeated"]["last"].as_u64();
                    let first = event["number"].as_u64().expect("a number");
                    (first..=last.unwrap_or(first)).contains(&cause)
                };
                let is_clock = because["how"] == "woken by the clock";
                let is_told = story.events.iter().any(is_told);
                assert!(is_told || is_clock, "{path}: {event}");
            }
        }
        let class = story.report["findings"][0]["class"].as_str().expect("text");
        // How something grows has no moment, nor has memory that nobody names.
        if class != "stack-growth" {
            assert!(!story.findings().is_empty(), "{path}");
        }
        let shown = text(&dismantle(&["replay", path, "--explain"]));
        let story = shown.split("in flight ").next().expect("the story");
        let lines = story.lines().count();
        assert!((4..=64).contains(&lines), "{path}: {lines} lines\n{shown}");
        told += 1;
    }
    assert!(told > 30, "{told}");
}

#[test]
fn the_same_plan_has_the_same_story() {
    let path = plan("order-queued-remote");
    let story = || text(&dismantle(&["replay", &path, "--explain"]));
    assert_eq!(story(), story());
}

#[test]
fn a_message_is_sent_received_and_answered_and_a_task_woken() {
    let story = unanswered();
    let received = story.event("receives Return q0");
    assert_eq!(received["who"], "client/system");
    let sent = story.because(received, "sent by");
    assert!(what(sent).starts_with("sends Return q0"), "{sent}");
    let asked = story.because(sent, "answers");
    assert!(what(asked).starts_with("receives Bootstrap q0"), "{asked}");
    let asks = story.because(asked, "sent by");
    assert!(what(asks).starts_with("sends Bootstrap q0"), "{asks}");
    // The call that is never answered arrives, and its caller is woken when the connection ends.
    let begins = story.event("begins call 1, at server/object/0");
    let made = story.because(begins, "made by");
    assert_eq!(made["who"], "the owner");
    assert!(what(made).contains("(operation 1)"), "{made}");
    let fails = story.event("sees its call fail: Disconnected");
    let woken = story.because(fails, "woken by");
    assert!(what(woken).contains("client/connection/0"), "{woken}");
    assert_eq!(woken["who"], "client/system");
}

#[test]
fn a_panic_is_marked_where_it_is_raised_with_what_was_in_flight_then() {
    let story = explained(&plan("panic-queued-resolve"));
    let [panic] = story.findings()[..] else {
        panic!("one panic");
    };
    assert!(what(panic).starts_with("panics at capnp-rpc-"), "{panic}");
    assert_eq!(panic["who"], "client/call/2");
    let call = story.because(panic, "woken by");
    assert!(what(call).starts_with("does client/call/2 (operation 2)"));
    let item = |what: &str, name: &str| {
        let items = story.in_flight.iter();
        let mut items = items.filter(|item| item["what"] == what && item["name"] == name);
        let item = items.next();
        let text = item.map(|item| item["text"].as_str().expect("text"));
        text.unwrap_or_else(|| panic!("no {what} {name}: {:#?}", story.in_flight))
    };
    let message = "written, not received: Bootstrap q0";
    assert_eq!(item("message", "client/message-out/0"), message);
    assert_eq!(item("bytes", "c2s"), "48 B written and not read");
    assert_eq!(item("question", "client q0"), "open: Bootstrap q0");
    assert_eq!(item("task", "client/call/2"), "is being polled");
    let waits = "waits for bytes from pipe/s2c since step 1";
    assert_eq!(item("task", "client/system"), waits);
    assert_eq!(item("object", "server/network"), "alive");
}

#[test]
fn a_hang_says_what_is_waited_for_and_since_when() {
    let story = explained(&plan("hang-system-dropped"));
    let [waits] = story.findings()[..] else {
        panic!("one call waits");
    };
    let text = "waits for return of client/call/1 and is not woken any more";
    assert_eq!(what(waits), text);
    assert_eq!(waits["step"], story.report["pending"][0]["since_step"]);
    let unsent = story.event("drops Call q1 on the answer to q0");
    let dropped = story.because(unsent, "queued by");
    assert!(what(dropped).starts_with("sends Call q1"), "{dropped}");
    let open = story.in_flight.iter().filter(|it| it["what"] == "question");
    let open: Vec<&str> = open.filter_map(|it| it["text"].as_str()).collect();
    assert_eq!(open[1], "open: Call q1 on the answer to q0");
}

#[test]
fn a_leak_says_who_made_the_object_and_what_touched_it_last() {
    let story = unanswered();
    let leaked: Vec<&str> = story.findings().into_iter().map(what).collect();
    assert_eq!(
        leaked,
        [
            "makes server/object/0, which is never destroyed",
            "makes server/connection/0, which is never destroyed",
            "makes server/message-out/1, which is never destroyed",
        ]
    );
    let message = story.findings()[2];
    let call = story.because(message, "after");
    assert!(what(call).starts_with("begins call 1"), "{call}");
    let last = story
        .in_flight
        .iter()
        .find(|it| it["name"] == "server/object/0");
    let last = last.expect("it is listed")["text"].as_str().expect("text");
    assert!(
        last.starts_with("never destroyed, last seen at ["),
        "{last}"
    );
    assert!(last.ends_with("call-arrived"), "{last}");
}

#[test]
fn a_story_ends_where_the_process_did() {
    let story = explained(&plan("abort-sender-queue"));
    assert_eq!(story.report["digest"], "");
    let last = story.events.last().expect("a story");
    assert_eq!(last["is_finding"], true);
    assert!(what(last).contains("panic in a destructor during cleanup"));
    let ends = [
        ("planted-spin", "spin in spinner", "300ms"),
        // To come to the end of the stack takes its time.
        (
            "planted-overflow",
            "overflow in teardown of drop-endless",
            "30s",
        ),
    ];
    for (scenario, signature, spin) in ends {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("plan.toml");
        let path = path.to_str().expect("text");
        let set = ["--set", "rare=7", "--spin", spin, "--out", path];
        let run = dismantle(&[&["run", scenario], &set[..]].concat());
        assert_eq!(run.status.code(), Some(1), "{scenario}");
        let text = text(&dismantle(&["replay", path, "--explain", "--spin", spin]));
        let marked = text.lines().find(|line| line.starts_with(">>"));
        let end = format!("takes the process along: {signature}");
        assert!(marked.is_some_and(|line| line.contains(&end)), "{text}");
    }
}

#[test]
fn what_repeats_itself_is_told_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("plan.toml");
    let path = path.to_str().expect("text");
    let run = ["run", "backlog", "--set", "calls=500", "--out", path];
    assert_eq!(dismantle(&run).status.code(), Some(0));
    let story = explained(path);
    assert!(story.events.len() < 100, "{}", story.events.len());
    let repeated = story.events.iter().map(|event| &event["repeated"]);
    let times = repeated.filter_map(|it| it["times"].as_u64());
    assert!(times.max() >= Some(400), "{:#?}", story.events);
}
