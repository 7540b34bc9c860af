//! From what was decided to the fields of a message.

use capnp::any_pointer;
use capnp::private::capability::ClientHook;
use capnp::traits::ImbueMut;
use capnp_rpc::rpc_capnp::{cap_descriptor, exception, message_target, payload, promised_answer};
use dismantle_transport::{Descriptor, Target, compat};

use super::super::questions::About;
use super::Speech;
use super::operand::Aim;

/// More pointers in a row than a reader follows (64 by default).
const DEEP: usize = 70;
/// Elements of a list that takes no bytes.
const WIDE: u32 = 1 << 28;
const LARGE_BYTES: u32 = 20_000;
/// How far behind the capability table a missing capability is.
const MISSING: usize = 7;

impl Speech {
    pub(super) fn write_payload(
        &self,
        number: u32,
        cap: Descriptor,
        mut payload: payload::Builder<'_>,
    ) {
        let wrong = self.wrong(number);
        let mut table: Vec<Option<Box<dyn ClientHook>>> = Vec::new();
        if wrong == "cap-missing" {
            table.extend((0..MISSING).map(|_| None));
        }
        {
            let mut content = payload.reborrow().get_content();
            content.imbue_mut(&mut table);
            match (wrong, self.word(About::Content, number)) {
                ("content-deep", _) => nest(content, DEEP),
                ("content-wide", _) => {
                    content.initn_as::<capnp::primitive_list::Builder<'_, ()>>(WIDE);
                }
                (_, "large") => {
                    content.initn_as::<capnp::data::Builder<'_>>(LARGE_BYTES);
                }
                (other, _) if cap == Descriptor::None && other != "cap-none" => {}
                (_, "field") => {
                    let inner: payload::Builder<'_> = content.init_as();
                    inner
                        .get_content()
                        .set_as_capability(self.placeholder.hook.add_ref());
                }
                _ => content.set_as_capability(self.placeholder.hook.add_ref()),
            }
        }
        if cap != Descriptor::None || wrong == "cap-none" {
            write_descriptor(cap, payload.init_cap_table(1).get(0));
        }
    }
}

impl Aim {
    pub(super) fn write(&self, mut builder: message_target::Builder<'_>) {
        match self.target {
            Target::Import(id) => builder.set_imported_cap(id),
            Target::Answer(id) => {
                write_answer(id, &self.fields, builder.init_promised_answer());
            }
        }
    }
}

fn write_answer(id: u32, fields: &[Option<u16>], mut answer: promised_answer::Builder<'_>) {
    answer.set_question_id(id);
    let mut transform = answer.init_transform(fields.len() as u32);
    for (index, field) in fields.iter().enumerate() {
        let mut op = transform.reborrow().get(index as u32);
        match field {
            Some(field) => op.set_get_pointer_field(*field),
            None => op.set_noop(()),
        }
    }
}

pub(super) fn write_descriptor(cap: Descriptor, mut builder: cap_descriptor::Builder<'_>) {
    match cap {
        Descriptor::None => builder.set_none(()),
        Descriptor::SenderHosted(id) => builder.set_sender_hosted(id),
        Descriptor::SenderPromise(id) => builder.set_sender_promise(id),
        Descriptor::ReceiverHosted(id) => builder.set_receiver_hosted(id),
        Descriptor::ReceiverAnswer(id) => write_answer(id, &[], builder.init_receiver_answer()),
        Descriptor::ThirdPartyHosted => builder.init_third_party_hosted().set_vine_id(1),
    }
}

pub(super) fn except(mut exception: exception::Builder<'_>) {
    exception.set_type(exception::Type::Failed);
    compat::set_reason(&mut exception, "the raw peer says so");
}

fn nest(mut content: any_pointer::Builder<'_>, depth: usize) {
    for _ in 0..depth {
        let inner: payload::Builder<'_> = content.init_as();
        content = inner.get_content();
    }
}
