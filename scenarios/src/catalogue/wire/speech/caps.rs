//! What becomes of capabilities: Resolve, Release, Disembargo, and a Resolve that is given back.

use dismantle_transport::{Descriptor, Target, frame};

use super::super::questions::About;
use super::super::tables::{pick, resolution};
use super::operand::Aim;
use super::write::{except, write_descriptor};
use super::{Speech, UNKNOWN};

impl Speech {
    pub(super) fn resolve(&mut self, number: u32) -> Option<Vec<u8>> {
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

    pub(super) fn release(&mut self, number: u32) -> Option<Vec<u8>> {
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
    pub(super) fn disembargo(&mut self, number: u32) -> Option<Vec<u8>> {
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
    pub(super) fn unimplemented(&mut self, number: u32) -> Option<Vec<u8>> {
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
}
