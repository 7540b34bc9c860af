//! Rules of destruction order: what a scenario says must not happen when things are destroyed.
//!
//! A rule speaks of names by pattern, `owner/kind` or `owner/kind/3`, where `*` stands for any
//! owner or any kind. It is judged at every destruction, also of those that a report has no room
//! for, from the moment it is stated until the run cleans up after itself; what it finds is a
//! [`crate::Breach`] of `destruction-order`, one a rule. Nothing is said once a limit has cut the
//! run short, nor while the plan does: what follows is then nobody's order.
//!
//! A destruction counts from its start: what is dropped by the drop of another comes after it.

use std::collections::{BTreeMap, BTreeSet};

use crate::name::Name;
use crate::track::Destroyed;

/// The property that these rules are about.
pub(crate) const PROPERTY: &str = "destruction-order";

/// One rule about the order in which tracked objects and tasks are destroyed.
#[derive(Clone, Debug)]
pub struct Rule {
    text: String,
    what: Pattern,
    law: Law,
}

#[derive(Clone, Debug)]
enum Law {
    Before(Pattern),
    Once,
    NeverInside(Where, Pattern),
}

/// What a destruction may happen in the middle of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Where {
    /// A step: the poll of a task, or the end of the task that the poll brings.
    Poll,
    /// A step of the tasks of this name.
    PollOf(&'static str),
    /// A call of a waker that says so with [`crate::Sim::waking`].
    ///
    /// Wakers of the executor's tasks only put down that they were called: nothing is ever
    /// destroyed inside them, and they do not count.
    Wake,
    /// The destruction of any other.
    Destruction,
    /// The destruction of what has this name.
    DestructionOf(&'static str),
}

impl Rule {
    /// Every `first` is destroyed before any `second` is; those of each owner by themselves if
    /// both are of `*`.
    ///
    /// Broken when a `first` is destroyed that was alive when a `second` was destroyed. One that
    /// is never destroyed breaks no order: it is a leak.
    ///
    /// # Panics
    /// Every constructor does if a pattern is not of the form `owner/kind` or `owner/kind/3`.
    pub fn before(first: &'static str, second: &'static str) -> Self {
        Self {
            text: format!("{first} before {second}"),
            what: Pattern::new(first),
            law: Law::Before(Pattern::new(second)),
        }
    }

    /// No name that fits `what` is destroyed twice in a run.
    ///
    /// A tracked value cannot be dropped twice; what a name stands for can: a session of that
    /// number, a call that was to be served once.
    pub fn once(what: &'static str) -> Self {
        Self {
            text: format!("{what} once"),
            what: Pattern::new(what),
            law: Law::Once,
        }
    }

    /// No `what` is destroyed in the middle of that: it would be re-entered.
    pub fn never_inside(what: &'static str, place: Where) -> Self {
        let (words, of) = match place {
            Where::Poll => ("a poll".to_owned(), "*/*"),
            Where::PollOf(of) => (format!("a poll of {of}"), of),
            Where::Wake => ("a wake".to_owned(), "*/*"),
            Where::Destruction => ("a destruction".to_owned(), "*/*"),
            Where::DestructionOf(of) => (format!("the destruction of {of}"), of),
        };
        Self {
            text: format!("{what} never inside {words}"),
            what: Pattern::new(what),
            law: Law::NeverInside(place, Pattern::new(of)),
        }
    }

    /// The rule in words: `server/connection before server/object`.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Which names a rule speaks of.
#[derive(Clone, Copy, Debug)]
struct Pattern {
    owner: &'static str,
    kind: &'static str,
    index: Option<u32>,
}

impl Pattern {
    fn new(text: &'static str) -> Self {
        let mut parts = text.split('/');
        let (owner, kind, index) = (parts.next(), parts.next(), parts.next());
        let index = index.map(|index| index.parse::<u32>());
        match (owner, kind, index, parts.next()) {
            (Some(owner), Some(kind), None, None) if !owner.is_empty() && !kind.is_empty() => {
                Self {
                    owner,
                    kind,
                    index: None,
                }
            }
            (Some(owner), Some(kind), Some(Ok(index)), None) => Self {
                owner,
                kind,
                index: Some(index),
            },
            _ => panic!("`{text}` is no name: a rule speaks of `owner/kind` or `owner/kind/3`"),
        }
    }

    fn fits(&self, name: Name) -> bool {
        let one = |pattern: &str, word: &str| pattern == "*" || pattern == word;
        one(self.owner, name.owner())
            && one(self.kind, name.kind())
            && self.index.is_none_or(|index| name.index() == Some(index))
    }
}

/// What a destruction happened in the middle of, and since when its object was there.
pub(crate) struct Moment<'a> {
    pub destroyed: &'a Destroyed,
    /// When the object was made and when it goes, in the tracker's own count.
    pub born: u64,
    pub now: u64,
    /// Those whose destruction is under way, the innermost last.
    pub open: &'a [(Name, Option<usize>)],
}

/// A rule in force.
pub(crate) struct Judge {
    rule: Rule,
    broken: bool,
    /// The last destruction, of each owner, that the rule's objects had to come before.
    passed: BTreeMap<&'static str, (u64, Name)>,
    /// The names that were destroyed, by their hashes.
    seen: BTreeSet<u64>,
}

impl Judge {
    pub(crate) fn new(rule: Rule) -> Self {
        Self {
            rule,
            broken: false,
            passed: BTreeMap::new(),
            seen: BTreeSet::new(),
        }
    }

    /// The rule's text and what broke it, if this destruction is the first that does.
    pub(crate) fn judge(&mut self, moment: &Moment<'_>) -> Option<(String, String)> {
        if self.broken {
            return None;
        }
        let detail = self.look(moment)?;
        self.broken = true;
        Some((self.rule.text.clone(), detail))
    }

    fn look(&mut self, moment: &Moment<'_>) -> Option<String> {
        let name = moment.destroyed.name;
        let concerned = self.rule.what.fits(name);
        match &self.rule.law {
            Law::Before(second) => {
                // First what was, then what is: a name may fit both patterns.
                let of_one_owner = (self.rule.what.owner, second.owner) == ("*", "*");
                let owner = if of_one_owner { name.owner() } else { "*" };
                let passed = self.passed.get(owner).copied();
                let late = passed.filter(|(at, _)| concerned && moment.born < *at);
                if second.fits(name) {
                    self.passed.insert(owner, (moment.now, name));
                }
                late.map(|(_, second)| format!("{second} was destroyed before {name}"))
            }
            Law::Once => (concerned && !self.seen.insert(name.id()))
                .then(|| format!("{name} is destroyed for the second time")),
            Law::NeverInside(..) if !concerned => None,
            Law::NeverInside(Where::Wake, _) => {
                let in_wake = moment.destroyed.in_wake;
                in_wake.then(|| format!("{name} is destroyed inside a wake"))
            }
            Law::NeverInside(Where::Poll | Where::PollOf(_), of) => {
                let task = moment.destroyed.task.filter(|task| of.fits(*task))?;
                // The end of a task is no re-entrance of its own poll.
                (task != name).then(|| format!("{name} is destroyed inside a poll of {task}"))
            }
            Law::NeverInside(Where::Destruction | Where::DestructionOf(_), of) => {
                let (outer, _) = moment
                    .open
                    .iter()
                    .rev()
                    .find(|(outer, _)| of.fits(*outer))?;
                Some(format!(
                    "{name} is destroyed inside the destruction of {outer}"
                ))
            }
        }
    }
}
