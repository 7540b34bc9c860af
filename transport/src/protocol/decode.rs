//! What a message says, as far as the tables are concerned.
//!
//! The contents of calls and results are not looked at.

use capnp::any_pointer;
use capnp_rpc::rpc_capnp::{
    call, cap_descriptor, disembargo, exception, message, message_target, payload, promised_answer,
    resolve, return_,
};

use crate::compat::no_finish_needed;
use crate::frame::MessageKind;

/// One message.
#[derive(Debug)]
pub(super) enum Said {
    /// A call, or a bootstrap: then it has no target.
    Call {
        question: u32,
        target: Option<Target>,
        params: Vec<Cap>,
        results_to: ResultsTo,
    },
    Return {
        question: u32,
        releases_params: bool,
        needs_no_finish: bool,
        outcome: Outcome,
    },
    Finish {
        question: u32,
        releases_results: bool,
    },
    Resolve {
        promise: u32,
        /// Nothing is an error.
        to: Option<Cap>,
    },
    Release {
        id: u32,
        count: u32,
    },
    Disembargo {
        target: Target,
        context: Context,
    },
    Abort {
        /// Of type `disconnected`.
        disconnected: bool,
        reason: String,
    },
    /// An echo of this.
    Unimplemented(Box<Said>),
    /// A message that a level 1 vat has no use for.
    AboveLevelOne,
}

/// How many kinds of message there are.
pub(super) const KINDS: usize = 9;

impl Said {
    /// Its kind, as an index.
    pub(super) fn kind(&self) -> usize {
        match self {
            Self::Call { .. } => 0,
            Self::Return { .. } => 1,
            Self::Finish { .. } => 2,
            Self::Resolve { .. } => 3,
            Self::Release { .. } => 4,
            Self::Disembargo { .. } => 5,
            Self::Abort { .. } => 6,
            Self::Unimplemented(_) => 7,
            Self::AboveLevelOne => 8,
        }
    }

    /// Its kind, as traces and plans call it.
    pub(super) fn word(&self) -> &'static str {
        let kind = match self {
            Self::Call { target: None, .. } => MessageKind::Bootstrap,
            Self::Call { .. } => MessageKind::Call,
            Self::Return { .. } => MessageKind::Return,
            Self::Finish { .. } => MessageKind::Finish,
            Self::Resolve { .. } => MessageKind::Resolve,
            Self::Release { .. } => MessageKind::Release,
            Self::Disembargo { .. } => MessageKind::Disembargo,
            Self::Abort { .. } => MessageKind::Abort,
            Self::Unimplemented(_) => MessageKind::Unimplemented,
            Self::AboveLevelOne => MessageKind::Other,
        };
        kind.word()
    }
}

/// Who gets the results of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ResultsTo {
    Caller,
    Yourself,
    ThirdParty,
}

/// Whom a message is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Target {
    /// An export of the receiver.
    Import(u32),
    /// The result of a question of the sender.
    Answer(u32),
}

/// A capability in a payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cap {
    None,
    Settled(u32),
    Promise(u32),
    ReceiverHosted(u32),
    ReceiverAnswer(u32),
    ThirdParty,
}

/// What a return says of the call.
#[derive(Debug)]
pub(super) enum Outcome {
    Results(Vec<Cap>),
    Exception,
    Canceled,
    SentElsewhere,
    TakeFrom(u32),
    ThirdParty,
}

/// What a disembargo is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Context {
    /// The sender wants it back.
    Sender(u32),
    /// It comes back to the receiver.
    Receiver(u32),
    ThirdParty,
}

/// Reads the root of a message.
pub(super) fn decode(root: any_pointer::Reader<'_>) -> capnp::Result<Said> {
    said(root.get_as()?, true)
}

fn said(message: message::Reader<'_>, may_echo: bool) -> capnp::Result<Said> {
    let Ok(which) = message.which() else {
        return Ok(Said::AboveLevelOne);
    };
    Ok(match which {
        message::Unimplemented(echoed) if may_echo => {
            Said::Unimplemented(Box::new(said(echoed?, false)?))
        }
        message::Unimplemented(_) => Said::AboveLevelOne,
        message::Abort(exception) => {
            let exception = exception?;
            Said::Abort {
                disconnected: matches!(exception.get_type(), Ok(exception::Type::Disconnected)),
                reason: String::from_utf8_lossy(exception.get_reason()?.as_bytes()).into_owned(),
            }
        }
        message::Bootstrap(bootstrap) => Said::Call {
            question: bootstrap?.get_question_id(),
            target: None,
            params: Vec::new(),
            results_to: ResultsTo::Caller,
        },
        message::Call(call) => {
            let call = call?;
            Said::Call {
                question: call.get_question_id(),
                target: Some(target(call.get_target()?)?),
                params: caps(call.get_params()?)?,
                results_to: match call.get_send_results_to().which()? {
                    call::send_results_to::Caller(()) => ResultsTo::Caller,
                    call::send_results_to::Yourself(()) => ResultsTo::Yourself,
                    call::send_results_to::ThirdParty(_) => ResultsTo::ThirdParty,
                },
            }
        }
        message::Return(ret) => {
            let ret = ret?;
            Said::Return {
                question: ret.get_answer_id(),
                releases_params: ret.get_release_param_caps(),
                needs_no_finish: no_finish_needed(ret),
                outcome: match ret.which()? {
                    return_::Results(results) => Outcome::Results(caps(results?)?),
                    return_::Exception(_) => Outcome::Exception,
                    return_::Canceled(()) => Outcome::Canceled,
                    return_::ResultsSentElsewhere(()) => Outcome::SentElsewhere,
                    return_::TakeFromOtherQuestion(question) => Outcome::TakeFrom(question),
                    return_::AcceptFromThirdParty(_) => Outcome::ThirdParty,
                },
            }
        }
        message::Finish(finish) => {
            let finish = finish?;
            Said::Finish {
                question: finish.get_question_id(),
                releases_results: finish.get_release_result_caps(),
            }
        }
        message::Resolve(resolve) => {
            let resolve = resolve?;
            Said::Resolve {
                promise: resolve.get_promise_id(),
                to: match resolve.which()? {
                    resolve::Cap(descriptor) => Some(cap(descriptor?)?),
                    resolve::Exception(_) => None,
                },
            }
        }
        message::Release(release) => {
            let release = release?;
            Said::Release {
                id: release.get_id(),
                count: release.get_reference_count(),
            }
        }
        message::Disembargo(disembargo) => {
            let disembargo = disembargo?;
            Said::Disembargo {
                target: target(disembargo.get_target()?)?,
                context: match disembargo.get_context().which()? {
                    disembargo::context::SenderLoopback(id) => Context::Sender(id),
                    disembargo::context::ReceiverLoopback(id) => Context::Receiver(id),
                    disembargo::context::Accept(()) | disembargo::context::Provide(_) => {
                        Context::ThirdParty
                    }
                },
            }
        }
        _ => Said::AboveLevelOne,
    })
}

fn target(target: message_target::Reader<'_>) -> capnp::Result<Target> {
    Ok(match target.which()? {
        message_target::ImportedCap(id) => Target::Import(id),
        message_target::PromisedAnswer(answer) => Target::Answer(question(answer?)),
    })
}

fn question(answer: promised_answer::Reader<'_>) -> u32 {
    answer.get_question_id()
}

fn caps(payload: payload::Reader<'_>) -> capnp::Result<Vec<Cap>> {
    payload.get_cap_table()?.iter().map(cap).collect()
}

fn cap(descriptor: cap_descriptor::Reader<'_>) -> capnp::Result<Cap> {
    Ok(match descriptor.which()? {
        cap_descriptor::None(()) => Cap::None,
        cap_descriptor::SenderHosted(id) => Cap::Settled(id),
        cap_descriptor::SenderPromise(id) => Cap::Promise(id),
        cap_descriptor::ReceiverHosted(id) => Cap::ReceiverHosted(id),
        cap_descriptor::ReceiverAnswer(answer) => Cap::ReceiverAnswer(question(answer?)),
        cap_descriptor::ThirdPartyHosted(_) => Cap::ThirdParty,
    })
}
