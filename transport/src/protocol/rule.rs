//! The rules: what `rpc.capnp` allows a vat to send, each with the sentence that says so.
//!
//! The sentences are those of `rpc.capnp` as capnp-rpc 0.27.3 ships it (`schema/rpc.capnp`); `…`
//! stands for words left out.

macro_rules! rules {
    ($($rule:ident: $text:literal, $source:literal;)*) => {
        /// A rule of the protocol that a message can break.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Rule {
            $(#[doc = concat!("A ", $text, ". `rpc.capnp`: \"", $source, "\"")] $rule,)*
        }

        impl Rule {
            /// All rules.
            pub const ALL: &[Self] = &[$(Self::$rule),*];

            /// What a message does that breaks it; stable words, without ids.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$rule => $text,)*
                }
            }

            /// The sentence of `rpc.capnp` that it is taken from.
            pub const fn source(self) -> &'static str {
                match self {
                    $(Self::$rule => $source,)*
                }
            }
        }
    };
}

rules! {
    Malformed: "message that cannot be read",
        "An RPC connection is a bi-directional stream of Messages.";
    AfterEnd: "message sent after an abort or a shutdown",
        "The sender will shut down the outgoing half of the connection after `abort`";
    NeedlessAbort: "abort of a connection on which all was legal",
        "Sent when a connection is being aborted due to an unrecoverable error.";
    Level: "message or variant above level 1",
        "Level 1 implementations do not support … three or more parties";
    Unreceived: "unimplemented echo of a message that was never received",
        "The sender previously received this message from the peer but didn't understand it";

    QuestionInUse: "call or bootstrap with a question id in use",
        "A question ID can be reused once both: A matching Return has been received from the callee. A matching Finish has been sent from the caller.";
    PipelinedOnFinished: "message that refers to the answer of a question not in use",
        "The ID remains valid in caller -> callee messages until a Finish message is sent";
    FinishUnknown: "finish of a question not in use",
        "The questionId will no longer be used in any messages sent by the callee";
    ReturnUnknown: "return for a question not in use",
        "Equal to the QuestionId of the corresponding `Call` message.";
    SecondReturn: "second return for a question",
        "remains valid in callee -> caller messages until a Return message is sent";
    CanceledUnfinished: "return canceled without a finish",
        "Indicates that the call was canceled due to the caller sending a Finish message";
    NoFinishWithCaps: "return that needs no finish but has capabilities",
        "This implies that the results do not contain any capabilities";
    ResultsForYourself: "results returned for a call that sent them to yourself",
        "the receiver must still send a `Return` for the call, but sets the field `resultsSentElsewhere` … rather than including the results";
    SentElsewhere: "results sent elsewhere for a call that wanted them back",
        "This is set when returning from a `Call` that had `sendResultsTo` set to something other than `caller`.";
    TakeFromOther: "return that takes from a question not to yourself, or a second time",
        "The sender has also sent (before this message) a `Call` with the given question ID and with `sendResultsTo.yourself` set … can only used once per question.";

    TargetReleased: "message to an import not in use",
        "remains valid in importer -> exporter messages until the importer has sent `Release` messages that … have reduced the reference count to zero";
    HostedReleased: "capability descriptor of an import not in use",
        "A capability (or promise) previously exported by the receiver";
    PromiseAsSettled: "promise exported as settled",
        "If the ID is a promise (as opposed to a settled capability), this must be indicated at the time the ID is introduced";
    SettledAsPromise: "settled export sent as a promise",
        "If the capability is already in the table, the exporter should reuse the same ID.";
    ResolvedSentAgain: "resolved promise exported again",
        "the sender will not send this `ExportId` again until it has been released and recycled";
    ResolveUnknown: "resolve of an export not in use",
        "if the `Release` is received before `Resolve` then there is no longer any reason to send a `Resolve`";
    ResolveSettled: "resolve of an export that is no promise",
        "Message type sent to indicate that a previously-sent promise has now been resolved";
    SecondResolve: "second resolve of a promise",
        "The sender will send exactly one Resolve message";
    ResolveToNone: "resolve to no capability",
        "The object to which the promise resolved.";
    ReleaseUnknown: "release of an import not in use",
        "What to release.";
    ReleaseTooMany: "release of more references than were sent",
        "The amount by which to decrement the reference count.";

    EmbargoInUse: "disembargo with an embargo id in use",
        "the sender can use whatever strategy it wants to make sure the value is unambiguous";
    EmbargoUnresolved: "disembargo of a promise that does not resolve back to the sender",
        "The sender is requesting a disembargo on a promise that is known to resolve back to a capability hosted by the sender.";
    EchoUnknown: "disembargo echoed that was never sent",
        "The receiver previously sent a `senderLoopback` Disembargo … and that Disembargo is now being echoed back.";

    NeverCanceled: "cancelled question that is never returned",
        "the callee may wish to immediately cancel the operation and send back a Return message with \"canceled\" set … or … wait until the call actually completes and send a normal `Return`";
    NeverReturned: "question that is never returned",
        "A new question ID …, which will eventually receive a Return message";
    NeverEchoed: "disembargo that is never echoed",
        "it will deliver the Disembargo back to the sender with `receiverLoopback` set";
    NeverFinished: "question that is never finished",
        "Like any return, the result must be released using a `Finish`";
    NeverReleased: "import that is never released",
        "Message type sent to indicate that the sender is done with the given capability";
}
