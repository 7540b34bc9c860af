//! The cut of a pipe: a plan ended at a byte, for sweeps over all of them.
//!
//! Unlike the pipe's faults, whose times every release understands, it counts the bytes of this
//! build from the start of the stream.

use dismantle_sim::{Question, Sim};

/// How the connection ends at the cut; the last two are faults of the pipe.
const HOWS: [&str; 3] = ["never", "reset", "half-close"];

/// The decisions; the star is the direction, `c2s` or `s2c`.
pub static QUESTIONS: [Question; 2] = [
    Question::word("pipe.*.cut.how", &HOWS, &[])
        .about("how the connection ends before that byte")
        .this_build_only(),
    Question::count("pipe.*.cut.byte", (0, 1 << 40), 0, &[])
        .about("the bytes of the direction that still arrive")
        .this_build_only(),
];

/// What breaks in this direction, and before which byte.
pub(crate) fn cut(sim: &Sim, direction: &'static str) -> Option<(u64, &'static str)> {
    match sim.ask(&QUESTIONS[0], &[direction.into()]) {
        0 => None,
        how => {
            let byte = sim.ask(&QUESTIONS[1], &[direction.into()]);
            Some((byte, HOWS[how as usize]))
        }
    }
}
