//! What an event is called when a person is told of it.

use crate::told::Told;

/// What is to be done with an event.
pub(super) enum Words {
    /// It is a line: who did it, if not whose turn it was, and what.
    Line(Option<String>, String),
    /// It is part of the line of what it happens inside of, or of the one before it.
    Part(String),
    /// It is not told: it is bookkeeping, or another event says it.
    Silent,
}

/// The words for an event that is of no further consequence.
pub(super) fn words(event: &Told) -> Words {
    let subject = &event.subject;
    let [first, second] = event.numbers;
    let line = |what: String| Words::Line(None, what);
    let pipe = event.kind_of_subject();
    match event.kind.as_str() {
        "phase" | "operation" | "poll" | "wake" | "waits" | "time" | "created" | "done"
        | "sent" | "written" | "read" | "delivered" | "woken-in-vain" | "panic"
        | "priorities-change" => Words::Silent,
        "spawn" => Words::Part(format!("starts {subject}")),
        "call-made" => {
            let sent = if second == 0 { ", within its vat" } else { "" };
            Words::Part(format!("makes call {first} on {subject}{sent}"))
        }
        "call-arrived" => line(format!("begins call {first}, at {subject}")),
        "call-answered" => line(format!("has the answer to {}", its(event))),
        "call-failed" => match event.text.as_str() {
            "" => line(format!("sees {} fail", its(event))),
            text => line(format!("sees {} fail: {text}", its(event))),
        },
        "queued" | "said" => line(format!("sends {}", message(event))),
        "received" | "heard" => line(format!("receives {}", message(event))),
        "dropped-unsent" => line(format!("drops {subject}, which was never sent")),
        "destroyed" => line(format!("drops {subject}")),
        "reader-dropped" if first > 0 => {
            Words::Part(format!("the reading end of {pipe} with {first} B unread"))
        }
        "reader-dropped" => Words::Part(format!("the reading end of {pipe}")),
        "writer-dropped" => Words::Part(format!("the writing end of {pipe}")),
        "lost" => Words::Part(format!("{} B of {pipe} are lost", event.text)),
        "closed" => line(format!("ends {pipe}, behind {first} B")),
        "shutdown" if first == 0 => line(format!("shuts {subject} down")),
        "shutdown" => line(format!("shuts {subject} down, with an error")),
        "system-ended" if first == 0 => line("ends".to_owned()),
        "system-ended" => line("ends with an error".to_owned()),
        "fault" => Words::Line(
            Some("the plan".to_owned()),
            format!("breaks {pipe}: {}", event.text),
        ),
        "stall-over" => Words::Line(Some("the plan".to_owned()), format!("lets {pipe} go on")),
        "cut" => Words::Line(Some("the plan".to_owned()), "cuts the run here".to_owned()),
        "server-behaves" => line(format!("has {subject} misbehave: {}", event.text)),
        "heal" => Words::Line(
            Some("the owner".to_owned()),
            "is done; nothing new breaks from here on".to_owned(),
        ),
        "at-rest" => Words::Line(
            Some("the run".to_owned()),
            "is at rest; what is left is dropped".to_owned(),
        ),
        "injected-panic" => line("panics, as the plan says".to_owned()),
        "panic-raised" => line(format!("panics at {}", event.text)),
        "breach" => line(format!("breaks a rule ({subject}): {}", event.text)),
        // What the tap saw of a message: where it is queued and received says more.
        _ if event.owner() == "pipe" => Words::Silent,
        kind => {
            let numbers = match event.numbers {
                [0, 0] => String::new(),
                [a, 0] => format!(" {a}"),
                [a, b] => format!(" {a} {b}"),
            };
            line(format!("{kind} {subject}{numbers}"))
        }
    }
}

/// A call, of the task that it is about or of another.
fn its(event: &Told) -> &str {
    match event.by.as_ref() == Some(&event.subject) {
        true => "its call",
        false => &event.subject,
    }
}

/// A message with the name of the object that it is, and what it says.
fn message(event: &Told) -> String {
    let Told { subject, text, .. } = event;
    format!("{text} ({subject})")
}

/// Whether it is a message that a vat or a peer wants written.
pub(super) fn is_sent(event: &Told) -> bool {
    ["queued", "said"].contains(&event.kind.as_str())
}

/// Whether it is a message that was handed to a vat or a peer.
pub(super) fn is_received(event: &Told) -> bool {
    ["received", "heard"].contains(&event.kind.as_str())
}

/// The message's kind and its question: `Call`, `q2`.
pub(super) fn question(text: &str) -> Option<(&str, &str)> {
    let mut words = text.split([' ', ':', ',']);
    let (kind, question) = (words.next()?, words.next()?);
    let digits = question.strip_prefix('q')?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some((kind, question))
}

/// Who is at the other end of whose connection: `server-2` of `client-2`.
pub(super) fn peers(owner: &str) -> Vec<String> {
    match owner.strip_prefix("client") {
        Some(number) => vec![format!("server{number}"), "raw".to_owned()],
        None => match owner.strip_prefix("server") {
            Some(number) => vec![format!("client{number}"), "raw".to_owned()],
            None => vec!["client".to_owned(), "server".to_owned()],
        },
    }
}

/// Whether the object is a message, of which there are many.
pub(super) fn is_message(event: &Told) -> bool {
    event.kind_of_subject().starts_with("message-")
}
