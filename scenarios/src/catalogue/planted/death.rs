//! Bugs that end a run, or its process. They print, as a program's own log does.

use dismantle_sim::{Name, Phase, Question, Sim, Stopped};

use super::{CHANCE, CLEAN, strikes};
use crate::check::Class;
use crate::scenario::Planted;

planted!(
    /// Panics in a destructor.
    PlantedPanic,
    "planted-panic",
    "a destructor that panics (panic)",
    Panic,
    sim => {
        let bomb = Bomb(strikes(sim));
        println!("a bomb, armed: {}", bomb.0);
        let fuse = sim.sleep_us(1250);
        sim.spawn(Name::new("owner", "fuse"), async {
            fuse.await;
            eprintln!("the fuse has burnt down");
        });
        sim.settle()?;
        sim.act(Name::new("owner", "drop-bomb"), || drop(bomb))?;
        Ok(())
    }
);

planted!(
    /// Panics in a destructor while another panic unwinds: the process aborts.
    PlantedAbort,
    "planted-abort",
    "two destructors of one scope that panic: the process aborts (abort)",
    Abort,
    sim => {
        let bombs = (Bomb(strikes(sim)), Bomb(strikes(sim)));
        sim.act(Name::new("owner", "drop-bombs"), || drop(bombs))?;
        Ok(())
    }
);

/// Panics when it is dropped, if it is armed.
struct Bomb(bool);

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 {
            eprintln!("a bomb goes off");
        }
        assert!(!self.0, "planted");
    }
}
