//! The end of a program: everything that the owners hold goes, in an order of its own.

use dismantle_sim::{JoinHandle, Name, Part, Stopped};

use super::world::{Made, System, World};
use super::{BREAKS, ITEMS, SIDES, TEARDOWN};

/// Whose items those are that are no vat's.
const LINK: &str = "link";

impl World {
    /// Takes everything apart, item by item, in the plan's order.
    ///
    /// # Errors
    /// [`Stopped`] after a panic.
    pub fn dismantle(&mut self) -> Result<(), Stopped> {
        let sim = self.sim.clone();
        let of_vats = SIDES.into_iter().enumerate();
        let of_vats = of_vats.flat_map(|(side, owner)| ITEMS.map(|item| (side, owner, item)));
        let mut items: Vec<_> = of_vats.chain(BREAKS.map(|item| (0, LINK, item))).collect();
        let parts =
            |owner: &'static str, item: &'static str| -> [Part; 2] { [owner.into(), item.into()] };
        // Equal ones keep the order that they have.
        items.sort_by_key(|(_, owner, item)| sim.ask(&TEARDOWN[0], &parts(owner, item)));
        for (side, owner, item) in items {
            let needed = ["calls", "caps", "system"].contains(&item);
            if !needed && sim.ask(&TEARDOWN[2], &parts(owner, item)) == 0 {
                continue;
            }
            match owner {
                LINK => self.break_link(item)?,
                _ => self.item(side, item)?,
            }
            self.wait(sim.ask(&TEARDOWN[1], &parts(owner, item)))?;
        }
        // What keeps itself, or waits for itself, waits for this.
        loop {
            sim.settle()?;
            let unresolved = self
                .made
                .iter_mut()
                .flat_map(|made| made.resolvers.drain(..));
            let unresolved: Vec<_> = unresolved.collect();
            let some = !unresolved.is_empty();
            let forget = Name::new("owner", "forget");
            let forgot = sim.act(forget, || {
                drop(unresolved);
                self.objects.forget()
            })?;
            if !some && forgot != Some(true) {
                return Ok(());
            }
        }
    }

    fn break_link(&self, item: &'static str) -> Result<(), Stopped> {
        let link = &self.link;
        self.sim.act(Name::new(LINK, item), || match item {
            "reset" => link.to_server().reset(),
            "shut-c2s" => link.to_server().shut(),
            "shut-s2c" => link.to_client().shut(),
            other => unreachable!("{other} breaks nothing"),
        })?;
        Ok(())
    }

    fn item(&mut self, side: usize, item: &'static str) -> Result<(), Stopped> {
        let sim = self.sim.clone();
        let owner = SIDES[side];
        let party = &mut self.parties[side];
        match (item, &party.system) {
            ("calls", _) => {
                let cancels = sim.ask(&TEARDOWN[3], &[owner.into()]) == 1;
                let calls = collect(&mut self.made, side, |made| made.calls.split_off(0));
                let held = collect(&mut self.made, side, |made| made.held.split_off(0));
                sim.act(Name::new(owner, "drop-calls"), || {
                    if cancels {
                        calls.iter().for_each(JoinHandle::abort);
                    }
                    drop(held);
                })?;
            }
            ("caps", _) => {
                let bootstrap = party.bootstrap.take();
                let caps = collect(&mut self.made, side, |made| made.caps.split_off(0));
                let kept = collect(&mut self.made, side, |made| made.responses.split_off(0));
                sim.act(Name::new(owner, "drop-caps"), || {
                    drop((caps, kept, bootstrap));
                })?;
            }
            ("disconnected", Some(system)) => {
                let name = Name::new(owner, "disconnected");
                let waits = match system {
                    System::Vat(vat) => vat.disconnected(name),
                    System::Server(server) => server.drained(name),
                };
                self.wait_until(0, name, "end of", waits);
            }
            ("shut-write", Some(System::Vat(vat))) => {
                // What our own stream throws is no finding.
                sim.act(Name::new(owner, item), || vat.shut_write().ok())?;
            }
            ("abort-read", Some(System::Vat(vat))) => {
                sim.act(Name::new(owner, item), || vat.abort_read().ok())?;
            }
            ("system", _) => {
                let system = party.system.take();
                sim.act(Name::new(owner, "drop-system"), || drop(system))?;
            }
            // The system is gone, or its stream is not the owner's.
            _ => {}
        }
        Ok(())
    }
}

/// What all operations of one side have made of a kind.
fn collect<T>(made: &mut [Made], side: usize, take: impl Fn(&mut Made) -> Vec<T>) -> Vec<T> {
    let of_side = made.iter_mut().filter(|made| made.side == side);
    of_side.flat_map(take).collect()
}
