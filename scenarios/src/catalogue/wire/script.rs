//! A conversation as its own source would have it: the messages as numbers, each with what it is.

use capnp::message::ReaderOptions;
use capnp::serialize;
use capnp_rpc::rpc_capnp::call::send_results_to;
use capnp_rpc::rpc_capnp::{
    cap_descriptor, message, message_target, payload, promised_answer, resolve, return_,
};
use dismantle_sim::Sim;

use super::owner::VAT;
use crate::catalogue::object::Call;
use crate::catalogue::script::{Ids, place};

/// What rustfmt puts of a call's arguments on one line.
const ARGUMENTS_WIDTH: usize = 60;
/// The width of numbers that stand in an array in a call in `main`.
const DATA_WIDTH: usize = 91;

/// Says how the connection is made, the vat and its raw peer.
pub fn world(sim: &Sim) {
    sim.script(place::MAIN, || {
        format!(
            "let (to_vat, from_peer) = mpsc::unbounded();\n\
             let (to_peer, from_vat) = mpsc::unbounded();\n\
             let mut {VAT} = vat(Side::Server, from_peer, to_peer, \"{VAT}/object/0\");\n\
             let {VAT}_bootstrap: Client = {VAT}.bootstrap(Side::Client);\n\
             let {VAT}_disconnector = {VAT}.get_disconnector();\n\
             let {VAT}_system = spawn({VAT}.map(drop));\n\
             // The peer reads, and says only what follows.\n\
             let hears = spawn(from_vat.map(drop).collect::<()>());\n\
             let (outbox, said) = mpsc::unbounded();\n\
             let says = spawn(said.map(Ok).forward(to_vat).map(drop));\n\
             let say = |halves: &[u32]| {{\n\
             let bytes = halves.iter().flat_map(|half| half.to_le_bytes());\n\
             drop(outbox.unbounded_send(Ok(bytes.collect())));\n\
             }};"
        )
    });
}

/// Says that the peer sends these bytes.
pub fn say(sim: &Sim, ids: &Ids, bytes: &[u8]) {
    let (halves, rest) = bytes.as_chunks::<4>();
    let mut halves: Vec<u32> = halves
        .iter()
        .map(|half| u32::from_le_bytes(*half))
        .collect();
    if !rest.is_empty() || renumber(&mut halves, ids, bytes).is_none() {
        sim.script(place::CANNOT, || "bytes that are no message".to_owned());
        return;
    }
    let half = |half: &u32| match half {
        small @ 0..10 => small.to_string(),
        large => format!("{large:#x}"),
    };
    sim.script(place::MAIN, || {
        let halves: Vec<String> = halves.iter().map(half).collect();
        let one_line = halves.join(", ");
        let bytes: Vec<u8> = halves_of(&halves);
        let comment = describe(&bytes);
        match one_line.len() + 3 <= ARGUMENTS_WIDTH {
            true => format!("// {comment}\nsay(&[{one_line}]);"),
            false => format!("// {comment}\nsay(&[\n{}\n]);", filled(&halves)),
        }
    });
}

/// Numbers in as few lines as they need.
fn filled(numbers: &[String]) -> String {
    let mut lines = vec![String::new()];
    for number in numbers {
        let line = lines.last_mut().expect("there is one");
        if line.len() + number.len() + 2 > DATA_WIDTH {
            lines.push(format!("{number},"));
        } else {
            let space = if line.is_empty() { "" } else { " " };
            line.push_str(&format!("{space}{number},"));
        }
    }
    lines.join("\n")
}

fn halves_of(halves: &[String]) -> Vec<u8> {
    let number = |half: &String| match half.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => half.parse(),
    };
    let numbers = halves.iter().flat_map(number);
    numbers.flat_map(u32::to_le_bytes).collect()
}

/// Has calls bear the ids that methods have in a program. `None` if one cannot be found.
fn renumber(halves: &mut [u32], ids: &Ids, mut bytes: &[u8]) -> Option<()> {
    let all = bytes.len();
    while !bytes.is_empty() {
        let frame = (all - bytes.len()) / 4;
        let reader = serialize::read_message(&mut bytes, ReaderOptions::new()).ok()?;
        let root = reader.get_root::<message::Reader<'_>>().ok()?;
        let Ok(message::Call(Ok(call))) = root.which() else {
            continue;
        };
        let made = Call::from_interface_id(call.get_interface_id());
        let method = call.get_method_id();
        // Behind the table of segments, a word: the pointer to the message, the message with the
        // pointer to the call, the call. Each pointer counts its words from its own end; in a mangled
        // message it may point anywhere.
        let behind = |halves: &[u32], pointer: usize| -> Option<usize> {
            let words = *halves.get(pointer)? as usize >> 2;
            Some(pointer + 2 + 2 * words)
        };
        let message = behind(halves, frame + 2)?;
        let data_words = *halves.get(frame + 3)? as usize & 0xffff;
        let call = behind(halves, message + 2 * data_words)?;
        let place = halves.get_mut(call + 1)?;
        if *place & 0xffff != u32::from(method) {
            return None;
        }
        *place = *place & 0xffff_0000 | ids.of(made.operation, method) & 0xffff;
        halves.get_mut(call + 2..call + 4)?.fill(0);
    }
    Some(())
}

/// What a message is.
fn describe(mut bytes: &[u8]) -> String {
    read(&mut bytes).unwrap_or_else(|_| "No message.".to_owned())
}

fn read(bytes: &mut &[u8]) -> capnp::Result<String> {
    let reader = serialize::read_message(bytes, ReaderOptions::new())?;
    let Ok(says) = reader.get_root::<message::Reader<'_>>()?.which() else {
        return Ok("A message of a kind to come.".to_owned());
    };
    Ok(match says {
        message::Bootstrap(it) => format!("Bootstrap: question {}.", it?.get_question_id()),
        message::Call(it) => {
            let it = it?;
            let yourself = match it.get_send_results_to().which()? {
                send_results_to::Yourself(()) => "; results to yourself",
                _ => "",
            };
            format!(
                "Call: question {}, method {} of {}{}{yourself}.",
                it.get_question_id(),
                it.get_method_id(),
                target(it.get_target()?)?,
                caps(it.get_params()?)?,
            )
        }
        message::Return(it) => {
            let it = it?;
            let what = match it.which()? {
                return_::Results(results) => {
                    let caps = caps(results?)?;
                    match caps.is_empty() {
                        true => "; no capability".to_owned(),
                        false => caps,
                    }
                }
                return_::Exception(_) => "; an exception".to_owned(),
                return_::Canceled(()) => "; canceled".to_owned(),
                _ => "; results from elsewhere".to_owned(),
            };
            format!("Return: question {}{what}.", it.get_answer_id())
        }
        message::Finish(it) => format!("Finish: question {}.", it?.get_question_id()),
        message::Resolve(it) => {
            let it = it?;
            let what = match it.which()? {
                resolve::Cap(cap) => descriptor(cap?)?,
                resolve::Exception(_) => "an exception".to_owned(),
            };
            format!("Resolve: promise {} is {what}.", it.get_promise_id())
        }
        message::Release(it) => {
            let it = it?;
            format!(
                "Release: {} of export {}.",
                it.get_reference_count(),
                it.get_id()
            )
        }
        message::Disembargo(it) => format!("Disembargo: of {}.", target(it?.get_target()?)?),
        message::Abort(_) => "Abort.".to_owned(),
        message::Unimplemented(_) => "Unimplemented.".to_owned(),
        _ => "A message that vats of level 1 do not know.".to_owned(),
    })
}

fn target(target: message_target::Reader<'_>) -> capnp::Result<String> {
    Ok(match target.which()? {
        message_target::ImportedCap(id) => format!("export {id}"),
        message_target::PromisedAnswer(answer) => result_of(answer?),
    })
}

fn result_of(answer: promised_answer::Reader<'_>) -> String {
    format!("the result of question {}", answer.get_question_id())
}

fn caps(payload: payload::Reader<'_>) -> capnp::Result<String> {
    let caps = payload.get_cap_table()?.iter().map(descriptor);
    let caps: Vec<String> = caps.collect::<capnp::Result<_>>()?;
    Ok(match caps.is_empty() {
        true => String::new(),
        false => format!("; with {}", caps.join(" and ")),
    })
}

fn descriptor(cap: cap_descriptor::Reader<'_>) -> capnp::Result<String> {
    Ok(match cap.which()? {
        cap_descriptor::None(()) => "no capability".to_owned(),
        cap_descriptor::SenderHosted(id) => format!("senderHosted {id}"),
        cap_descriptor::SenderPromise(id) => format!("senderPromise {id}"),
        cap_descriptor::ReceiverHosted(id) => format!("receiverHosted {id}"),
        cap_descriptor::ReceiverAnswer(answer) => result_of(answer?),
        cap_descriptor::ThirdPartyHosted(_) => "thirdPartyHosted".to_owned(),
    })
}
