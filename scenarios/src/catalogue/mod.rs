//! The built-in scenarios: a plain array, in the order of `list`.
//!
//! They use nothing but what a user's own scenario can use.

mod act;
mod ending;
mod object;
mod script;
mod session;
mod waiting;

mod backlog;
mod exception;
mod orderly;
mod pipeline;
mod program;
mod wire;

mod callback;
mod promise;
mod streaming;

mod planted;

use crate::scenario::Scenario;

pub(crate) use script::place;
pub use waiting::waiting;

/// Every built-in scenario, the planted ones last.
pub const BUILT_IN: &[&dyn Scenario] = &[
    &program::Program,
    &backlog::Backlog,
    &exception::Exception,
    &orderly::Orderly,
    &pipeline::Pipeline,
    &streaming::Streaming,
    &callback::Callback,
    &promise::Promised,
    &wire::Wire,
    &planted::PlantedPanic,
    &planted::PlantedAbort,
    &planted::PlantedHang,
    &planted::PlantedLeak,
    &planted::PlantedQueue,
    &planted::PlantedOverflow,
    &planted::PlantedSpin,
    &planted::PlantedOom,
    &planted::PlantedNondeterminism,
    &planted::PlantedProtocol,
    &planted::PlantedOrder,
    &planted::PlantedReentrance,
    &planted::PlantedCallOrder,
    &planted::PlantedEarly,
    &planted::PlantedWrongError,
    &planted::PlantedHeap,
    &planted::PlantedWork,
    &planted::PlantedUnasked,
];
