//! Does a cut end the drive, or the teardown, at its step, and change nothing before it?
#![allow(missing_docs)]

use std::rc::Rc;
use std::sync::Mutex;

use dismantle_sim::{
    EventKind, Limits, Name, Options, Phase, Plan, Report, Runner, Sim, Stopped, Value, Vocabulary,
};

const ALIVE: EventKind = EventKind::new("alive");
const STEPS_OF_DRIVE: u64 = 9;
const STEPS_OF_OWNER: u64 = 14;

fn plan(step: Option<u64>) -> Plan {
    let mut plan = Plan::new(Vocabulary {
        scenario: "cut",
        limits: Limits::default(),
        parameters: &[],
        questions: dismantle_sim::questions().to_vec(),
    });
    if let Some(step) = step {
        let how = plan.set("cut.how", &Value::Word("teardown".to_owned()));
        how.and_then(|()| plan.set("cut.step", &Value::Count(step)))
            .expect("known decisions");
    }
    plan
}

/// A task of `naps` naps, each a step of virtual time.
fn napper(sim: &Sim, kind: &'static str, naps: u32) {
    let own = sim.clone();
    sim.spawn_must_end(Name::new("owner", kind), async move {
        for _ in 0..naps {
            own.sleep_us(10).await;
        }
    });
}

/// Eight naps in the drive; then four in a teardown that waits for them after its first action.
fn run(step: Option<u64>) -> (Report, Vec<String>) {
    let options = Options {
        trace: true,
        ..Options::default()
    };
    let said = Mutex::new(Vec::new());
    let report = Runner::new().run(&plan(step), &options, |sim: &Sim| -> Result<(), Stopped> {
        let note = |what: &str| {
            let line = format!("{what} {} {}", sim.steps_done(), sim.is_cut());
            said.lock().expect("one thread").push(line);
        };
        sim.enter(Phase::Drive, || {
            napper(sim, "drive", 8);
            sim.settle()?;
            note("drive");
            Ok(())
        })?;
        sim.enter(Phase::Teardown, || {
            let alive = Rc::new(());
            napper(sim, "teardown", 4);
            sim.event(ALIVE, Name::new("owner", "teardown"), [0, 0]);
            sim.settle()?;
            note("teardown");
            drop(alive);
            Ok(())
        })
    });
    (report, said.into_inner().expect("one thread"))
}

fn lines(report: &Report) -> Vec<String> {
    let trace = report.trace.as_ref().expect("asked for");
    trace.iter().map(ToString::to_string).collect()
}

#[test]
fn without_a_cut_all_steps_are_made() {
    let (report, said) = run(None);
    assert_eq!(report.drive_steps, STEPS_OF_DRIVE);
    assert_eq!(report.owner_steps, STEPS_OF_OWNER);
    assert_eq!(said, ["drive 9 false", "teardown 14 false"]);
}

#[test]
fn a_cut_in_the_drive_goes_on_to_the_teardown_which_is_whole() {
    for step in 0..STEPS_OF_DRIVE {
        let (report, said) = run(Some(step));
        assert_eq!(report.drive_steps, step);
        assert_eq!(said[0], format!("drive {step} true"));
        assert!(said[1].ends_with(" false"), "{said:?}");
        assert_eq!(
            report.pending,
            [],
            "nothing is lost: it runs in the teardown"
        );
    }
}

#[test]
fn a_cut_in_the_teardown_goes_through_it() {
    for step in STEPS_OF_DRIVE..STEPS_OF_OWNER {
        let (report, said) = run(Some(step));
        let drive = "drive 9 false".to_owned();
        assert_eq!(said, [drive, format!("teardown {step} true")]);
        assert_eq!(report.owner_steps, step);
        assert_eq!(report.pending, [], "what is left runs in the healed phase");
    }
}

#[test]
fn up_to_the_cut_a_run_is_what_it_is_without() {
    let whole = lines(&run(None).0);
    for step in 0..STEPS_OF_OWNER {
        let cut = lines(&run(Some(step)).0);
        let at = cut.iter().position(|line| line.contains(" cut "));
        let at = at.expect("it is in the trace");
        assert_eq!(cut[..at], whole[..at], "{step}");
        let polls = cut[..at].iter().filter(|line| line.contains(" poll "));
        assert_eq!(polls.count() as u64, step);
    }
}

#[test]
fn beyond_the_last_step_there_is_nothing_to_cut() {
    let whole = run(None).0;
    for step in [STEPS_OF_OWNER, STEPS_OF_OWNER + 1, 1000] {
        let report = run(Some(step)).0;
        assert_eq!(report.digest, whole.digest);
        assert_eq!(report.never_asked, [""; 0]);
    }
}

#[test]
fn a_plan_says_that_it_is_for_this_build_only() {
    let plan = plan(Some(7));
    assert!(plan.this_build_only());
    let text = plan.to_string();
    assert!(
        text.contains("cut.how = \"teardown\" # this build only\n"),
        "{text}"
    );
    assert!(text.contains("cut.step = 7 # this build only\n"), "{text}");
    let vocabulary = Vocabulary {
        scenario: "cut",
        limits: Limits::default(),
        parameters: &[],
        questions: dismantle_sim::questions().to_vec(),
    };
    let read = Plan::read(&text, |_| Some(vocabulary.clone())).expect("what was written");
    assert_eq!(read.to_string(), text);
    assert!(!self::plan(None).this_build_only());
}
