//! The `dismantle` command with the built-in scenarios.

use std::process::ExitCode;

/// Keeps the heap ledger: without it leaks of the heap are not measured.
#[global_allocator]
static HEAP: dismantle_sim::heap::Counting = dismantle_sim::heap::Counting::new();

fn main() -> ExitCode {
    dismantle::cli::main(dismantle::BUILT_IN)
}
