//! Bugs of runs that depend on more than their plan.

use dismantle_sim::{EventKind, Name, Phase, Question, Sim, Stopped};

use crate::check::Class;
use crate::scenario::{Planted, Scenario};

static ASKS: Question = Question::word("asks", &["process", "nobody"], &[])
    .about("whom it asks for a number that the plan does not give");

const NUMBER: EventKind = EventKind::new("number");

/// Asks for its process's id.
pub struct PlantedNondeterminism;

impl Scenario for PlantedNondeterminism {
    fn name(&self) -> &'static str {
        "planted-nondeterminism"
    }

    fn about(&self) -> &'static str {
        "a run that is another one in each process (nondeterminism)"
    }

    fn parameters(&self) -> &'static [Question] {
        std::slice::from_ref(&ASKS)
    }

    fn planted(&self) -> Option<Planted> {
        Some(Planted {
            class: Class::Nondeterminism,
            clean: ("asks", "nobody"),
        })
    }

    fn run(&self, sim: &Sim) -> Result<(), Stopped> {
        let number = match sim.ask(&ASKS, &[]) {
            0 => std::process::id(),
            _ => 0,
        };
        sim.enter(Phase::Teardown, || {
            let name = Name::new("owner", "number");
            sim.event(NUMBER, name, [u64::from(number), 0]);
            Ok(())
        })
    }
}
