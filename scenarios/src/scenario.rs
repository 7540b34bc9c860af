//! What a scenario is: a system to build, drive and take apart, and the questions it asks.

use dismantle_sim::{Limits, Question, Rule, Sim, Stopped, Vocabulary};

use crate::check::Class;
use crate::harness::upstream;

/// A bug put into a scenario, to show that a check can fire.
#[derive(Clone, Copy, Debug)]
pub struct Planted {
    /// The one check that finds it.
    pub class: Class,
    /// The setting that leaves the bug out, `(parameter, value)`: then no check finds anything.
    pub clean: (&'static str, &'static str),
}

/// A system under test and the ways in which it may end.
///
/// Implement it for a system of your own; the built-in catalogue uses nothing else.
pub trait Scenario: Sync {
    /// The name on the command line and in plans: `program`.
    fn name(&self) -> &'static str;

    /// What it does, in one line.
    fn about(&self) -> &'static str;

    /// What a user sets by hand (`--set calls=1000`): questions of one segment.
    fn parameters(&self) -> &'static [Question] {
        &[]
    }

    /// The questions that its runs ask, beside those of the simulation and the transport.
    fn questions(&self) -> Vec<&'static [Question]> {
        Vec::new()
    }

    /// Where its runs stop that would not stop by themselves.
    fn limits(&self) -> Limits {
        Limits::default()
    }

    /// The parameter or decision that `growth` enlarges if it is not told: `calls`.
    fn over(&self) -> Option<&'static str> {
        None
    }

    /// What must not happen when its runs are destroyed, in any of them: a breach is a
    /// `destruction-order` finding.
    ///
    /// A rule that holds only from some moment on, after a disconnect has come to its end, say,
    /// is stated then: [`Sim::rule`].
    fn rules(&self) -> Vec<Rule> {
        Vec::new()
    }

    /// What it tests, and which release: `capnp-rpc-0.27.3`. Reports and plans say so.
    fn upstream(&self) -> String {
        upstream()
    }

    /// Why it cannot be run, if what it is about is missing in what this was built against:
    /// `capnp-rpc 0.19.5 has no streaming`. `fuzz` leaves it out, and says so.
    fn missing(&self) -> Option<&'static str> {
        None
    }

    /// The bug in it that is ours, put there to be found. `fuzz` leaves it out unless it is
    /// named.
    fn planted(&self) -> Option<Planted> {
        None
    }

    /// How many chunks of seeds a campaign gives it for each one that others get.
    fn weight(&self) -> u32 {
        1
    }

    /// One run: enters the phases `build`, `drive` and `teardown` in this order.
    ///
    /// What it spawns with [`Sim::spawn_must_end`] has to end; what it tracks has to be
    /// destroyed; nothing may panic. The checks see to that.
    ///
    /// # Errors
    /// [`Stopped`], passed on from the simulation.
    fn run(&self, sim: &Sim) -> Result<(), Stopped>;
}

/// All questions that runs of `scenario` may ask.
pub fn vocabulary(scenario: &dyn Scenario) -> Vocabulary {
    let mut questions = scenario.questions();
    questions.extend(dismantle_transport::questions());
    questions.extend(dismantle_sim::questions());
    Vocabulary {
        scenario: scenario.name(),
        limits: scenario.limits(),
        parameters: scenario.parameters(),
        questions,
    }
}

/// One run of `scenario`, under its rules.
///
/// # Errors
/// [`Stopped`], passed on from the scenario.
pub(crate) fn play(scenario: &dyn Scenario, sim: &Sim) -> Result<(), Stopped> {
    for rule in scenario.rules() {
        sim.rule(rule);
    }
    scenario.run(sim)
}

/// The scenario of that name.
pub fn find<'a>(scenarios: &[&'a dyn Scenario], name: &str) -> Option<&'a dyn Scenario> {
    scenarios
        .iter()
        .copied()
        .find(|scenario| scenario.name() == name)
}
