//! The calls that a note was left in, as far as they destroy something.

use std::collections::BTreeMap;
use std::rc::Rc;

use dismantle_sim::Fault;

use super::names::{Type, Whose, destroyed_by, inner, short};
use crate::worker::symbols::{Named, Symbols, disposed};

/// Functions that destroy a tracked object, and leave its note: `Tracked::drop` and `Sim::destroy`.
const DESTROYERS: [(&str, &str); 2] = [
    ("sim/src/track.rs", "drop"),
    ("sim/src/run/drive.rs", "destroy"),
];

/// What owns a block of its own.
const POINTERS: [&str; 3] = ["::Box<", "::Rc<", "::Arc<"];

/// A call that destroys something.
#[derive(Clone, Debug)]
pub struct Call {
    /// Where its frame ends: with its subject what tells it from others.
    end: u64,
    pub subject: Subject,
    /// It destroys no more than what points to it: a block that it gives back itself is its last.
    pub wraps: bool,
    /// What points to it is pointed to: the block may be that of the pointer, and it lives on.
    pub wraps_pointer: bool,
}

/// What a call destroys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Subject {
    /// A value of this type.
    Type(Rc<str>, Whose),
    /// A tracked object: its own note tells which.
    Tracked(Option<Rc<str>>),
}

impl Call {
    /// The destruction of a tracked object, in a frame that ends there.
    pub fn tracked(end: u64, name: &str) -> Self {
        Self {
            end,
            subject: Subject::Tracked(Some(name.into())),
            wraps: false,
            wraps_pointer: false,
        }
    }

    /// Where its frame ends, if it destroys a tracked object.
    pub fn tracker(&self) -> Option<u64> {
        matches!(self.subject, Subject::Tracked(_)).then_some(self.end)
    }

    /// Whether it is the same call, as far as `other` tells.
    pub fn is(&self, other: &Self) -> bool {
        let same = match (&self.subject, &other.subject) {
            (Subject::Tracked(_), Subject::Tracked(None)) => true,
            (this, other) => this == other,
        };
        self.end == other.end && same
    }
}

/// Finds the calls of one run's notes; each address is named once.
pub struct Calls<'a> {
    symbols: &'a Symbols,
    /// For each address what its functions destroy, outermost first, and how many wrappers are
    /// around it.
    known: BTreeMap<u64, Rc<[(Subject, usize)]>>,
}

impl<'a> Calls<'a> {
    pub fn new(symbols: &'a Symbols) -> Self {
        Self {
            symbols,
            known: BTreeMap::new(),
        }
    }

    /// The calls of a note that destroy something, outermost first.
    pub fn of(&mut self, note: &Fault) -> Vec<Call> {
        let mut calls: Vec<Call> = Vec::new();
        for frame in self.symbols.walk(note).iter().rev() {
            let symbols = self.symbols;
            let of_frame = self.known.entry(frame.address).or_insert_with(|| {
                let named = symbols.named(frame.address);
                named.iter().rev().filter_map(subject).collect()
            });
            for (subject, wrappers) in of_frame.iter() {
                let call = Call {
                    end: frame.end,
                    subject: subject.clone(),
                    wraps: *wrappers > 0,
                    wraps_pointer: *wrappers > 1,
                };
                match calls.last_mut() {
                    // `Option<Rc<T>>`, `Rc<T>` and at last `T`: one destruction.
                    Some(last) if last.wraps && last.subject == *subject => {
                        *last = Call {
                            end: last.end,
                            ..call
                        };
                    }
                    _ => calls.push(call),
                }
            }
        }
        calls
    }
}

/// The type of a C++ destructor. (A promise of kj's 1.x has a virtual function that calls it.)
fn destructor_of(function: &Named) -> Option<&str> {
    let (of, name) = function.name.rsplit_once("::")?;
    (name.starts_with('~') || name == "destroy" && of.starts_with("kj::")).then_some(of)
}

/// What a function destroys that somebody wants to see, and whether that is the value itself (0),
/// something around it (1), or a pointer to a pointer to it.
fn subject(function: &Named) -> Option<(Subject, usize)> {
    let destructor = destructor_of(function);
    if let Some(destroyed) = destroyed_by(function).or(destructor) {
        let inner = inner(destroyed);
        let read = Type::read(inner);
        let subject = || Subject::Type(short(inner).into(), read.whose());
        let wrapper = &destroyed[..destroyed.find(inner).unwrap_or(0)];
        let pointers = POINTERS.iter().map(|it| wrapper.matches(it).count());
        // What gives back a C++ object's block destroys the object first.
        let frees = inner != destroyed || disposed(&function.name).is_some();
        let wrappers = pointers.sum::<usize>().max(usize::from(frees));
        return read.is_shown().then(|| (subject(), wrappers));
    }
    let (path, _) = function.place.as_ref()?;
    let is_named = |name: &str| {
        let bare = function.name.split('<').next().unwrap_or("");
        bare == name || function.name.rsplit("::").next() == Some(name)
    };
    let tracks = DESTROYERS
        .iter()
        .any(|(file, name)| path.ends_with(file) && is_named(name));
    tracks.then_some((Subject::Tracked(None), 0))
}
