//! What are three chosen plans destroyed in, in which order and why?
//!
//! A golden holds only what is stable by construction, in debug and release alike: the order,
//! its causes, the drop depth, the law of growth, the outcome. No bytes and no steps.

use std::fmt::Write as _;

use dismantle::growth::{Series, measure};
use dismantle::{BUILT_IN, Harness, InProcess, Order, Ran, find, vocabulary};
use dismantle_sim::Plan;

fn golden(name: &str, text: &str) -> String {
    let plan = Plan::read(text, |name| find(BUILT_IN, name).map(vocabulary)).expect("a plan");
    let mut harness = InProcess::new(BUILT_IN);
    let ran = harness.run(Order::of(&plan)).expect("runs");
    let over = find(BUILT_IN, name)
        .and_then(|scenario| scenario.over())
        .expect("it can grow");
    let mut golden = story(&ran);
    let series = measure(&mut harness, Order::of(&plan), over, [50, 100, 200], |_| {});
    match series.expect("runs") {
        Series::Measured(growths) => {
            for growth in growths {
                let law = growth.law.word();
                let metric = format!("{}.{}", growth.metric, growth.phase);
                writeln!(golden, "{metric} over {over}: {law}").expect("text");
            }
        }
        Series::Broken { size, .. } => panic!("{name} is not measured at {size}"),
    }
    golden
}

/// The destruction order, a line for each, indented by depth, under what caused it.
fn story(ran: &Ran) -> String {
    let report = &ran.report;
    let mut story = format!("outcome: {:?}\n", report.outcome).to_lowercase();
    for finding in &report.findings {
        writeln!(story, "finding: {}", finding.signature).expect("text");
    }
    writeln!(story, "drop depth: {}\n", report.drop_depth).expect("text");
    let mut cause = String::new();
    for destruction in &report.destruction {
        let by = destruction.task.as_deref().unwrap_or("the owner");
        let now = format!("{}, by {by}", destruction.phase);
        if destruction.depth == 0 && now != cause {
            writeln!(story, "{now}").expect("text");
            cause = now;
        }
        let indent = 2 + 2 * destruction.depth as usize;
        writeln!(story, "{:indent$}{}", "", destruction.name).expect("text");
    }
    for name in &report.never_destroyed {
        writeln!(story, "never: {name}").expect("text");
    }
    story.push('\n');
    story
}

macro_rules! goldens {
    ($($name:ident),*) => {$(
        #[test]
        fn $name() {
            let plan = include_str!(concat!("../plans/", stringify!($name), ".toml"));
            let golden = golden(stringify!($name), plan);
            assert!(golden.lines().count() < 80, "too long to review");
            let note = plan.lines().find_map(|line| line.strip_prefix("note = "));
            insta::with_settings!({ description => note.unwrap_or_default(), omit_expression => true }, {
                insta::assert_snapshot!(stringify!($name), golden);
            });
        }
    )*};
}

goldens!(backlog, exception, orderly);
