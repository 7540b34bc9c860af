//! `wire`: a raw peer that says anything, to one honest vat.
//!
//! Up to 32 messages of every kind, with steps of the system between them: legal ones, subtly
//! wrong ones, and bytes that are no message. The honest vat serves objects and makes calls
//! itself. Whatever the peer says, the vat may end the connection; it may not panic, hang or
//! leak. As long as all that it was told is legal, it may not end the connection either.
//!
//! An operand names the message that made a question or capability, or after which it was heard
//! of; the nearest earlier one that fits stands in.

mod mangle;
mod owner;
mod questions;
mod script;
mod speech;
mod tables;

use std::rc::Rc;

use capnp::Error;
use capnp::capability::Promise;
use capnp_rpc::rpc_twoparty_capnp::Side;
use dismantle_sim::{Name, Part, Phase, Question, Sim, Stopped};
use dismantle_transport::compat::{self, AnyParams, AnyResults, Serve};
use dismantle_transport::{Disconnector, Link, RawPeer, Vat};
use futures::FutureExt;

use self::mangle::mangle;
use self::owner::{Order, Owner, VAT};
use self::questions::{
    About, ITEMS, KEEP, MESSAGES, MESSAGES_MAX, PARAMETERS, TEARDOWN, UNTIL_REST,
};
use self::speech::Speech;
use super::object::{self, Call, Objects};
use super::program::script as program;
use super::script::place;
use super::waiting::waiting;
use crate::scenario::Scenario;

/// The scenario.
pub struct Wire;

impl Scenario for Wire {
    fn name(&self) -> &'static str {
        "wire"
    }

    fn about(&self) -> &'static str {
        "a raw peer says legal, subtly wrong and malformed messages to an honest vat"
    }

    fn parameters(&self) -> &'static [Question] {
        &PARAMETERS
    }

    fn over(&self) -> Option<&'static str> {
        Some("msg.*.repeat")
    }

    fn weight(&self) -> u32 {
        8
    }

    fn questions(&self) -> Vec<&'static [Question]> {
        vec![
            &MESSAGES,
            std::slice::from_ref(&KEEP),
            &object::QUESTIONS,
            &TEARDOWN,
        ]
    }

    fn run(&self, sim: &Sim) -> Result<(), Stopped> {
        let mut world = sim.enter(Phase::Build, || Ok(World::new(sim)))?;
        sim.enter(Phase::Drive, || world.converse())?;
        sim.enter(Phase::Teardown, || world.dismantle())
    }
}

struct World {
    sim: Sim,
    peer: Option<RawPeer>,
    speech: Speech,
    owner: Owner,
    vat: Vat,
    disconnector: Option<Disconnector>,
    link: Link,
    rests: u32,
}

/// Stands in messages for capabilities of the raw peer; it is never called.
struct Placeholder;

impl Serve for Placeholder {
    fn call(self: Rc<Self>, _: u64, _: u16, _: AnyParams, _: AnyResults) -> Promise<(), Error> {
        Promise::err(Error::unimplemented("a placeholder".to_owned()))
    }
}

impl World {
    fn new(sim: &Sim) -> Self {
        let (link, peer_end, vat_end) = Link::new(sim);
        let objects = Objects::new(sim);
        let served = Some(objects.make(VAT, 0));
        let vat = Vat::new(sim, Side::Server, vat_end, served);
        let owner = Owner::new(sim, objects, vat.bootstrap());
        let disconnector = Some(vat.disconnector());
        vat.start();
        script::world(sim);
        let level = sim.ask(&PARAMETERS[0], &[]);
        Self {
            sim: sim.clone(),
            peer: Some(RawPeer::new(sim, "raw", peer_end)),
            speech: Speech::new(sim, level, compat::client(Rc::new(Placeholder))),
            owner,
            vat,
            disconnector,
            link,
            rests: 0,
        }
    }

    fn converse(&mut self) -> Result<(), Stopped> {
        let length = self.sim.profile("length", u64::from(MESSAGES_MAX)) as u32 + 1;
        for number in 1..=MESSAGES_MAX {
            if self.sim.is_cut() {
                break;
            }
            let what = match number > length {
                true => self.sim.ask_drawn(&MESSAGES[0], &[number.into()], &[]),
                false => self.sim.ask(&MESSAGES[0], &[number.into()]),
            };
            let what = questions::WHATS[what as usize];
            if what == "nothing" {
                continue;
            }
            self.sim.operation(number);
            self.link.operation(number);
            self.listen(number);
            let action = Name::numbered("raw", what, number);
            let sim = self.sim.clone();
            sim.act(action, || self.message(what, number))?;
            let steps = self.speech.ask(About::Steps, number);
            self.wait(steps)?;
        }
        Ok(())
    }

    fn wait(&mut self, steps: u64) -> Result<(), Stopped> {
        let until_rest = steps >= UNTIL_REST;
        self.sim.script(place::STEPS, || match until_rest {
            true => String::new(),
            false => steps.to_string(),
        });
        if !until_rest {
            let made = self.sim.steps(steps)?;
            self.sim.script(place::MADE, || made.to_string());
            return Ok(());
        }
        let before = self.sim.steps_done();
        self.sim.settle()?;
        let made = || (self.sim.steps_done() - before).to_string();
        self.sim.script(place::MADE, made);
        self.rests += 1;
        self.link.rest(self.rests);
        Ok(())
    }

    fn message(&mut self, what: &'static str, number: u32) {
        let speech = &self.speech;
        let on = speech.ask(About::On, number) as u32;
        let repeat = speech.ask(About::Repeat, number) as u32;
        match what {
            "close" => self.close(),
            "owner-cancel" => self.owner.cancel(on),
            "owner-drop" => self.owner.drop_one(on),
            "owner-call" | "owner-pipeline" => {
                for repetition in 0..repeat {
                    let order = self.order(number, repetition, on);
                    let field = self.speech.word(About::Target, number) == "field";
                    match what {
                        "owner-call" => self.owner.call(&order),
                        _ => self.owner.call_pipelined(&order, field.then_some(0)),
                    }
                }
            }
            _ => {
                for repetition in 0..repeat {
                    self.say(what, number, repetition);
                }
            }
        }
    }

    fn close(&self) {
        if self.peer.is_some() {
            self.sim
                .script(place::MAIN, || "outbox.close_channel();".to_owned());
        }
        self.peer.iter().for_each(RawPeer::close);
    }

    fn order(&self, number: u32, repetition: u32, on: u32) -> Order {
        Order {
            call: Call::new(number, repetition),
            on,
            method: self.speech.word(About::Method, number),
            argument: self.speech.word(About::Cap, number),
            given: self.speech.ask(About::Given, number) as u32,
            keep: self.sim.ask(&KEEP, &[number.into()]),
        }
    }

    fn say(&mut self, what: &str, number: u32, repetition: u32) {
        let Some(mut bytes) = self.speech.say(what, number, repetition) else {
            return;
        };
        if self.speech.word(About::Wrong, number) != "nothing" {
            self.vat.peer_lies();
        }
        let damage = self.speech.word(About::Mangle, number);
        if damage != "nothing" {
            self.vat.peer_lies();
            let ask = |about| self.speech.ask(about, number) as usize;
            mangle(&mut bytes, damage, ask(About::At), ask(About::With));
        }
        if self.peer.is_some() {
            script::say(&self.sim, self.owner.objects.ids(), &bytes);
        }
        self.peer.iter().for_each(|peer| peer.send(&bytes));
    }

    /// Takes note of what the vat has said.
    fn listen(&mut self, number: u32) {
        for heard in self.peer.iter().flat_map(RawPeer::hear) {
            self.speech.tables.hear(number, heard);
        }
    }

    fn dismantle(&mut self) -> Result<(), Stopped> {
        let orderly = self.sim.ask(&PARAMETERS[1], &[]) == 0;
        if orderly {
            self.wait(UNTIL_REST)?;
        }
        self.listen(MESSAGES_MAX);
        let ask = |item: &'static str, index: usize| {
            let part: [Part; 1] = [item.into()];
            match orderly {
                true => self.sim.ask_drawn(&TEARDOWN[index], &part, &[]),
                false => self.sim.ask(&TEARDOWN[index], &part),
            }
        };
        let mut items: Vec<_> = ITEMS
            .into_iter()
            .enumerate()
            .map(|(index, item)| (ask(item, 0), index, item, ask(item, 1)))
            .collect();
        items.sort_unstable();
        for (_, _, item, steps) in items {
            self.item(item, orderly)?;
            self.wait(steps)?;
        }
        let sim = self.sim.clone();
        // Whatever the pipe was told to hold back: the connection is gone now.
        sim.script(place::RESET, String::new);
        sim.act(Name::new("raw", "reset"), || self.link.to_server().reset())?;
        let before = sim.steps_done();
        sim.script(place::STEPS, String::new);
        sim.settle()?;
        sim.script(place::MADE, || (sim.steps_done() - before).to_string());
        let forget = Name::new("owner", "forget");
        if sim.act(forget, || self.owner.objects.forget())? == Some(true) {
            sim.script(place::FORGET, String::new);
        }
        sim.script(place::STEPS, String::new);
        Ok(())
    }

    fn item(&mut self, item: &str, orderly: bool) -> Result<(), Stopped> {
        let sim = self.sim.clone();
        let how = |index: usize| match orderly {
            true => sim.ask_drawn(&TEARDOWN[index], &[], &[]),
            false => sim.ask(&TEARDOWN[index], &[]),
        };
        match item {
            "disconnect" => {
                let name = Name::new(VAT, "disconnect");
                let disconnector = self.disconnector.take();
                let how = how(2);
                let word = ["await", "poll-once", "none"][how as usize];
                if disconnector.is_some() {
                    sim.script(place::MAIN, || {
                        program::disconnect(VAT, program::Source::Taken, word)
                    });
                }
                sim.act(name, || disconnect(&sim, name, disconnector, how))?;
            }
            "calls" => {
                let cancelled = how(3) == 1;
                let name = Name::new(VAT, "let-calls-go");
                sim.act(name, || self.owner.let_calls_go(cancelled))?;
            }
            "caps" => {
                sim.act(Name::new(VAT, "drop-caps"), || self.owner.drop_caps())?;
            }
            "system" => {
                if !self.vat.has_ended() {
                    sim.script(place::MAIN, || program::drop_system(VAT, true));
                }
                self.vat.drop_system()?;
            }
            "peer" => {
                let how = how(4);
                sim.act(Name::new("raw", "end"), || match how {
                    0 => self.close(),
                    1 => {
                        sim.script(place::RESET, String::new);
                        self.link.to_server().reset();
                    }
                    _ => {
                        let gone = || "abort(hears);\nabort(says);".to_owned();
                        sim.script(place::MAIN, gone);
                        drop(self.peer.take());
                    }
                })?;
            }
            other => unreachable!("{other} is no item"),
        }
        Ok(())
    }
}

fn disconnect(sim: &Sim, name: Name, disconnector: Option<Disconnector>, how: u64) {
    let Some(mut disconnector) = disconnector else {
        return;
    };
    match how {
        0 => {
            let task = waiting(sim, "end of", name, disconnector).map(drop);
            sim.spawn_must_end(name, task);
        }
        1 => {
            sim.spawn(name, async move {
                let polled = std::future::poll_fn(|context| {
                    std::task::Poll::Ready(disconnector.poll_unpin(context))
                });
                drop(polled.await);
            });
        }
        _ => drop(disconnector),
    }
}
