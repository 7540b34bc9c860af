//! Goldens of destruction orders: `plans/` are run, `tests/snapshots/` say what they come to.
//!
//! `cargo insta review` from the root shows what changed, and accepts it.
