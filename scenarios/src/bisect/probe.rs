//! Probes: what a place in the history is asked, and how often.

use std::io;

use super::Verdict;
use super::judge::{Judge, Shown};

/// So often everything is asked as soon as one answer was uncertain. What comes in one of ten
/// runs is then missed by a good verdict with a chance of one in three, what comes in three of ten
/// with one in thirty-five.
pub const IN_DOUBT: u32 = 10;

/// What another build is asked to do with the plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask {
    /// To run it.
    Replay,
    /// To run it at three sizes.
    Growth,
}

/// What a build has shown, or why it shows nothing: it cannot be built there, say.
pub type Asked = Result<Shown, String>;

/// Who has another build run the plan, and remembers what it said.
pub trait Prober {
    /// A place in the history.
    type At;

    /// What the build at that place says when it is asked for the `nth` time, from 0; or why it
    /// says nothing.
    ///
    /// # Errors
    /// It could not be asked; interrupted is one.
    fn ask(&mut self, at: &Self::At, what: Ask, nth: u32) -> io::Result<Asked>;
}

/// What a place came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probed {
    /// What that means.
    pub verdict: Verdict,
    /// How often it was asked.
    pub asked: u32,
    /// In how many of the answers it is bad.
    pub bad: u32,
    /// What it was like there, in words; of a bad answer, if there is one.
    pub seen: String,
}

impl Probed {
    /// Whether nobody can say.
    pub const fn is_skipped(&self) -> bool {
        matches!(self.verdict, Verdict::Skipped(_))
    }

    /// For people: `bad: panic …, in 3 of 10 runs`.
    pub fn text(&self) -> String {
        match &self.verdict {
            Verdict::Skipped(why) => format!("skipped: {why}"),
            verdict if (1..self.asked).contains(&self.bad) => {
                let Self {
                    asked, bad, seen, ..
                } = self;
                format!("{}: {seen}, in {bad} of {asked} answers", verdict.word())
            }
            verdict => format!("{}: {}", verdict.word(), self.seen),
        }
    }
}

/// Asks as often as it takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Probes {
    /// How often each place is asked while nothing is uncertain.
    pub times: u32,
    /// Whether something was uncertain.
    pub in_doubt: bool,
}

impl Probes {
    /// Asks each place so often, as long as nothing is uncertain.
    pub fn new(times: u32) -> Self {
        Self {
            times,
            in_doubt: false,
        }
    }

    /// What a place comes to, asked at least `least` times.
    ///
    /// # Errors
    /// It could not be asked.
    pub fn probe<P: Prober + ?Sized>(
        &mut self,
        prober: &mut P,
        at: &P::At,
        judge: &Judge,
        least: u32,
    ) -> io::Result<Probed> {
        let mut probed = Probed {
            verdict: Verdict::Good,
            asked: 0,
            bad: 0,
            seen: String::new(),
        };
        let mut why = None;
        while probed.asked < self.times_now(least) {
            let nth = probed.asked;
            let shown = match prober.ask(at, judge.ask(), nth)? {
                Ok(shown) => shown,
                // What cannot be built or run once cannot be a second time.
                Err(why) if nth == 0 => {
                    probed.verdict = Verdict::Skipped(why);
                    return Ok(probed);
                }
                Err(_) => {
                    self.in_doubt = true;
                    probed.asked += 1;
                    continue;
                }
            };
            let verdict = judge.judge(&shown);
            let is_bad = verdict == Verdict::Bad;
            if nth == 0 || (is_bad && probed.bad == 0) {
                probed.seen = judge.seen(&shown);
            }
            probed.asked += 1;
            probed.bad += u32::from(is_bad);
            if let Verdict::Skipped(reason) = verdict {
                why.get_or_insert(reason);
            }
            let differs = probed.bad > 0 && probed.bad < probed.asked;
            self.in_doubt |= differs || shown.is_uncertain();
        }
        probed.verdict = match why {
            _ if probed.bad > 0 => Verdict::Bad,
            Some(why) => Verdict::Skipped(why),
            None => Verdict::Good,
        };
        Ok(probed)
    }

    /// How often a place is asked that is to be asked `least` times, as things are.
    pub fn times_now(&self, least: u32) -> u32 {
        let in_doubt = if self.in_doubt { IN_DOUBT } else { 0 };
        self.times.max(least).max(in_doubt)
    }
}
