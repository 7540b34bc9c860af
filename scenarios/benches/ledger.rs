//! [`overhead`] with the heap ledger on: what the ledger costs is the difference.
//!
//! ```text
//! cargo bench -p dismantle --bench overhead --bench ledger --no-run
//! for count in 100 300; do
//!     valgrind --tool=callgrind --callgrind-out-file=/dev/null <target/release/deps/overhead-…> ours $count
//!     valgrind --tool=callgrind --callgrind-out-file=/dev/null <target/release/deps/ledger-…> ours $count
//! done
//! ```

#[global_allocator]
static HEAP: dismantle_sim::heap::Counting = dismantle_sim::heap::Counting::new();

#[path = "overhead.rs"]
mod overhead;

fn main() {
    overhead::main();
}
