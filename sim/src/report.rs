//! The report: what one run came to, as measured. Verdicts are the checks' business.

use std::collections::BTreeMap;
use std::ops::{Index, IndexMut};

use serde::Serialize;

use crate::breach::Breach;
use crate::decision::Value;
use crate::executor::Pending;
use crate::heap::Left;
use crate::name::Name;
use crate::panics::Panic;
use crate::run::{Limit, Phase};
use crate::trace::{Digest, Event};
use crate::track::Destroyed;

/// Bytes of stack that the phases needed; `None` where nothing was measured.
///
/// Measured from the frame that starts the phase, to 8 bytes; nothing is said to need less than
/// about 1 KiB. Absolute numbers differ with the compiler and the profile.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct StackBytes {
    /// While both ends were made.
    pub build: Option<u64>,
    /// While the workload ran.
    pub drive: Option<u64>,
    /// From the owner's first teardown action on, polls included.
    pub teardown: Option<u64>,
    /// In the owner's own actions during teardown, polls apart; only with a trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teardown_actions: Option<u64>,
}

/// One figure for each phase; `None` where it was not measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct ByPhase {
    /// While both ends were made.
    pub build: Option<u64>,
    /// While the workload ran.
    pub drive: Option<u64>,
    /// From the owner's first teardown action on, polls included.
    pub teardown: Option<u64>,
}

/// Figures with a field for each phase are indexed by it.
macro_rules! index_by_phase {
    ($($figures:ty),*) => {$(
        impl Index<Phase> for $figures {
            type Output = Option<u64>;

            fn index(&self, phase: Phase) -> &Option<u64> {
                match phase {
                    Phase::Build => &self.build,
                    Phase::Drive => &self.drive,
                    Phase::Teardown => &self.teardown,
                }
            }
        }

        impl IndexMut<Phase> for $figures {
            fn index_mut(&mut self, phase: Phase) -> &mut Option<u64> {
                match phase {
                    Phase::Build => &mut self.build,
                    Phase::Drive => &mut self.drive,
                    Phase::Teardown => &mut self.teardown,
                }
            }
        }
    )*};
}

index_by_phase!(StackBytes, ByPhase);

/// An injected fault that still held something up when the run ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Held {
    /// Who holds: a pipe.
    pub by: Name,
    /// The fault: `stall`.
    pub fault: &'static str,
    /// How much it keeps back, in the holder's own unit (bytes).
    pub count: u64,
}

/// What one run came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// The hash of the run's events.
    pub digest: Digest,
    /// Polls of one task.
    pub steps: u64,
    /// Those of them before the teardown.
    pub drive_steps: u64,
    /// Those of them before the owner was done, and the healed phase began.
    pub owner_steps: u64,
    /// What each carrier has carried: bytes read from a pipe.
    pub carried: BTreeMap<Name, u64>,
    /// Virtual time at the end, in microseconds.
    pub time_us: u64,
    /// The limit that stopped the run, if one did.
    pub limit: Option<Limit>,
    /// Panics, in order. The first is the finding; what follows may be its consequence.
    pub panics: Vec<Panic>,
    /// Properties seen broken, in order; the first [`crate::BREACHES_MAX`].
    pub breaches: Vec<Breach>,
    /// Tasks that had not ended when the body was done, oldest first.
    pub pending: Vec<Pending>,
    /// Injected faults that never let go.
    pub held: Vec<Held>,
    /// High-water marks of the stack.
    pub stack_bytes: StackBytes,
    /// Bytes from the very start of the stack to the deepest point of each phase: how a
    /// [`Probe`](crate::Probe) is told where to catch a run.
    pub stack_depth: ByPhase,
    /// The most bytes of the run's heap that lived at once.
    pub heap_bytes: ByPhase,
    /// Blocks that the run allocated.
    pub allocations: ByPhase,
    /// Steps by phase: polls of one task.
    pub polls: ByPhase,
    /// What of its heap the run did not give back; `None` if the heap was not measured.
    pub left: Option<Left>,
    /// The greatest number of destructions nested in one another.
    pub drop_depth: u32,
    /// The destruction order; the first [`crate::DESTROYED_MAX`].
    pub destroyed: Vec<Destroyed>,
    /// All destructions.
    pub destroyed_count: u64,
    /// Tracked objects that were still alive when everything was gone, with how many of each.
    pub never_destroyed: BTreeMap<Name, u32>,
    /// The run's own code made a cycle of references: what was never destroyed may be its doing.
    pub own_cycle: bool,
    /// A destructor of the run's own panicked within the code under test: whatever came after
    /// may be its doing.
    pub own_panic: bool,
    /// Answers of the plan that the run never asked for: nothing came of them.
    pub never_asked: Vec<String>,
    /// Answers that real input and output could not follow; see [`crate::Options::real_io`].
    pub ignored: Vec<String>,
    /// The answers that were not the default, in the order asked, if they were recorded.
    pub answers: Option<Vec<(String, Value)>>,
    /// The events, if they were kept; the first [`crate::TRACE_EVENTS_MAX`].
    pub trace: Option<Vec<Event>>,
}
