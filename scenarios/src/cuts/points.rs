//! Where a plan is cut: series of points, and the plan that ends at each.

use dismantle_sim::{Plan, Value};
use serde::Serialize;

/// What is counted up to the cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum At {
    /// Steps of the run.
    Step,
    /// Bytes of one direction.
    Byte,
}

/// How a connection ends at a byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// The owner goes on to its teardown, or through it; at a step.
    Teardown,
    /// Both directions die; at a byte.
    Reset,
    /// This direction ends; at a byte.
    HalfClose,
}

impl How {
    /// The word in plans.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Teardown => "teardown",
            Self::Reset => "reset",
            Self::HalfClose => "half-close",
        }
    }
}

/// The points of one kind: `0..=last`, each `stride` apart and the last in any case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Series {
    /// Steps, or bytes.
    pub at: At,
    /// Of which direction, if bytes: `c2s`.
    pub direction: Option<String>,
    /// How the run is ended there.
    pub how: How,
    /// The last point: nothing is left to cut off.
    pub last: u64,
    /// From one point to the next.
    pub stride: u64,
}

impl Series {
    /// How many points there are.
    pub fn count(&self) -> u64 {
        self.last.div_ceil(self.stride) + 1
    }

    pub(super) fn point(&self, index: u64) -> u64 {
        (index * self.stride).min(self.last)
    }

    /// What is cut, for people: `steps`, `c2s bytes, reset`.
    pub fn title(&self) -> String {
        title(self.direction.as_deref(), self.how)
    }

    /// The plan that ends at that point.
    pub(super) fn cut(&self, base: &Plan, point: u64) -> Plan {
        let mut plan = base.clone();
        let prefix = match &self.direction {
            None => "cut".to_owned(),
            Some(direction) => format!("pipe.{direction}.cut"),
        };
        let unit = match self.at {
            At::Step => "step",
            At::Byte => "byte",
        };
        let mut set = |name: &str, value: Value| {
            let set = plan.set(&format!("{prefix}.{name}"), &value);
            set.expect("every run asks where it is cut");
        };
        set("how", Value::Word(self.how.word().to_owned()));
        set(unit, Value::Count(point));
        plan.signature = None;
        plan.note = Some(format!(
            "this build only: {} of {} {}",
            point,
            self.last,
            self.title()
        ));
        plan
    }
}

/// What is cut, for people.
pub(super) fn title(direction: Option<&str>, how: How) -> String {
    match direction {
        None => "steps".to_owned(),
        Some(direction) => format!("{direction} bytes, {}", how.word()),
    }
}
