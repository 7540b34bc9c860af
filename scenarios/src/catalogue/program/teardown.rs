//! The end of a program: everything that the owners hold goes, in an order of its own.

use dismantle_sim::{JoinHandle, Name, Part, Stopped};
use dismantle_transport::nothing_left;

use super::script;
use super::world::{Made, World};
use super::{
    AFTER_DISCONNECT, ALWAYS_AWAIT, DISCONNECT_FIRST, HOWS, ITEMS, RELEASE, SERVER_RUNS, SIDES,
    TEARDOWN, UNTIL_DISCONNECTED, UNTIL_REST,
};
use crate::catalogue::script::place;

impl World {
    /// Takes everything apart, item by item, in the plan's order.
    ///
    /// # Errors
    /// [`Stopped`] after a panic.
    pub fn dismantle(&mut self) -> Result<(), Stopped> {
        let sim = self.sim.clone();
        let disconnects_first = sim.profile("disconnect-first", 2) == 1;
        // A server that nobody has run so far is run now, if it ever is.
        if sim.ask(&SERVER_RUNS, &[]) == 1 {
            for connection in self.net.all() {
                let vat = &connection.parties[1].vat;
                script::start(&sim, vat.name());
                vat.start();
            }
        }
        if sim.ask(&RELEASE, &[]) == 1 {
            self.release()?;
        }
        let mut items = Vec::new();
        for (place, side, item) in self.items() {
            let parts: [Part; 2] = [self.vat(place, side).into(), item.into()];
            let when = match (disconnects_first, item) {
                (false, _) => sim.ask(&TEARDOWN[0], &parts),
                (true, "disconnect") => sim.ask_drawn(&TEARDOWN[0], &parts, DISCONNECT_FIRST),
                (true, _) => sim.ask_drawn(&TEARDOWN[0], &parts, AFTER_DISCONNECT),
            };
            items.push((when, items.len(), place, side, item));
        }
        items.sort_unstable();
        for (_, _, place, side, item) in items {
            let parts: [Part; 2] = [self.vat(place, side).into(), item.into()];
            self.item(place, side, item, disconnects_first)?;
            let steps = match disconnects_first && item == "disconnect" {
                true => sim.ask_drawn(&TEARDOWN[1], &parts, UNTIL_DISCONNECTED),
                false => sim.ask(&TEARDOWN[1], &parts),
            };
            self.wait(steps)?;
        }
        let forgot = sim.act(Name::new("owner", "forget"), || self.objects.forget())?;
        if forgot == Some(true) {
            sim.script(place::FORGET, String::new);
        }
        self.script_rest();
        Ok(())
    }

    /// Gives up all that the owners hold while the connections are up, and waits until both vats
    /// have told each other: then nothing may be left in their tables.
    fn release(&mut self) -> Result<(), Stopped> {
        let sim = self.sim.clone();
        sim.script(place::CANNOT, || "the decision `release`".to_owned());
        let mut more = true;
        while more {
            let made = std::mem::take(&mut self.made);
            // A client that reconnects may have made another connection.
            let connections = self.net.all();
            let parties = connections.iter().flat_map(|it| &it.parties);
            let bootstraps: Vec<_> = parties.filter_map(|it| it.bootstrap.take()).collect();
            more = !bootstraps.is_empty();
            sim.act(Name::new("owner", "release"), || {
                let calls = made.iter().flat_map(|made| &made.calls);
                calls.for_each(JoinHandle::abort);
                drop((made, bootstraps));
            })?;
            self.wait(UNTIL_REST)?;
            // What was late may have been kept since, or wait for ever.
            let forget = Name::new("owner", "forget");
            more |= sim.act(forget, || self.objects.forget())? == Some(true);
        }
        // A capability that goes through two connections stays as long as either of them holds it.
        let connections = self.net.all();
        let quiet = connections.iter().all(|it| it.link.is_quiet());
        let quiet = quiet && !self.objects.is_serving();
        if quiet && !sim.has_own_cycle() && !sim.is_limited() {
            for connection in connections {
                nothing_left(connection.parties.each_ref().map(|party| &party.vat));
            }
        }
        Ok(())
    }

    /// What is taken apart: connection, side and item; what both owners hold beside their vats
    /// goes with the first connection's.
    fn items(&self) -> Vec<(usize, usize, &'static str)> {
        let mut items = Vec::new();
        for place in 0..self.net.all().len() {
            for side in 0..SIDES.len() {
                let of_vat = |item: &&str| place == 0 || ["disconnect", "system"].contains(item);
                let of_vat = ITEMS.into_iter().filter(of_vat);
                items.extend(of_vat.map(|item| (place, side, item)));
            }
        }
        items
    }

    fn vat(&self, place: usize, side: usize) -> &'static str {
        self.net.all()[place].parties[side].vat.name()
    }

    fn item(
        &mut self,
        place: usize,
        side: usize,
        item: &str,
        disconnects_first: bool,
    ) -> Result<(), Stopped> {
        let sim = self.sim.clone();
        let connections = self.net.all();
        let party = &connections[place].parties[side];
        let vat = party.vat.name();
        match item {
            "disconnect" => {
                let how = match disconnects_first {
                    true => sim.ask_drawn(&TEARDOWN[2], &[vat.into()], ALWAYS_AWAIT),
                    false => sim.ask(&TEARDOWN[2], &[vat.into()]),
                };
                let name = Name::new(vat, "disconnect");
                let how = HOWS[how as usize];
                sim.act(name, || self.net.disconnect(party, place::MAIN, name, how))?;
            }
            "calls" => {
                let of_side = self.made.iter_mut().filter(|made| made.side == side);
                let calls: Vec<_> = of_side.flat_map(|made| made.calls.drain(..)).collect();
                if sim.ask(&TEARDOWN[3], &[vat.into()]) == 1 {
                    self.net.errors.cancelled();
                    self.script_aborts(&calls);
                    let action = Name::new(vat, "drop-calls");
                    sim.act(action, || calls.iter().for_each(JoinHandle::abort))?;
                }
            }
            "caps" => {
                self.script_drop_caps(side);
                let caps: Vec<_> = self.of(side).flat_map(|made| made.caps.drain(..)).collect();
                let kept: Vec<_> = self
                    .of(side)
                    .flat_map(|made| made.responses.drain(..))
                    .collect();
                let bootstraps: Vec<_> = connections
                    .iter()
                    .map(|connection| connection.parties[side].bootstrap.take())
                    .collect();
                sim.act(Name::new(vat, "drop-caps"), || {
                    drop((caps, kept, bootstraps))
                })?;
            }
            "system" => {
                if !party.vat.has_ended() {
                    let runs = party.vat.has_started();
                    sim.script(place::MAIN, || script::drop_system(vat, runs));
                }
                party.vat.drop_system()?;
            }
            other => unreachable!("{other} is no item"),
        }
        Ok(())
    }

    fn of(&mut self, side: usize) -> impl Iterator<Item = &mut Made> {
        self.made.iter_mut().filter(move |made| made.side == side)
    }
}
