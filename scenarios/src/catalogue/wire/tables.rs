//! What the raw peer has to remember to speak legally: its side of the four tables.
//!
//! It is told of every message, said or heard, in the order of the wire. It judges nobody.

use dismantle_transport::{Descriptor, Heard, Outcome, Says, Target};

/// A question that the peer asked.
pub struct Question {
    /// The message that asked it.
    pub made: u32,
    pub id: u32,
    /// Asked with `sendResultsTo.yourself`.
    pub redirected: bool,
    /// Its redirected results were claimed.
    pub taken: bool,
    pub returned: bool,
    pub finished: bool,
    /// Its finish, said before its return came, has released what the return brings.
    pub released: bool,
    /// The capabilities in its results.
    pub caps: Vec<Descriptor>,
}

/// A question that the vat asked.
pub struct Answer {
    /// The message after which it was heard.
    pub made: u32,
    pub id: u32,
    pub is_call: bool,
    /// The capabilities in its parameters.
    pub caps: Vec<Descriptor>,
    /// What the peer returned, if it did.
    pub result: Descriptor,
    pub returned: bool,
    pub finished: bool,
}

/// An export of the vat.
pub struct Import {
    pub made: u32,
    pub id: u32,
    pub refs: u32,
    pub resolution: Option<Descriptor>,
    pub disembargoed: bool,
}

/// An export of the peer.
pub struct Export {
    pub made: u32,
    pub id: u32,
    pub refs: u32,
    pub is_promise: bool,
    /// What the peer has resolved it to; `None` in it is an exception.
    pub resolution: Option<Descriptor>,
}

/// An embargo that the vat wants lifted.
pub struct Loopback {
    pub made: u32,
    pub embargo: u32,
    pub target: Target,
    pub echoed: bool,
}

/// All of them, oldest first; nothing is ever removed, so that it can be named again.
#[derive(Default)]
pub struct Tables {
    pub questions: Vec<Question>,
    pub answers: Vec<Answer>,
    pub imports: Vec<Import>,
    pub exports: Vec<Export>,
    pub loopbacks: Vec<Loopback>,
    /// Resolve messages of the vat, with the message after which they were heard.
    pub resolves: Vec<(u32, Heard)>,
}

/// The last of `items` that fits and was made by `on` or before; else the first that fits.
pub fn pick<T>(
    items: &[T],
    on: u32,
    made: impl Fn(&T) -> u32,
    fits: impl Fn(&T) -> bool,
) -> Option<usize> {
    let mut fitting = (0..items.len()).filter(|index| fits(&items[*index]));
    let first = fitting.next()?;
    let earlier = fitting.take_while(|index| made(&items[*index]) <= on);
    Some(earlier.last().unwrap_or(first))
}

impl Tables {
    /// The lowest id of a question that is free: the answer came, and it was finished.
    pub fn free_question(&self) -> u32 {
        let is_free = |id: &u32| {
            let mut asked = self.questions.iter().filter(|question| question.id == *id);
            asked.all(|question| question.returned && question.finished)
        };
        let mut ids = 0..=self.questions.len() as u32;
        ids.find(is_free).expect("one more than were asked")
    }

    /// Asks a question, under a free id or under this one.
    pub fn ask(&mut self, made: u32, id: Option<u32>, redirected: bool) -> u32 {
        let id = id.unwrap_or_else(|| self.free_question());
        self.questions.push(Question {
            made,
            id,
            redirected,
            taken: false,
            returned: false,
            finished: false,
            released: false,
            caps: Vec::new(),
        });
        id
    }

    /// Exports a new capability; it has no reference before it is described.
    pub fn export(&mut self, made: u32, is_promise: bool) -> u32 {
        let id = self.exports.len() as u32;
        self.exports.push(Export {
            made,
            id,
            refs: 0,
            is_promise,
            resolution: None,
        });
        id
    }

    /// The peer describes a capability to the vat.
    pub fn describe(&mut self, cap: Descriptor) {
        if let Descriptor::SenderHosted(id) | Descriptor::SenderPromise(id) = cap {
            let export = self.exports.iter_mut().find(|export| export.id == id);
            if let Some(export) = export {
                export.refs = export.refs.saturating_add(1);
            }
        }
    }

    /// The peer needs `count` references to an export of the vat no more.
    pub fn release(&mut self, id: u32, count: u32) {
        if let Some(import) = self.imports.iter_mut().find(|import| import.id == id) {
            import.refs = import.refs.saturating_sub(count);
        }
    }

    /// Whether one reference to each of `caps` can be released.
    pub fn holds(&self, caps: &[Descriptor]) -> bool {
        caps.iter().all(|cap| {
            exported(*cap).is_none_or(|id| {
                let count = caps
                    .iter()
                    .filter(|cap| exported(**cap) == Some(id))
                    .count();
                let import = self.imports.iter().find(|import| import.id == id);
                import.is_some_and(|import| import.refs as usize >= count)
            })
        })
    }

    /// One reference to each of `caps` is released.
    pub fn release_all(&mut self, caps: &[Descriptor]) {
        for id in caps.iter().filter_map(|cap| exported(*cap)) {
            self.release(id, 1);
        }
    }

    /// The vat says something.
    pub fn hear(&mut self, made: u32, heard: Heard) {
        match &heard.says {
            Says::Bootstrap { question } => self.asked(made, *question, false, &[]),
            Says::Call { question, caps, .. } => self.asked(made, *question, true, caps),
            Says::Return {
                answer,
                outcome,
                no_finish_needed,
            } => self.returned(made, *answer, outcome, *no_finish_needed),
            Says::Finish {
                question,
                release_result_caps: _,
            } => {
                let mut answers = self.answers.iter_mut().rev();
                if let Some(answer) = answers.find(|answer| answer.id == *question) {
                    answer.finished = true;
                }
            }
            Says::Resolve { promise, cap } => {
                self.import(made, cap.as_slice());
                let import = self.imports.iter_mut().find(|import| import.id == *promise);
                if let Some(import) = import {
                    import.resolution = *cap;
                }
                self.resolves.push((made, heard));
            }
            Says::Release { export, count } => {
                let mut exports = self.exports.iter_mut();
                if let Some(export) = exports.find(|known| known.id == *export) {
                    export.refs = export.refs.saturating_sub(*count);
                }
            }
            Says::SenderLoopback { embargo, target } => self.loopbacks.push(Loopback {
                made,
                embargo: *embargo,
                target: *target,
                echoed: false,
            }),
            Says::Abort { .. } | Says::Unimplemented | Says::Other => {}
        }
    }

    fn asked(&mut self, made: u32, id: u32, is_call: bool, caps: &[Descriptor]) {
        self.import(made, caps);
        self.answers.push(Answer {
            made,
            id,
            is_call,
            caps: caps.to_vec(),
            result: Descriptor::None,
            returned: false,
            finished: false,
        });
    }

    fn returned(&mut self, made: u32, id: u32, outcome: &Outcome, no_finish_needed: bool) {
        let mut questions = self.questions.iter_mut();
        let asked = questions.find(|question| question.id == id && !question.returned);
        let Some(question) = asked else {
            return;
        };
        question.returned = true;
        let released = question.released;
        question.finished |= no_finish_needed;
        if let Outcome::Results(caps) = outcome {
            question.caps.clone_from(caps);
            if !released {
                self.import(made, caps);
            }
        }
    }

    fn import(&mut self, made: u32, caps: &[Descriptor]) {
        for id in caps.iter().filter_map(|cap| exported(*cap)) {
            match self.imports.iter_mut().find(|import| import.id == id) {
                Some(import) if import.refs > 0 => import.refs += 1,
                Some(import) => {
                    // The vat has used the id again: another capability.
                    *import = Import::new(made, id);
                }
                None => self.imports.push(Import::new(made, id)),
            }
        }
    }

    /// What the peer has resolved to what was behind `target`.
    pub fn redirected(&self, target: Target) -> Target {
        let resolution = match target {
            Target::Import(id) => {
                let export = self.exports.iter().find(|export| export.id == id);
                export.and_then(|export| export.resolution)
            }
            Target::Answer(id) => {
                let answer = self.answers.iter().rev().find(|answer| answer.id == id);
                answer.map(|answer| answer.result)
            }
        };
        match resolution {
            Some(Descriptor::ReceiverHosted(id)) => Target::Import(id),
            Some(Descriptor::ReceiverAnswer(id)) => Target::Answer(id),
            _ => target,
        }
    }
}

impl Import {
    /// With the reference that the message brought.
    fn new(made: u32, id: u32) -> Self {
        Self {
            made,
            id,
            refs: 1,
            resolution: None,
            disembargoed: false,
        }
    }
}

/// The capability in a Resolve of the vat's, if it is one and holds one.
pub fn resolution(heard: &Heard) -> &[Descriptor] {
    match &heard.says {
        Says::Resolve { cap, .. } => cap.as_slice(),
        _ => &[],
    }
}

fn exported(cap: Descriptor) -> Option<u32> {
    match cap {
        Descriptor::SenderHosted(id) | Descriptor::SenderPromise(id) => Some(id),
        _ => None,
    }
}
