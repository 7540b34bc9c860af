//! The log of a single run: what it gives away, written as it comes, so that it outlives the
//! process; and how its supervisor reads it.
//!
//! What is printed goes into a file of its own. The log says, turn by turn, how long that has
//! become: so each line has a moment, whoever printed it and however.

use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use dismantle_sim::{Event, Name, Panic, Phase, Recorder, Value};
use serde::{Deserialize, Serialize};

use super::progress::{Doing, Progress};
use crate::told::{Said, Told};

/// A line of the log.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum LogLine {
    Count(String, u64),
    Word(String, String),
    Panic {
        site: String,
        message: String,
        step: u64,
        time_us: u64,
    },
    /// Up to this length the file of what was printed is of this moment, or earlier.
    Printed {
        bytes: u64,
        step: u64,
        time_us: u64,
    },
    /// An event: [`Told::line`].
    Event(String),
    /// What a program of its own would do: a place and a line.
    Script(String, String),
    /// The run is over. What comes now is of others, which see why it left memory.
    Over,
}

/// What a log is of.
pub(super) struct Of {
    pub(super) seed: u64,
    /// Whether events go in.
    pub(super) events: bool,
    /// Where what is printed goes, if somebody wants it.
    pub(super) prints: Option<Arc<File>>,
    /// Whether the run's script goes in.
    pub(super) script: bool,
}

/// Writes the log.
pub(super) struct Log {
    of: Of,
    file: Arc<File>,
    progress: Arc<Progress>,
    now: Mutex<Now>,
}

/// The moment, and how much was printed before it.
#[derive(Clone, Copy, Default)]
struct Now {
    step: u64,
    time_us: u64,
    printed_bytes: u64,
    over: bool,
}

impl Log {
    pub(super) fn new(of: Of, file: Arc<File>, progress: Arc<Progress>) -> Self {
        progress.note(of.seed, [0, 0], Phase::Build, None);
        Self {
            of,
            file,
            progress,
            now: Mutex::default(),
        }
    }

    fn write(&self, line: &LogLine) {
        if let Ok(mut line) = serde_json::to_vec(line) {
            line.push(b'\n');
            // A full disk costs the record, not the run.
            drop((&*self.file).write_all(&line));
        }
    }

    /// Gives what was printed since the last call the moment that was; the next is another.
    fn turn_page(&self, change: impl FnOnce(&mut Now)) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(prints), false) = (&self.of.prints, now.over) {
            // A line that was begun belongs to the moment at which it was begun.
            drop(io::stdout().flush());
            let bytes = prints.metadata().map_or(0, |prints| prints.len());
            if bytes > now.printed_bytes {
                now.printed_bytes = bytes;
                let Now { step, time_us, .. } = *now;
                self.write(&LogLine::Printed {
                    bytes,
                    step,
                    time_us,
                });
            }
        }
        change(&mut now);
    }
}

impl Recorder for Log {
    fn answer(&self, path: &str, value: &Value) {
        self.write(&match value {
            Value::Count(count) => LogLine::Count(path.to_owned(), *count),
            Value::Word(word) => LogLine::Word(path.to_owned(), word.clone()),
        });
    }

    fn panic(&self, panic: &Panic) {
        let mut now = Now::default();
        self.turn_page(|it| now = *it);
        self.write(&LogLine::Panic {
            site: panic.site.clone(),
            message: panic.message.clone(),
            step: now.step,
            time_us: now.time_us,
        });
    }

    fn turn(&self, step: u64, time_us: u64, phase: Phase, who: Option<Name>) {
        self.progress
            .note(self.of.seed, [step, time_us], phase, who);
        if self.of.prints.is_some() {
            self.turn_page(|now| (now.step, now.time_us) = (step, time_us));
        }
    }

    fn event(&self, number: u64, event: &Event) {
        if self.of.events {
            self.write(&LogLine::Event(Told::line(number, event)));
        }
    }

    fn scripts(&self) -> bool {
        self.of.script
    }

    fn line(&self, place: &'static str, line: &str) {
        self.write(&LogLine::Script(place.to_owned(), line.to_owned()));
    }

    fn over(&self) {
        self.turn_page(|now| now.over = true);
        self.write(&LogLine::Over);
    }
}

/// What a log says of its run.
#[derive(Default)]
pub(super) struct Read {
    /// The answers that the run was given.
    pub(super) answers: Vec<(String, Value)>,
    pub(super) panics: Vec<Panic>,
    pub(super) told: Vec<Told>,
    /// What was printed, and the panics, in order.
    pub(super) said: Vec<Said>,
    /// What a program of its own would do.
    pub(super) script: Vec<(String, String)>,
}

impl Read {
    /// Reads a log, whose last line may be torn, and what was printed; `doing` is what the
    /// process did last, if it has died.
    pub(super) fn of(log: &[u8], prints: &[u8], doing: Option<&Doing>) -> Self {
        let mut read = Self::default();
        let (mut printed_bytes, mut over) = (0, false);
        for line in log.split(|byte| *byte == b'\n') {
            match serde_json::from_slice(line) {
                Ok(LogLine::Count(path, count)) => read.answers.push((path, Value::Count(count))),
                Ok(LogLine::Word(path, word)) => read.answers.push((path, Value::Word(word))),
                Ok(LogLine::Event(line)) => read.told.extend(Told::from_line(&line)),
                Ok(LogLine::Script(place, line)) => read.script.push((place, line)),
                Ok(LogLine::Over) => over = true,
                Ok(LogLine::Printed {
                    bytes,
                    step,
                    time_us,
                }) => {
                    let until = prints.len().min(bytes as usize);
                    read.print(&prints[printed_bytes.min(until)..until], step, time_us);
                    printed_bytes = until;
                }
                Ok(LogLine::Panic {
                    site,
                    message,
                    step,
                    time_us,
                }) => {
                    read.panics.push(Panic { site, message });
                    let Panic { site, message } = &read.panics[read.panics.len() - 1];
                    read.said.push(Said::panic(step, time_us, site, message));
                }
                // The end of the file, or a line that the process was killed over.
                Err(_) => {}
            }
            if over {
                return read;
            }
        }
        let (step, time_us) = doing.map_or((0, 0), |doing| (doing.step, doing.time_us));
        read.print(&prints[printed_bytes..], step, time_us);
        read
    }

    fn print(&mut self, bytes: &[u8], step: u64, time_us: u64) {
        let text = String::from_utf8_lossy(bytes);
        self.said.extend(text.lines().map(|line| Said {
            step,
            time_us,
            text: line.to_owned(),
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_printed_gets_its_moment_and_what_comes_after_the_end_is_left_out() {
        let lines = [
            LogLine::Printed {
                bytes: 4,
                step: 1,
                time_us: 0,
            },
            LogLine::Panic {
                site: "x.rs:1".to_owned(),
                message: "why".to_owned(),
                step: 2,
                time_us: 500,
            },
        ];
        let mut log = Vec::new();
        for line in &lines {
            log.extend(serde_json::to_vec(line).expect("text"));
            log.push(b'\n');
        }
        let doing = Doing {
            seed: 0,
            step: 3,
            time_us: 700,
            phase: "drive",
            who: None,
        };
        let said = |log: &[u8]| {
            let read = Read::of(log, b"one\ntwo\n", Some(&doing));
            let lines = read.said.iter().map(Said::to_string);
            lines.collect::<Vec<_>>()
        };
        let known = [
            "[0.000 ms, step 1] one",
            "[0.500 ms, step 2] panic at x.rs:1: why",
        ];
        assert_eq!(said(&log)[..2], known);
        assert_eq!(said(&log)[2..], ["[0.700 ms, step 3] two"]);
        log.extend(b"\"over\"\n{\"torn");
        assert_eq!(said(&log), known);
    }
}
