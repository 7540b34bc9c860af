//! Does each rule of the protocol fire where it is broken, and none where messages only cross?

use capnp::message::Builder;
use capnp_rpc::rpc_capnp::{cap_descriptor, exception, message, message_target, payload};
use dismantle_transport::protocol::{Judge, Rule};

/// Who says a message, as the judged vat sees it.
#[derive(Clone, Copy, Debug)]
enum By {
    Us,
    Them,
}
use By::{Them, Us};

/// What stands in a payload.
#[derive(Clone, Copy)]
enum Cap {
    None,
    Settled(u32),
    Promise(u32),
    Hosted(u32),
    Answer(u32),
    Third,
}

#[derive(Clone, Copy)]
enum To {
    Import(u32),
    Answer(u32),
}

type Message = Builder<capnp::message::HeapAllocator>;
type Turn = (By, Message);

fn said(fill: impl FnOnce(message::Builder<'_>)) -> Message {
    let mut message = Builder::new_default();
    fill(message.init_root());
    message
}

fn set(mut descriptor: cap_descriptor::Builder<'_>, cap: Cap) {
    match cap {
        Cap::None => descriptor.set_none(()),
        Cap::Settled(id) => descriptor.set_sender_hosted(id),
        Cap::Promise(id) => descriptor.set_sender_promise(id),
        Cap::Hosted(id) => descriptor.set_receiver_hosted(id),
        Cap::Answer(question) => descriptor.init_receiver_answer().set_question_id(question),
        Cap::Third => descriptor.init_third_party_hosted().set_vine_id(1),
    }
}

fn set_all(payload: payload::Builder<'_>, caps: &[Cap]) {
    let mut table = payload.init_cap_table(caps.len() as u32);
    for (place, cap) in caps.iter().enumerate() {
        set(table.reborrow().get(place as u32), *cap);
    }
}

fn aim(mut target: message_target::Builder<'_>, to: To) {
    match to {
        To::Import(id) => target.set_imported_cap(id),
        To::Answer(question) => target.init_promised_answer().set_question_id(question),
    }
}

fn bootstrap(question: u32) -> Message {
    said(|message| message.init_bootstrap().set_question_id(question))
}

fn call(question: u32, to: To, caps: &[Cap]) -> Message {
    said(|message| {
        let mut call = message.init_call();
        call.set_question_id(question);
        aim(call.reborrow().init_target(), to);
        set_all(call.init_params(), caps);
    })
}

fn call_to_yourself(question: u32, to: To) -> Message {
    said(|message| {
        let mut call = message.init_call();
        call.set_question_id(question);
        aim(call.reborrow().init_target(), to);
        call.reborrow().init_params();
        call.get_send_results_to().set_yourself(());
    })
}

fn call_to_third_party(question: u32, to: To) -> Message {
    said(|message| {
        let mut call = message.init_call();
        call.set_question_id(question);
        aim(call.reborrow().init_target(), to);
        call.reborrow().init_params();
        call.get_send_results_to().init_third_party();
    })
}

/// A return that leaves the parameters to Release and wants a Finish.
fn results(question: u32, caps: &[Cap]) -> Message {
    said(|message| {
        let mut ret = message.init_return();
        ret.set_answer_id(question);
        ret.set_release_param_caps(false);
        set_all(ret.init_results(), caps);
    })
}

fn results_released(question: u32) -> Message {
    said(|message| {
        let mut ret = message.init_return();
        ret.set_answer_id(question);
        ret.set_release_param_caps(true);
        ret.init_results();
    })
}

fn last_word(question: u32, caps: &[Cap]) -> Message {
    said(|message| {
        let mut ret = message.init_return();
        ret.set_answer_id(question);
        ret.set_release_param_caps(false);
        ret.set_no_finish_needed(true);
        set_all(ret.init_results(), caps);
    })
}

fn canceled(question: u32) -> Message {
    said(|message| {
        let mut ret = message.init_return();
        ret.set_answer_id(question);
        ret.set_canceled(());
    })
}

fn sent_elsewhere(question: u32) -> Message {
    said(|message| {
        let mut ret = message.init_return();
        ret.set_answer_id(question);
        ret.set_results_sent_elsewhere(());
    })
}

fn take_from(question: u32, other: u32) -> Message {
    said(|message| {
        let mut ret = message.init_return();
        ret.set_answer_id(question);
        ret.set_take_from_other_question(other);
    })
}

fn finish(question: u32) -> Message {
    finish_with(question, false)
}

fn finish_with(question: u32, releases: bool) -> Message {
    said(|message| {
        let mut finish = message.init_finish();
        finish.set_question_id(question);
        finish.set_release_result_caps(releases);
    })
}

fn resolve(promise: u32, cap: Cap) -> Message {
    said(|message| {
        let mut resolve = message.init_resolve();
        resolve.set_promise_id(promise);
        set(resolve.init_cap(), cap);
    })
}

fn resolve_to_error(promise: u32) -> Message {
    said(|message| {
        let mut resolve = message.init_resolve();
        resolve.set_promise_id(promise);
        resolve.init_exception();
    })
}

fn release(id: u32, count: u32) -> Message {
    said(|message| {
        let mut release = message.init_release();
        release.set_id(id);
        release.set_reference_count(count);
    })
}

fn disembargo(to: To, id: u32) -> Message {
    said(|message| {
        let mut disembargo = message.init_disembargo();
        aim(disembargo.reborrow().init_target(), to);
        disembargo.init_context().set_sender_loopback(id);
    })
}

fn echo(to: To, id: u32) -> Message {
    said(|message| {
        let mut disembargo = message.init_disembargo();
        aim(disembargo.reborrow().init_target(), to);
        disembargo.init_context().set_receiver_loopback(id);
    })
}

fn unimplemented(echoed: &Message) -> Message {
    said(|mut message| {
        let echoed = echoed.get_root_as_reader::<message::Reader<'_>>();
        let echoed = echoed.expect("made here");
        message.set_unimplemented(echoed).expect("it is copied");
    })
}

fn abort(kind: exception::Type) -> Message {
    said(|message| message.init_abort().set_type(kind))
}

fn provide() -> Message {
    said(|message| message.init_provide().set_question_id(1))
}

/// A list where a struct is to be.
fn garbage() -> Message {
    let mut message = Builder::new_default();
    message.initn_root::<capnp::data::Builder<'_>>(8);
    message
}

/// What the judge says of each turn: the first rule broken, and by which turn.
fn judged(turns: &[Turn]) -> (Judge, Option<(usize, Rule)>) {
    let mut judge = Judge::default();
    for (place, (by, message)) in turns.iter().enumerate() {
        let root = message.get_root_as_reader().expect("made here");
        let offence = match by {
            Us => judge.sent(root),
            Them => judge.received(root),
        };
        if let Err(offence) = offence {
            return (judge, Some((place, offence.rule)));
        }
    }
    (judge, None)
}

/// We have their bootstrap capability, import 0, and they ours, export 0.
fn met() -> Vec<Turn> {
    vec![
        (Us, bootstrap(0)),
        (Them, results(0, &[Cap::Settled(0)])),
        (Us, finish(0)),
        (Them, bootstrap(0)),
        (Us, results(0, &[Cap::Settled(0)])),
        (Them, finish(0)),
    ]
}

/// `turns` after both have met.
fn after(turns: impl IntoIterator<Item = Turn>) -> Vec<Turn> {
    met().into_iter().chain(turns).collect()
}

const OBJECT: To = To::Import(0);

/// For each rule that a message can break: turns of which the last breaks it, and no other does.
#[expect(clippy::too_many_lines, reason = "a table")]
fn broken() -> Vec<(Rule, Vec<Turn>)> {
    let foreign = Cap::Third;
    vec![
        (Rule::Malformed, vec![(Us, garbage())]),
        (
            Rule::NeedlessAbort,
            after([(Us, abort(exception::Type::Failed))]),
        ),
        (Rule::Level, after([(Us, provide())])),
        (Rule::Level, after([(Us, call(1, OBJECT, &[foreign]))])),
        (Rule::Level, after([(Us, call_to_third_party(1, OBJECT))])),
        (
            Rule::Unreceived,
            after([(Us, unimplemented(&resolve(1, Cap::Settled(1))))]),
        ),
        (
            Rule::QuestionInUse,
            after([(Us, call(1, OBJECT, &[])), (Us, call(1, OBJECT, &[]))]),
        ),
        (
            Rule::QuestionInUse,
            // Returned and not finished.
            after([
                (Us, call(1, OBJECT, &[])),
                (Them, results(1, &[])),
                (Us, bootstrap(1)),
            ]),
        ),
        (
            Rule::QuestionInUse,
            // Finished and not returned.
            after([
                (Us, call(1, OBJECT, &[])),
                (Us, finish(1)),
                (Us, call(1, OBJECT, &[])),
            ]),
        ),
        (
            Rule::PipelinedOnFinished,
            after([
                (Us, call(1, OBJECT, &[])),
                (Us, finish(1)),
                (Us, call(2, To::Answer(1), &[])),
            ]),
        ),
        (
            Rule::PipelinedOnFinished,
            after([(Us, call(2, OBJECT, &[Cap::Answer(1)]))]),
        ),
        (Rule::FinishUnknown, after([(Us, finish(1))])),
        (
            Rule::FinishUnknown,
            after([(Us, call(1, OBJECT, &[])), (Us, finish(1)), (Us, finish(1))]),
        ),
        (
            Rule::FinishUnknown,
            after([
                (Us, call(1, OBJECT, &[])),
                (Them, results(1, &[])),
                (Us, finish(1)),
                (Us, finish(1)),
            ]),
        ),
        (Rule::ReturnUnknown, after([(Us, results(1, &[]))])),
        (
            Rule::SecondReturn,
            after([
                (Them, call(1, OBJECT, &[])),
                (Us, results(1, &[])),
                (Us, canceled(1)),
            ]),
        ),
        (
            Rule::ReturnUnknown,
            // The first one was the end of the question.
            after([
                (Them, call(1, OBJECT, &[])),
                (Them, finish(1)),
                (Us, canceled(1)),
                (Us, results(1, &[])),
            ]),
        ),
        (
            Rule::CanceledUnfinished,
            after([(Them, call(1, OBJECT, &[])), (Us, canceled(1))]),
        ),
        (
            Rule::NoFinishWithCaps,
            after([
                (Them, call(1, OBJECT, &[])),
                (Us, last_word(1, &[Cap::Settled(1)])),
            ]),
        ),
        (
            Rule::ResultsForYourself,
            after([(Them, call_to_yourself(1, OBJECT)), (Us, results(1, &[]))]),
        ),
        (
            Rule::SentElsewhere,
            after([(Them, call(1, OBJECT, &[])), (Us, sent_elsewhere(1))]),
        ),
        (
            Rule::TakeFromOther,
            // That one wants its results.
            after([
                (Them, call(1, OBJECT, &[])),
                (Us, call(2, OBJECT, &[])),
                (Us, take_from(1, 2)),
            ]),
        ),
        (
            Rule::TakeFromOther,
            after([
                (Them, call(1, OBJECT, &[])),
                (Them, call(2, OBJECT, &[])),
                (Us, call_to_yourself(3, OBJECT)),
                (Us, take_from(1, 3)),
                (Us, take_from(2, 3)),
            ]),
        ),
        (
            Rule::TargetReleased,
            after([(Us, call(1, To::Import(7), &[]))]),
        ),
        (
            Rule::TargetReleased,
            after([(Us, release(0, 1)), (Us, call(1, OBJECT, &[]))]),
        ),
        (
            Rule::HostedReleased,
            after([
                (Them, call(1, OBJECT, &[Cap::Settled(1)])),
                (Us, release(1, 1)),
                (Us, results(1, &[Cap::Hosted(1)])),
            ]),
        ),
        (
            Rule::HostedReleased,
            // The return itself releases it.
            after([
                (Them, call(1, OBJECT, &[Cap::Settled(1)])),
                (Us, results_released(1)),
                (Us, call(1, OBJECT, &[Cap::Hosted(1)])),
            ]),
        ),
        (
            Rule::HostedReleased,
            // The finish released it before it came.
            after([
                (Us, call(1, OBJECT, &[])),
                (Us, finish_with(1, true)),
                (Them, results(1, &[Cap::Settled(1)])),
                (Us, call(1, OBJECT, &[Cap::Hosted(1)])),
            ]),
        ),
        (
            Rule::PromiseAsSettled,
            after([
                (Us, call(1, OBJECT, &[Cap::Promise(1)])),
                (Us, call(2, OBJECT, &[Cap::Settled(1)])),
            ]),
        ),
        (
            Rule::SettledAsPromise,
            after([(Us, call(1, OBJECT, &[Cap::Promise(0)]))]),
        ),
        (
            Rule::ResolvedSentAgain,
            after([
                (Us, call(1, OBJECT, &[Cap::Promise(1)])),
                (Us, resolve(1, Cap::Settled(2))),
                (Us, call(2, OBJECT, &[Cap::Promise(1)])),
            ]),
        ),
        (
            Rule::ResolveUnknown,
            after([(Us, resolve(1, Cap::Settled(2)))]),
        ),
        (
            Rule::ResolveUnknown,
            after([
                (Us, call(1, OBJECT, &[Cap::Promise(1)])),
                (Them, release(1, 1)),
                (Us, resolve(1, Cap::Settled(2))),
            ]),
        ),
        (
            Rule::ResolveSettled,
            after([(Us, resolve(0, Cap::Settled(2)))]),
        ),
        (
            Rule::SecondResolve,
            after([
                (Us, call(1, OBJECT, &[Cap::Promise(1)])),
                (Us, resolve_to_error(1)),
                (Us, resolve(1, Cap::Settled(2))),
            ]),
        ),
        (
            Rule::ResolveToNone,
            after([
                (Us, call(1, OBJECT, &[Cap::Promise(1)])),
                (Us, resolve(1, Cap::None)),
            ]),
        ),
        (Rule::ReleaseUnknown, after([(Us, release(9, 1))])),
        (
            Rule::ReleaseUnknown,
            after([(Us, release(0, 1)), (Us, release(0, 1))]),
        ),
        (Rule::ReleaseTooMany, after([(Us, release(0, 2))])),
        (
            Rule::ReleaseUnknown,
            // The finish has released it.
            after([
                (Us, call(1, OBJECT, &[])),
                (Them, results(1, &[Cap::Settled(1)])),
                (Us, finish_with(1, true)),
                (Us, release(1, 1)),
            ]),
        ),
        (
            Rule::EmbargoUnresolved,
            after([
                (Them, call(1, OBJECT, &[Cap::Promise(1)])),
                (Us, disembargo(To::Import(1), 0)),
            ]),
        ),
        (
            Rule::EmbargoUnresolved,
            after([
                (Us, call(1, OBJECT, &[])),
                (Them, results(1, &[Cap::Settled(1)])),
                (Us, disembargo(To::Answer(1), 0)),
            ]),
        ),
        (
            Rule::EmbargoInUse,
            after([
                (Them, call(1, OBJECT, &[Cap::Promise(1)])),
                (Them, resolve(1, Cap::Hosted(0))),
                (Us, disembargo(To::Import(1), 0)),
                (Us, disembargo(To::Import(1), 0)),
            ]),
        ),
        (Rule::EchoUnknown, after([(Us, echo(OBJECT, 0))])),
    ]
}

#[test]
fn each_rule_is_broken_by_the_last_message_and_by_no_other() {
    for (rule, turns) in broken() {
        let (judge, offence) = judged(&turns);
        assert_eq!(offence, Some((turns.len() - 1, rule)));
        // What only an upstream habit is does not end the check.
        assert_eq!(
            judge.is_silent(),
            rule != Rule::PromiseAsSettled,
            "{rule:?}"
        );
    }
}

#[test]
fn the_peer_is_held_to_the_same_rules() {
    let swapped = |by| match by {
        Us => Them,
        Them => Us,
    };
    // These need to know what the speaker has heard, or what it is for.
    let one_sided = [
        Rule::NeedlessAbort,
        Rule::PromiseAsSettled,
        Rule::ResolveUnknown,
    ];
    for (rule, turns) in broken() {
        let last = turns.len() - 1;
        let turns = turns
            .into_iter()
            .map(|(by, message)| (swapped(by), message));
        let turns: Vec<_> = turns.collect();
        let offence = judged(&turns).1;
        // A message of another level is for the hearer to refuse.
        if one_sided.contains(&rule) || (rule, offence) == (Rule::Level, None) {
            assert_eq!(offence, None, "{rule:?}");
        } else {
            assert_eq!(offence, Some((last, rule)));
        }
    }
}

#[test]
fn every_rule_of_a_message_is_in_the_table() {
    let table = broken();
    let at_rest = Rule::NeverCanceled;
    for rule in Rule::ALL.iter().filter(|rule| **rule < at_rest) {
        // It is broken by what is written, which a judge does not see.
        if *rule != Rule::AfterEnd {
            assert!(table.iter().any(|(other, _)| other == rule), "{rule:?}");
        }
    }
}

#[test]
fn messages_that_cross_break_no_rule() {
    let legal: Vec<Vec<Turn>> = vec![
        // The finish meets the return on its way; the id is free after both.
        after([
            (Us, call(1, OBJECT, &[])),
            (Us, finish_with(1, true)),
            (Them, results(1, &[Cap::Settled(1)])),
            (Us, call(1, OBJECT, &[])),
        ]),
        // Its resolution was on its way when we released the promise, and so was another
        // reference to it.
        after([
            (Them, call(1, OBJECT, &[Cap::Promise(1)])),
            (Us, release(1, 1)),
            (Them, call(2, OBJECT, &[Cap::Promise(1)])),
            (Them, resolve(1, Cap::Hosted(0))),
            (Us, release(1, 1)),
        ]),
        after([
            (Them, call(1, OBJECT, &[Cap::Promise(1)])),
            (Us, release(1, 1)),
            (Them, resolve(1, Cap::Settled(2))),
            (Us, release(2, 1)),
        ]),
        // The release of the first reference meets the second; the id is then another's.
        after([
            (Us, call(1, OBJECT, &[Cap::Promise(1)])),
            (Us, call(2, OBJECT, &[Cap::Promise(1)])),
            (Them, release(1, 1)),
            (Us, resolve(1, Cap::Hosted(0))),
            (Them, release(1, 1)),
            (Us, call(3, OBJECT, &[Cap::Settled(1)])),
        ]),
        // A return that needs no finish: the id is free, and a finish may come all the same.
        after([
            (Us, call(1, OBJECT, &[])),
            (Us, call(2, To::Answer(1), &[])),
            (Them, last_word(1, &[])),
            (Us, call(1, OBJECT, &[])),
            (Them, last_word(2, &[])),
            (Us, finish(2)),
        ]),
        // A promise that resolves back, its disembargo and the echo, by import and by answer.
        after([
            (Them, call(1, OBJECT, &[Cap::Promise(1)])),
            (Us, call(1, To::Import(1), &[])),
            (Them, resolve(1, Cap::Hosted(0))),
            (Us, disembargo(To::Import(1), 0)),
            (Them, echo(OBJECT, 0)),
            (Us, call(2, OBJECT, &[])),
            (Them, results(2, &[Cap::Hosted(0)])),
            (Us, disembargo(To::Answer(2), 0)),
            (Us, finish(2)),
            (Them, echo(OBJECT, 0)),
        ]),
        // A tail call.
        after([
            (Them, call(1, OBJECT, &[])),
            (Us, call_to_yourself(1, OBJECT)),
            (Us, take_from(1, 1)),
            (Them, sent_elsewhere(1)),
            (Them, finish(1)),
            (Us, finish(1)),
        ]),
        // A resolution that was not understood is as good as released.
        after([
            (Us, call(1, OBJECT, &[Cap::Promise(1)])),
            (Us, resolve(1, Cap::Settled(2))),
            (Them, unimplemented(&resolve(1, Cap::Settled(2)))),
            (Us, call(2, OBJECT, &[Cap::Promise(2)])),
        ]),
        after([
            (Them, provide()),
            (Us, unimplemented(&provide())),
            (Us, call(1, OBJECT, &[])),
        ]),
        after([(Us, abort(exception::Type::Disconnected))]),
        after([
            (Them, abort(exception::Type::Failed)),
            (Us, abort(exception::Type::Failed)),
        ]),
    ];
    for turns in legal {
        assert_eq!(judged(&turns).1, None);
    }
}

#[test]
fn nothing_is_judged_once_the_peer_has_broken_a_rule() {
    let turns = after([(Them, finish(5))]);
    let (mut judge, offence) = judged(&turns);
    assert_eq!(offence, Some((6, Rule::FinishUnknown)));
    let message = finish(9);
    let root = message.get_root_as_reader().expect("made here");
    assert_eq!(judge.sent(root), Ok(()));
    assert!(judge.left_undone().is_empty());
}

#[test]
fn a_reason_to_abort_may_be_one_that_no_message_shows() {
    let (mut judge, _) = judged(&met());
    judge.cannot_receive();
    let message = abort(exception::Type::Failed);
    let root = message.get_root_as_reader().expect("made here");
    assert_eq!(judge.sent(root), Ok(()));
    assert!(judge.has_ended());
}

#[test]
fn what_is_left_undone_is_told_of_the_vat_that_has_to_do_it() {
    let clean = [(Us, release(0, 1)), (Them, release(0, 1))];
    let left = |turns: Vec<Turn>| -> Vec<Rule> {
        let (judge, offence) = judged(&turns);
        assert_eq!(offence, None);
        judge.left_undone().iter().map(|it| it.rule).collect()
    };
    assert_eq!(left(after(clean)), []);
    assert_eq!(left(met()), [Rule::NeverReleased]);
    let (judge, _) = judged(&after([(Us, call(1, OBJECT, &[]))]));
    let by_peer = judge.left_undone_by_peer();
    let by_peer: Vec<Rule> = by_peer.iter().map(|it| it.rule).collect();
    assert_eq!(by_peer, [Rule::NeverReturned, Rule::NeverReleased]);
    let rest = |turns: Vec<Turn>| {
        let last = [(Us, release(0, 1)), (Them, release(0, 1))];
        left(after(turns.into_iter().chain(last)))
    };
    assert_eq!(
        rest(vec![(Them, call(1, OBJECT, &[]))]),
        [Rule::NeverReturned]
    );
    assert_eq!(
        rest(vec![(Them, call(1, OBJECT, &[])), (Them, finish(1))]),
        [Rule::NeverCanceled]
    );
    assert_eq!(
        rest(vec![(Us, call(1, OBJECT, &[])), (Them, results(1, &[]))]),
        [Rule::NeverFinished]
    );
    assert_eq!(
        rest(vec![(Us, call(1, OBJECT, &[])), (Them, last_word(1, &[]))]),
        []
    );
    assert_eq!(
        rest(vec![
            (Us, call(1, OBJECT, &[Cap::Promise(1)])),
            (Us, resolve(1, Cap::Hosted(0))),
            (Them, disembargo(To::Import(1), 3)),
            (Them, release(1, 1)),
            (Them, last_word(1, &[])),
        ]),
        [Rule::NeverEchoed]
    );
}
