//! What the raw peer says: each message as its decisions want it, legal as long as they want
//! nothing wrong.

mod calls;
mod caps;
mod operand;
mod write;

use capnp::capability::Client;
use dismantle_sim::Sim;
use dismantle_transport::{Descriptor, frame};

use self::write::except;
use super::questions::{About, MESSAGES, NEVER, wrong_draw};
use super::tables::Tables;

/// An id that is never in use.
const UNKNOWN: u32 = u32::MAX;

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
}
