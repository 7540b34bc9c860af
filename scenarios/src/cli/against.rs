//! `against`: the same program, built against another upstream.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::Args;
use semver::Version;

use super::words::{Words, limits, line};
use super::{Console, Ended, Exit, Failure, spinner};
use crate::upstream::{Build, Built, Package, Pins, Shelf, Upstream, user_cache};

/// Where builds are kept, and what they are builds of.
#[derive(Args)]
pub(super) struct Builds {
    /// Pin another crate of upstream: `capnp-futures=0.19.0`. Else it is the newest that the
    /// release of capnp-rpc takes
    #[arg(long = "with", value_name = "CRATE=VERSION", value_parser = Pins::read)]
    with: Vec<(String, Version)>,
    /// The folder to keep builds, and what they answered, in; `dismantle` in the user's cache
    /// folder if it is not given
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// The manifest of the package that this program is built from, if it is not found
    #[arg(long, value_name = "FILE")]
    manifest_path: Option<PathBuf>,
}

/// What `against` takes.
#[derive(Args)]
pub(super) struct Arguments {
    /// A release of capnp-rpc such as 0.26.1, or a commit of it as `git:DIR@REV`; or an installed
    /// release of the C++ library such as kj:1.3.0
    #[arg(value_name = "V")]
    upstream: Upstream,
    #[command(flatten)]
    builds: Builds,
    /// What to run of that build, with its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Exit status for what cannot be built or run there.
pub(super) const CANNOT: u8 = 125;

/// Builds, and becomes the command, except that what cannot be replayed there is said by 125.
pub(super) fn against(console: &mut Console, arguments: &Arguments) -> Ended {
    let shelf = console.shelf(&arguments.builds)?;
    let build = match build(&shelf, &arguments.upstream)? {
        Built::Yes(build) => build,
        Built::Skipped(why) => {
            return Err(Failure {
                message: format!(
                    "cannot be built against {}: {why}",
                    arguments.upstream.words()
                ),
                status: CANNOT,
            });
        }
    };
    let mut command = Command::new(&build.executable);
    let called = words(&arguments.upstream.to_string());
    command.arg0(format!("{} {}", console.program, line(&called)));
    // What was said before the `--` holds behind it, too.
    for (is_set, word) in [
        (console.json, "--json"),
        (console.in_process, "--in-process"),
    ] {
        if is_set && !arguments.command.iter().any(|it| it == word) {
            command.arg(word);
        }
    }
    command.args(limits()).args(&arguments.command);
    // It is as this program was started: standard output is ours no longer.
    command.stdout(Stdio::from(console.out.try_clone()?));
    if arguments
        .command
        .first()
        .is_none_or(|command| command != "replay")
    {
        return Err(command.exec().into());
    }
    match command.status()?.code() {
        Some(0) => Ok(Exit::Clean),
        Some(1) => Ok(Exit::Findings),
        Some(130) => Ok(Exit::Interrupted),
        _ => Ok(Exit::Cannot),
    }
}

/// The words between this program and a command of its build against this upstream, for lines to
/// paste.
pub(super) fn words(upstream: &str) -> Vec<String> {
    let builds = Words::of_this_call().options(&["--with", "--cache", "--manifest-path"]);
    let mut words = vec!["against".to_owned()];
    words.extend(builds);
    words.extend([upstream.to_owned(), "--".to_owned()]);
    words
}

/// The program against this upstream; says what takes so long.
pub(super) fn build(shelf: &Shelf, upstream: &Upstream) -> io::Result<Built<Build>> {
    let waits = spinner(format!("building against {}", upstream.words()));
    let built = shelf.build(upstream);
    waits.finish_and_clear();
    built
}

impl Console {
    /// The builds that a user means.
    pub(super) fn shelf(&self, builds: &Builds) -> Result<Shelf, Failure> {
        let cache = match &builds.cache {
            Some(cache) => cache.clone(),
            None => user_cache()
                .ok_or_else(|| Failure::input("no home folder: name a folder with --cache"))?,
        };
        let pins = Pins::of(builds.with.clone()).map_err(Failure::input)?;
        let package = Package::of_this_program(builds.manifest_path.as_deref())?;
        Ok(Shelf::open(
            &cache,
            package,
            pins,
            self.interrupted.clone(),
        )?)
    }
}
