//! Tables of probes that only say what a test has them say.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use super::*;
use crate::bisect::Shown;
use crate::check::Judged;
use crate::report::RunReport;

fn shown(kin: &str) -> Shown {
    let scenario = crate::find(crate::BUILT_IN, "orderly").expect("built in");
    let plan = dismantle_sim::Plan::new(crate::vocabulary(scenario));
    let mut report = RunReport::of_dead(&plan, None, Vec::new());
    report.outcome = Outcome::Clean;
    let class = match kin.split(' ').next() {
        Some("panic") => Class::Panic,
        Some("hang") => Class::Hang,
        Some("limited") => {
            report.outcome = Outcome::Limited;
            return of(report);
        }
        _ => return of(report),
    };
    report.add(vec![Finding {
        class,
        signature: kin.to_owned(),
        kin: kin.to_owned(),
        site: None,
        detail: String::new(),
        judged: Judged::default(),
    }]);
    of(report)
}

fn of(report: RunReport) -> Shown {
    Shown {
        report: Some(report),
        growths: Vec::new(),
    }
}

fn row(name: &str, kept_for: &[&str]) -> Row {
    Row {
        name: name.to_owned(),
        file: PathBuf::from(name).with_extension("toml"),
        kept_for: kept_for.iter().map(|it| (*it).to_owned()).collect(),
    }
}

/// A table of plans and what they say at upstream 1, 2, …; `!why` is one that cannot be run there.
fn matrix(plans: &[(&str, &[&str], &[&str])], unbuildable: &[usize]) -> Matrix {
    let rows = plans
        .iter()
        .map(|(name, kept_for, _)| row(name, kept_for))
        .collect();
    let says: BTreeMap<String, Vec<String>> = plans
        .iter()
        .map(|(name, _, says)| {
            (
                (*name).to_owned(),
                says.iter().map(|it| (*it).to_owned()).collect(),
            )
        })
        .collect();
    let upstreams: Vec<usize> = (1..=plans[0].2.len()).collect();
    let mut build = |at: &usize| match unbuildable.contains(at) {
        true => Ok(Err("it does not compile".to_owned())),
        false => Ok(Ok(*at)),
    };
    let ask = |at: &usize, row: &Row| {
        let says = &says[&row.name][at - 1];
        Ok(match says.strip_prefix('!') {
            Some(why) => Err(why.to_owned()),
            None => Ok(shown(says)),
        })
    };
    fill(rows, &upstreams, 3, &mut build, &ask, &|_, _, _| {}).expect("filled")
}

#[test]
fn a_cell_is_of_the_finding_that_the_plan_was_kept_for_or_marked() {
    let table = matrix(
        &[
            (
                "a",
                &["panic x"],
                &["clean", "panic x", "hang call", "limited", "!no streams"],
            ),
            (
                "b",
                &[],
                &["clean", "panic x", "hang call", "clean", "clean"],
            ),
            (
                "c",
                &["leak x", "hang call"],
                &["clean", "panic x", "hang call", "clean", "clean"],
            ),
        ],
        &[],
    );
    let words: Vec<String> = table.cells.iter().flatten().map(Cell::word).collect();
    assert_eq!(
        words,
        [
            "clean", "panic", "hang*", "limited", "-", "clean", "panic", "hang", "clean", "clean",
            "clean", "panic*", "hang", "clean", "clean"
        ]
    );
    let summary = table.summary();
    assert_eq!((summary.clean, summary.findings, summary.other), (7, 4, 2));
    assert_eq!((summary.limited, summary.skipped, summary.plans), (1, 1, 3));
}

#[test]
fn the_text_shares_columns_and_says_below_what_was_skipped_and_why() {
    let table = matrix(
        &[
            (
                "one",
                &["panic x"],
                &["clean", "clean", "panic x", "panic x", "!never", "clean"],
            ),
            (
                "second",
                &[],
                &[
                    "!no streams",
                    "!no streams",
                    "hang call",
                    "hang call",
                    "!never",
                    "clean",
                ],
            ),
            (
                "third",
                &[],
                &[
                    "!no streams",
                    "!no streams",
                    "clean",
                    "clean",
                    "!never",
                    "clean",
                ],
            ),
        ],
        &[5],
    );
    let expected = [
        "        1      3      5  6",
        "        to 2   to 4",
        "one     clean  panic  -  clean",
        "second  -      hang   -  clean",
        "third   -      clean  -  clean",
        "3 plans, 6 upstreams: 7 clean, 4 with their finding, 7 skipped",
        "skipped at 5, every plan: it does not compile",
        "skipped at 1 to 2, second, third: no streams",
    ];
    assert_eq!(table.text().lines().collect::<Vec<_>>(), expected);
    let markdown = table.markdown();
    let expected = "\
| plan | 1 – 2 | 3 – 4 | 5 | 6 |
|---|---|---|---|---|
| one | clean | panic | - | clean |
| second | - | hang | - | clean |
| third | - | clean | - | clean |

- 3 plans, 6 upstreams: 7 clean, 4 with their finding, 7 skipped
";
    assert!(markdown.starts_with(expected), "{markdown}");
}

#[test]
fn what_markdown_would_read_as_its_own_is_written_as_it_stands() {
    let table = matrix(&[("a_b|c", &["panic x"], &["hang call", "!`x` <y>"])], &[]);
    let markdown = table.markdown();
    assert!(
        markdown.contains("| a\\_b\\|c | hang\\* | - |"),
        "{markdown}"
    );
    assert!(markdown.contains("\\`x\\` \\<y>"), "{markdown}");
}

#[test]
fn every_cell_is_a_line_of_json() {
    let table = matrix(
        &[("a", &["panic x"], &["clean", "hang call", "!no streams"])],
        &[],
    );
    let lines = table
        .lines()
        .map(|line| serde_json::to_value(line).expect("JSON"));
    let lines: Vec<Value> = lines.collect();
    let told: Vec<[&Value; 4]> = lines
        .iter()
        .map(|line| {
            [
                &line["upstream"],
                &line["cell"],
                &line["class"],
                &line["why"],
            ]
        })
        .collect();
    let null = Value::Null;
    let [one, two, three] = ["1", "2", "3"].map(Value::from);
    let [clean, finding, skipped] = ["clean", "finding", "skipped"].map(Value::from);
    let [hang, why] = ["hang", "no streams"].map(Value::from);
    assert_eq!(
        told,
        [
            [&one, &clean, &null, &null],
            [&two, &finding, &hang, &null],
            [&three, &skipped, &null, &why]
        ]
    );
    assert_eq!(lines[1]["other"], true);
    assert_eq!(lines[0]["file"], "a.toml");
    assert_eq!(
        serde_json::to_value(table.summary()).expect("JSON")["type"],
        "matrix"
    );
}

#[test]
fn an_error_ends_it_and_is_handed_out() {
    let rows = vec![row("a", &[]), row("b", &[])];
    let asked = AtomicUsize::new(0);
    let ask = |at: &usize, _: &Row| {
        asked.fetch_add(1, Ordering::Relaxed);
        match at {
            0 => Err(io::Error::from(io::ErrorKind::Interrupted)),
            _ => Ok(Ok(shown("clean"))),
        }
    };
    let mut build = |at: &usize| Ok(Ok(*at));
    let upstreams: Vec<usize> = (0..100).collect();
    let error = fill(rows.clone(), &upstreams, 1, &mut build, &ask, &|_, _, _| {});
    assert_eq!(
        error.expect_err("no table").kind(),
        io::ErrorKind::Interrupted
    );
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    let mut broken =
        |_: &usize| -> io::Result<Result<usize, String>> { Err(io::Error::other("no disk")) };
    let error = fill(rows, &upstreams, 2, &mut broken, &ask, &|_, _, _| {});
    assert_eq!(error.expect_err("no table").to_string(), "no disk");
}
