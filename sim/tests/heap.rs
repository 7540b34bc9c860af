//! Does the ledger say exactly what a run allocates and never gives back?

use std::cell::RefCell;
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;

use dismantle_sim::heap::{Counting, Left, uncounted};
use dismantle_sim::{Limits, Name, Options, Phase, Plan, Report, Runner, Sim, Stopped, Vocabulary};

#[global_allocator]
static HEAP: Counting = Counting::new();

fn plan() -> Plan {
    Plan::new(Vocabulary {
        scenario: "heap",
        limits: Limits::default(),
        parameters: &[],
        questions: dismantle_sim::questions().to_vec(),
    })
}

fn run_with(options: &Options, body: impl FnOnce(&Sim) -> Result<(), Stopped> + Send) -> Report {
    Runner::new().run(&plan(), options, body)
}

fn run(body: impl FnOnce(&Sim) -> Result<(), Stopped> + Send) -> Report {
    run_with(&Options::default(), body)
}

fn left(report: &Report) -> (u64, u64) {
    let left = report.left.as_ref().expect("measured");
    (left.bytes, left.blocks)
}

/// A little of everything that the simulation keeps books of.
fn busy(sim: &Sim) -> Result<(), Stopped> {
    sim.enter(Phase::Drive, || {
        for number in 0..50 {
            let object = sim.track(Name::numbered("heap", "object", number), vec![0_u8; 100]);
            let inner = sim.clone();
            sim.spawn(Name::numbered("heap", "task", number), async move {
                inner.sleep_us(u64::from(number)).await;
                drop(object);
            });
        }
        let keeps = sim.clone();
        sim.spawn(Name::new("heap", "for-ever"), async move {
            std::future::pending::<()>().await;
            drop(keeps);
        });
        sim.breach(
            "protocol",
            "a rule",
            Name::new("heap", "rule"),
            "broken".to_owned(),
        );
        sim.hold(Name::new("heap", "pipe"), "stall", 5);
        sim.settle()
    })?;
    sim.enter(Phase::Teardown, || {
        sim.act(Name::new("heap", "nothing"), || ())?;
        Ok(())
    })
}

#[test]
fn a_run_that_gives_all_back_leaves_nothing_with_and_without_a_record() {
    let options = Options {
        trace: true,
        record: true,
        ..Options::default()
    };
    let plain = run(busy);
    let traced = run_with(&options, busy);
    assert!(traced.trace.as_ref().is_some_and(|trace| trace.len() > 50));
    assert_eq!(left(&plain), (0, 0));
    assert_eq!(left(&traced), (0, 0));
    // What the harness writes down costs the run nothing.
    assert_eq!(plain.allocations, traced.allocations);
    assert_eq!(plain.heap_bytes, traced.heap_bytes);
}

#[test]
fn what_thread_locals_keep_until_the_thread_ends_is_given_back() {
    thread_local! {
        static KEPT: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    }
    let report = run(|_| {
        KEPT.with_borrow_mut(|kept| kept.push(vec![1; 1000]));
        Ok(())
    });
    assert_eq!(left(&report), (0, 0));
    assert_eq!(report.heap_bytes.build.expect("measured") / 1000, 1);
}

#[test]
fn a_run_that_panics_leaves_nothing_that_its_unwinding_frees() {
    let report = run(|sim| {
        sim.act(Name::new("heap", "action"), || {
            let kept = vec![0_u8; 5000];
            let message = format!("{} is too much", kept.len());
            std::panic::panic_any(message);
        })?;
        Ok(())
    });
    assert_eq!(report.panics.len(), 1);
    assert_eq!(left(&report), (0, 0));
}

#[test]
fn a_leak_is_seen_with_its_sizes_and_the_allocation_that_made_it() {
    #[inline(never)]
    fn forget(bytes: usize) {
        std::mem::forget(black_box(vec![0_u8; bytes]));
    }
    let body = |_: &Sim| {
        drop(black_box(vec![0_u8; 7]));
        forget(8192);
        forget(96);
        forget(96);
        Ok(())
    };
    let first = run(body);
    assert_eq!(left(&first), (8192 + 96 + 96, 3));
    assert!(first.left.expect("measured").listed.is_empty());
    let list = |numbers: &[u64]| {
        let options = Options {
            list_left: Some(Arc::from(numbers)),
            ..Options::default()
        };
        run_with(&options, body).left.expect("measured")
    };
    let listed: Left = list(&[]);
    let sizes: Vec<u64> = listed.listed.iter().map(|block| block.bytes).collect();
    assert_eq!(sizes, [8192, 96, 96]);
    assert!(listed.listed.iter().all(|block| block.trace.is_empty()));
    let numbers: Vec<u64> = listed.listed.iter().map(|block| block.number).collect();
    assert!(
        numbers.windows(2).all(|pair| pair[0] < pair[1]),
        "{numbers:?}"
    );
    let traced = list(&numbers[..1]);
    assert_eq!(traced.bytes, listed.bytes);
    // Innermost is the hook; `forget` and the run's thread are further out.
    assert!(traced.listed[0].trace.len() > 4, "{:?}", traced.listed[0]);
    assert!(traced.listed[1].trace.is_empty());
}

#[test]
fn what_is_paused_does_not_count_and_frees_always_balance() {
    let report = run(|_| {
        let pause = uncounted();
        let nested = uncounted();
        let nobodys = black_box(vec![0_u8; 1 << 20]);
        drop(nested);
        // Still paused by the outer one.
        std::mem::forget(black_box(vec![0_u8; 1 << 20]));
        drop(pause);
        let ours = black_box(vec![0_u8; 1000]);
        // Each is freed where the other was made.
        drop(nobodys);
        let pause = uncounted();
        drop(ours);
        drop(pause);
        Ok(())
    });
    assert_eq!(left(&report), (0, 0));
    assert_eq!(report.heap_bytes.build, Some(1000));
    assert_eq!(report.allocations.build, Some(1));
}

#[test]
fn peaks_and_counts_are_those_of_each_phase() {
    let report = run(|sim| {
        let kept = sim.enter(Phase::Build, || {
            drop(black_box(vec![0_u8; 3000]));
            Ok(black_box(vec![0_u8; 1000]))
        })?;
        sim.enter(Phase::Drive, || {
            let mut grown = black_box(Vec::<u8>::with_capacity(100));
            grown.reserve_exact(500);
            drop(black_box(grown));
            Ok(())
        })?;
        sim.enter(Phase::Teardown, || {
            drop(kept);
            drop(black_box(vec![0_u8; 10]));
            Ok(())
        })
    });
    assert_eq!(report.heap_bytes.build, Some(3000));
    assert_eq!(report.heap_bytes.drive, Some(1500));
    assert_eq!(report.heap_bytes.teardown, Some(1000));
    // To resize a block is no allocation.
    let counts = report.allocations;
    assert_eq!(
        (counts.build, counts.drive, counts.teardown),
        (Some(2), Some(1), Some(1))
    );
    assert_eq!(left(&report), (0, 0));
}

#[test]
fn zeroed_aligned_and_resized_blocks_are_what_they_should_be() {
    #[repr(align(64))]
    struct Aligned([u8; 100]);
    let report = run(|_| {
        let aligned = black_box(Box::new(Aligned([7; 100])));
        assert_eq!(&raw const *aligned as usize % 64, 0);
        assert!(aligned.0.iter().all(|byte| *byte == 7));
        for size in (1..200).chain([4096, 1 << 20]) {
            let mut bytes = black_box(vec![0_u8; size]);
            assert!(bytes.iter().all(|byte| *byte == 0));
            bytes.fill(9);
            bytes.reserve_exact(2 * size);
            bytes.shrink_to_fit();
            assert!(bytes.iter().all(|byte| *byte == 9));
        }
        Ok(())
    });
    assert!(report.panics.is_empty(), "{:?}", report.panics);
    assert_eq!(left(&report), (0, 0));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "another thread is the question")]
fn what_another_thread_frees_within_the_run_is_given_back() {
    let report = run(|_| {
        let given = black_box(vec![0_u8; 1000]);
        let resized = black_box(vec![0_u8; 10]);
        let thread = std::thread::spawn(move || {
            drop(given);
            let mut resized = resized;
            resized.reserve_exact(1000);
            drop(black_box(resized));
        });
        thread.join().expect("it does not panic");
        Ok(())
    });
    assert_eq!(left(&report), (0, 0));
}

#[test]
fn what_is_freed_after_the_run_is_left() {
    let kept = std::sync::Mutex::new(None);
    let report = run(|_| {
        *kept.lock().expect("one thread") = Some(vec![0_u8; 1000]);
        Ok(())
    });
    assert_eq!(left(&report), (1000, 1));
    // Freed in another run, it is none of that run's.
    let next = run(|_| {
        drop(kept.lock().expect("one thread").take());
        Ok(())
    });
    assert_eq!(left(&next), (0, 0));
}

#[test]
fn an_object_that_is_leaked_does_not_leak_the_harness() {
    struct Node {
        other: RefCell<Option<Rc<dismantle_sim::Tracked<Node>>>>,
    }
    let report = run(|sim| {
        let node = |number| {
            let other = RefCell::new(None);
            Rc::new(sim.track(Name::numbered("heap", "node", number), Node { other }))
        };
        let (first, second) = (node(0), node(1));
        *first.other.borrow_mut() = Some(second.clone());
        *second.other.borrow_mut() = Some(first.clone());
        Ok(())
    });
    assert_eq!(report.never_destroyed.len(), 2);
    // The two blocks of the cycle; the simulation that they hold is nobody's.
    assert_eq!(left(&report).1, 2);
}

#[test]
fn the_sequence_of_allocations_is_a_function_of_the_plan() {
    let counts = || {
        let report = run(busy);
        (report.allocations, report.heap_bytes, report.polls)
    };
    assert_eq!(counts(), counts());
}
