//! Where a run's stack was deepest: what repeats, once, and what it started and ended with.

use std::fmt::Write as _;

use dismantle_sim::{Fault, Kind};
use serde::Serialize;

use super::names::{Whose, function, in_crate};
use crate::worker::symbols::{Symbols, Walked, fold};

/// Functions that are shown above and below a cycle; of a stack without one, at either end.
const ENDS_SHOWN_MAX: usize = 12;

/// The stack of a phase at its deepest.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Deepest {
    /// `explain-stack`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// `build`, `drive` or `teardown`.
    pub phase: String,
    /// What the phase needed, in bytes; as in the report.
    pub bytes: u64,
    /// Frames of the whole stack, from its very start.
    pub frames: usize,
    /// What repeats, if something does.
    pub cycle: Option<Turns>,
    /// What the cycle called last, innermost first; without a cycle the innermost functions.
    pub above: Vec<Placed>,
    /// What called the cycle first; without one the outermost functions.
    pub below: Vec<Placed>,
    /// Frames that are in none of these: innermost and outermost ones are shown, of either end.
    pub hidden: usize,
}

/// Frames that repeat.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Turns {
    /// Turns on the stack.
    pub count: usize,
    /// Frames of one turn.
    pub frames: usize,
    /// Bytes of one turn.
    pub bytes: u64,
    /// The functions of one turn, innermost first, those that were inlined included.
    pub turn: Vec<Placed>,
}

/// A function on a stack.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Placed {
    /// Its name, in short.
    pub function: String,
    /// Whose code it is.
    pub whose: Whose,
    /// `capnp-rpc-0.27.3/src/rpc.rs:2811`, where it was at.
    pub place: Option<String>,
    /// Whether it has no frame of its own.
    pub inlined: bool,
}

impl Deepest {
    /// Of what a run that was caught there has left.
    pub(super) fn of(symbols: &Symbols, faults: &[Fault], phase: &str, bytes: u64) -> Option<Self> {
        let fault = faults.iter().find(|fault| fault.kind == Kind::Deepest)?;
        let walked = symbols.walk(fault);
        let lines = |frames: &[Walked]| -> Vec<Placed> {
            let named = frames.iter().flat_map(|frame| symbols.named(frame.address));
            let line = |named| {
                let (function, whose) = function(&named);
                Placed {
                    function,
                    whose,
                    place: named
                        .place
                        .map(|(path, line)| format!("{}:{line}", in_crate(&path))),
                    inlined: named.inlined,
                }
            };
            let lines = named.map(line);
            // What the standard library and its like were made of tells nothing.
            let is_dull =
                |line: &Placed| line.inlined && matches!(line.whose, Whose::Std | Whose::Other);
            lines.filter(|line| !is_dull(line)).collect()
        };
        let (above, cycle, below) = match fold(&walked) {
            Some(cycle) => {
                let end = cycle.start + cycle.length * cycle.count;
                let turns = Turns {
                    count: cycle.count,
                    frames: cycle.length,
                    bytes: cycle.bytes,
                    turn: lines(&walked[cycle.frames()]),
                };
                let shown = |frames: &[Walked]| frames.len().min(ENDS_SHOWN_MAX);
                let (above, below) = (&walked[..cycle.start], &walked[end..]);
                let above = &above[..shown(above)];
                (above, Some(turns), &below[..shown(below)])
            }
            None => {
                let (above, rest) = walked.split_at(walked.len().min(2 * ENDS_SHOWN_MAX));
                let outermost = rest.len().saturating_sub(ENDS_SHOWN_MAX);
                (above, None, &rest[outermost..])
            }
        };
        let told = above.len() + below.len();
        let of_cycle = cycle.as_ref().map_or(0, |turns| turns.frames * turns.count);
        Some(Self {
            hidden: walked.len() - told - of_cycle,
            kind: "explain-stack",
            phase: phase.to_owned(),
            bytes,
            frames: walked.len(),
            cycle,
            above: lines(above),
            below: lines(below),
        })
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("a String takes all writes");
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let Self {
            phase,
            bytes,
            frames,
            ..
        } = self;
        write!(text, "deepest     {phase}: {}", size(*bytes))?;
        match &self.cycle {
            Some(Turns {
                count,
                frames,
                bytes,
                turn,
            }) => {
                writeln!(
                    text,
                    " deep: a cycle of {frames} frames, {} B, x {}",
                    grouped(*bytes),
                    grouped(*count as u64)
                )?;
                write_lines(text, "what it called last, innermost first", &self.above)?;
                write_lines(text, "one turn", turn)?;
                write_lines(text, "what called it first", &self.below)?;
            }
            None => {
                writeln!(text, " deep, {frames} frames: nothing repeats")?;
                write_lines(text, "innermost first", &self.above)?;
                write_lines(text, "outermost", &self.below)?;
            }
        }
        match self.hidden {
            0 => Ok(()),
            hidden => writeln!(text, "  and {hidden} frames more, next to these"),
        }
    }
}

fn write_lines(text: &mut String, title: &str, lines: &[Placed]) -> std::fmt::Result {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(text, "  {title}")?;
    for line in lines {
        let Placed {
            function,
            whose,
            place,
            inlined,
        } = line;
        let within = if *inlined { "  " } else { "" };
        let place = place.as_deref().unwrap_or("");
        writeln!(text, "    {:<9}{within}{function}  {place}", whose.word())?;
    }
    Ok(())
}

/// `26.4 MB`, or small numbers to the byte.
fn size(bytes: u64) -> String {
    match bytes {
        1_000_000.. => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{} B", grouped(bytes)),
    }
}

/// `26,402,112`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
