//! The two ends, confirmed before anything is searched.

use std::fmt::Display;
use std::io;

use super::Verdict;
use super::judge::{Compare, Judge, Shown, named};
use super::probe::{Ask, IN_DOUBT, Probed, Prober, Probes};

/// So often each end is asked: it is from them that it is known whether a plan is certain.
pub const ENDS: u32 = 3;

/// One end.
#[derive(Clone, Debug)]
pub struct End<At> {
    /// Where it is.
    pub at: At,
    /// What it came to.
    pub probed: Probed,
}

/// Ends that do separate.
#[derive(Clone, Debug)]
pub struct Confirmed<At> {
    /// What goes by.
    pub judge: Judge,
    /// The good one.
    pub good: End<At>,
    /// The bad one.
    pub bad: End<At>,
}

/// Asks both ends, and settles what is compared; else says what each of them showed.
///
/// `kept_for` are the signatures that the plan was kept for, the principal one first.
///
/// # Errors
/// They could not be asked.
pub fn confirm<P>(
    prober: &mut P,
    probes: &mut Probes,
    compare: &Compare,
    kept_for: &[String],
    [good, bad]: [&P::At; 2],
) -> io::Result<Result<Confirmed<P::At>, String>>
where
    P: Prober + ?Sized,
    P::At: Clone + Display,
{
    let what = compare.ask();
    let cannot = |at: &P::At, why: String| Ok(Err(format!("{at} cannot be an end: {why}")));
    let mut bad_shown = match shown(prober, bad, what, 0..probes.times_now(ENDS))? {
        Ok(shown) => shown,
        Err(why) => return cannot(bad, why),
    };
    let is_silent = |shown: &[Shown]| shown.iter().all(|shown| shown.findings().is_empty());
    if *compare == Compare::Kin && is_silent(&bad_shown) {
        // It may come now and then.
        match shown(prober, bad, what, probes.times_now(ENDS)..IN_DOUBT)? {
            Ok(more) => bad_shown.extend(more),
            Err(why) => return cannot(bad, why),
        }
        probes.in_doubt |= !is_silent(&bad_shown);
    }
    let good_shown = match shown(prober, good, what, 0..1)? {
        Ok(shown) => shown,
        Err(why) => return cannot(good, why),
    };
    let judge = match compare.settle(kept_for, &good_shown, &bad_shown) {
        Ok(judge) => judge,
        Err(why) => {
            let [good_shows, bad_shows] = [good_shown, bad_shown].map(|shown| named(&shown));
            return Ok(Err(format!(
                "{why}: good {good} is {good_shows}; bad {bad} is {bad_shows}"
            )));
        }
    };
    // The bad one first: it is the one that shows whether the plan is uncertain.
    let bad = end(prober, probes, &judge, bad)?;
    let good = end(prober, probes, &judge, good)?;
    let separate = (&good.probed.verdict, &bad.probed.verdict) == (&Verdict::Good, &Verdict::Bad);
    if separate {
        return Ok(Ok(Confirmed { judge, good, bad }));
    }
    Ok(Err(format!(
        "the two do not separate by {}: {}, given as good, is {}; {}, given as bad, is {}",
        judge.words(),
        good.at,
        good.probed.text(),
        bad.at,
        bad.probed.text(),
    )))
}

fn shown<P: Prober + ?Sized>(
    prober: &mut P,
    at: &P::At,
    what: Ask,
    times: std::ops::Range<u32>,
) -> io::Result<Result<Vec<Shown>, String>> {
    times.map(|nth| prober.ask(at, what, nth)).collect()
}

fn end<P>(prober: &mut P, probes: &mut Probes, judge: &Judge, at: &P::At) -> io::Result<End<P::At>>
where
    P: Prober + ?Sized,
    P::At: Clone,
{
    let probed = probes.probe(prober, at, judge, ENDS)?;
    let at = at.clone();
    Ok(End { at, probed })
}
