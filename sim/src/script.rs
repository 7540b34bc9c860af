//! The run as a program: what it does, in lines that do the same without a simulation.
//!
//! Whoever acts says what a program would do in its place, while it acts: operands are found by
//! then. A line has a place, which only the reader of the script gives a meaning. Nobody listens
//! in most runs, and then nothing is written down.

use crate::heap::uncounted;
use crate::run::Sim;

impl Sim {
    /// Whether somebody listens.
    pub fn is_scripted(&self) -> bool {
        self.recorder().is_some_and(|recorder| recorder.scripts())
    }

    /// Says what a program would do here.
    pub fn script(&self, place: &'static str, line: impl FnOnce() -> String) {
        let Some(recorder) = self.recorder().filter(|recorder| recorder.scripts()) else {
            return;
        };
        // The script is not the run's.
        let pause = uncounted();
        recorder.line(place, &line());
        drop(pause);
    }
}
