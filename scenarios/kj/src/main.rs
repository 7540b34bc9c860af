//! The `dismantle_kj` command: `dismantle` with scenarios of the C++ library.

use std::process::ExitCode;

/// Keeps the heap ledger, of Rust's blocks and of C++'s.
#[global_allocator]
static HEAP: dismantle_sim::heap::Counting = dismantle_sim::heap::Counting::new();

fn main() -> ExitCode {
    dismantle_kj::PROGRAM.main()
}
