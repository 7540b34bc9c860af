//! The table for people, as text and as Markdown.
//!
//! Neighbouring upstreams of one library that are the same for every plan share a column. What was
//! skipped, and why, stands below.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Cell, Matrix, Summary};
use crate::upstream::Library;

impl Matrix {
    /// The table as text.
    pub fn text(&self) -> String {
        let columns = self.shared();
        let mut lines = vec![vec![String::new()], vec![String::new()]];
        for column in &columns {
            let (first, last) = self.ends(column);
            lines[0].push(first.to_owned());
            lines[1].push(last.map_or_else(String::new, |last| format!("to {last}")));
        }
        if lines[1].iter().all(String::is_empty) {
            lines.pop();
        }
        for (row, cells) in self.rows.iter().zip(&self.cells) {
            let words = columns.iter().map(|column| cells[column.start].word());
            lines.push([row.name.clone()].into_iter().chain(words).collect());
        }
        let widths: Vec<usize> = (0..=columns.len())
            .map(|at| lines.iter().map(|line| line[at].chars().count()).max())
            .map(Option::unwrap_or_default)
            .collect();
        let mut text = String::new();
        for line in lines {
            let cells = line.iter().zip(&widths);
            let cells: Vec<String> = cells
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            text += cells.join("  ").trim_end();
            text.push('\n');
        }
        for note in self.notes() {
            text += &format!("{note}\n");
        }
        text
    }

    /// The table as Markdown.
    pub fn markdown(&self) -> String {
        let columns = self.shared();
        let mut text = "| plan |".to_owned();
        for column in &columns {
            text += &match self.ends(column) {
                (first, None) => format!(" {first} |"),
                (first, Some(last)) => format!(" {first} – {last} |"),
            };
        }
        text += &format!("\n|---|{}\n", "---|".repeat(columns.len()));
        for (row, cells) in self.rows.iter().zip(&self.cells) {
            text += &format!("| {} |", escaped(&row.name));
            for column in &columns {
                text += &format!(" {} |", escaped(&cells[column.start].word()));
            }
            text.push('\n');
        }
        let notes = self.notes();
        if !notes.is_empty() {
            text.push('\n');
        }
        for note in notes {
            text += &format!("- {}\n", escaped(&note));
        }
        text
    }

    /// The columns, those of one library that are the same for every plan as one.
    fn shared(&self) -> Vec<Range<usize>> {
        let mut shared: Vec<Range<usize>> = Vec::new();
        for column in 0..self.columns.len() {
            let library = |column: usize| Library::split(&self.columns[column]).0;
            let same = |other: usize| {
                let mut rows = self.cells.iter();
                library(other) == library(column)
                    && rows.all(|cells| cells[other].word() == cells[column].word())
            };
            match shared.last_mut() {
                Some(last) if same(last.start) => last.end = column + 1,
                _ => shared.push(column..column + 1),
            }
        }
        shared
    }

    /// The first and, if there are more, the last of a shared column.
    fn ends(&self, column: &Range<usize>) -> (&str, Option<&str>) {
        let last = &self.columns[column.end - 1];
        let last = (column.len() > 1).then_some(last.as_str());
        (&self.columns[column.start], last)
    }

    /// What stands below: what the marks mean, what was skipped and why, and the counts.
    fn notes(&self) -> Vec<String> {
        let Summary {
            plans,
            upstreams,
            clean,
            findings,
            other,
            limited,
            skipped,
            ..
        } = self.summary();
        let mut counts = vec![
            format!("{clean} clean"),
            format!("{findings} with their finding"),
        ];
        for (count, what) in [
            (other, "with another (*)"),
            (limited, "limited"),
            (skipped, "skipped"),
        ] {
            if count > 0 {
                counts.push(format!("{count} {what}"));
            }
        }
        let mut notes = vec![format!(
            "{plans} plans, {upstreams} upstreams: {}",
            counts.join(", ")
        )];
        notes.extend(self.skipped());
        notes
    }

    /// What was skipped, by reason: of which upstreams every plan, of which plans some upstreams.
    fn skipped(&self) -> Vec<String> {
        let mut whole: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let mut single: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
        for column in 0..self.columns.len() {
            let why = |row: usize| match &self.cells[row][column] {
                Cell::Skipped(why) => Some(why.as_str()),
                _ => None,
            };
            let rows = 0..self.rows.len();
            if let Some(first) = why(0)
                && rows.clone().all(|row| why(row) == Some(first))
            {
                whole.entry(first).or_default().push(column);
                continue;
            }
            for row in rows {
                if let Some(why) = why(row) {
                    let name = self.rows[row].name.as_str();
                    single.entry((why, name)).or_default().push(column);
                }
            }
        }
        // Plans that were skipped at the same upstreams for the same reason are told together.
        let mut together: BTreeMap<(&str, Vec<usize>), Vec<&str>> = BTreeMap::new();
        for ((why, name), columns) in single {
            together.entry((why, columns)).or_default().push(name);
        }
        let whole = whole.into_iter().map(|(why, columns)| {
            let at = self.spans(&columns);
            format!("skipped at {at}, every plan: {why}")
        });
        let together = together.into_iter().map(|((why, columns), names)| {
            let at = self.spans(&columns);
            format!("skipped at {at}, {}: {why}", names.join(", "))
        });
        whole.chain(together).collect()
    }

    /// Columns in words: `0.13.0 to 0.14.2, 0.16.0`.
    fn spans(&self, columns: &[usize]) -> String {
        let spans = columns.chunk_by(|one, next| one + 1 == *next);
        let spans = spans.map(|span| match span {
            [one] => self.columns[*one].clone(),
            [first, .., last] => format!("{} to {}", self.columns[*first], self.columns[*last]),
            [] => String::new(),
        });
        spans.collect::<Vec<_>>().join(", ")
    }
}

/// Text in a cell of a Markdown table, or in a line.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if matches!(c, '|' | '*' | '_' | '`' | '<' | '[' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
