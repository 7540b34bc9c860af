//! How deep did each phase go, and does a very deep one leave the others alone?
#![allow(clippy::unwrap_used, missing_docs)]

use dismantle_sim::{Limits, Name, Options, Phase, Plan, Report, Runner, Sim, Stopped, Vocabulary};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Far above what the harness itself needs in a debug build.
const SHALLOW: u64 = 64 * KIB;

fn report(options: &Options, body: impl FnOnce(&Sim) -> Result<(), Stopped> + Send) -> Report {
    let plan = Plan::new(Vocabulary {
        scenario: "stack",
        limits: Limits::default(),
        parameters: &[],
        questions: dismantle_sim::questions().to_vec(),
    });
    let runner = Runner::new();
    let size = runner
        .stack_size_bytes()
        .expect("Linux, not under memcheck");
    assert!(
        size as u64 >= 512 * MIB,
        "{size} bytes are too few for this"
    );
    let report = runner.run(&plan, options, body);
    assert_eq!(report.panics, []);
    report
}

/// Needs from one to three times `bytes` of stack: a debug build copies the frame's array.
#[inline(never)]
fn deep(bytes: u64) -> u64 {
    let frame = std::hint::black_box([1_u8; 4096]);
    match bytes.checked_sub(frame.len() as u64) {
        None => 0,
        Some(rest) => deep(rest) + u64::from(frame[rest as usize % 4096]),
    }
}

fn goes_deep(sim: &Sim, bytes: u64) -> Result<(), Stopped> {
    let task = sim.spawn(Name::new("task", "deep"), async move { deep(bytes) });
    let calls = sim.run_until(&task)?;
    assert_eq!(calls, Some(bytes / 4096));
    Ok(())
}

/// The marks of a run whose phases go this deep.
fn marks(build: u64, drive: u64, teardown: u64) -> [u64; 3] {
    let report = report(&Options::default(), |sim| {
        sim.enter(Phase::Build, || goes_deep(sim, build))?;
        sim.enter(Phase::Drive, || goes_deep(sim, drive))?;
        sim.enter(Phase::Teardown, || goes_deep(sim, teardown))
    });
    let stack = report.stack_bytes;
    [Phase::Build, Phase::Drive, Phase::Teardown].map(|phase| stack[phase].unwrap())
}

#[test]
fn each_phase_has_a_mark_of_its_own() {
    let depths = [8 * MIB, 4 * MIB, 0];
    for rotation in 0..3 {
        let at = |phase: usize| depths[(phase + rotation) % 3];
        let marks = marks(at(0), at(1), at(2));
        for (phase, mark) in marks.into_iter().enumerate() {
            let low = at(phase);
            let high = 3 * low + SHALLOW;
            assert!(
                (low..high).contains(&mark),
                "phase {phase}: {mark} for {low}"
            );
        }
    }
}

#[test]
fn a_mark_is_the_same_in_every_run() {
    assert_eq!(marks(0, 3 * MIB, MIB), marks(0, 3 * MIB, MIB));
}

#[test]
fn a_phase_entered_again_keeps_its_deepest_mark() {
    let report = report(&Options::default(), |sim| {
        for bytes in [0, 4 * MIB, 0] {
            sim.enter(Phase::Drive, || goes_deep(sim, bytes))?;
        }
        Ok(())
    });
    assert!(report.stack_bytes.drive.unwrap() >= 4 * MIB);
    assert!(report.stack_bytes.teardown.unwrap() < SHALLOW);
    assert_eq!(report.stack_bytes.build, None);
}

#[test]
fn what_the_last_drops_need_counts_as_teardown() {
    struct Deep;
    impl Drop for Deep {
        fn drop(&mut self) {
            assert_eq!(deep(4 * MIB), 4 * MIB / 4096);
        }
    }
    let report = report(&Options::default(), |sim| {
        sim.enter(Phase::Drive, || {
            let held = Deep;
            sim.spawn(Name::new("task", "holding"), async move {
                std::future::pending::<()>().await;
                drop(held);
            });
            sim.settle()
        })
    });
    assert!(report.stack_bytes.teardown.unwrap() >= 4 * MIB);
    assert!(report.stack_bytes.drive.unwrap() < SHALLOW);
}

#[test]
fn a_hundred_megabytes_are_a_number_and_the_run_goes_on() {
    let report = report(&Options::default(), |sim| {
        sim.enter(Phase::Drive, || goes_deep(sim, 100 * MIB))?;
        sim.enter(Phase::Teardown, || goes_deep(sim, 0))
    });
    let drive = report.stack_bytes.drive.unwrap();
    assert!((100 * MIB..300 * MIB).contains(&drive), "{drive}");
    assert!(report.stack_bytes.teardown.unwrap() < SHALLOW);
    assert_eq!(report.steps, 2);
}

#[test]
fn with_a_trace_the_owners_actions_have_a_mark_and_polls_keep_theirs() {
    let options = Options {
        trace: true,
        ..Options::default()
    };
    let report = report(&options, |sim| {
        sim.enter(Phase::Teardown, || {
            goes_deep(sim, 4 * MIB)?;
            sim.act(Name::new("owner", "deep"), || deep(MIB))?;
            sim.act(Name::new("owner", "shallow"), || deep(0))?;
            sim.settle()
        })
    });
    let actions = report.stack_bytes.teardown_actions.unwrap();
    assert!((MIB..3 * MIB).contains(&actions), "{actions}");
    // Measuring an action must not forget what the polls before it needed.
    let teardown = report.stack_bytes.teardown.unwrap();
    assert!(teardown >= 4 * MIB, "{teardown}");
}

#[test]
fn without_a_trace_the_owners_actions_count_as_their_phase() {
    let report = report(&Options::default(), |sim| {
        sim.enter(Phase::Teardown, || {
            sim.act(Name::new("owner", "deep"), || deep(4 * MIB))?;
            sim.settle()
        })
    });
    assert_eq!(report.stack_bytes.teardown_actions, None);
    assert!(report.stack_bytes.teardown.unwrap() >= 4 * MIB);
}
