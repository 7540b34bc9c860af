//! `snapshot`: what a plan comes to, proposed as a golden for `cargo insta review`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use dismantle_sim::Plan;
use serde::Serialize;
use similar::TextDiff;

use super::{Console, Ended, Exit, Failure, plain_name};
use crate::file;
use crate::golden::{self, Golden};

/// What is to be proposed, and where.
#[derive(Args)]
pub struct Arguments {
    /// The plan files
    #[arg(required = true, value_name = "PLAN")]
    plans: Vec<PathBuf>,
    /// The folder of goldens: `snapshots` beside the source of the test that compares them
    /// [default: the program's own; if it names none, snapshots/tests/snapshots if it is there, else
    /// tests/snapshots]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The golden's name; the plan file's if it is not given
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The test finds the plans where they are: do not copy them to `plans` beside the goldens
    #[arg(long)]
    in_place: bool,
    /// Print what the plans come to, and write nothing
    #[arg(long)]
    print: bool,
}

/// One line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'a str,
    scenario: &'a str,
    plan: &'a Path,
    golden: &'a Path,
    state: State,
    text: &'a str,
}

/// How a golden stands to the one that was accepted.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// There is none.
    New,
    /// It is the same.
    Same,
    /// It differs.
    Changed,
}

/// Makes the golden of each plan, and proposes those that are new or differ.
pub fn snapshot(console: &mut Console, arguments: Arguments) -> Ended {
    if arguments.name.is_some() && arguments.plans.len() > 1 {
        return Err(Failure::input("--name is for one plan"));
    }
    let folder = arguments.out.clone().unwrap_or_else(|| {
        let folders = console.this.goldens.iter();
        let there = folders.clone().find(|folder| Path::new(folder).is_dir());
        PathBuf::from(there.or(folders.last()).copied().unwrap_or_default())
    });
    let mut harness = console.harness();
    let mut proposed = false;
    for path in &arguments.plans {
        let plan = console.read_plan(path)?;
        let scenario = console.scenario(plan.scenario())?;
        let name = plain_name(path, arguments.name.as_deref())?;
        let made = Golden::of(harness.as_mut(), scenario, &plan)?;
        let text = &made.text;
        let golden = folder.join(format!("{name}.snap"));
        let accepted = read(&golden)?;
        let state = match &accepted {
            Some(accepted) if body(accepted).trim_end() == text.trim_end() => State::Same,
            Some(_) => State::Changed,
            None => State::New,
        };
        let line = Line {
            kind: "snapshot",
            name: &name,
            scenario: plan.scenario(),
            plan: path,
            golden: &golden,
            state,
            text,
        };
        if arguments.print {
            match console.json {
                true => console.json(&line)?,
                false => console.text(text)?,
            }
            continue;
        }
        // In another process: what is not the same there is no golden.
        if Golden::of(console.harness().as_mut(), scenario, &plan)? != made {
            eprintln!("{}: not the same in two processes", path.display());
            return Ok(Exit::NotDeterministic);
        }
        let kept = match arguments.in_place {
            true => path.clone(),
            false => keep_plan(path, &folder, &name)?,
        };
        let pending = golden.with_extension("snap.new");
        match state {
            // What was proposed before is out of date.
            State::Same => remove(&pending)?,
            State::New | State::Changed => {
                let source = source(&folder, accepted.as_deref())?;
                fs::create_dir_all(&folder).map_err(|error| about(&folder, &error))?;
                file::write(&pending, &file(&plan, &kept, source.as_deref(), text))?;
                proposed = true;
            }
        }
        match console.json {
            true => console.json(&line)?,
            false => console.text(&told(&line, accepted.as_deref(), &pending))?,
        }
        let lines = text.lines().count();
        if lines >= golden::LINES_MAX {
            eprintln!("{name}: {lines} lines are too many to review: a smaller plan says more");
        }
    }
    if proposed && !console.json {
        console.text("review: cargo insta review\n")?;
    }
    Ok(Exit::Clean)
}

/// What is said of one golden.
fn told(line: &Line<'_>, accepted: Option<&str>, pending: &Path) -> String {
    let (name, golden) = (line.name, line.golden.display());
    match (line.state, accepted) {
        (State::Same, _) => format!("{name}: as in {golden}\n"),
        (_, None) => format!("{}\n{name}: new, in {}\n", line.text, pending.display()),
        (_, Some(accepted)) => {
            let diff = TextDiff::from_lines(body(accepted), line.text);
            let diff = diff.unified_diff().header("accepted", "now").to_string();
            format!("{diff}\n{name}: differs, in {}\n", pending.display())
        }
    }
}

/// Copies the plan to where a test finds it, and says where: `plans` beside the folder of goldens,
/// or beside the `snapshots` that it is in.
fn keep_plan(path: &Path, folder: &Path, name: &str) -> Result<PathBuf, Failure> {
    let mut above = folder.ancestors();
    let all = above.find(|folder| folder.ends_with("snapshots"));
    let plans = all.unwrap_or(folder).with_file_name("plans");
    let kept = plans.join(format!("{name}.toml"));
    let text = fs::read_to_string(path).map_err(|error| about(path, &error))?;
    match read(&kept)? {
        Some(there) if there == text => {}
        Some(_) => {
            return Err(Failure::input(format!(
                "{} is another plan; give a --name",
                kept.display()
            )));
        }
        None => {
            fs::create_dir_all(&plans).map_err(|error| about(&plans, &error))?;
            file::write(&kept, &text)?;
        }
    }
    Ok(kept)
}

/// A pending golden as insta writes it.
fn file(plan: &Plan, path: &Path, source: Option<&str>, text: &str) -> String {
    // A JSON string is a YAML string.
    let quoted = |text: &str| serde_json::to_string(text).expect("a string");
    let mut file = "---\n".to_owned();
    if let Some(source) = source {
        file += &format!("source: {}\n", quoted(source));
    }
    if let Some(note) = &plan.note {
        file += &format!("description: {}\n", quoted(note));
    }
    let path = quoted(&path.to_string_lossy());
    file += &format!("info:\n  plan: {path}\n---\n{text}");
    file
}

/// What a golden holds below its header.
fn body(file: &str) -> &str {
    let body = file.strip_prefix("---\n");
    let body = body.and_then(|rest| rest.split_once("\n---\n"));
    body.map_or(file, |(_, body)| body)
}

/// The test that compares the golden, as insta has it in the header: of the accepted one, or of
/// any other, because one test goes through all of a folder.
fn source(folder: &Path, accepted: Option<&str>) -> Result<Option<String>, Failure> {
    let of = |file: &str| {
        let header = file.lines().skip(1).take_while(|line| *line != "---");
        let mut sources = header.filter_map(|line| line.strip_prefix("source: "));
        sources
            .next()
            .map(|source| source.trim_matches('"').to_owned())
    };
    if let Some(accepted) = accepted {
        return Ok(of(accepted));
    }
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(None);
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "snap")
        })
        .collect();
    paths.sort();
    match paths.first() {
        Some(path) => Ok(read(path)?.as_deref().and_then(of)),
        None => Ok(None),
    }
}

/// The text of a file, if there is one.
fn read(path: &Path) -> Result<Option<String>, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(about(path, &error)),
    }
}

fn remove(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(about(path, &error)),
        _ => Ok(()),
    }
}

fn about(path: &Path, error: &io::Error) -> Failure {
    Failure::input(format!("{}: {error}", path.display()))
}
