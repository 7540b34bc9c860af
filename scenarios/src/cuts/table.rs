//! The table of a sweep: what each point came to, and points in a row that came to the same.

use serde::Serialize;

use super::points::{At, How, Series};
use crate::report::{Outcome, Stack};

/// What one point came to.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Cut {
    /// `cut`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What is counted.
    pub at: At,
    /// So many are done, or delivered.
    pub point: u64,
    /// Of which direction, if bytes.
    pub direction: Option<String>,
    /// How the run is ended there.
    pub how: How,
    /// How it ended.
    pub outcome: Outcome,
    /// The principal finding's signature.
    pub signature: Option<String>,
    /// The greatest number of destructions nested in one another; null if the process died.
    pub drop_depth: Option<u32>,
    /// High-water marks of the stack; null where not measured.
    pub stack_bytes: Stack,
}

/// Points in a row that came to the same.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// The first and the last.
    pub points: (u64, u64),
    /// How they ended.
    pub outcome: Outcome,
    /// Their signature.
    pub signature: Option<String>,
    /// Their drop depth, if it was measured.
    pub drop_depth: Option<u32>,
    /// The least and the greatest need of stack in any phase, if it was measured.
    pub stack_bytes: Option<(u64, u64)>,
}

impl Row {
    /// Whether `next`, one point, came to the same: to twice the stack is not the same.
    fn joins(&self, next: &Self, stride: u64) -> bool {
        let came_to = |row: &Self| (row.outcome, row.signature.clone(), row.drop_depth);
        let stack = span(self.stack_bytes, next.stack_bytes);
        came_to(self) == came_to(next)
            && self.stack_bytes.is_some() == next.stack_bytes.is_some()
            && stack.is_none_or(|(least, most)| most < 2 * least)
            && next.points.0 - self.points.1 <= stride
    }
}

/// The points of `series` among `cuts`, those in a row that ended alike as one.
pub fn rows(series: &Series, cuts: &[Cut]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let of_series = |cut: &&Cut| {
        (cut.at, &cut.direction, cut.how) == (series.at, &series.direction, series.how)
    };
    for cut in cuts.iter().filter(of_series) {
        let stack = cut.stack_bytes;
        let stack = [stack.build, stack.drive, stack.teardown];
        let row = Row {
            points: (cut.point, cut.point),
            outcome: cut.outcome,
            signature: cut.signature.clone(),
            drop_depth: cut.drop_depth,
            stack_bytes: stack.into_iter().flatten().max().map(|most| (most, most)),
        };
        let joins = |last: &&mut Row| last.joins(&row, series.stride);
        match rows.last_mut().filter(joins) {
            Some(last) => {
                last.points.1 = row.points.1;
                last.stack_bytes = span(last.stack_bytes, row.stack_bytes);
            }
            None => rows.push(row),
        }
    }
    rows
}

fn span(one: Option<(u64, u64)>, other: Option<(u64, u64)>) -> Option<(u64, u64)> {
    match (one, other) {
        (Some(one), Some(other)) => Some((one.0.min(other.0), one.1.max(other.1))),
        (one, other) => one.or(other),
    }
}
