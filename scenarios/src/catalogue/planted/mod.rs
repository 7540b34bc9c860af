//! Planted bugs: one a check, each found by its check and by no other.
//!
//! They prove that the checks can fire. Most strike one seed in sixteen, so that a campaign has
//! to find them; each names the setting without which it is clean.

use dismantle_sim::{Question, Sim, share};

static CHANCE: Question = Question::count("rare", (0, 15), 0, &[share(1, 0, 15)])
    .about("the bug is there when this is 7");

/// The setting without the bug.
const CLEAN: (&str, &str) = ("rare", "3");

/// Whether this seed has the bug: about one in sixteen.
fn strikes(sim: &Sim) -> bool {
    sim.ask(&CHANCE, &[]) == 7
}

/// A scenario that is one action in teardown and whose bug strikes rarely; its rules, if it has
/// any, stand in brackets.
macro_rules! planted {
    ($(#[$doc:meta])* $type:ident, $name:literal, $about:literal, $class:ident,
     $([$($rule:expr),*],)? $sim:ident => $body:expr) => {
        $(#[$doc])*
        pub struct $type;

        impl $crate::Scenario for $type {
            fn name(&self) -> &'static str {
                $name
            }

            fn about(&self) -> &'static str {
                $about
            }

            fn parameters(&self) -> &'static [Question] {
                std::slice::from_ref(&CHANCE)
            }

            fn planted(&self) -> Option<Planted> {
                Some(Planted { class: Class::$class, clean: CLEAN })
            }

            $(fn rules(&self) -> Vec<Rule> {
                vec![$($rule),*]
            })?

            fn run(&self, $sim: &Sim) -> Result<(), Stopped> {
                $sim.enter(Phase::Teardown, || $body)
            }
        }
    };
}

mod call_order;
mod death;
mod ending;
mod exhaustion;
mod hasty;
mod order;
mod process;
mod protocol;
mod queue;
mod work;
mod wrong;

pub use call_order::PlantedCallOrder;
pub use death::{PlantedAbort, PlantedPanic};
pub use ending::{PlantedHang, PlantedHeap, PlantedLeak};
pub use exhaustion::{PlantedOom, PlantedOverflow, PlantedSpin};
pub use hasty::{PlantedEarly, PlantedUnasked};
pub use order::{PlantedOrder, PlantedReentrance};
pub use process::PlantedNondeterminism;
pub use protocol::PlantedProtocol;
pub use queue::PlantedQueue;
pub use work::PlantedWork;
pub use wrong::PlantedWrongError;
