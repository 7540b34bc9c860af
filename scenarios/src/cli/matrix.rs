//! `matrix`: many plans against many upstreams, in one table.

mod versions;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Args;
use semver::Version;

use super::against::Builds;
use super::bisect::{kept_for, shown, to_go_on};
use super::fuzz::progress_bar;
use super::words::limits;
use super::{Console, Ended, Exit, Failure};
use crate::file;
use crate::matrix::{Cell, Matrix, Row, fill};
use crate::upstream::{Build, Built, Upstream};

/// What `matrix` takes.
#[derive(Args)]
pub(super) struct Arguments {
    /// Plan files, or folders of them
    #[arg(value_name = "PLAN|DIR", required = true)]
    plans: Vec<PathBuf>,
    /// The upstreams: the releases of A..B, half open, or of A..=B, or of A.. to the newest;
    /// or one as `against` takes it; or several of all these with commas between. Of the C++
    /// library: the installed ones of kj:A..kj:B, in the same ways
    #[arg(long, value_name = "A..B")]
    versions: String,
    /// Print the table as Markdown
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Write it to this file, whole or not at all, and not to standard output
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Runs at a time; as many as there are cores if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    #[command(flatten)]
    builds: Builds,
}

/// Builds, runs what was not run before, and prints.
pub(super) fn run(console: &mut Console, arguments: &Arguments) -> Ended {
    let chosen = versions::read(&arguments.versions).map_err(Failure::input)?;
    let rows = rows(console, &arguments.plans)?;
    let shelf = console.shelf(&arguments.builds)?;
    let releases = |library, wanted: &[&Version]| shelf.releases(library, wanted);
    let upstreams = versions::choose(&chosen, releases)?;
    let bar = progress_bar(Some((rows.len() * upstreams.len()) as u64), "cells");
    let built = AtomicUsize::new(0);
    let quiet = console.json;
    let say = |line: String| {
        if !quiet {
            bar.suspend(|| eprintln!("{line}"));
        }
    };
    let mut build = |upstream: &Upstream| -> io::Result<Result<Build, String>> {
        let number = built.fetch_add(1, Ordering::Relaxed) + 1;
        bar.set_message(format!("; building against {}", upstream.words()));
        let build = shelf.build(upstream)?;
        let count = upstreams.len();
        Ok(match build {
            Built::Yes(build) => {
                say(format!("{upstream} is built, {number} of {count}"));
                Ok(build)
            }
            Built::Skipped(why) => {
                say(format!("{upstream} is skipped, {number} of {count}: {why}"));
                Err(why)
            }
        })
    };
    let limits = limits();
    let options: Vec<&str> = limits.iter().map(String::as_str).collect();
    let ask = |build: &Build, row: &Row| shown(build.ask("replay", &row.file, &options, 0)?);
    let told = |_, _, _: &Cell| bar.inc(1);
    let jobs = arguments.jobs.map_or_else(
        || std::thread::available_parallelism().map_or(1, |cores| cores.get()),
        usize::from,
    );
    let filled = fill(rows, &upstreams, jobs, &mut build, &ask, &told);
    bar.finish_and_clear();
    let matrix = match filled {
        Err(_) if console.is_interrupted() => {
            return Ok(to_go_on());
        }
        filled => filled?,
    };
    print(console, arguments, &matrix)?;
    let summary = matrix.summary();
    Ok(match summary.skipped == summary.plans * summary.upstreams {
        true => Exit::NothingRan,
        false => Exit::Clean,
    })
}

/// The plans of these files and folders.
fn rows(console: &Console, paths: &[PathBuf]) -> Result<Vec<Row>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        match path.is_dir() {
            true => files.extend(plans_in(path)?),
            false => files.push(path.clone()),
        }
    }
    let rows = files.into_iter().map(|file| {
        let plan = console.read_plan(&file)?;
        Ok(Row {
            name: file
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            file,
            kept_for: kept_for(&plan),
        })
    });
    rows.collect()
}

fn plans_in(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let files = file::plans(folder)?;
    match files.is_empty() {
        true => Err(Failure::input(format!(
            "{}: no plan (*.toml) in it",
            folder.display()
        ))),
        false => Ok(files),
    }
}

fn print(console: &mut Console, arguments: &Arguments, matrix: &Matrix) -> Result<(), Failure> {
    let text = if console.json {
        let mut text = String::new();
        for line in matrix.lines() {
            text += &(json(&line)? + "\n");
        }
        text + &json(&matrix.summary())? + "\n"
    } else if arguments.markdown {
        matrix.markdown()
    } else {
        matrix.text()
    };
    match &arguments.out {
        Some(path) => Ok(file::write(path, &text)?),
        None => Ok(console.text(&text)?),
    }
}

fn json(line: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string(line).map_err(|error| Failure::from(io::Error::from(error)))
}
