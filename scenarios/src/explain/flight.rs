//! What was in flight: messages, bytes, questions, tasks and objects that had begun and not ended.

use std::collections::{BTreeMap, BTreeSet};

use super::InFlight;
use super::words::{is_message, is_received, is_sent, peers, question};
use crate::check::{Class, Finding};
use crate::report::RunReport;
use crate::told::Told;

/// So many of one sort are listed.
const LISTED_MAX: usize = 12;

/// A moment of a run.
pub(super) struct At {
    /// The events before it.
    pub(super) events: usize,
    pub(super) text: String,
}

/// The moment of the failure: the first panic, the end of the process, or the run at rest.
pub(super) fn moment(trace: &[Told], report: &RunReport) -> At {
    let find = |kind: &str| trace.iter().position(|event| event.kind == kind);
    let is_observed = |finding: &Finding| Class::OBSERVED.contains(&finding.class);
    let breach = match report.finding().is_some_and(is_observed) {
        true => find("breach"),
        false => None,
    };
    let at = |events: usize, what: &str| At {
        events,
        text: match trace.get(events.saturating_sub(1)) {
            Some(event) => format!("{what} [{}]", event.number),
            None => what.to_owned(),
        },
    };
    match (find("panic-raised"), find("at-rest")) {
        _ if breach.is_some() => at(breach.unwrap_or(0) + 1, "when the rule was broken"),
        (Some(panic), _) => at(panic + 1, "when it panicked"),
        _ if report.died() => at(trace.len(), "when the process died, after"),
        (None, Some(rest)) => at(rest + 1, "when the run had come to rest"),
        (None, None) => at(trace.len(), "at the end, after"),
    }
}

/// What was in flight after so many events of the run of `report`.
pub(super) fn in_flight(trace: &[Told], events: usize, report: &RunReport) -> Vec<InFlight> {
    let mut tables = Tables::default();
    if report.findings.iter().any(|it| it.class == Class::Leak) {
        let never = report.never_destroyed.iter();
        tables.never_destroyed = never.map(String::as_str).collect();
    }
    for event in &trace[..events] {
        tables.take(event);
    }
    let sorts = [
        tables.messages(),
        tables.bytes(),
        tables.questions(),
        tables.tasks(),
        tables.objects(),
    ];
    sorts.into_iter().flat_map(capped).collect()
}

#[derive(Default)]
struct Tables<'a> {
    /// By owner, the messages in its queue's order, and whether each was given up.
    sent: BTreeMap<&'a str, Vec<(&'a Told, bool)>>,
    /// By name, a message's place in its queue.
    places: BTreeMap<&'a str, usize>,
    /// By owner, how many messages were seen written whole, and how many it received.
    written: BTreeMap<&'a str, usize>,
    received: BTreeMap<&'a str, usize>,
    /// By pipe, bytes written, read and lost.
    bytes: BTreeMap<&'a str, [u64; 3]>,
    /// By owner and question, what it asked, and whether the answer has come.
    questions: BTreeMap<(&'a str, &'a str), (&'a Told, bool)>,
    /// By name, its start and the last that is known of it.
    tasks: BTreeMap<&'a str, (&'a Told, &'a Told)>,
    /// The owners whose connection is over.
    ended: BTreeSet<&'a str>,
    /// Who is told of, a message or not.
    never_destroyed: BTreeSet<&'a str>,
    /// By name, its making and the last event about it.
    objects: BTreeMap<&'a str, (&'a Told, &'a Told)>,
}

impl<'a> Tables<'a> {
    fn take(&mut self, event: &'a Told) {
        let (owner, subject) = (event.owner(), event.subject.as_str());
        if let Some((_, last)) = self.objects.get_mut(subject) {
            *last = event;
        }
        match event.kind.as_str() {
            "spawn" => drop(self.tasks.insert(subject, (event, event))),
            "poll" | "waits" => {
                if let Some((_, last)) = self.tasks.get_mut(subject) {
                    *last = event;
                }
            }
            "created" if !is_message(event) || self.never_destroyed.contains(subject) => {
                self.objects.insert(subject, (event, event));
            }
            "shutdown" => drop(self.ended.insert(owner)),
            "done" | "destroyed" => {
                if event.kind_of_subject() == "system" {
                    self.ended.insert(owner);
                }
                self.tasks.remove(subject);
                self.objects.remove(subject);
            }
            "written" => {
                self.bytes.entry(event.kind_of_subject()).or_default()[0] += event.numbers[0]
            }
            "read" => self.bytes.entry(event.kind_of_subject()).or_default()[1] += event.numbers[0],
            "lost" => {
                let lost: u64 = event.text.parse().unwrap_or(0);
                self.bytes.entry(event.kind_of_subject()).or_default()[2] += lost;
            }
            "sent" => *self.written.entry(owner).or_default() += 1,
            "dropped-unsent" => {
                let sent = self.sent.entry(owner).or_default();
                let place = self.places.get(subject);
                if let Some((_, given_up)) = place.and_then(|place| sent.get_mut(*place)) {
                    *given_up = true;
                }
            }
            _ if is_sent(event) => {
                let sent = self.sent.entry(owner).or_default();
                self.places.insert(subject, sent.len());
                sent.push((event, false));
                match question(&event.text) {
                    Some(("Call" | "Bootstrap", question)) => {
                        self.questions.insert((owner, question), (event, false));
                    }
                    Some(("Finish", question)) => {
                        // It may be forgotten before it is answered: then it is still open.
                        let asked = self.questions.get(&(owner, question));
                        if asked.is_some_and(|(_, returned)| *returned) {
                            self.questions.remove(&(owner, question));
                        }
                    }
                    _ => {}
                }
            }
            _ if is_received(event) => {
                *self.received.entry(owner).or_default() += 1;
                if let Some(("Return", question)) = question(&event.text) {
                    let no_finish = event.text.ends_with("no Finish needed");
                    if no_finish {
                        self.questions.remove(&(owner, question));
                    } else if let Some((_, returned)) = self.questions.get_mut(&(owner, question)) {
                        *returned = true;
                    }
                }
            }
            _ => {}
        }
    }

    fn messages(&self) -> Vec<InFlight> {
        let mut messages = Vec::new();
        for (owner, sent) in &self.sent {
            let peers = peers(owner);
            let received = peers
                .iter()
                .find_map(|peer| self.received.get(peer.as_str()));
            let received = received.copied().unwrap_or(0);
            let written = match sent.first() {
                // A peer without a vat writes as it says.
                Some((message, _)) if message.kind == "said" => sent.len(),
                _ => self.written.get(owner).copied().unwrap_or(0),
            };
            for (place, (message, given_up)) in sent.iter().enumerate().skip(received) {
                let how = match place < written {
                    _ if *given_up => continue,
                    true => "written, not received",
                    false => "in the queue",
                };
                let text = format!("{how}: {}", message.text);
                messages.push(item(
                    "message",
                    &message.subject,
                    text,
                    Some(message.number),
                ));
            }
        }
        messages
    }

    fn bytes(&self) -> Vec<InFlight> {
        let mut items = Vec::new();
        for (pipe, [written, read, lost]) in &self.bytes {
            let backlog = written.saturating_sub(read + lost);
            let text = match (backlog, lost) {
                (0, 0) => continue,
                (0, lost) => format!("{lost} B were lost"),
                (backlog, 0) => format!("{backlog} B written and not read"),
                (backlog, lost) => format!("{backlog} B written and not read, {lost} B lost"),
            };
            items.push(item("bytes", pipe, text, None));
        }
        items
    }

    fn questions(&self) -> Vec<InFlight> {
        // One that was answered is of no consequence any more when its connection is over.
        let open = self
            .questions
            .iter()
            .filter(|((owner, _), (_, returned))| !*returned || !self.ended.contains(owner));
        let open = open.map(|((owner, question), (asked, returned))| {
            let how = match returned {
                true => "returned and not finished",
                false => "open",
            };
            let name = format!("{owner} {question}");
            item(
                "question",
                &name,
                format!("{how}: {}", asked.text),
                Some(asked.number),
            )
        });
        open.collect()
    }

    fn tasks(&self) -> Vec<InFlight> {
        let tasks = self.tasks.iter().map(|(name, (spawned, last))| {
            let text = match last.kind.as_str() {
                "waits" => format!("waits for {} since step {}", last.text, last.step),
                "poll" => "is being polled".to_owned(),
                _ => "has not run yet".to_owned(),
            };
            item("task", name, text, Some(spawned.number))
        });
        tasks.collect()
    }

    fn objects(&self) -> Vec<InFlight> {
        let objects = self.objects.iter().map(|(name, (made, last))| {
            let never = self.never_destroyed.contains(name);
            let mut text = String::from(if never { "never destroyed" } else { "alive" });
            if made.number != last.number {
                text += &format!(", last seen at [{}] {}", last.number, last.kind);
            }
            item("object", name, text, Some(made.number))
        });
        objects.collect()
    }
}

fn item(what: &'static str, name: &str, text: String, number: Option<u64>) -> InFlight {
    InFlight {
        kind: "explain-in-flight",
        what,
        name: name.to_owned(),
        text,
        number,
    }
}

/// The first of a sort, oldest first, and how many more there are.
fn capped(mut items: Vec<InFlight>) -> Vec<InFlight> {
    items.sort_by_key(|item| item.number);
    let more = items.len().saturating_sub(LISTED_MAX);
    if more > 0 {
        items.truncate(LISTED_MAX);
        let what = items[0].what;
        items.push(item(what, "…", format!("and {more} more"), None));
    }
    items
}
