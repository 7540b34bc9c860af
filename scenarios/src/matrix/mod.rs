//! What each of many plans comes to against each of many upstreams, in one table.
//!
//! While one upstream is built, the plans are run against those that are. A plan that shows what it
//! was kept for is told from one that shows something else.

mod text;

use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;

use serde::Serialize;

use crate::bisect::Asked;
use crate::check::{Class, Finding, kin_of};
use crate::report::Outcome;

/// A plan of the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// What it is called in the table.
    pub name: String,
    /// Its file.
    pub file: PathBuf,
    /// The signatures that it was kept for, if it was.
    pub kept_for: Vec<String>,
}

/// What a plan came to against an upstream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cell {
    /// Nothing was found.
    Clean,
    /// Nothing was found in a run that did not come to its end.
    Limited,
    /// Something was found: by its kin what the plan was kept for, if it is in the findings.
    Found {
        /// That, or the principal finding.
        finding: Box<Finding>,
        /// Whether the plan was kept for something else.
        is_other: bool,
    },
    /// It cannot be built or run there: why.
    Skipped(String),
}

/// The table: a row for each plan, a column for each upstream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Matrix {
    /// The plans.
    pub rows: Vec<Row>,
    /// The upstreams, in words.
    pub columns: Vec<String>,
    /// The cells, row by row.
    pub cells: Vec<Vec<Cell>>,
}

/// A cell as a JSON line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Line<'a> {
    /// `cell`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The plan's name.
    pub plan: &'a str,
    /// Its file.
    pub file: &'a std::path::Path,
    /// The upstream.
    pub upstream: &'a str,
    /// `clean`, `limited`, `finding` or `skipped`.
    pub cell: &'static str,
    /// The class of what was found.
    pub class: Option<Class>,
    /// Its signature.
    pub signature: Option<&'a str>,
    /// Its kin.
    pub kin: Option<&'a str>,
    /// Whether the plan was kept for something else; false where nothing was found.
    pub other: bool,
    /// Why it was skipped.
    pub why: Option<&'a str>,
}

/// How many cells there are of each kind, as a JSON line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Summary {
    /// `matrix`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Rows.
    pub plans: usize,
    /// Columns.
    pub upstreams: usize,
    /// Cells in which nothing was found.
    pub clean: usize,
    /// Those in which a plan shows what it was kept for, or anything if it was kept for nothing.
    pub findings: usize,
    /// Those in which it shows something else.
    pub other: usize,
    /// Those of runs that did not come to their end.
    pub limited: usize,
    /// Those of which nobody can say.
    pub skipped: usize,
}

impl Cell {
    fn of(row: &Row, shown: Asked) -> Self {
        let shown = match shown {
            Ok(shown) => shown,
            Err(why) => return Self::Skipped(why),
        };
        let Some(report) = &shown.report else {
            return Self::Skipped("there is no report".to_owned());
        };
        let Some(principal) = report.findings.first() else {
            return match report.outcome {
                Outcome::Limited => Self::Limited,
                _ => Self::Clean,
            };
        };
        let wanted: Vec<String> = row.kept_for.iter().map(|it| kin_of(it)).collect();
        let own = report.findings.iter().find(|it| wanted.contains(&it.kin));
        Self::Found {
            is_other: own.is_none() && !wanted.is_empty(),
            finding: Box::new(own.unwrap_or(principal).clone()),
        }
    }

    /// Its word in tables: the class of a finding, with a `*` if the plan was kept for another.
    pub fn word(&self) -> String {
        match self {
            Self::Clean => "clean".to_owned(),
            Self::Limited => "limited".to_owned(),
            Self::Found { finding, is_other } => {
                let mark = if *is_other { "*" } else { "" };
                format!("{}{mark}", finding.class)
            }
            Self::Skipped(_) => "-".to_owned(),
        }
    }
}

impl Matrix {
    /// Every cell as a JSON line, plan by plan.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let rows = self.rows.iter().zip(&self.cells);
        rows.flat_map(|(row, cells)| {
            let cells = self.columns.iter().zip(cells);
            cells.map(|(upstream, cell)| {
                let (word, found, why) = match cell {
                    Cell::Clean => ("clean", None, None),
                    Cell::Limited => ("limited", None, None),
                    Cell::Found { finding, .. } => ("finding", Some(finding), None),
                    Cell::Skipped(why) => ("skipped", None, Some(why.as_str())),
                };
                Line {
                    kind: "cell",
                    plan: &row.name,
                    file: &row.file,
                    upstream,
                    cell: word,
                    class: found.map(|it| it.class),
                    signature: found.map(|it| it.signature.as_str()),
                    kin: found.map(|it| it.kin.as_str()),
                    other: matches!(cell, Cell::Found { is_other: true, .. }),
                    why,
                }
            })
        })
    }

    /// How many cells there are of each kind.
    pub fn summary(&self) -> Summary {
        let mut summary = Summary {
            kind: "matrix",
            plans: self.rows.len(),
            upstreams: self.columns.len(),
            ..Summary::default()
        };
        for cell in self.cells.iter().flatten() {
            let count = match cell {
                Cell::Clean => &mut summary.clean,
                Cell::Limited => &mut summary.limited,
                Cell::Found {
                    is_other: false, ..
                } => &mut summary.findings,
                Cell::Found { is_other: true, .. } => &mut summary.other,
                Cell::Skipped(_) => &mut summary.skipped,
            };
            *count += 1;
        }
        summary
    }
}

/// Fills the table: builds against one upstream after the other with `build`, and has `ask` run the
/// plans in `jobs` threads. `told` hears of each cell, with the numbers of its row and its column.
///
/// # Errors
/// The first of those of `build` and `ask`; interrupted is one.
pub fn fill<At: ToString, B: Clone + Send>(
    rows: Vec<Row>,
    upstreams: &[At],
    jobs: usize,
    build: &mut dyn FnMut(&At) -> io::Result<Result<B, String>>,
    ask: &(dyn Fn(&B, &Row) -> io::Result<Asked> + Sync),
    told: &(dyn Fn(usize, usize, &Cell) + Sync),
) -> io::Result<Matrix> {
    let cells = vec![vec![None; upstreams.len()]; rows.len()];
    let (cells, failed) = (Mutex::new(cells), Mutex::new(None));
    let put = |row: usize, column: usize, cell: Cell| {
        told(row, column, &cell);
        cells.lock().expect("no holder panics")[row][column] = Some(cell);
    };
    let fail = |error: io::Error| {
        failed
            .lock()
            .expect("no holder panics")
            .get_or_insert(error);
    };
    let has_failed = || failed.lock().expect("no holder panics").is_some();
    let (send, receive) = mpsc::channel::<(usize, usize, B)>();
    let receive = Mutex::new(receive);
    let next = || receive.lock().expect("no holder panics").recv();
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Ok((row, column, build)) = next() {
                    // What is still in the queue is left there.
                    if has_failed() {
                        continue;
                    }
                    match ask(&build, &rows[row]) {
                        Ok(shown) => put(row, column, Cell::of(&rows[row], shown)),
                        Err(error) => fail(error),
                    }
                }
            });
        }
        for (column, at) in upstreams.iter().enumerate() {
            if has_failed() {
                break;
            }
            match build(at) {
                Err(error) => fail(error),
                Ok(Ok(build)) => {
                    for row in 0..rows.len() {
                        send.send((row, column, build.clone()))
                            .expect("they receive");
                    }
                }
                Ok(Err(why)) => {
                    for row in 0..rows.len() {
                        put(row, column, Cell::Skipped(why.clone()));
                    }
                }
            }
        }
        drop(send);
    });
    if let Some(error) = failed.into_inner().expect("no holder panics") {
        return Err(error);
    }
    let cells = cells.into_inner().expect("no holder panics");
    let cells = cells.into_iter().map(|row| {
        let row = row.into_iter();
        row.map(|cell| cell.expect("all were asked")).collect()
    });
    Ok(Matrix {
        cells: cells.collect(),
        columns: upstreams.iter().map(At::to_string).collect(),
        rows,
    })
}

#[cfg(test)]
mod tests;
