//! The four tables, as one vat has to see them, and what a message does to them.
//!
//! Each side chooses the ids of its own questions, exports and embargoes; they are its [`Half`].
//! The other half is the peer's: what it asks are our answers, what it exports our imports. So a
//! message does the same to the two halves whichever side says it, and is judged by one set of
//! rules.

use std::collections::{BTreeMap, BTreeSet};

use super::decode::{Cap, Context, KINDS, Outcome, ResultsTo, Said, Target};
use super::rule::Rule;

/// The ids that one side chose.
#[derive(Default)]
pub(super) struct Half {
    pub(super) questions: BTreeMap<u32, Question>,
    pub(super) exports: BTreeMap<u32, Export>,
    /// `senderLoopback`s that have not come back.
    pub(super) embargoes: BTreeSet<u32>,
    /// Messages of each kind that it said, and those of its peer that it gave back.
    said: [u32; KINDS],
    echoed: [u32; KINDS],
    /// A rule that its last message broke, and that leaves the tables as they are.
    pub(super) slip: Option<Rule>,
}

/// A call or bootstrap.
pub(super) struct Question {
    results_to: ResultsTo,
    /// Exports of the asker in the parameters, and of the answerer in the results.
    params: Vec<u32>,
    results: Vec<u32>,
    returned: bool,
    /// The return said that no finish is needed.
    needs_no_finish: bool,
    /// With whether the results' capabilities are released.
    finished: Option<bool>,
    /// Another return has taken its results.
    taken: bool,
    /// A capability of the asker is in its results.
    points_back: bool,
}

impl Question {
    /// Whether the asker may use the id again.
    fn is_over(&self) -> bool {
        self.returned && (self.finished.is_some() || self.needs_no_finish)
    }

    /// Finished before it was returned.
    pub(super) fn is_canceled(&self) -> bool {
        !self.returned && self.finished.is_some()
    }

    /// Neither returned nor finished.
    pub(super) fn is_waiting(&self) -> bool {
        !self.returned && self.finished.is_none()
    }

    /// Returned, and a finish is due.
    pub(super) fn is_unfinished(&self) -> bool {
        self.returned && self.finished.is_none() && !self.needs_no_finish
    }
}

/// A capability that a side sent.
pub(super) struct Export {
    /// How often it was sent and not yet released; never 0.
    refs: u64,
    promise: bool,
    /// With whether it is a capability of the importer's that it resolved to.
    resolved: Option<bool>,
}

/// What a message does to the halves of the side that says it and of the side that hears it.
///
/// `in_order` is whether the tables are those of the speaker, so that what it has heard is known
/// exactly. If they are the hearer's, then what the hearer said last may not have reached the
/// speaker: all rules but one only allow more the more has been heard, so that they hold.
pub(super) fn apply(
    says: &mut Half,
    hears: &mut Half,
    said: &Said,
    in_order: bool,
) -> Result<(), Rule> {
    says.said[said.kind()] += 1;
    match said {
        Said::Call {
            question,
            target,
            params,
            results_to,
        } => {
            if let Some(target) = target {
                reach(says, hears, *target)?;
            }
            if *results_to == ResultsTo::ThirdParty {
                return Err(Rule::Level);
            }
            let params = describe_all(says, hears, params)?;
            let before = says.questions.get(question);
            if before.is_some_and(|before| !before.is_over()) {
                return Err(Rule::QuestionInUse);
            }
            let asked = Question {
                results_to: *results_to,
                params,
                results: Vec::new(),
                returned: false,
                needs_no_finish: false,
                finished: None,
                taken: false,
                points_back: false,
            };
            says.questions.insert(*question, asked);
            Ok(())
        }
        Said::Return {
            question,
            releases_params,
            needs_no_finish,
            outcome,
        } => {
            let results = returned(says, hears, *question, outcome)?;
            let asked = hears.questions.get_mut(question);
            let asked = asked.ok_or(Rule::ReturnUnknown)?;
            if *needs_no_finish && results.iter().any(|cap| *cap != Cap::None) {
                return Err(Rule::NoFinishWithCaps);
            }
            asked.returned = true;
            asked.needs_no_finish = *needs_no_finish;
            asked.points_back = matches!(outcome, Outcome::TakeFrom(_))
                || results.iter().any(|cap| points_back(*cap));
            let params = std::mem::take(&mut asked.params);
            let finished = asked.finished;
            if *releases_params {
                release_all(&mut hears.exports, &params)?;
            }
            let results = describe_all(says, hears, results)?;
            match finished {
                // The capabilities were released before they came.
                Some(true) => release_all(&mut says.exports, &results)?,
                Some(false) => {}
                None => {
                    let asked = hears.questions.get_mut(question);
                    asked.expect("found above").results = results;
                    return Ok(());
                }
            }
            hears.questions.remove(question);
            Ok(())
        }
        Said::Finish {
            question,
            releases_results,
        } => {
            let asked = says.questions.get_mut(question);
            let asked = asked.filter(|asked| asked.finished.is_none());
            let asked = asked.ok_or(Rule::FinishUnknown)?;
            if !asked.returned {
                asked.finished = Some(*releases_results);
                return Ok(());
            }
            let results = std::mem::take(&mut asked.results);
            says.questions.remove(question);
            if *releases_results {
                release_all(&mut hears.exports, &results)?;
            }
            Ok(())
        }
        Said::Resolve { promise, to } => {
            resolved(says, *promise, *to, in_order)?;
            match to {
                Some(Cap::None) => Err(Rule::ResolveToNone),
                Some(cap) => describe(says, hears, *cap).map(drop),
                None => Ok(()),
            }
        }
        Said::Release { id, count } => release(&mut hears.exports, *id, u64::from(*count)),
        Said::Disembargo { target, context } => {
            reach(says, hears, *target)?;
            match context {
                Context::Sender(_) if !resolves_back(says, hears, *target) => {
                    Err(Rule::EmbargoUnresolved)
                }
                Context::Sender(id) if !says.embargoes.insert(*id) => Err(Rule::EmbargoInUse),
                Context::Receiver(id) if !hears.embargoes.remove(id) => Err(Rule::EchoUnknown),
                Context::Sender(_) | Context::Receiver(_) => Ok(()),
                Context::ThirdParty => Err(Rule::Level),
            }
        }
        Said::Unimplemented(echoed) => {
            let kind = echoed.kind();
            says.echoed[kind] += 1;
            if says.echoed[kind] > hears.said[kind] {
                return Err(Rule::Unreceived);
            }
            unimplemented(says, hears, echoed)
        }
        Said::Abort { .. } => Ok(()),
        // From the hearer's side it is for the hearer to say that it cannot do that.
        Said::AboveLevelOne if in_order => Err(Rule::Level),
        Said::AboveLevelOne => Ok(()),
    }
}

/// Checks whom a message is for.
fn reach(says: &Half, hears: &Half, target: Target) -> Result<(), Rule> {
    match target {
        Target::Import(id) if !hears.exports.contains_key(&id) => Err(Rule::TargetReleased),
        Target::Answer(question) if !is_open(says, question) => Err(Rule::PipelinedOnFinished),
        _ => Ok(()),
    }
}

fn is_open(asker: &Half, question: u32) -> bool {
    let asked = asker.questions.get(&question);
    asked.is_some_and(|asked| asked.finished.is_none())
}

/// Checks what a return says; gives the capabilities in it.
fn returned<'a>(
    says: &mut Half,
    hears: &Half,
    question: u32,
    outcome: &'a Outcome,
) -> Result<&'a [Cap], Rule> {
    let asked = hears.questions.get(&question);
    let asked = asked.ok_or(Rule::ReturnUnknown)?;
    if asked.returned {
        return Err(Rule::SecondReturn);
    }
    match outcome {
        Outcome::Results(_) if asked.results_to == ResultsTo::Yourself => {
            Err(Rule::ResultsForYourself)
        }
        Outcome::Results(caps) => Ok(caps),
        Outcome::Canceled if asked.finished.is_none() => Err(Rule::CanceledUnfinished),
        Outcome::SentElsewhere if asked.results_to == ResultsTo::Caller => Err(Rule::SentElsewhere),
        Outcome::TakeFrom(from) => {
            let from = says.questions.get_mut(from);
            let from = from.filter(|from| {
                from.results_to == ResultsTo::Yourself && !from.taken && from.finished.is_none()
            });
            from.ok_or(Rule::TakeFromOther)?.taken = true;
            Ok(&[])
        }
        Outcome::ThirdParty => Err(Rule::Level),
        Outcome::Exception | Outcome::Canceled | Outcome::SentElsewhere => Ok(&[]),
    }
}

/// Counts the capabilities of a payload; gives the exports among them.
fn describe_all(says: &mut Half, hears: &Half, caps: &[Cap]) -> Result<Vec<u32>, Rule> {
    let mut exports = Vec::new();
    for cap in caps {
        exports.extend(describe(says, hears, *cap)?);
    }
    Ok(exports)
}

fn describe(says: &mut Half, hears: &Half, cap: Cap) -> Result<Option<u32>, Rule> {
    let (id, promise) = match cap {
        Cap::Settled(id) => (id, false),
        Cap::Promise(id) => (id, true),
        Cap::ReceiverHosted(id) if !hears.exports.contains_key(&id) => {
            return Err(Rule::HostedReleased);
        }
        Cap::ReceiverAnswer(question) if !is_open(says, question) => {
            return Err(Rule::PipelinedOnFinished);
        }
        Cap::None | Cap::ReceiverHosted(_) | Cap::ReceiverAnswer(_) => return Ok(None),
        Cap::ThirdParty => return Err(Rule::Level),
    };
    let export = says.exports.entry(id).or_insert(Export {
        refs: 0,
        promise,
        resolved: None,
    });
    if export.resolved.is_some() {
        return Err(Rule::ResolvedSentAgain);
    }
    match (export.promise, promise) {
        // It is a promise all the same; upstream does that, and more is to be seen.
        (true, false) => says.slip = Some(Rule::PromiseAsSettled),
        (false, true) => return Err(Rule::SettledAsPromise),
        _ => {}
    }
    export.refs += 1;
    Ok(Some(id))
}

fn points_back(cap: Cap) -> bool {
    matches!(cap, Cap::ReceiverHosted(_) | Cap::ReceiverAnswer(_))
}

fn resolved(says: &mut Half, promise: u32, to: Option<Cap>, in_order: bool) -> Result<(), Rule> {
    match says.exports.get_mut(&promise) {
        // It may have been on its way when the hearer released the promise.
        None if !in_order => Ok(()),
        None => Err(Rule::ResolveUnknown),
        Some(export) if !export.promise => Err(Rule::ResolveSettled),
        Some(export) if export.resolved.is_some() => Err(Rule::SecondResolve),
        Some(export) => {
            export.resolved = Some(to.is_some_and(points_back));
            Ok(())
        }
    }
}

/// Whether the sender of a disembargo knows that its target is a capability of its own.
///
/// Of an answer only that a capability of the asker is somewhere in it: which one is meant would
/// need the contents.
fn resolves_back(says: &Half, hears: &Half, target: Target) -> bool {
    match target {
        Target::Import(id) => {
            let export = hears.exports.get(&id);
            export.is_some_and(|export| export.resolved == Some(true))
        }
        Target::Answer(question) => {
            let asked = says.questions.get(&question);
            asked.is_some_and(|asked| asked.points_back)
        }
    }
}

fn release(exports: &mut BTreeMap<u32, Export>, id: u32, count: u64) -> Result<(), Rule> {
    let export = exports.get_mut(&id).ok_or(Rule::ReleaseUnknown)?;
    export.refs = export.refs.checked_sub(count).ok_or(Rule::ReleaseTooMany)?;
    if export.refs == 0 {
        exports.remove(&id);
    }
    Ok(())
}

fn release_all(exports: &mut BTreeMap<u32, Export>, ids: &[u32]) -> Result<(), Rule> {
    ids.iter().try_for_each(|id| release(exports, *id, 1))
}

/// What it does to the hearer's half that the speaker did not understand it.
fn unimplemented(says: &mut Half, hears: &mut Half, echoed: &Said) -> Result<(), Rule> {
    match echoed {
        // "… can respond to this as if the receiver had immediately released any capability to
        // which the promise resolved."
        Said::Resolve {
            to: Some(Cap::Settled(id) | Cap::Promise(id)),
            ..
        } => release(&mut hears.exports, *id, 1),
        // "… may simply treat it as if the question failed with an exception."
        Said::Call { question, .. } => {
            let failed = Said::Return {
                question: *question,
                releases_params: true,
                needs_no_finish: true,
                outcome: Outcome::Exception,
            };
            apply(says, hears, &failed, true)
        }
        _ => Ok(()),
    }
}
