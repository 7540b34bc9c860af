//! Does a probed run stop where another one was deepest, and leave a note of each destruction?
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs::File;
use std::io::Read;

use dismantle_sim::{
    Fault, Kind, Limits, Name, Options, Phase, Plan, Probe, Report, Runner, Sim, Stopped,
    Vocabulary, report_faults,
};

#[global_allocator]
static HEAP: dismantle_sim::heap::Counting = dismantle_sim::heap::Counting::new();

/// Needs about four KiB a call.
#[inline(never)]
fn deep(calls: u64) -> u64 {
    let frame = std::hint::black_box([1_u8; 4096]);
    match calls {
        0 => 0,
        _ => deep(calls - 1) + u64::from(frame[calls as usize % 4096]),
    }
}

fn body(sim: &Sim) -> Result<(), Stopped> {
    let boxes = sim.enter(Phase::Build, || {
        let outer = Box::new([0_u8; 100]);
        Ok(sim.track(Name::new("test", "outer"), (outer, Box::new([0_u8; 200]))))
    })?;
    for (phase, calls) in [(Phase::Drive, 300), (Phase::Teardown, 30)] {
        sim.enter(phase, || {
            // More than once as deep, and once deeper.
            std::hint::black_box([calls / 2, calls, calls / 3].map(deep));
            Ok(())
        })?;
    }
    sim.act(Name::new("test", "drop"), || drop(boxes))?;
    Ok(())
}

fn run(probe: Probe) -> Report {
    let plan = Plan::new(Vocabulary {
        scenario: "probe",
        limits: Limits::default(),
        parameters: &[],
        questions: dismantle_sim::questions().to_vec(),
    });
    let options = Options {
        probe,
        ..Options::default()
    };
    let report = Runner::new().run(&plan, &options, body);
    assert_eq!(report.panics, []);
    report
}

/// One test: a process has one file for faults.
#[test]
fn a_run_is_caught_at_its_deepest_and_leaves_a_note_of_each_destruction() {
    let path = std::env::temp_dir().join(format!("dismantle-probe-{}", std::process::id()));
    let file = File::options()
        .append(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    let mut reader = File::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    report_faults(file).unwrap();
    let mut notes = || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        Fault::read_all(&bytes)
    };

    let plain = run(Probe::default());
    assert_eq!(notes(), [], "an ordinary run leaves nothing");

    for phase in [Phase::Drive, Phase::Teardown] {
        let depth = plain.stack_depth[phase].unwrap();
        let report = run(Probe {
            deepest: Some((phase, depth)),
            destructions: false,
        });
        assert_eq!(report.digest, plain.digest);
        assert_eq!(report.stack_bytes, plain.stack_bytes);
        let faults = notes();
        let [caught] = &faults[..] else {
            panic!("{phase:?}: {} notes", faults.len());
        };
        assert_eq!(caught.kind, Kind::Deepest);
        let start = caught.stack_pointer + caught.depth_bytes;
        assert!(
            (depth - 64..depth + 64).contains(&(start - caught.number)),
            "{phase:?}: {depth}, touched {}",
            start - caught.number
        );
        assert_eq!(caught.stack.len() as u64, caught.depth_bytes);
    }

    let report = run(Probe {
        deepest: None,
        destructions: true,
    });
    assert_eq!(report.digest, plain.digest);
    let faults = notes();
    let told = |kind| faults.iter().filter(move |fault| fault.kind == kind);
    let freed: Vec<u64> = told(Kind::Freed).map(|fault| fault.number).collect();
    let outer = freed.iter().position(|bytes| *bytes == 100).unwrap();
    assert_eq!(freed[outer + 1], 200, "{freed:?}");
    let destroyed: Vec<&str> = told(Kind::Destroyed).map(|fault| &*fault.text).collect();
    assert_eq!(destroyed, ["test/outer"]);
    assert!(told(Kind::Turn).any(|fault| fault.text == "test/drop"));
    assert!(
        faults
            .iter()
            .all(|fault| fault.depth_bytes == fault.stack.len() as u64)
    );
}
