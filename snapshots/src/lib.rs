//! Goldens: what kept plans come to, reviewed line by line.
//!
//! The plans are in `tests/plans/` and, of known findings, in `scenarios/`; what they come to is in
//! `tests/snapshots/`, one file a plan. `dismantle snapshot PLAN` proposes one, the test finds what
//! has changed, and `cargo insta review` from the root shows and accepts it. No code is touched.
