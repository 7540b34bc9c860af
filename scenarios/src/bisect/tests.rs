//! The search and the judges, with probes that only say what a test has them say.

use std::cell::RefCell;

use dismantle_sim::Plan;

use super::*;
use crate::check::{Class, Finding, Judged};
use crate::growth::{Growth, Law};
use crate::report::RunReport;
use crate::scenario::{find, vocabulary};

fn finding(class: Class, kin: &str) -> Finding {
    Finding {
        class,
        signature: kin.replace("rpc/src/rpc.rs", "rpc-0.1.2/src/rpc.rs:7"),
        kin: kin.to_owned(),
        site: None,
        detail: String::new(),
        judged: Judged::default(),
    }
}

fn report(findings: Vec<Finding>) -> RunReport {
    let scenario = find(crate::BUILT_IN, "orderly").expect("built in");
    let plan = Plan::new(vocabulary(scenario));
    let mut report = RunReport::of_dead(&plan, None, Vec::new());
    report.digest = "0123456789abcdef".to_owned();
    report.outcome = crate::Outcome::Clean;
    report.add(findings);
    report
}

fn shown(findings: Vec<Finding>) -> Shown {
    Shown {
        report: Some(report(findings)),
        growths: Vec::new(),
    }
}

const PANIC: &str = "panic capnp-rpc/src/rpc.rs lost";

fn clean() -> Shown {
    shown(Vec::new())
}

fn bad() -> Shown {
    shown(vec![finding(Class::Panic, PANIC)])
}

/// What two runs of one answer come to that were not the same: the first of them, and that.
fn torn(first: Shown) -> Shown {
    let mut findings = first.findings().to_vec();
    findings.push(finding(Class::Nondeterminism, "nondeterminism of a run"));
    shown(findings)
}

/// Places 0 to n, and what each says when it is asked for the nth time.
struct Fake<F> {
    say: F,
    asked: RefCell<Vec<(usize, u32)>>,
}

impl<F: Fn(usize, u32) -> Result<Shown, String>> Fake<F> {
    fn new(say: F) -> Self {
        let asked = RefCell::default();
        Self { say, asked }
    }
}

impl<F: Fn(usize, u32) -> Result<Shown, String>> Prober for Fake<F> {
    type At = usize;

    fn ask(&mut self, at: &usize, _: Ask, nth: u32) -> io::Result<Result<Shown, String>> {
        self.asked.borrow_mut().push((*at, nth));
        Ok((self.say)(*at, nth))
    }
}

fn wanted(last: usize, change: Change) -> Wanted<usize> {
    let [good, bad] = change.pair([0, last]);
    Wanted {
        good,
        bad,
        change,
        compare: Compare::Kin,
        kept_for: Vec::new(),
        times: 1,
    }
}

fn run<F: Fn(usize, u32) -> Result<Shown, String>>(
    fake: &mut Fake<F>,
    last: usize,
    change: Change,
) -> Result<Found<usize>, String> {
    let mut course = || Ok(Ordered::new((0..=last).collect()));
    let found = bisect(fake, &wanted(last, change), &mut course, &mut |_| {});
    found.expect("a fake can always be asked")
}

#[test]
fn every_first_bad_one_of_every_length_is_found_in_the_fewest_probes() {
    for last in 1..=33 {
        for first in 1..=last {
            for change in [Change::Regression, Change::Fix] {
                let is_new_bad = change == Change::Regression;
                let mut fake = Fake::new(|at, _| {
                    Ok(if (at >= first) == is_new_bad {
                        bad()
                    } else {
                        clean()
                    })
                });
                let found = run(&mut fake, last, change).expect("the ends separate");
                let Range { old, new, skipped } = found.range;
                assert_eq!(
                    (old, new, skipped),
                    (first - 1, first, Vec::new()),
                    "{last} {change:?}"
                );
                let probed = found.probed.len() - 2;
                let most = usize::BITS - (last - 1).leading_zeros();
                assert!(probed <= most as usize, "{probed} of {last}");
                assert_eq!(found.judge.finding().map(|it| it.kin.as_str()), Some(PANIC));
            }
        }
    }
}

#[test]
fn whatever_is_skipped_the_range_holds_the_change_and_nothing_that_could_be_told() {
    const LAST: usize = 9;
    for first in 1..=LAST {
        for mask in 0..1u32 << (LAST - 1) {
            let is_skipped = |at: usize| at > 0 && at < LAST && mask >> (at - 1) & 1 == 1;
            let mut fake = Fake::new(|at, _| match at {
                at if is_skipped(at) => Err("does not compile".to_owned()),
                at if at >= first => Ok(bad()),
                _ => Ok(clean()),
            });
            let found = run(&mut fake, LAST, Change::Regression).expect("the ends separate");
            let Range { old, new, skipped } = found.range;
            assert!(old < first && first <= new, "{mask:b}");
            assert!(!is_skipped(old) && !is_skipped(new), "{mask:b}");
            assert!((old + 1..new).all(is_skipped), "{mask:b}");
            assert_eq!(skipped, (old + 1..new).collect::<Vec<_>>());
        }
    }
}

#[test]
fn what_comes_in_some_of_ten_answers_is_bad_everywhere() {
    const LAST: usize = 12;
    // Which of the ten answers show it, at every place from the first bad one on.
    for pattern in [
        0b1,
        0b100,
        0b10_0000_0000,
        0b1110,
        0b11_0000_0000,
        0b1_0101_0101,
        0b1000,
    ] {
        for first in 1..=LAST {
            let mut fake = Fake::new(|at, nth| {
                let comes = at >= first && pattern >> nth & 1 == 1;
                Ok(if comes { bad() } else { clean() })
            });
            let found = run(&mut fake, LAST, Change::Regression).expect("the ends separate");
            assert_eq!(found.range.new, first, "{pattern:b}");
            assert!(found.in_doubt);
            assert!(
                found
                    .probed
                    .iter()
                    .all(|(_, probed)| probed.asked == IN_DOUBT)
            );
            let of_ten = u32::count_ones(pattern);
            let text = format!("in {of_ten} of 10 answers");
            assert!(
                found.neighbours[1].text().ends_with(&text),
                "{:?}",
                found.neighbours
            );
        }
    }
}

#[test]
fn one_place_that_is_uncertain_starts_the_search_anew() {
    const LAST: usize = 16;
    // Only place 8 is uncertain, and shows nothing at first: but its two runs are not the same.
    let mut fake = Fake::new(|at, nth| match (at, nth) {
        (8, 4) => Ok(bad()),
        (8, 0) => Ok(torn(clean())),
        (8, _) => Ok(clean()),
        (at, _) => Ok(if at > 8 { bad() } else { clean() }),
    });
    let mut doubts = 0;
    let mut course = || Ok(Ordered::new((0..=LAST).collect()));
    let mut told = |progress: Progress<'_, usize>| {
        doubts += u32::from(matches!(progress, Progress::InDoubt));
    };
    let found = bisect(
        &mut fake,
        &wanted(LAST, Change::Regression),
        &mut course,
        &mut told,
    );
    let found = found.expect("asked").expect("the ends separate");
    // Once known to be uncertain it is asked until it shows, in the first search already.
    assert_eq!((found.range.old, found.range.new), (7, 8));
    assert_eq!(doubts, 1);
    assert_eq!(found.neighbours[1].bad, 1);
}

#[test]
fn a_plan_that_is_certain_is_asked_no_more_than_it_takes() {
    let mut fake = Fake::new(|at, _| Ok(if at >= 5 { bad() } else { clean() }));
    let found = run(&mut fake, 8, Change::Regression).expect("the ends separate");
    assert!(!found.in_doubt);
    let asked = fake.asked.borrow();
    for at in [2, 6] {
        let times = asked.iter().filter(|(place, _)| *place == at).count();
        assert!(times <= 1, "{at}: {asked:?}");
    }
    let most = asked.iter().map(|(_, nth)| nth + 1).max();
    assert_eq!(most, Some(ENDS));
}

#[test]
fn ends_that_do_not_separate_say_what_each_showed() {
    let cases: [(Shown, Shown, &str); 4] = [
        (
            clean(),
            clean(),
            "nothing is found at the bad end: good 0 is clean; bad 3 is clean",
        ),
        (
            bad(),
            bad(),
            "0, given as good, is bad: `panic capnp-rpc-0.1.2/src/rpc.rs:7 lost`; 3, given as bad, is bad",
        ),
        (
            shown(vec![finding(Class::Abort, "abort elsewhere")]),
            bad(),
            "0, given as good, is skipped: `abort elsewhere` comes instead and hides it",
        ),
        (
            bad(),
            clean(),
            "good 0 is `panic capnp-rpc-0.1.2/src/rpc.rs:7 lost`; bad 3 is clean",
        ),
    ];
    for (good, bad, message) in cases {
        let mut fake = Fake::new(|at, _| Ok(if at == 0 { good.clone() } else { bad.clone() }));
        let why = run(&mut fake, 3, Change::Regression).expect_err("they do not");
        assert!(why.contains(message), "{why}");
    }
    let mut fake = Fake::new(|at, _| match at {
        0 => Err("does not compile".to_owned()),
        _ => Ok(bad()),
    });
    let why = run(&mut fake, 3, Change::Regression).expect_err("it cannot be asked");
    assert_eq!(why, "0 cannot be an end: does not compile");
}

fn judge(compare: &Compare, kept_for: &[&str], good: Shown, bad: Shown) -> Result<Judge, String> {
    let kept_for: Vec<String> = kept_for.iter().map(|it| (*it).to_owned()).collect();
    compare.settle(&kept_for, &[good], &[bad])
}

fn why(verdict: Verdict) -> String {
    match verdict {
        Verdict::Skipped(why) => why,
        verdict => panic!("{verdict:?}"),
    }
}

#[test]
fn by_kin_it_is_what_the_plan_was_kept_for_else_the_principal_finding() {
    let hang = || finding(Class::Hang, "hang call");
    let panic = || finding(Class::Panic, PANIC);
    let protocol = || finding(Class::Protocol, "protocol promise");
    let both = || shown(vec![protocol(), hang()]);
    let settled =
        |kept_for: &[&str]| judge(&Compare::Kin, kept_for, clean(), both()).expect("found");
    assert_eq!(settled(&[]).words(), "`protocol promise`");
    assert_eq!(settled(&["hang call"]).words(), "`hang call`");
    assert_eq!(settled(&["leak call"]).words(), "`protocol promise`");
    assert_eq!(settled(&["leak call", "hang call"]).words(), "`hang call`");
    // Kept at another release, at another line.
    let kept = "panic capnp-rpc-0.27.3/src/rpc.rs:2811 lost";
    let two = shown(vec![finding(Class::Abort, "abort x"), panic()]);
    let by_panic = judge(&Compare::Kin, &[kept], clean(), two).expect("found");
    assert_eq!(by_panic.judge(&bad()), Verdict::Bad);
    assert_eq!(by_panic.judge(&clean()), Verdict::Good);
    assert_eq!(by_panic.judge(&shown(vec![hang()])), Verdict::Good);
    let other = shown(vec![finding(Class::Panic, "panic elsewhere")]);
    assert!(why(by_panic.judge(&other)).contains("`panic elsewhere` comes instead"));

    let by_hang = settled(&["hang call"]);
    assert_eq!(by_hang.judge(&shown(vec![protocol()])), Verdict::Good);
    assert!(why(by_hang.judge(&bad())).contains("hides it"));
    let mut limited = report(Vec::new());
    limited.limit = Some("steps".to_owned());
    let limited = Shown {
        report: Some(limited),
        growths: Vec::new(),
    };
    assert!(why(by_hang.judge(&limited)).contains("limit of steps"));
    let mut cycle = report(Vec::new());
    cycle.own_cycle = true;
    let cycle = Shown {
        report: Some(cycle),
        growths: Vec::new(),
    };
    assert!(why(by_hang.judge(&cycle)).contains("cycle"));

    // Growth is looked for only in a run in which nothing else is found.
    let growth = shown(vec![finding(
        Class::StackGrowth,
        "stack-growth drive O(n) call",
    )]);
    let by_growth = judge(&Compare::Kin, &[], clean(), growth).expect("found");
    assert!(why(by_growth.judge(&shown(vec![hang()]))).contains("hides it"));
    assert_eq!(by_growth.judge(&clean()), Verdict::Good);
}

#[test]
fn a_number_is_bad_above_the_limit_and_skipped_where_it_was_not_measured() {
    let with = |steps: u64, drive: Option<u64>| {
        let mut report = report(Vec::new());
        report.steps = steps;
        report.stack_bytes.drive = drive;
        report.delivered_bytes.insert("c2s".to_owned(), steps * 8);
        Shown {
            report: Some(report),
            growths: Vec::new(),
        }
    };
    let above = |metric: &str, most: f64| {
        let compare = Compare::Above {
            metric: metric.to_owned(),
            most,
        };
        judge(&compare, &[], with(1, None), with(2, Some(3)))
    };
    let steps = above("steps", 7.0).expect("a number");
    assert_eq!(steps.judge(&with(7, None)), Verdict::Good);
    assert_eq!(steps.judge(&with(8, None)), Verdict::Bad);
    assert_eq!(steps.seen(&with(8, None)), "steps 8");
    let drive = above("stack_bytes.drive", 4096.0).expect("a number");
    assert_eq!(drive.judge(&with(8, Some(4104))), Verdict::Bad);
    assert_eq!(drive.judge(&with(8, Some(4096))), Verdict::Good);
    assert!(why(drive.judge(&with(8, None))).contains("not measured"));
    let bytes = above("delivered_bytes.c2s", 8.0).expect("a number");
    assert_eq!(bytes.judge(&with(2, None)), Verdict::Bad);
    let mut died = with(8, Some(1));
    died.report.as_mut().expect("there").digest.clear();
    assert!(why(steps.judge(&died)).contains("died"));
    let error = above("stack", 1.0).expect_err("no number");
    assert!(
        error.contains("no number `stack`") && error.contains("stack_bytes.drive"),
        "{error}"
    );
}

#[test]
fn an_order_is_of_those_that_were_destroyed() {
    let with = |names: &[&str]| {
        let mut report = report(Vec::new());
        report.destroyed = names.iter().map(|it| (*it).to_owned()).collect();
        Shown {
            report: Some(report),
            growths: Vec::new(),
        }
    };
    let compare = Compare::Order {
        first: "server/connection".to_owned(),
        second: "server/object".to_owned(),
    };
    let judge = judge(&compare, &[], clean(), clean()).expect("settled");
    let good = with(&[
        "server/connection/0",
        "server/connection/1",
        "x/y",
        "server/object/0",
    ]);
    let broken = with(&[
        "server/connection/0",
        "server/object/0",
        "server/connection/1",
    ]);
    assert_eq!(judge.judge(&good), Verdict::Good);
    assert_eq!(judge.judge(&broken), Verdict::Bad);
    assert_eq!(
        judge.seen(&broken),
        "server/object before server/connection"
    );
    let other = with(&["server/connection/0", "server/objects/0"]);
    assert!(why(judge.judge(&other)).contains("server/object is not among"));
    assert!(why(judge.judge(&with(&[]))).contains("server/connection is not among"));
    let cut = |mut shown: Shown| {
        shown.report.as_mut().expect("there").destroyed_count = 1000;
        shown
    };
    assert!(why(judge.judge(&cut(good))).contains("only the first 4"));
    assert_eq!(judge.judge(&cut(broken)), Verdict::Bad);
}

#[test]
fn a_digest_is_bad_where_it_is_not_the_good_ends() {
    let with = |digest: &str| {
        let mut report = report(Vec::new());
        report.digest = digest.to_owned();
        Shown {
            report: Some(report),
            growths: Vec::new(),
        }
    };
    let judge = |good: &str| judge(&Compare::Digest, &[], with(good), with("b"));
    let by = judge("a").expect("it has one");
    assert_eq!(by.judge(&with("a")), Verdict::Good);
    assert_eq!(by.judge(&with("b")), Verdict::Bad);
    assert_eq!(by.judge(&with("c")), Verdict::Bad);
    judge("").expect_err("a dead run has none");
}

#[test]
fn a_law_is_bad_beyond_the_one_that_may_be() {
    let with = |law: Law| Shown {
        report: None,
        growths: vec![Growth {
            kind: "growth".to_owned(),
            scenario: "pipeline".to_owned(),
            phase: "teardown".to_owned(),
            metric: "stack_bytes".to_owned(),
            over: "calls".to_owned(),
            sizes: vec![1, 2, 4],
            values: vec![1, 2, 4],
            law,
            per_item: 0.0,
            overflow_at: Default::default(),
        }],
    };
    let by = |metric: &str, most| {
        let compare = Compare::Law {
            metric: metric.to_owned(),
            most,
        };
        assert_eq!(compare.ask(), Ask::Growth);
        judge(&compare, &[], with(Law::Constant), with(Law::Linear)).expect("settled")
    };
    let stack = by("stack_bytes.teardown", Law::Constant);
    assert_eq!(stack.judge(&with(Law::Constant)), Verdict::Good);
    assert_eq!(stack.judge(&with(Law::Linear)), Verdict::Bad);
    assert_eq!(stack.judge(&with(Law::Quadratic)), Verdict::Bad);
    assert_eq!(stack.seen(&with(Law::Linear)), "O(n)");
    assert!(why(stack.judge(&with(Law::Irregular))).contains("no law"));
    let linear = by("stack_bytes.teardown", Law::Linear);
    assert_eq!(linear.judge(&with(Law::Linear)), Verdict::Good);
    assert_eq!(linear.judge(&with(Law::Quadratic)), Verdict::Bad);
    assert!(
        why(by("stack_bytes.drive", Law::Constant).judge(&with(Law::Linear)))
            .contains("not measured")
    );
    let overflow = shown(vec![finding(
        Class::Overflow,
        "overflow in teardown of system",
    )]);
    assert_eq!(stack.judge(&overflow), Verdict::Bad);
    assert!(why(by("polls.drive", Law::Linear).judge(&overflow)).contains("overflow in teardown"));
    assert!(why(stack.judge(&bad())).contains("comes instead"));
}

#[test]
fn what_a_build_prints_is_read() {
    let line = serde_json::to_value(report(vec![finding(Class::Hang, "hang call")]));
    let event = serde_json::json!({"type": "event", "event": "1 step"});
    let read = Shown::read(vec![event, line.expect("JSON")]).expect("a report");
    assert_eq!(read.findings()[0].kin, "hang call");
    Shown::read(vec![serde_json::json!({"type": "report"})]).expect_err("no report");
}
