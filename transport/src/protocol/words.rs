//! Messages in words, for people who read what a run did.
//!
//! The first word is the message's kind, and if it speaks of a question, `q` and its number are
//! the second: whoever tells the story of a run finds by them what a message answers.

use std::fmt;

use capnp::any_pointer;

use super::decode::{Cap, Context, Outcome, ResultsTo, Said, Target, decode};

/// What a message says: `Call q2 on the answer to q1, with promise export 0`.
pub(crate) fn words(root: capnp::Result<any_pointer::Reader<'_>>) -> String {
    match root.and_then(decode) {
        Ok(said) => said.to_string(),
        Err(_) => "malformed".to_owned(),
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call {
                question,
                target: None,
                ..
            } => write!(f, "Bootstrap q{question}"),
            Self::Call {
                question,
                target: Some(target),
                params,
                results_to,
            } => {
                write!(f, "Call q{question} on {target}{}", Caps(params))?;
                match results_to {
                    ResultsTo::Caller => Ok(()),
                    ResultsTo::Yourself => f.write_str(", results to stay there"),
                    ResultsTo::ThirdParty => f.write_str(", results to a third party"),
                }
            }
            Self::Return {
                question,
                needs_no_finish,
                outcome,
                ..
            } => {
                write!(f, "Return q{question}: ")?;
                match outcome {
                    Outcome::Results(caps) => write!(f, "results{}", Caps(caps))?,
                    Outcome::Exception => f.write_str("exception")?,
                    Outcome::Canceled => f.write_str("cancelled")?,
                    Outcome::SentElsewhere => f.write_str("results sent elsewhere")?,
                    Outcome::TakeFrom(other) => write!(f, "take them from q{other}")?,
                    Outcome::ThirdParty => f.write_str("results of a third party")?,
                }
                f.write_str(if *needs_no_finish {
                    ", no Finish needed"
                } else {
                    ""
                })
            }
            Self::Finish {
                question,
                releases_results,
            } => {
                write!(f, "Finish q{question}")?;
                f.write_str(if *releases_results {
                    ", releasing its results"
                } else {
                    ""
                })
            }
            Self::Resolve { promise, to } => match to {
                Some(cap) => write!(f, "Resolve promise export {promise} to {cap}"),
                None => write!(f, "Resolve promise export {promise} to an exception"),
            },
            Self::Release { id, count } => write!(f, "Release export {id}, {count} of it"),
            Self::Disembargo { target, context } => match context {
                Context::Sender(id) => write!(f, "Disembargo {id} on {target}"),
                Context::Receiver(id) => write!(f, "Disembargo {id} on {target}, given back"),
                Context::ThirdParty => write!(f, "Disembargo on {target} for a third party"),
            },
            Self::Abort {
                disconnected,
                reason,
            } => {
                let kind = if *disconnected { "disconnected " } else { "" };
                write!(f, "Abort {kind}`{reason}`")
            }
            Self::Unimplemented(said) => write!(f, "Unimplemented: {said}"),
            Self::AboveLevelOne => f.write_str("something above level 1"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Import(id) => write!(f, "export {id}"),
            Self::Answer(question) => write!(f, "the answer to q{question}"),
        }
    }
}

impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Settled(id) => write!(f, "export {id}"),
            Self::Promise(id) => write!(f, "promise export {id}"),
            Self::ReceiverHosted(id) => write!(f, "the receiver's export {id}"),
            Self::ReceiverAnswer(question) => write!(f, "the answer to q{question}"),
            Self::ThirdParty => f.write_str("a third party's"),
        }
    }
}

/// The capabilities of a payload, if there are any.
struct Caps<'a>(&'a [Cap]);

/// So many are listed.
const CAPS_MAX: usize = 4;

impl fmt::Display for Caps<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, cap) in self.0.iter().take(CAPS_MAX).enumerate() {
            let before = if place == 0 { " with " } else { " and " };
            write!(f, "{before}{cap}")?;
        }
        match self.0.len().saturating_sub(CAPS_MAX) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_the_second_word() {
        let call = Said::Call {
            question: 2,
            target: Some(Target::Answer(1)),
            params: vec![Cap::Promise(0)],
            results_to: ResultsTo::Caller,
        };
        assert_eq!(
            call.to_string(),
            "Call q2 on the answer to q1 with promise export 0"
        );
        let ret = Said::Return {
            question: 2,
            releases_params: false,
            needs_no_finish: true,
            outcome: Outcome::Results(Vec::new()),
        };
        assert_eq!(ret.to_string(), "Return q2: results, no Finish needed");
    }
}
