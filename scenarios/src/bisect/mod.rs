//! Where a run went wrong, or right: the two neighbours in a history of upstream between which it
//! did.
//!
//! A [`Course`] knows the history and what to probe next, a [`Prober`] runs the plan there, and a
//! [`Judge`] says of what it came to whether it is bad. Nothing here builds anything, and nothing
//! is compared in this process: a probe is what another build has printed.
//!
//! - Both ends are confirmed before anything else; if they do not separate, nothing is searched.
//! - What cannot be built or judged somewhere is skipped, and a neighbour is probed instead. If the
//!   change is among those that were skipped, all of them are named.
//! - A run is a function of its plan, so that a probe is one `replay`, which already runs the plan
//!   in two processes and says if they differ. The ends are asked [`ENDS`] times. What is seen in
//!   one answer and not in another is uncertain: then everything is asked [`IN_DOUBT`] times, what
//!   is seen once in these is bad, and what never is, good.

mod course;
mod ends;
pub mod git;
mod judge;
mod probe;

use std::{fmt, io};

use serde::Serialize;

pub use course::{Course, Left, Next, Ordered, Range};
pub use ends::{Confirmed, ENDS, End, confirm};
pub use judge::{Compare, Judge, Shown, named};
pub use probe::{Ask, Asked, IN_DOUBT, Probed, Prober, Probes};

/// What a probe says of one place in the history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is not seen there.
    Good,
    /// It is.
    Bad,
    /// Nobody can say: why.
    Skipped(String),
}

impl Verdict {
    /// Its word in reports: `good`.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Skipped(_) => "skipped",
        }
    }
}

/// What is looked for: of the two ends the good one is the older, or the bad one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// What was good is bad later.
    Regression,
    /// What was bad is good later.
    Fix,
}

impl Change {
    /// Its word in reports: `fix`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Regression => "regression",
            Self::Fix => "fix",
        }
    }

    /// The good and the bad one as the old and the new one, or the other way round.
    pub fn pair<T>(self, [one, other]: [T; 2]) -> [T; 2] {
        match self {
            Self::Regression => [one, other],
            Self::Fix => [other, one],
        }
    }

    /// Whether what a probe found belongs to the new end; `None` if nobody can say.
    fn is_new(self, verdict: &Verdict) -> Option<bool> {
        match verdict {
            Verdict::Good => Some(self == Self::Fix),
            Verdict::Bad => Some(self == Self::Regression),
            Verdict::Skipped(_) => None,
        }
    }
}

/// What is bisected.
#[derive(Clone, Debug)]
pub struct Wanted<At> {
    /// The end that is said to be good.
    pub good: At,
    /// The end that is said to be bad.
    pub bad: At,
    /// Which of them is the older one.
    pub change: Change,
    /// What is compared.
    pub compare: Compare,
    /// The signatures that the plan was kept for, the principal one first.
    pub kept_for: Vec<String>,
    /// How often each place is asked while nothing is uncertain.
    pub times: u32,
}

/// What is under way.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a, At> {
    /// This one is probed next, and so much is left.
    Probing(&'a At, Left),
    /// It came to this.
    Came(&'a At, &'a Probed),
    /// Something was uncertain: the search starts anew, and asks everything [`IN_DOUBT`] times.
    InDoubt,
}

/// Where it happened.
#[derive(Clone, Debug)]
pub struct Found<At> {
    /// What went by.
    pub judge: Judge,
    /// Between which two.
    pub range: Range<At>,
    /// What those two came to, the old one first.
    pub neighbours: [Probed; 2],
    /// All that were probed, and what they came to, in the order in which they were.
    pub probed: Vec<(At, Probed)>,
    /// Whether something was uncertain, and everything was asked [`IN_DOUBT`] times.
    pub in_doubt: bool,
}

/// Confirms both ends, and searches between them; `course` starts a search. If it cannot be known,
/// why.
///
/// # Errors
/// A course or a prober could not do its work; interrupted is one.
pub fn bisect<P, C>(
    prober: &mut P,
    wanted: &Wanted<P::At>,
    course: &mut dyn FnMut() -> io::Result<C>,
    told: &mut dyn FnMut(Progress<'_, P::At>),
) -> io::Result<Result<Found<P::At>, String>>
where
    P: Prober + ?Sized,
    P::At: Clone + PartialEq + fmt::Display,
    C: Course<At = P::At>,
{
    let mut probes = Probes::new(wanted.times);
    let Wanted { good, bad, .. } = wanted;
    let (compare, kept_for) = (&wanted.compare, &wanted.kept_for[..]);
    let confirmed = confirm(prober, &mut probes, compare, kept_for, [good, bad])?;
    let Confirmed { judge, good, bad } = match confirmed {
        Ok(confirmed) => confirmed,
        Err(why) => return Ok(Err(why)),
    };
    let ends = [&good, &bad].map(|end| (end.at.clone(), end.probed.clone()));
    for (at, probed) in &ends {
        told(Progress::Came(at, probed));
    }
    loop {
        let was_in_doubt = probes.in_doubt;
        let mut probed = ends.to_vec();
        let mut course = course()?;
        let range = loop {
            let (at, left) = match course.next()? {
                Next::Found(range) => break range,
                Next::Probe(at, left) => (at, left),
            };
            told(Progress::Probing(&at, left));
            let came = probes.probe(prober, &at, &judge, 1)?;
            told(Progress::Came(&at, &came));
            course.tell(&at, wanted.change.is_new(&came.verdict))?;
            probed.push((at, came));
        };
        // The two that it comes down to are asked as often as the ends.
        let old = probes.probe(prober, &range.old, &judge, ENDS)?;
        let new = probes.probe(prober, &range.new, &judge, ENDS)?;
        if probes.in_doubt == was_in_doubt {
            return Ok(Ok(Found {
                judge,
                range,
                neighbours: [old, new],
                probed,
                in_doubt: was_in_doubt,
            }));
        }
        told(Progress::InDoubt);
    }
}

#[cfg(test)]
mod tests;
