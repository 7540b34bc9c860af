//! Calls and their ends: Call, Return, Finish.

use dismantle_transport::{Descriptor, compat, frame};

use super::super::questions::About;
use super::super::tables::pick;
use super::write::except;
use super::{Speech, UNKNOWN};
use crate::catalogue::object::{Call, method_id};

impl Speech {
    pub(super) fn call(&mut self, number: u32, repetition: u32) -> Option<Vec<u8>> {
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

    pub(super) fn answer(&mut self, number: u32) -> Option<Vec<u8>> {
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
            compat::set_no_finish_needed(&mut answer, releases == "unneeded");
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

    pub(super) fn finish(&mut self, number: u32) -> Option<Vec<u8>> {
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
}
