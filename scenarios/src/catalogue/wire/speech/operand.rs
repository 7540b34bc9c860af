//! What a message is about: ids, targets and capabilities, each the one that its decisions name,
//! the nearest that fits, or one that is wrong.

use dismantle_transport::{Descriptor, Target};

use super::super::questions::About;
use super::super::tables::{Question, Tables, pick};
use super::{Speech, UNKNOWN};

/// What a call or disembargo is for, with the way to it.
pub(super) struct Aim {
    pub(super) target: Target,
    pub(super) fields: Vec<Option<u16>>,
}

impl Aim {
    pub(super) fn at(target: Target) -> Self {
        Self {
            target,
            fields: Vec::new(),
        }
    }
}

impl Speech {
    /// Asks a question.
    pub(super) fn question(&mut self, number: u32, redirected: bool) -> u32 {
        let id = match self.wrong(number) {
            "id-next" => Some(self.tables.free_question() + 1),
            "id-huge" => Some(UNKNOWN),
            "id-used" => self.picked_question(number, |_| true),
            _ => None,
        };
        self.tables.ask(number, id, redirected)
    }

    /// Asks a question of a kind that is answered by `unimplemented` alone.
    pub(super) fn spent_question(&mut self, number: u32) -> u32 {
        let id = self.question(number, false);
        let question = self.tables.questions.last_mut().expect("asked just now");
        (question.returned, question.finished) = (true, true);
        id
    }

    pub(super) fn picked_question(
        &self,
        number: u32,
        fits: impl Fn(&Question) -> bool,
    ) -> Option<u32> {
        let (questions, on) = (&self.tables.questions, self.ask(About::On, number) as u32);
        let index = pick(questions, on, |question| question.made, fits)?;
        Some(questions[index].id)
    }

    /// What message `number` is for.
    pub(super) fn aim(&self, number: u32) -> Option<Aim> {
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
    pub(super) fn cap(&mut self, number: u32, own: Descriptor) -> Descriptor {
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

    /// The id, or a wrong one in its place.
    pub(super) fn misnamed(&self, number: u32, id: u32) -> u32 {
        match self.wrong(number) {
            "id-next" => id.wrapping_add(1),
            "id-huge" => UNKNOWN,
            _ => id,
        }
    }
}
