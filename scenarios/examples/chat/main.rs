//! A service of one's own under test: its schema, its scenario, its command line, its tests.
//!
//! ```text
//! cargo run --release --example chat -- fuzz
//! cargo test --example chat
//! ```
//!
//! - `chat.capnp`, and `chat_capnp.rs`, which is generated from it: the schema;
//! - `service.rs`: the service itself, as it runs in production;
//! - `scenario.rs`: how it is built, driven and taken apart under test.
//!
//! Generated code belongs to one minor release of `capnp`, here to the one in the lock file.
//! With an older one, leave the feature `examples` off.

#[rustfmt::skip]
#[allow(clippy::all, clippy::unwrap_used, missing_docs, reason = "generated")]
mod chat_capnp;
mod scenario;
mod service;

use std::process::ExitCode;

use scenario::Chat;

/// Has the service's memory looked after, too.
#[global_allocator]
static HEAP: dismantle_sim::heap::Counting = dismantle_sim::heap::Counting::new();

fn main() -> ExitCode {
    dismantle::cli::main(&[&Chat { bug: None }])
}

#[cfg(test)]
mod tests {
    use dismantle::{Class, Harness, InProcess, Order, Scenario, vocabulary};
    use dismantle_sim::{Plan, Seed};

    use super::Chat;
    use super::scenario::Bug;

    #[test]
    fn the_end_is_clean_under_every_seed() {
        dismantle::check(&Chat { bug: None }).seeds(0..200);
    }

    /// A rule that nothing breaks proves nothing.
    #[test]
    fn the_rules_can_be_broken() {
        let bugs = [
            (Bug::Hoards, Class::DestructionOrder),
            (Bug::Skips, Class::CallOrder),
        ];
        for (bug, class) in bugs {
            let chat = Chat { bug: Some(bug) };
            let scenarios: [&dyn Scenario; 1] = [&chat];
            let mut harness = InProcess::new(&scenarios);
            let plan = Plan::new(vocabulary(&chat));
            let mut found = Vec::new();
            for seed in 0..50 {
                let seed = Some(Seed(seed));
                let ran = harness.run(Order {
                    seed,
                    ..Order::of(&plan)
                });
                let report = ran.expect("a run in this process starts").report;
                found.extend(report.finding().map(|finding| finding.class));
            }
            assert!(found.contains(&class), "{found:?}");
        }
    }
}
