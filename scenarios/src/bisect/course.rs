//! The order in which a history is probed. This one is a list; commits are `git`'s business.

use std::collections::BTreeSet;
use std::io;

/// A history between two ends, of which one is old and the other new.
pub trait Course {
    /// A place in it.
    type At: Clone;

    /// What to probe, or between which two it happened.
    ///
    /// # Errors
    /// The history cannot be read.
    fn next(&mut self) -> io::Result<Next<Self::At>>;

    /// Takes what a probe said: whether it is as at the new end; `None` if nobody can say.
    ///
    /// # Errors
    /// The history cannot be kept.
    fn tell(&mut self, at: &Self::At, is_new: Option<bool>) -> io::Result<()>;
}

/// What a course wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next<At> {
    /// To know of this one; so much is left.
    Probe(At, Left),
    /// Nothing more.
    Found(Range<At>),
}

/// How much is left.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Left {
    /// How many could still be probed.
    pub candidates: u64,
    /// How many of them will be, about.
    pub steps: u64,
}

/// Between which two it happened: after `old`, at the latest with `new`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Range<At> {
    /// The last that is as the old end.
    pub old: At,
    /// The first that is known to be as the new end.
    pub new: At,
    /// Those between them of which nobody can say: it may have happened with any of them.
    pub skipped: Vec<At>,
}

/// A list, the old end first and the new end last.
#[derive(Clone, Debug)]
pub struct Ordered<T> {
    all: Vec<T>,
    old: usize,
    new: usize,
    skipped: BTreeSet<usize>,
}

impl<T> Ordered<T> {
    /// A list of at least its two ends.
    ///
    /// # Panics
    /// If it has fewer.
    pub fn new(all: Vec<T>) -> Self {
        assert!(all.len() >= 2, "both ends are in the list");
        Self {
            old: 0,
            new: all.len() - 1,
            skipped: BTreeSet::new(),
            all,
        }
    }
}

impl<T: Clone + PartialEq> Course for Ordered<T> {
    type At = T;

    /// The one in the middle, or the nearest to it that was not skipped.
    fn next(&mut self) -> io::Result<Next<T>> {
        let between = self.old + 1..self.new;
        let open = between.filter(|place| !self.skipped.contains(place));
        let open: Vec<usize> = open.collect();
        let middle = self.old + (self.new - self.old) / 2;
        let nearest = open.iter().min_by_key(|place| place.abs_diff(middle));
        let Some(nearest) = nearest else {
            let skipped = self.old + 1..self.new;
            return Ok(Next::Found(Range {
                old: self.all[self.old].clone(),
                new: self.all[self.new].clone(),
                skipped: self.all[skipped].to_vec(),
            }));
        };
        let candidates = open.len() as u64;
        let left = Left {
            candidates,
            steps: u64::from(64 - candidates.leading_zeros()),
        };
        Ok(Next::Probe(self.all[*nearest].clone(), left))
    }

    fn tell(&mut self, at: &T, is_new: Option<bool>) -> io::Result<()> {
        let place = self.all.iter().position(|it| it == at);
        let place = place.expect("it was asked for");
        match is_new {
            None => drop(self.skipped.insert(place)),
            Some(true) => self.new = place,
            Some(false) => self.old = place,
        }
        Ok(())
    }
}
