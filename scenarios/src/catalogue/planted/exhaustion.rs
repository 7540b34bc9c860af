//! Bugs that use something up: the stack, the time, the memory.

use std::mem::MaybeUninit;

use dismantle_sim::{Name, Phase, Question, Sim, Stopped, share};

use crate::check::Class;
use crate::scenario::Planted;

/// Rarer than the others: each costs a worker, a gibibyte of stack or seconds of a processor.
static CHANCE: Question = Question::count("rare", (0, 99), 0, &[share(1, 0, 99)])
    .about("the bug is there when this is 7");

/// The setting without the bug.
const CLEAN: (&str, &str) = ("rare", "3");

/// Whether this seed has the bug: about one in a hundred.
fn strikes(sim: &Sim) -> bool {
    sim.ask(&CHANCE, &[]) == 7
}

planted!(
    /// A destructor that makes another object of its kind, without end.
    PlantedOverflow,
    "planted-overflow",
    "a destructor that calls itself without end (overflow)",
    Overflow,
    sim => {
        let endless = Endless(strikes(sim));
        sim.act(Name::new("owner", "drop-endless"), || drop(endless))?;
        Ok(())
    }
);

planted!(
    /// A poll that never returns.
    PlantedSpin,
    "planted-spin",
    "a task that goes round in one poll for ever (spin)",
    Spin,
    sim => {
        let spins = strikes(sim);
        sim.spawn(Name::new("client", "spinner"), async move {
            while std::hint::black_box(spins) {}
        });
        sim.settle()
    }
);

planted!(
    /// Allocates without end.
    PlantedOom,
    "planted-oom",
    "a task that allocates for ever (oom)",
    Oom,
    sim => {
        let allocates = strikes(sim);
        sim.spawn(Name::new("client", "hoarder"), async move {
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            while std::hint::black_box(allocates) {
                // Reserved and not touched: the limit is one of addresses, the machine's is not.
                hoard.push(std::hint::black_box(Vec::with_capacity(BLOCK_BYTES)));
            }
        });
        sim.settle()
    }
);

/// Few of them fill whatever a worker may use, and the list of them stays short.
const BLOCK_BYTES: usize = 16 << 20;

struct Endless(bool);

impl Drop for Endless {
    fn drop(&mut self) {
        if self.0 {
            // Large frames, so that the end is near; none that the optimizer can drop or loop over.
            let mut room = MaybeUninit::<[u8; FRAME_BYTES]>::uninit();
            std::hint::black_box(room.as_mut_ptr());
            drop(std::hint::black_box(Self(true)));
            std::hint::black_box(room.as_mut_ptr());
        }
    }
}

const FRAME_BYTES: usize = 4 << 10;
