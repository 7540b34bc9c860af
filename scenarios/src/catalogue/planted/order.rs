//! Bugs in the order of destruction: each scenario states the rule that it breaks.

use std::cell::RefCell;
use std::rc::Rc;

use dismantle_sim::{Name, Phase, Question, Rule, Sim, Stopped, Tracked, Where};

use super::{CHANCE, CLEAN, strikes};
use crate::check::Class;
use crate::scenario::Planted;

const CONNECTION: Name = Name::new("server", "connection");
const OBJECT: Name = Name::new("server", "object");

planted!(
    /// Destroys an object before the connection that may still call it.
    PlantedOrder,
    "planted-order",
    "an object that is destroyed before its connection (destruction-order)",
    DestructionOrder,
    [Rule::before("server/connection", "server/object")],
    sim => {
        let (object, connection) = (sim.track(OBJECT, ()), sim.track(CONNECTION, ()));
        let drop_object = || sim.act(Name::new("owner", "drop-object"), || drop(object));
        let drop_connection = || sim.act(Name::new("owner", "drop-connection"), || drop(connection));
        if strikes(sim) {
            drop_object()?;
            drop_connection()?;
        } else {
            drop_connection()?;
            drop_object()?;
        }
        Ok(())
    }
);

planted!(
    /// A destructor that destroys what another may be in the middle of using.
    PlantedReentrance,
    "planted-reentrance",
    "a connection whose destructor destroys the object it serves (destruction-order)",
    DestructionOrder,
    [Rule::never_inside("server/object", Where::Destruction)],
    sim => {
        let slot = Rc::new(RefCell::new(Some(sim.track(OBJECT, ()))));
        let clears = strikes(sim).then(|| slot.clone());
        let connection = sim.track(CONNECTION, Clears(clears));
        sim.act(Name::new("owner", "drop-connection"), || drop(connection))?;
        sim.act(Name::new("owner", "drop-object"), || drop(slot))?;
        Ok(())
    }
);

/// Empties its slot when it is dropped, if it has one.
struct Clears(Option<Rc<RefCell<Option<Tracked<()>>>>>);

impl Drop for Clears {
    fn drop(&mut self) {
        let object = self.0.take().and_then(|slot| slot.take());
        drop(object);
    }
}
