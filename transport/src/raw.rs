//! A raw peer: one end of a link without a vat behind it.
//!
//! It writes any bytes, frames or not, and reads what the vat at the other end says. It keeps no
//! tables and follows no rule: which messages are legal is its owner's business. What it hears it
//! decodes and hands out, in order; it never answers by itself, and it reads for as long as it
//! lives, so that a vat never waits for room because of it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use capnp::message::{Builder, ReaderOptions};
use capnp::serialize;
use capnp_rpc::rpc_capnp::{
    cap_descriptor, disembargo, message, message_target, payload, promised_answer, resolve, return_,
};
use dismantle_sim::{EventKind, JoinHandle, Name, Sim};
use futures::io::{AsyncRead, AsyncWrite};

use crate::bytes::Bytes;
use crate::compat::no_finish_needed;
use crate::pipe::End;
use crate::protocol::words;

const HEARD: EventKind = EventKind::new("heard");
const SAID: EventKind = EventKind::new("said");

/// Encodes one message, with its segment table.
///
/// # Panics
/// Never: a `Vec` takes all.
pub fn frame(fill: impl FnOnce(message::Builder<'_>)) -> Vec<u8> {
    let mut builder = Builder::new_default();
    fill(builder.init_root());
    let mut bytes = Vec::new();
    serialize::write_message(&mut bytes, &builder).expect("a Vec takes all");
    bytes
}

/// A capability as a message describes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Descriptor {
    /// No capability.
    None,
    /// An export of the sender.
    SenderHosted(u32),
    /// An export of the sender that will be resolved.
    SenderPromise(u32),
    /// An export of the receiver.
    ReceiverHosted(u32),
    /// The result of a question that the receiver was asked.
    ReceiverAnswer(u32),
    /// A capability of a third vat.
    ThirdPartyHosted,
}

/// Whom a call or a disembargo is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// An export of the receiver.
    Import(u32),
    /// The result of a question that the receiver was asked.
    Answer(u32),
}

/// How a question ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// With results that hold these capabilities.
    Results(Vec<Descriptor>),
    /// With an exception.
    Exception,
    /// It was cancelled.
    Canceled,
    /// In another way.
    Other,
}

/// A message of the vat, as far as a peer has to understand it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Says {
    /// Asks for the bootstrap capability.
    Bootstrap {
        /// The vat's question.
        question: u32,
    },
    /// Calls a method.
    Call {
        /// The vat's question.
        question: u32,
        /// Whom it calls.
        target: Target,
        /// The capabilities in its parameters.
        caps: Vec<Descriptor>,
    },
    /// Answers a question.
    Return {
        /// The peer's question.
        answer: u32,
        /// With what.
        outcome: Outcome,
        /// The vat has forgotten the question already.
        no_finish_needed: bool,
    },
    /// Needs an answer no more.
    Finish {
        /// The vat's question.
        question: u32,
        /// Whether the capabilities in the answer are released with it.
        release_result_caps: bool,
    },
    /// A promise that the vat exported has resolved.
    Resolve {
        /// The vat's export.
        promise: u32,
        /// To what; to an exception if to nothing.
        cap: Option<Descriptor>,
    },
    /// Needs some references to an export of the peer no more.
    Release {
        /// The peer's export.
        export: u32,
        /// How many references.
        count: u32,
    },
    /// Asks for an embargo to be lifted.
    SenderLoopback {
        /// The vat's embargo.
        embargo: u32,
        /// What was embargoed.
        target: Target,
    },
    /// Ends the connection.
    Abort {
        /// Its type, numbered as in `rpc.capnp`.
        kind: u16,
        /// Why.
        reason: String,
    },
    /// Gives back a message that it does not implement.
    Unimplemented,
    /// Anything else.
    Other,
}

/// What was heard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heard {
    /// The message.
    pub says: Says,
    /// Its frame.
    pub bytes: Vec<u8>,
}

impl Heard {
    /// The frame that gives this message back as one that is not implemented.
    ///
    /// # Errors
    /// What was heard is no message.
    pub fn echo(&self) -> capnp::Result<Vec<u8>> {
        let reader = serialize::read_message(&mut &self.bytes[..], ReaderOptions::new())?;
        let heard: message::Reader<'_> = reader.get_root()?;
        let mut copied = Ok(());
        let echo = frame(|mut root| copied = root.set_unimplemented(heard));
        copied.map(|()| echo)
    }
}

/// One end of a link, in the hands of its owner.
pub struct RawPeer {
    shared: Rc<RefCell<Shared>>,
    tasks: Vec<JoinHandle<()>>,
    sim: Sim,
    name: Name,
}

#[derive(Default)]
struct Shared {
    outbox: Bytes,
    closing: bool,
    writer: Option<Waker>,
    heard: Vec<Heard>,
    ended: bool,
}

impl RawPeer {
    /// Takes `end` and reads and writes it in the tasks `owner/reader` and `owner/writer`.
    pub fn new(sim: &Sim, owner: &'static str, end: End) -> Self {
        let shared = Rc::<RefCell<Shared>>::default();
        let End { reader, writer } = end;
        let name = Name::new(owner, "peer");
        let reads = read(sim.clone(), name, shared.clone(), reader);
        let writes = write(shared.clone(), writer);
        let tasks = vec![
            sim.spawn(Name::new(owner, "reader"), reads),
            sim.spawn(Name::new(owner, "writer"), writes),
        ];
        Self {
            shared,
            tasks,
            sim: sim.clone(),
            name,
        }
    }

    /// Queues bytes; they are written as the pipe takes them.
    pub fn send(&self, bytes: &[u8]) {
        let size_bytes = bytes.len() as u64;
        let text = || in_words(bytes);
        self.sim
            .event_saying(SAID, self.name, [size_bytes, 0], text);
        self.shared.borrow_mut().outbox.put(bytes);
        self.wake();
    }

    /// Writes what is queued, then ends this direction. It still reads.
    pub fn close(&self) {
        self.shared.borrow_mut().closing = true;
        self.wake();
    }

    /// Takes what was heard since it was last asked.
    pub fn hear(&self) -> Vec<Heard> {
        std::mem::take(&mut self.shared.borrow_mut().heard)
    }

    /// Whether nothing more will be heard.
    pub fn has_ended(&self) -> bool {
        self.shared.borrow().ended
    }

    fn wake(&self) {
        let waker = self.shared.borrow_mut().writer.take();
        waker.into_iter().for_each(Waker::wake);
    }
}

/// Drops both ends of both pipes; what is queued is lost.
impl Drop for RawPeer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn write(shared: Rc<RefCell<Shared>>, mut writer: impl AsyncWrite + Unpin) {
    let mut piece = Vec::new();
    loop {
        let ready = |context: &mut Context<'_>| {
            let mut shared = shared.borrow_mut();
            let count = shared.outbox.len();
            if count == 0 && !shared.closing {
                shared.writer = Some(context.waker().clone());
                return Poll::Pending;
            }
            piece.resize(count, 0);
            shared.outbox.take_into(&mut piece);
            Poll::Ready(())
        };
        poll_fn(ready).await;
        let mut rest = &piece[..];
        while !rest.is_empty() {
            match poll_fn(|context| Pin::new(&mut writer).poll_write(context, rest)).await {
                Ok(count) => rest = &rest[count..],
                Err(_) => return,
            }
        }
        let done = {
            let shared = shared.borrow();
            shared.closing && shared.outbox.is_empty()
        };
        if done {
            // A pipe that is dead already cannot be closed; that is an end, too.
            drop(poll_fn(|context| Pin::new(&mut writer).poll_close(context)).await);
            return;
        }
    }
}

async fn read(
    sim: Sim,
    name: Name,
    shared: Rc<RefCell<Shared>>,
    mut reader: impl AsyncRead + Unpin,
) {
    let mut stream = Vec::new();
    let mut room = [0; 1024];
    loop {
        let read = poll_fn(|context| Pin::new(&mut reader).poll_read(context, &mut room)).await;
        let Ok(count @ 1..) = read else {
            shared.borrow_mut().ended = true;
            return;
        };
        stream.extend_from_slice(&room[..count]);
        while let Some(length) = frame_bytes(&stream).filter(|length| *length <= stream.len()) {
            let bytes: Vec<u8> = stream.drain(..length).collect();
            let says = decode(&bytes).unwrap_or(Says::Other);
            sim.event_saying(HEARD, name, [length as u64, 0], || in_words(&bytes));
            shared.borrow_mut().heard.push(Heard { says, bytes });
        }
    }
}

/// The length of the frame that `stream` begins with, once its segment table is there.
fn frame_bytes(stream: &[u8]) -> Option<usize> {
    let u32_at = |at: usize| {
        let bytes = stream.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    };
    let segments = u32_at(0)? + 1;
    let table = (segments / 2 + 1) * 8;
    let lengths = (0..segments).map(|index| u32_at(4 + 4 * index));
    Some(table + 8 * lengths.sum::<Option<usize>>()?)
}

/// The message of a frame in words; bytes that are none are counted.
fn in_words(mut bytes: &[u8]) -> String {
    let size_bytes = bytes.len();
    match serialize::read_message(&mut bytes, ReaderOptions::new()) {
        Ok(message) => words(message.get_root()),
        Err(_) => format!("{size_bytes} bytes that are no message"),
    }
}

fn decode(mut bytes: &[u8]) -> capnp::Result<Says> {
    let reader = serialize::read_message(&mut bytes, ReaderOptions::new())?;
    let Ok(says) = reader.get_root::<message::Reader<'_>>()?.which() else {
        return Ok(Says::Other);
    };
    Ok(match says {
        message::Bootstrap(bootstrap) => Says::Bootstrap {
            question: bootstrap?.get_question_id(),
        },
        message::Call(call) => {
            let call = call?;
            Says::Call {
                question: call.get_question_id(),
                target: target(call.get_target()?)?,
                caps: caps(call.get_params()?)?,
            }
        }
        message::Return(answer) => {
            let answer = answer?;
            let outcome = match answer.which()? {
                return_::Results(results) => Outcome::Results(caps(results?)?),
                return_::Exception(_) => Outcome::Exception,
                return_::Canceled(()) => Outcome::Canceled,
                _ => Outcome::Other,
            };
            Says::Return {
                answer: answer.get_answer_id(),
                outcome,
                no_finish_needed: no_finish_needed(answer),
            }
        }
        message::Finish(finish) => {
            let finish = finish?;
            Says::Finish {
                question: finish.get_question_id(),
                release_result_caps: finish.get_release_result_caps(),
            }
        }
        message::Resolve(resolve) => {
            let resolve = resolve?;
            let cap = match resolve.which()? {
                resolve::Cap(cap) => Some(descriptor(cap?)?),
                resolve::Exception(_) => None,
            };
            Says::Resolve {
                promise: resolve.get_promise_id(),
                cap,
            }
        }
        message::Release(release) => {
            let release = release?;
            Says::Release {
                export: release.get_id(),
                count: release.get_reference_count(),
            }
        }
        message::Disembargo(disembargo) => {
            let disembargo = disembargo?;
            match disembargo.get_context().which()? {
                disembargo::context::SenderLoopback(embargo) => Says::SenderLoopback {
                    embargo,
                    target: target(disembargo.get_target()?)?,
                },
                _ => Says::Other,
            }
        }
        message::Abort(abort) => {
            let abort = abort?;
            Says::Abort {
                kind: abort.get_type()? as u16,
                reason: String::from_utf8_lossy(abort.get_reason()?.as_bytes()).into_owned(),
            }
        }
        message::Unimplemented(_) => Says::Unimplemented,
        _ => Says::Other,
    })
}

fn target(target: message_target::Reader<'_>) -> capnp::Result<Target> {
    Ok(match target.which()? {
        message_target::ImportedCap(import) => Target::Import(import),
        message_target::PromisedAnswer(answer) => Target::Answer(answer?.get_question_id()),
    })
}

fn caps(payload: payload::Reader<'_>) -> capnp::Result<Vec<Descriptor>> {
    payload.get_cap_table()?.iter().map(descriptor).collect()
}

fn descriptor(cap: cap_descriptor::Reader<'_>) -> capnp::Result<Descriptor> {
    Ok(match cap.which()? {
        cap_descriptor::None(()) => Descriptor::None,
        cap_descriptor::SenderHosted(export) => Descriptor::SenderHosted(export),
        cap_descriptor::SenderPromise(export) => Descriptor::SenderPromise(export),
        cap_descriptor::ReceiverHosted(import) => Descriptor::ReceiverHosted(import),
        cap_descriptor::ReceiverAnswer(answer) => {
            let answer: promised_answer::Reader<'_> = answer?;
            Descriptor::ReceiverAnswer(answer.get_question_id())
        }
        cap_descriptor::ThirdPartyHosted(_) => Descriptor::ThirdPartyHosted,
    })
}
