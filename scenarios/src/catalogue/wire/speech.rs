//! What the raw peer says: each message as its decisions want it, legal as long as they want
//! nothing wrong.

use capnp::any_pointer;
use capnp::capability::Client;
use capnp::private::capability::ClientHook;
use capnp::traits::ImbueMut;
use capnp_rpc::rpc_capnp::{cap_descriptor, exception, message_target, payload, promised_answer};
use dismantle_sim::Sim;
use dismantle_transport::{Descriptor, Target, frame};

use super::super::object::{Call, method_id};
use super::questions::{About, MESSAGES, NEVER, wrong_draw};
use super::tables::{Tables, pick, resolution};

/// An id that is never in use.
const UNKNOWN: u32 = u32::MAX;
/// More pointers in a row than a reader follows (64 by default).
const DEEP: usize = 70;
/// Elements of a list that takes no bytes.
const WIDE: u32 = 1 << 28;
const LARGE_BYTES: u32 = 20_000;
/// How far behind the capability table a missing capability is.
const MISSING: usize = 7;

/// The raw peer's voice and memory.
pub struct Speech {
    sim: Sim,
    level: u64,
    /// What it remembers.
    pub tables: Tables,
    aborted: bool,
    /// What stands for a capability while a message is built; its descriptor is what counts.
    placeholder: Client,
}

/// What a call or disembargo is for, with the way to it.
struct Aim {
    target: Target,
    fields: Vec<Option<u16>>,
}

impl Speech {
    pub fn new(sim: &Sim, level: u64, placeholder: Client) -> Self {
        Self {
            sim: sim.clone(),
            level,
            tables: Tables::default(),
            aborted: false,
            placeholder,
        }
    }

    /// The answer to a question about message `number`.
    pub fn ask(&self, about: About, number: u32) -> u64 {
        let (question, part) = (&MESSAGES[about as usize], [number.into()]);
        match about {
            About::Wrong if self.level < 1 => self.sim.ask_drawn(question, &part, NEVER),
            About::Wrong => {
                let cycles = self.sim.profile("cycles", 16) == 0;
                let draw = wrong_draw(self.word(About::What, number), cycles);
                self.sim.ask_drawn(question, &part, draw)
            }
            About::Mangle if self.level < 2 => self.sim.ask_drawn(question, &part, NEVER),
            _ => self.sim.ask(question, &part),
        }
    }

    /// The same, as a word.
    pub fn word(&self, about: About, number: u32) -> &'static str {
        about.words()[self.ask(about, number) as usize]
    }

    fn wrong(&self, number: u32) -> &'static str {
        self.word(About::Wrong, number)
    }

    fn is_yes(&self, about: About, number: u32) -> bool {
        self.ask(about, number) % 2 == 1
    }

    /// The message `number`, if there is anything to say, undamaged. `repetition` is from 0.
    pub fn say(&mut self, what: &str, number: u32, repetition: u32) -> Option<Vec<u8>> {
        let wrong = self.wrong(number);
        if self.aborted && wrong != "after-abort" {
            return None;
        }
        let bytes = match what {
            "bootstrap" => {
                let id = self.question(number, false);
                frame(|message| message.init_bootstrap().set_question_id(id))
            }
            "call" => self.call(number, repetition)?,
            "return" => self.answer(number)?,
            "finish" => self.finish(number)?,
            "resolve" => self.resolve(number)?,
            "release" => self.release(number)?,
            "disembargo" => self.disembargo(number)?,
            "abort" => {
                self.aborted = true;
                frame(|message| except(message.init_abort()))
            }
            "unimplemented" => self.unimplemented(number)?,
            "provide" | "accept" | "join" => {
                let id = self.spent_question(number);
                let aim = self.aim(number)?;
                frame(|message| match what {
                    "provide" => {
                        let mut provide = message.init_provide();
                        provide.set_question_id(id);
                        aim.write(provide.init_target());
                    }
                    "accept" => message.init_accept().set_question_id(id),
                    _ => {
                        let mut join = message.init_join();
                        join.set_question_id(id);
                        aim.write(join.init_target());
                    }
                })
            }
            "obsolete" => frame(|message| match self.is_yes(About::With, number) {
                true => message.init_obsolete_save().clear(),
                false => message.init_obsolete_delete().clear(),
            }),
            "unknown" => self.unknown(number),
            other => unreachable!("{other} is no message"),
        };
        Some(match wrong {
            "twice" => bytes.repeat(2),
            _ => bytes,
        })
    }

    /// Asks a question.
    fn question(&mut self, number: u32, redirected: bool) -> u32 {
        let id = match self.wrong(number) {
            "id-next" => Some(self.tables.free_question() + 1),
            "id-huge" => Some(UNKNOWN),
            "id-used" => self.picked_question(number, |_| true),
            _ => None,
        };
        self.tables.ask(number, id, redirected)
    }

    /// Asks a question of a kind that is answered by `unimplemented` alone.
    fn spent_question(&mut self, number: u32) -> u32 {
        let id = self.question(number, false);
        let question = self.tables.questions.last_mut().expect("asked just now");
        (question.returned, question.finished) = (true, true);
        id
    }

    fn picked_question(
        &self,
        number: u32,
        fits: impl Fn(&super::tables::Question) -> bool,
    ) -> Option<u32> {
        let (questions, on) = (&self.tables.questions, self.ask(About::On, number) as u32);
        let index = pick(questions, on, |question| question.made, fits)?;
        Some(questions[index].id)
    }

    /// What message `number` is for, by the operation that `about` names.
    fn aim(&self, number: u32) -> Option<Aim> {
        let on = self.ask(About::On, number) as u32;
        let imports = &self.tables.imports;
        let import = || pick(imports, on, |import| import.made, |import| import.refs > 0);
        let import = || import().map(|index| Target::Import(imports[index].id));
        let answer = || {
            let id = self.picked_question(number, |question| !question.finished);
            id.map(Target::Answer)
        };
        let target = self.word(About::Target, number);
        let found = match target {
            "import" => import().or_else(answer),
            _ => answer().or_else(import),
        };
        let long = || vec![None; 1000];
        let (target, fields) = match (self.wrong(number), target) {
            ("target-unknown", "import") => (Some(Target::Import(UNKNOWN)), Vec::new()),
            ("target-unknown", _) => (Some(Target::Answer(UNKNOWN)), Vec::new()),
            ("transform-long", _) => (found, long()),
            ("transform-pointers", _) => (found, vec![Some(u16::MAX), None, Some(0)]),
            (_, "field") => (found, vec![Some(0)]),
            _ => (found, Vec::new()),
        };
        target.map(|target| Aim { target, fields })
    }

    /// The capability that message `number` describes; `own` is the id that it is itself under.
    fn cap(&mut self, number: u32, own: Descriptor) -> Descriptor {
        let given = self.ask(About::Given, number) as u32;
        let word = self.word(About::Cap, number);
        let Tables {
            imports, exports, ..
        } = &self.tables;
        let cap = match (self.wrong(number), word) {
            ("cap-none", _) => Some(Descriptor::None),
            ("cap-third-party", _) => Some(Descriptor::ThirdPartyHosted),
            ("cap-itself", _) => Some(own),
            ("cap-unknown", "receiver-answer") => Some(Descriptor::ReceiverAnswer(UNKNOWN)),
            ("cap-unknown", _) => Some(Descriptor::ReceiverHosted(UNKNOWN)),
            ("cap-other-kind", _) => {
                let index = pick(exports, given, |export| export.made, |_| true);
                index.map(|index| match &exports[index] {
                    export if export.is_promise => Descriptor::SenderHosted(export.id),
                    export => Descriptor::SenderPromise(export.id),
                })
            }
            (_, "none") => Some(Descriptor::None),
            (_, "hosted-again") => {
                let hosted = pick(
                    exports,
                    given,
                    |export| export.made,
                    |export| !export.is_promise,
                );
                hosted.map(|index| Descriptor::SenderHosted(exports[index].id))
            }
            (_, "promise") => Some(Descriptor::SenderPromise(self.tables.export(number, true))),
            (_, "receiver-hosted") => {
                let import = pick(
                    imports,
                    given,
                    |import| import.made,
                    |import| import.refs > 0,
                );
                import.map(|index| Descriptor::ReceiverHosted(imports[index].id))
            }
            (_, "receiver-answer") => {
                let questions = &self.tables.questions;
                let answer = pick(
                    questions,
                    given,
                    |known| known.made,
                    |known| {
                        // Its own question is not asked yet.
                        !known.finished && known.made < number
                    },
                );
                answer.map(|index| Descriptor::ReceiverAnswer(questions[index].id))
            }
            _ => None,
        };
        let cap =
            cap.unwrap_or_else(|| Descriptor::SenderHosted(self.tables.export(number, false)));
        self.tables.describe(cap);
        cap
    }

    fn call(&mut self, number: u32, repetition: u32) -> Option<Vec<u8>> {
        let aim = self.aim(number)?;
        let redirected = self.word(About::ResultsTo, number) == "yourself";
        let own = Descriptor::ReceiverAnswer(self.tables.free_question());
        let cap = self.cap(number, own);
        let id = self.question(number, redirected);
        let method = method_id(self.word(About::Method, number));
        let called = Call::new(number, repetition);
        Some(frame(|message| {
            let mut call = message.init_call();
            call.set_question_id(id);
            call.set_interface_id(called.interface_id());
            call.set_method_id(method);
            aim.write(call.reborrow().init_target());
            let mut to = call.reborrow().get_send_results_to();
            match self.wrong(number) {
                "level-3" => to.init_third_party().clear(),
                _ if redirected => to.set_yourself(()),
                _ => to.set_caller(()),
            }
            self.write_payload(number, cap, call.init_params());
        }))
    }

    fn answer(&mut self, number: u32) -> Option<Vec<u8>> {
        let on = self.ask(About::On, number) as u32;
        let wrong = self.wrong(number);
        let wants_used = wrong == "id-used";
        let answers = &self.tables.answers;
        let index = pick(
            answers,
            on,
            |answer| answer.made,
            |answer| answer.returned == wants_used,
        );
        let id = match (index, wrong) {
            (_, "id-huge") => UNKNOWN,
            (Some(index), "id-next") => answers[index].id + 1,
            (Some(index), _) => answers[index].id,
            (None, _) => return None,
        };
        let is_call = index.is_some_and(|index| answers[index].is_call);
        let finished = index.is_some_and(|index| answers[index].finished);
        let redirected = self.picked_question(number, |question| {
            question.redirected && !question.taken && !question.finished
        });
        let end = match (self.word(About::End, number), redirected) {
            _ if wrong == "kind-other" => "other",
            ("canceled", _) if !finished => "results",
            ("take", None) => "results",
            ("take", _) if !is_call => "results",
            (end, _) => end,
        };
        let releases = self.word(About::Releases, number);
        let cap = match (end, releases) {
            ("results", "unneeded") => Descriptor::None,
            ("results", _) => self.cap(number, Descriptor::ReceiverAnswer(id)),
            _ => Descriptor::None,
        };
        let caps = index.map(|index| self.tables.answers[index].caps.clone());
        let caps = caps.unwrap_or_default();
        let releases_params = releases == "yes" && self.tables.holds(&caps);
        if releases_params {
            self.tables.release_all(&caps);
        }
        if let Some(answer) = index.map(|index| &mut self.tables.answers[index]) {
            answer.returned = true;
            answer.finished |= releases == "unneeded";
            answer.result = cap;
        }
        if let ("take", Some(taken)) = (end, redirected) {
            let mut questions = self.tables.questions.iter_mut();
            // The last one under that id: the others are over.
            let taken = questions.rfind(|question| question.id == taken);
            if let Some(question) = taken {
                question.taken = true;
            }
        }
        let other = self.ask(About::With, number);
        Some(frame(|message| {
            let mut answer = message.init_return();
            answer.set_answer_id(id);
            answer.set_release_param_caps(releases_params);
            answer.set_no_finish_needed(releases == "unneeded");
            match end {
                "results" => self.write_payload(number, cap, answer.init_results()),
                "exception" => except(answer.init_exception()),
                "canceled" => answer.set_canceled(()),
                "take" => answer.set_take_from_other_question(redirected.unwrap_or(UNKNOWN)),
                _ => match other % 4 {
                    0 => answer.set_results_sent_elsewhere(()),
                    1 => answer.set_take_from_other_question(redirected.unwrap_or(UNKNOWN)),
                    2 => answer.set_canceled(()),
                    _ => answer.init_accept_from_third_party().clear(),
                },
            }
        }))
    }

    fn finish(&mut self, number: u32) -> Option<Vec<u8>> {
        let on = self.ask(About::On, number) as u32;
        let wants_used = self.wrong(number) == "id-used";
        let questions = &self.tables.questions;
        let index = pick(
            questions,
            on,
            |question| question.made,
            |question| question.finished == wants_used,
        )?;
        let caps = questions[index].caps.clone();
        let returned = questions[index].returned;
        let mut releases = self.word(About::Releases, number) == "yes";
        if returned && releases {
            releases = self.tables.holds(&caps);
            if releases {
                self.tables.release_all(&caps);
            }
        }
        let question = &mut self.tables.questions[index];
        question.finished = true;
        question.released |= releases;
        let id = question.id;
        let id = self.misnamed(number, id);
        Some(frame(|message| {
            let mut finish = message.init_finish();
            finish.set_question_id(id);
            finish.set_release_result_caps(releases);
        }))
    }

    fn resolve(&mut self, number: u32) -> Option<Vec<u8>> {
        let on = self.ask(About::On, number) as u32;
        let wants_used = self.wrong(number) == "id-used";
        let index = pick(
            &self.tables.exports,
            on,
            |export| export.made,
            |export| {
                let resolvable =
                    export.is_promise && export.resolution.is_none() && export.refs > 0;
                resolvable != wants_used
            },
        )?;
        let id = self.tables.exports[index].id;
        let is_exception = self.word(About::End, number) == "exception";
        let cap = match is_exception {
            true => Descriptor::None,
            false => match self.cap(number, Descriptor::SenderPromise(id)) {
                Descriptor::None if self.wrong(number) != "cap-none" => {
                    let hosted = Descriptor::SenderHosted(self.tables.export(number, false));
                    self.tables.describe(hosted);
                    hosted
                }
                cap => cap,
            },
        };
        self.tables.exports[index].resolution = Some(cap);
        let id = self.misnamed(number, id);
        Some(frame(|message| {
            let mut resolve = message.init_resolve();
            resolve.set_promise_id(id);
            match is_exception {
                true => except(resolve.init_exception()),
                false => write_descriptor(cap, resolve.init_cap()),
            }
        }))
    }

    fn release(&mut self, number: u32) -> Option<Vec<u8>> {
        let on = self.ask(About::On, number) as u32;
        let wrong = self.wrong(number);
        let imports = &self.tables.imports;
        let index = pick(
            imports,
            on,
            |import| import.made,
            |import| (import.refs > 0) != (wrong == "id-used"),
        )?;
        let (id, refs) = (imports[index].id, imports[index].refs);
        let count = self.ask(About::Count, number).min(refs.max(1).into()) as u32;
        let count = match wrong {
            "count-zero" => 0,
            "count-huge" if self.is_yes(About::With, number) => UNKNOWN,
            "count-huge" => refs + 1,
            _ => count,
        };
        self.tables.release(id, count);
        let id = self.misnamed(number, id);
        Some(frame(|message| {
            let mut release = message.init_release();
            release.set_id(id);
            release.set_reference_count(count);
        }))
    }

    /// Echoes a disembargo; if there is none to be echoed, sends one for a promise of the vat's
    /// that has come back to the peer.
    fn disembargo(&mut self, number: u32) -> Option<Vec<u8>> {
        let on = self.ask(About::On, number) as u32;
        let wrong = self.wrong(number);
        let loopbacks = &self.tables.loopbacks;
        let wants_used = wrong == "id-used";
        let echoed = pick(
            loopbacks,
            on,
            |known| known.made,
            |known| known.echoed == wants_used,
        );
        if let (Some(index), "nothing" | "id-used" | "id-next" | "id-huge" | "twice") =
            (echoed, wrong)
        {
            self.tables.loopbacks[index].echoed = true;
            let loopback = &self.tables.loopbacks[index];
            let id = self.misnamed(number, loopback.embargo);
            let aim = Aim::at(self.tables.redirected(loopback.target));
            return Some(frame(|message| {
                let mut disembargo = message.init_disembargo();
                aim.write(disembargo.reborrow().init_target());
                disembargo.init_context().set_receiver_loopback(id);
            }));
        }
        let comes_back = |cap: Option<Descriptor>| {
            let Some(Descriptor::ReceiverHosted(id)) = cap else {
                return false;
            };
            let mut exports = self.tables.exports.iter();
            exports.any(|export| export.id == id && !export.is_promise)
        };
        let index = pick(
            &self.tables.imports,
            on,
            |import| import.made,
            |import| import.refs > 0 && !import.disembargoed && comes_back(import.resolution),
        );
        let aim = match index {
            Some(index) => {
                self.tables.imports[index].disembargoed = true;
                Aim::at(Target::Import(self.tables.imports[index].id))
            }
            None if wrong == "nothing" => return None,
            None => self.aim(number)?,
        };
        Some(frame(|message| {
            let mut disembargo = message.init_disembargo();
            aim.write(disembargo.reborrow().init_target());
            let mut context = disembargo.init_context();
            match wrong {
                "level-3" if self.is_yes(About::With, number) => context.set_accept(()),
                "level-3" => context.set_provide(number),
                "kind-other" => context.set_receiver_loopback(number),
                _ => context.set_sender_loopback(number),
            }
        }))
    }

    /// Gives back a Resolve, whose capability is released thereby; if that is wrong, another.
    fn unimplemented(&mut self, number: u32) -> Option<Vec<u8>> {
        if self.wrong(number) == "kind-other" {
            return Some(frame(|message| {
                let mut bootstrap = message.init_unimplemented().init_bootstrap();
                bootstrap.set_question_id(number);
            }));
        }
        let on = self.ask(About::On, number) as u32;
        let index = pick(
            &self.tables.resolves,
            on,
            |(made, _)| *made,
            |(_, heard)| self.tables.holds(resolution(heard)),
        )?;
        let (_, heard) = self.tables.resolves.remove(index);
        self.tables.release_all(resolution(&heard));
        heard.echo().ok()
    }

    /// A message of a kind to come: it has a number, and may have parameters as a call has.
    fn unknown(&mut self, number: u32) -> Vec<u8> {
        let export = self.tables.export(number, false);
        let cap = match self.word(About::Content, number) {
            "field" => Descriptor::SenderHosted(export),
            _ => Descriptor::None,
        };
        let mut bytes = frame(|message| {
            let call = message.init_call();
            self.write_payload(number, cap, call.init_params());
        });
        // The root struct's union tag, behind the segment table and the root pointer.
        bytes[16..18].copy_from_slice(&1000_u16.to_le_bytes());
        bytes
    }

    /// The id, or a wrong one in its place.
    fn misnamed(&self, number: u32, id: u32) -> u32 {
        match self.wrong(number) {
            "id-next" => id.wrapping_add(1),
            "id-huge" => UNKNOWN,
            _ => id,
        }
    }

    fn write_payload(&self, number: u32, cap: Descriptor, mut payload: payload::Builder<'_>) {
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
    fn at(target: Target) -> Self {
        Self {
            target,
            fields: Vec::new(),
        }
    }

    fn write(&self, mut builder: message_target::Builder<'_>) {
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

fn write_descriptor(cap: Descriptor, mut builder: cap_descriptor::Builder<'_>) {
    match cap {
        Descriptor::None => builder.set_none(()),
        Descriptor::SenderHosted(id) => builder.set_sender_hosted(id),
        Descriptor::SenderPromise(id) => builder.set_sender_promise(id),
        Descriptor::ReceiverHosted(id) => builder.set_receiver_hosted(id),
        Descriptor::ReceiverAnswer(id) => write_answer(id, &[], builder.init_receiver_answer()),
        Descriptor::ThirdPartyHosted => builder.init_third_party_hosted().set_vine_id(1),
    }
}

fn except(mut exception: exception::Builder<'_>) {
    exception.set_type(exception::Type::Failed);
    exception.set_reason("the raw peer says so");
}

fn nest(mut content: any_pointer::Builder<'_>, depth: usize) {
    for _ in 0..depth {
        let inner: payload::Builder<'_> = content.init_as();
        content = inner.get_content();
    }
}
