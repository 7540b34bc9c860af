//! The cut: a plan ended at a step, for sweeps over all of them.
//!
//! Steps are numbered by what this build does, so that such a plan means nothing to another
//! release: it says "this build only".
//!
//! From the cut on nothing runs any more, as if nothing could, until the owner has gone on to
//! the teardown; if it is there already, until it has done all that it does in it. What a run
//! does before the cut is what it does without it, step for step.

use crate::decision::Question;

/// How, and after how many steps.
pub(crate) static QUESTIONS: [Question; 2] = [
    Question::word("cut.how", &["never", "teardown"], &[])
        .about("whether the owner goes on without another step: to its teardown, or through it")
        .this_build_only(),
    Question::count("cut.step", (0, u32::MAX as u64), 0, &[])
        .about("the steps that are done before")
        .this_build_only(),
];

/// Where a run stands with regard to its cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cut {
    /// There is none, or it is over.
    None,
    /// It comes when so many steps are done and another could be made.
    After(u64),
    /// Nothing runs.
    On,
}
