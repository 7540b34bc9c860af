//! Breaches: properties of the system under test that an observer saw broken while it ran.
//!
//! What can be judged from a finished report is judged there; a breach is for what only the
//! observer knows: a frame that the protocol forbids, a call that overtook another, a destruction
//! in an order that a scenario rules out (a report has no room for all of them). Who observes
//! brings the words, as with kinds of event: this crate knows no protocol.

use serde::Serialize;

use crate::name::Name;
use crate::trace::EventKind;

/// A property seen broken: the event is part of the digest, its text is not.
pub(crate) const BREACH: EventKind = EventKind::new("breach");

/// The most breaches that a report keeps; the first are the ones that matter.
pub const BREACHES_MAX: usize = 64;

/// One property of the system under test, broken.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Breach {
    /// Which check it belongs to: `protocol`, `destruction-order`.
    pub property: &'static str,
    /// The rule that was broken, without names and numbers: what findings are grouped by.
    pub rule: String,
    /// By whom, or about whom.
    pub subject: Name,
    /// More for people.
    pub detail: String,
    /// The step, from 1; 0 before the first.
    pub step: u64,
}
