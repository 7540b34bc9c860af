//! A run explained to a person: what happened, by whom and why, and what was in flight.
//!
//! The story is read off a trace that was kept ([`Told`]) and the report of its run; nothing is run.
//! A process that died has left its trace, so its story ends where it did. Where the stack was
//! deepest, and who destroyed what, a further run tells ([`explain`]), in a worker of its own.

#[cfg(feature = "cli")]
mod again;
#[cfg(feature = "cli")]
mod calls;
mod flight;
mod fold;
#[cfg(feature = "cli")]
mod names;
#[cfg(feature = "cli")]
mod paths;
#[cfg(feature = "cli")]
mod stack;
mod story;
#[cfg(feature = "cli")]
mod tree;
mod words;

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::report::RunReport;
use crate::told::{Moment, Told};

#[cfg(feature = "cli")]
pub use again::{Explanation, explain};
#[cfg(feature = "cli")]
pub use names::Whose;
#[cfg(feature = "cli")]
pub use stack::{Deepest, Placed, Turns};
#[cfg(feature = "cli")]
pub use tree::{Node, Tree, Turn};

/// The story of a run.
#[derive(Clone, Debug)]
pub struct Story {
    /// What happened, in order.
    pub lines: Vec<Line>,
    /// When the things were in flight that [`Story::in_flight`] lists.
    pub moment: String,
    /// What had begun then and not ended.
    pub in_flight: Vec<InFlight>,
}

/// One thing that happened, or many of one kind.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Line {
    /// `explain-event`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The number of the event, as in the trace.
    pub number: u64,
    /// The step, from 1; 0 before the first.
    pub step: u64,
    /// Virtual time.
    pub time_us: u64,
    /// Whose doing it was: a task, or an action of the owner.
    pub who: String,
    /// What was done.
    pub what: String,
    /// Why.
    pub because: Vec<Because>,
    /// Whether it is where the finding shows.
    pub is_finding: bool,
    /// How many lines up to this one stand for more of the like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeated: Option<Repeated>,
}

/// What brought a thing about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Because {
    /// `woken by`, `sent by`, `part of`.
    pub how: &'static str,
    /// The number of the line that tells it.
    pub number: u64,
}

/// Lines that were left out, because they say again what those before them say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Repeated {
    /// How many lines are repeated.
    pub lines: usize,
    /// How many times, not counting the one that is told.
    pub times: u64,
    /// The number of the last event that was left out.
    pub last: u64,
}

/// Something that had begun and not ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct InFlight {
    /// `explain-in-flight`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// `message`, `bytes`, `question`, `task` or `object`.
    pub what: &'static str,
    /// Its name: `client/call/2`.
    pub name: String,
    /// How it stands.
    pub text: String,
    /// The number of the event that began it, if there is one.
    pub number: Option<u64>,
}

impl Story {
    /// The story of the run that has this trace and this report. The trace has to be whole, or to
    /// end where the process did.
    pub fn of(trace: &[Told], report: &RunReport) -> Self {
        let moment = flight::moment(trace, report);
        Self {
            lines: fold::fold(story::lines(trace, report)),
            moment: moment.text,
            in_flight: flight::in_flight(trace, moment.events, report),
        }
    }

    /// Which lines people see: all of them, or those that lead to the finding, those just before
    /// it, and the first and the last ones.
    fn shown(&self) -> Vec<bool> {
        let count = self.lines.len();
        if count <= SHOWN_MAX {
            return vec![true; count];
        }
        let mut shown = vec![false; count];
        let finding = self.lines.iter().rposition(|line| line.is_finding);
        let until = finding.unwrap_or(count - 1);
        shown[..FIRST].fill(true);
        shown[count - LAST..].fill(true);
        shown[until.saturating_sub(BEFORE)..(until + AFTER).min(count)].fill(true);
        let mut next: BTreeSet<u64> = BTreeSet::new();
        for place in (0..=until).rev() {
            let line = &self.lines[place];
            if line.is_finding || next.contains(&line.number) {
                shown[place] = true;
                next.extend(line.because.iter().map(|because| because.number));
            }
        }
        shown
    }

    /// The story for people.
    pub fn text(&self) -> String {
        let width = self.lines.last().map_or(0, |line| line.number);
        let width = width.to_string().len();
        let mut text = String::from("the story\n");
        let mut left_out = 0;
        for (line, is_shown) in self.lines.iter().zip(self.shown()) {
            if !is_shown {
                left_out += 1;
                continue;
            }
            text += &said(std::mem::take(&mut left_out));
            text += &format!("{}\n", Aligned { line, width });
        }
        text += &said(left_out);
        text += &format!("in flight {}\n", self.moment);
        if self.in_flight.is_empty() {
            text += "    nothing\n";
        }
        let mut before = "";
        for InFlight {
            what,
            name,
            text: how,
            number,
            ..
        } in &self.in_flight
        {
            let heading = if before == *what { "" } else { what };
            before = what;
            let number = number.map_or_else(String::new, |number| format!(" [{number}]"));
            text += &format!("    {heading:<9} {name}{number} {how}\n");
        }
        text
    }
}

/// So many lines are told in full.
const SHOWN_MAX: usize = 60;
/// Of a longer story so many of the first and the last lines are,
const FIRST: usize = 8;
const LAST: usize = 4;
/// and so many before and after the finding.
const BEFORE: usize = 25;
const AFTER: usize = 5;

fn said(left_out: usize) -> String {
    match left_out {
        0 => String::new(),
        lines => format!("    … {lines} lines left out; --json tells them\n"),
    }
}

/// A line with its number in a column of its own.
struct Aligned<'a> {
    line: &'a Line,
    width: usize,
}

impl fmt::Display for Aligned<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, width } = *self;
        let mark = if line.is_finding { ">>" } else { "  " };
        let Line {
            number,
            step,
            who,
            what,
            ..
        } = line;
        let moment = Moment(line.time_us);
        write!(
            f,
            "{mark}[{number:>width$}] {moment} step {step:<3} {who} {what}"
        )?;
        for (place, because) in line.because.iter().enumerate() {
            let before = if place == 0 { " (" } else { ", " };
            write!(f, "{before}{} [{}]", because.how, because.number)?;
        }
        if !line.because.is_empty() {
            f.write_str(")")?;
        }
        if let Some(Repeated { lines, times, last }) = line.repeated {
            let these = match lines {
                1 => "it".to_owned(),
                lines => format!("these {lines} lines"),
            };
            write!(
                f,
                "\n{:>1$} {times} more like {these}, up to [{last}]",
                "…",
                width + 4
            )?;
        }
        Ok(())
    }
}
