//! Git, as a program that is asked: upstream's commits, and `git bisect`.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

/// What git prints, without the last line's end.
///
/// # Errors
/// It cannot be started, or it says no: in its words.
pub fn git(folder: &Path, arguments: &[&str]) -> io::Result<String> {
    let output = command(folder, arguments).output()?;
    if !output.status.success() {
        return Err(complaint(arguments[0], &output.stderr));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.trim_end_matches('\n').to_owned())
}

/// Git in that folder and no other, whatever the environment says, and with no hook of the user's.
pub fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder);
    command.args(["-c", "core.hooksPath=/dev/null"]);
    command.args(arguments);
    command.env("LC_ALL", "C").stdin(Stdio::null());
    for name in [
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_COMMON_DIR",
    ] {
        command.env_remove(name);
    }
    command
}

/// What it said against `what`, as an error.
pub fn complaint(what: &str, said: &[u8]) -> io::Error {
    let said = String::from_utf8_lossy(said);
    io::Error::other(format!("git {what}: {}", said.trim()))
}
