//! From events to lines: which are told, whose doing each was, and what brought it about.
//!
//! An event that is not told has one that stands for it: the last line of what it happens inside
//! of, or, going back by causes, the line that brought that about. So "woken by" leads from a line
//! to a line, over all the wakes, polls and bytes between them.

use std::collections::BTreeMap;

use super::words::{Words, is_message, is_received, is_sent, peers, question, words};
use super::{Because, Line};
use crate::check::Class;
use crate::report::RunReport;
use crate::told::Told;

/// So many parts of one line are named.
const PARTS_MAX: usize = 12;

/// The lines of a run, in order.
pub(super) fn lines(trace: &[Told], report: &RunReport) -> Vec<Line> {
    let mut teller = Teller::new(trace, report);
    for event in trace {
        teller.tell(event);
    }
    teller.end(report);
    teller.lines
}

/// What a thing goes back to.
#[derive(Clone, Copy)]
enum Source {
    /// A line.
    Line(usize),
    /// This event of the clock.
    Clock(u64),
}

struct Teller<'a> {
    trace: &'a [Told],
    lines: Vec<Line>,
    /// For each event the line that stands for it, and whether that tells of it.
    stand_in: Vec<(Option<Source>, bool)>,
    /// For each event the poll or the action of the owner that it happened in.
    turns: Vec<Option<&'a Told>>,
    /// The last line of what happens inside of this event.
    last_inside: BTreeMap<Option<u64>, usize>,
    /// How many parts a line has beside what it says itself.
    parts: BTreeMap<usize, usize>,
    /// By owner, the lines of the messages that it sent.
    sent: BTreeMap<&'a str, Vec<usize>>,
    /// By name, the message and its line.
    messages: BTreeMap<&'a str, (&'a Told, usize)>,
    /// By owner, how many it received.
    received: BTreeMap<&'a str, usize>,
    /// By owner and question, the line in which it was received.
    asked: BTreeMap<(&'a str, &'a str), usize>,
    /// By call, the line in which it was made.
    made: BTreeMap<u64, usize>,
    /// The owner's operation whose action comes next.
    operation: Option<&'a str>,
    /// The last event of each task that is pending at the end and had to end.
    hanging: BTreeMap<&'a str, u64>,
    leaked: Vec<&'a str>,
    panics: bool,
}

impl<'a> Teller<'a> {
    fn new(trace: &'a [Told], report: &'a RunReport) -> Self {
        let class = report.finding().map(|finding| finding.class);
        let has = |class: Class| report.findings.iter().any(|it| it.class == class);
        let mut hanging = BTreeMap::new();
        if has(Class::Hang) {
            let waits = report.pending.iter().filter(|wait| wait.must_end);
            let tasks: Vec<&str> = waits.map(|wait| wait.task.as_str()).collect();
            let waiting = trace.iter().filter(|event| event.kind == "waits");
            for event in waiting.filter(|event| tasks.contains(&event.subject.as_str())) {
                hanging.insert(event.subject.as_str(), event.number);
            }
        }
        Self {
            trace,
            lines: Vec::new(),
            stand_in: Vec::with_capacity(trace.len()),
            turns: Vec::with_capacity(trace.len()),
            last_inside: BTreeMap::new(),
            parts: BTreeMap::new(),
            sent: BTreeMap::new(),
            messages: BTreeMap::new(),
            received: BTreeMap::new(),
            asked: BTreeMap::new(),
            made: BTreeMap::new(),
            operation: None,
            hanging,
            leaked: match has(Class::Leak) {
                true => report.never_destroyed.iter().map(String::as_str).collect(),
                false => Vec::new(),
            },
            panics: matches!(class, Some(Class::Panic | Class::Abort)),
        }
    }

    fn tell(&mut self, event: &'a Told) {
        self.turns.push(match event.kind.as_str() {
            "poll" | "action" => Some(event),
            "wake" => None,
            _ => event
                .cause
                .and_then(|cause| self.turns.get(cause as usize).copied()?),
        });
        let line = match event.kind.as_str() {
            "operation" => {
                self.operation = event.subject.rsplit('/').next();
                None
            }
            "action" => {
                let number = self.operation.take();
                let number = number.map_or_else(String::new, |it| format!(" (operation {it})"));
                Some(self.line(event, format!("does {}{number}", event.subject)))
            }
            "created" if self.leaked.contains(&event.subject.as_str()) => {
                let line = self.line(event, format!("makes {}", event.subject));
                self.lines[line].what += ", which is never destroyed";
                self.lines[line].is_finding = true;
                Some(line)
            }
            "waits" if self.hanging.get(event.subject.as_str()) == Some(&event.number) => {
                let text = format!("waits for {} and is not woken any more", event.text);
                let line = self.line(event, text);
                self.lines[line].is_finding = true;
                Some(line)
            }
            "done" => self.done(event),
            "destroyed" => self.destroyed(event),
            "dropped-unsent" => Some(self.unsent(event)),
            _ => match words(event) {
                Words::Silent => None,
                Words::Part(text) => Some(self.part(event, &text)),
                Words::Line(who, what) => {
                    let line = self.line(event, what);
                    if let Some(who) = who {
                        self.lines[line].who = who;
                    }
                    self.relate(event, line);
                    Some(line)
                }
            },
        };
        let stands = match (line, event.kind.as_str()) {
            (Some(line), _) => Some(Source::Line(line)),
            (None, "time") => Some(Source::Clock(event.number)),
            (None, _) => self.inside(event.cause),
        };
        self.stand_in.push((stands, line.is_some()));
    }

    /// The line that stands for what happens inside of an event: the last one, or that of the
    /// event.
    fn inside(&self, scope: Option<u64>) -> Option<Source> {
        let last = self.last_inside.get(&scope).copied();
        let last = last.filter(|_| scope.is_some()).map(Source::Line);
        last.or_else(|| self.stand_in_of(scope?))
    }

    fn stand_in_of(&self, number: u64) -> Option<Source> {
        self.stand_in.get(number as usize)?.0
    }

    fn cause(&self, number: u64) -> Option<&'a Told> {
        self.trace.get(number as usize)
    }

    /// A new line, with what brought it about in general.
    fn line(&mut self, event: &'a Told, what: String) -> usize {
        let scope = event.cause.and_then(|cause| self.cause(cause));
        let mut because = Vec::new();
        let mut add = |how, source: Option<Source>| {
            because.extend(source.map(|source| match source {
                Source::Line(line) => Because {
                    how,
                    number: self.lines[line].number,
                },
                Source::Clock(number) => Because {
                    how: "woken by the clock",
                    number,
                },
            }));
        };
        let before = self.last_inside.get(&event.cause).copied();
        let before = before.map(Source::Line);
        match scope.map(|scope| (scope.kind.as_str(), scope)) {
            None => {}
            Some((_, _)) if before.is_some() && event.cause.is_some() => add("after", before),
            Some(("poll", scope)) => add("woken by", self.stand_in_of(scope.number)),
            Some(("destroyed", scope)) => add("dropped by", self.stand_in_of(scope.number)),
            Some((_, scope)) => add("part of", self.stand_in_of(scope.number)),
        }
        let line = self.lines.len();
        self.lines.push(Line {
            kind: "explain-event",
            number: event.number,
            step: event.step,
            time_us: event.time_us,
            who: match self.turns.last().copied().flatten() {
                Some(turn) if turn.kind == "poll" => turn.subject.clone(),
                _ => "the owner".to_owned(),
            },
            what,
            because,
            is_finding: event.kind == "breach" || self.panics && event.kind == "panic-raised",
            repeated: None,
        });
        self.last_inside.insert(event.cause, line);
        line
    }

    /// Adds what is known of messages and calls.
    fn relate(&mut self, event: &'a Told, line: usize) {
        let owner = event.owner();
        let mut because = None;
        if event.kind == "call-arrived" {
            because = self
                .made
                .get(&event.numbers[0])
                .map(|made| ("made by", *made));
        } else if is_sent(event) {
            self.sent.entry(owner).or_default().push(line);
            self.messages.insert(&event.subject, (event, line));
            if let Some(("Return", question)) = question(&event.text) {
                let asked = self.asked.get(&(owner, question));
                because = asked.map(|asked| ("answers", *asked));
            }
        } else if is_received(event) {
            let count = self.received.entry(owner).or_default();
            let place = *count;
            *count += 1;
            let from = peers(owner).into_iter();
            let mut from = from.filter_map(|peer| self.sent.get(peer.as_str()));
            because = from
                .find_map(|sent| sent.get(place))
                .map(|sent| ("sent by", *sent));
            if let Some(("Call" | "Bootstrap", question)) = question(&event.text) {
                self.asked.insert((owner, question), line);
            }
        }
        if let Some((how, of)) = because {
            let number = self.lines[of].number;
            self.lines[line].because.insert(0, Because { how, number });
        }
    }

    /// Something that is part of what it happens inside of, if that is told.
    fn part(&mut self, event: &'a Told, text: &str) -> usize {
        let scope = event
            .cause
            .and_then(|cause| self.stand_in.get(cause as usize));
        let scope = scope.and_then(|(source, is_told)| match source {
            Some(Source::Line(line)) if *is_told => Some(*line),
            _ => None,
        });
        let line = match scope.or(self.drops_before(event)) {
            Some(line) => {
                let parts = self.parts.entry(line).or_default();
                *parts += 1;
                match *parts {
                    parts if parts <= PARTS_MAX => {
                        self.lines[line].what += ", ";
                        self.lines[line].what += text;
                    }
                    parts if parts == PARTS_MAX + 1 => self.lines[line].what += " and more",
                    _ => {}
                }
                line
            }
            None => {
                let is_end = text.starts_with("the ");
                let text = if is_end {
                    format!("drops {text}")
                } else {
                    text.to_owned()
                };
                self.line(event, text)
            }
        };
        if event.kind == "call-made" {
            self.made.insert(event.numbers[0], line);
        }
        line
    }

    /// The line before this event, if it says that something was dropped in the same turn.
    fn drops_before(&self, event: &Told) -> Option<usize> {
        let is_drop = ["destroyed", "reader-dropped", "writer-dropped", "lost"];
        let last = self.last_inside.get(&event.cause).copied();
        let last = last.filter(|line| line + 1 == self.lines.len() && event.cause.is_some());
        last.filter(|line| {
            let before = self.cause(self.lines[*line].number);
            let is = |before: &Told| is_drop.contains(&before.kind.as_str());
            before.is_some_and(is) && is_drop.contains(&event.kind.as_str())
        })
    }

    /// A task has ended: if nothing else has said so.
    fn done(&mut self, event: &'a Told) -> Option<usize> {
        let last = self.last_inside.get(&event.cause);
        let said = [
            "call-answered",
            "call-failed",
            "system-ended",
            "panic-raised",
        ];
        let is_said = |line: &usize| {
            let told = self.cause(self.lines[*line].number);
            let said = |told: &Told| said.contains(&told.kind.as_str());
            told.is_some_and(said)
        };
        let said = (0..self.lines.len())
            .rev()
            .take_while(|line| self.lines[*line].step == event.step)
            .any(|line| is_said(&line) && self.lines[line].who == event.subject);
        match said {
            true => last.copied(),
            false => Some(self.line(event, "ends".to_owned())),
        }
    }

    fn destroyed(&mut self, event: &'a Told) -> Option<usize> {
        let inside = event.cause.and_then(|cause| self.cause(cause));
        let ended = |inside: &Told| inside.kind == "poll" && inside.subject == event.subject;
        if is_message(event) || inside.is_some_and(ended) {
            return None;
        }
        Some(match inside {
            Some(inside) if inside.kind == "destroyed" => self.part(event, &event.subject),
            Some(inside) if inside.kind == "action" => {
                self.part(event, &format!("drops {}", event.subject))
            }
            _ if self.drops_before(event).is_some() => self.part(event, &event.subject),
            _ => self.line(event, format!("drops {}", event.subject)),
        })
    }

    fn unsent(&mut self, event: &'a Told) -> usize {
        let queued = self.messages.get(event.subject.as_str()).copied();
        let text = queued.map_or("", |(queued, _)| queued.text.as_str());
        let what = format!("drops {text} ({}), which was not sent", event.subject);
        let line = self.line(event, what);
        if let Some((_, queued)) = queued {
            let number = self.lines[queued].number;
            let how = "queued by";
            self.lines[line].because.insert(0, Because { how, number });
        }
        line
    }

    /// Says where the finding is that no event shows.
    fn end(&mut self, report: &RunReport) {
        let Some(finding) = report.finding().filter(|_| report.died()) else {
            return;
        };
        if self.panics && self.lines.iter().any(|line| line.is_finding) {
            return;
        }
        let Some(last) = self.trace.last() else {
            return;
        };
        let because = self.lines.last().map(|line| Because {
            how: "after",
            number: line.number,
        });
        let started = |event: &&Told| ["poll", "action"].contains(&event.kind.as_str());
        let turn = self.trace.iter().rev().find(started);
        self.lines.push(Line {
            kind: "explain-event",
            number: last.number + 1,
            step: last.step,
            time_us: last.time_us,
            who: match turn {
                Some(turn) if turn.kind == "poll" => turn.subject.clone(),
                _ => "the owner".to_owned(),
            },
            what: format!("takes the process along: {}", finding.signature),
            because: because.into_iter().collect(),
            is_finding: true,
            repeated: None,
        });
    }
}
