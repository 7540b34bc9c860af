//! What a run tells while it lasts: its events, and what was printed in it. Both are in order,
//! and readable when the process that they come from is gone.

use std::fmt;

use dismantle_sim::{Event, Name};

/// An event that was kept: as `dismantle_sim::Event`, in words of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    /// Its number among all of the run, from 0.
    pub number: u64,
    /// The step in which it happened, from 1; 0 before the first.
    pub step: u64,
    /// Virtual time.
    pub time_us: u64,
    /// What happened: `queued`.
    pub kind: String,
    /// To whom.
    pub subject: String,
    /// Two numbers whose meaning the kind gives.
    pub numbers: [u64; 2],
    /// In whose turn: a task that was polled, or an action of the owner.
    pub by: Option<String>,
    /// The event that brought it about.
    pub cause: Option<u64>,
    /// More for people; empty if there is none.
    pub text: String,
}

impl Told {
    /// The event of this number.
    pub fn of(number: u64, event: &Event) -> Self {
        Self {
            number,
            step: event.step,
            time_us: event.time_us,
            kind: event.kind.text().to_owned(),
            subject: event.subject.to_string(),
            numbers: event.numbers,
            by: event.by.as_ref().map(Name::to_string),
            cause: event.cause,
            text: event.text.as_deref().unwrap_or_default().to_owned(),
        }
    }

    /// The event as one line, which [`Told::from_line`] reads; quicker than JSON.
    #[cfg(feature = "cli")]
    pub(crate) fn line(number: u64, event: &Event) -> String {
        let Event {
            kind,
            subject,
            numbers: [a, b],
            step,
            time_us,
            ..
        } = event;
        let kind = kind.text();
        let mut line = format!("{number}\t{step}\t{time_us}\t{kind}\t{subject}\t{a}\t{b}\t");
        if let Some(by) = event.by {
            line += &by.to_string();
        }
        line.push('\t');
        if let Some(cause) = event.cause {
            line += &cause.to_string();
        }
        line.push('\t');
        line += event.text.as_deref().unwrap_or_default();
        line
    }

    /// The event of a line, if it is one.
    #[cfg(feature = "cli")]
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let mut parts = line.splitn(10, '\t');
        let mut next = || parts.next();
        let number = |text: &str| text.parse::<u64>().ok();
        let word = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Some(Self {
            number: number(next()?)?,
            step: number(next()?)?,
            time_us: number(next()?)?,
            kind: next()?.to_owned(),
            subject: next()?.to_owned(),
            numbers: [number(next()?)?, number(next()?)?],
            by: word(next()?),
            cause: number(next()?),
            text: next()?.to_owned(),
        })
    }

    /// Whose the subject is: `client` of `client/call/3`.
    pub fn owner(&self) -> &str {
        self.subject.split('/').next().unwrap_or_default()
    }

    /// What the subject is: `call` of `client/call/3`.
    pub fn kind_of_subject(&self) -> &str {
        self.subject.split('/').nth(1).unwrap_or_default()
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            number,
            step,
            time_us,
            kind,
            subject,
            text,
            ..
        } = self;
        write!(f, "{number:>7} step {step} {time_us}us {kind} {subject}")?;
        match self.numbers {
            [0, 0] => {}
            [a, 0] => write!(f, " {a}")?,
            [a, b] => write!(f, " {a} {b}")?,
        }
        match text.is_empty() {
            true => Ok(()),
            false => write!(f, ": {text}"),
        }
    }
}

/// A line that was printed in a run, or a panic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    /// The step, from 1; 0 before the first.
    pub step: u64,
    /// Virtual time.
    pub time_us: u64,
    /// The line.
    pub text: String,
}

impl Said {
    /// A panic, as one line.
    pub(crate) fn panic(step: u64, time_us: u64, site: &str, message: &str) -> Self {
        Self {
            step,
            time_us,
            text: format!("panic at {site}: {message}"),
        }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            step,
            time_us,
            text,
        } = self;
        write!(f, "[{}, step {step}] {text}", Moment(*time_us))
    }
}

/// A moment of virtual time, in microseconds: `1.250 ms`.
pub(crate) struct Moment(pub(crate) u64);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} ms", self.0 / 1000, self.0 % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "cli")]
    #[test]
    fn a_line_is_read_as_it_was_written() {
        let told = Told {
            number: 7,
            step: 3,
            time_us: 1250,
            kind: "queued".to_owned(),
            subject: "client/message-out/1".to_owned(),
            numbers: [5, 0],
            by: None,
            cause: Some(2),
            text: "Abort `a\tb`".to_owned(),
        };
        let line = "7\t3\t1250\tqueued\tclient/message-out/1\t5\t0\t\t2\tAbort `a\tb`";
        assert_eq!(Told::from_line(line), Some(told.clone()));
        assert_eq!(Told::from_line("7\t3"), None);
        assert_eq!(
            told.to_string(),
            "      7 step 3 1250us queued client/message-out/1 5: Abort `a\tb`"
        );
    }

    #[test]
    fn what_was_said_has_its_moment() {
        let said = Said::panic(41, 1250, "x.rs:3", "why");
        assert_eq!(said.to_string(), "[1.250 ms, step 41] panic at x.rs:3: why");
    }
}
