//! What builds are asked, and what they answered: each question is run once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::Build;
use crate::file;

/// The exit statuses that say something of the plan: clean, findings, not deterministic, and that
/// this build lacks what it needs.
const ANSWERS: [i32; 4] = [0, 1, 3, 4];

/// What a build said.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// Its exit status.
    pub status: i32,
    /// The JSON lines that it printed.
    pub lines: Vec<serde_json::Value>,
    /// The last line of what it complained of; empty if of nothing.
    pub complaint: String,
}

impl Build {
    /// Runs `command PLAN options… --json` of this build, `replay` say, or says again what came of
    /// it: the same program, plan and words have one answer, which is kept on disk.
    ///
    /// `again` numbers the runs where one is not enough. What is no answer of the run's, but says
    /// that something else went wrong (exit status 2, say), is not kept: it may be the machine.
    ///
    /// # Errors
    /// The program or a file cannot be read, a signal ended it, or it was interrupted.
    pub fn ask(
        &self,
        command: &str,
        plan: &Path,
        options: &[&str],
        again: u32,
    ) -> io::Result<Answer> {
        let kept = self.kept(command, plan, options, again)?;
        if let Ok(text) = fs::read_to_string(&kept)
            && let Ok(answer) = serde_json::from_str(&text)
        {
            return Ok(answer);
        }
        let mut build = Command::new(&self.executable);
        build.arg(command).arg(plan).args(options).arg("--json");
        let output = build.stdin(Stdio::null()).output()?;
        let interrupted = self.interrupted.load(Ordering::Relaxed);
        let Some(status) = output.status.code().filter(|_| !interrupted) else {
            let error = match interrupted {
                true => io::ErrorKind::Interrupted.into(),
                false => {
                    io::Error::other(format!("{}: {}", self.executable.display(), output.status))
                }
            };
            return Err(error);
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let lines = text.lines().map(serde_json::from_str);
        let stderr = String::from_utf8_lossy(&output.stderr);
        let answer = Answer {
            status,
            lines: lines.collect::<Result<_, _>>()?,
            complaint: stderr
                .trim_end()
                .lines()
                .last()
                .unwrap_or_default()
                .to_owned(),
        };
        if ANSWERS.contains(&status) {
            fs::create_dir_all(&self.asked)?;
            file::write(&kept, &serde_json::to_string(&answer)?)?;
        }
        Ok(answer)
    }

    /// The file of an answer.
    fn kept(
        &self,
        command: &str,
        plan: &Path,
        options: &[&str],
        again: u32,
    ) -> io::Result<PathBuf> {
        let plan = fs::read(plan).map_err(|error| file::at(plan, error))?;
        let question = (self.id, xxh3_64(&plan), command, options, again);
        let hash = xxh3_64(&serde_json::to_vec(&question)?);
        Ok(self.asked.join(format!("{hash:016x}.json")))
    }
}
