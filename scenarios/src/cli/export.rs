//! `export`: a plan as a program that needs nothing of ours.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use dismantle_sim::Plan;

use super::known::KnownDir;
use super::shrink::shrunk;
use super::{Console, Ended, Exit, Failure};
use crate::export::{Export, LINES_MAX, export as write};
use crate::file;
use crate::harness::{Order, Ran};
use crate::scenario::find;
use crate::shrink::Size;

/// What `export` takes.
#[derive(Args)]
pub(super) struct Arguments {
    /// The plan file
    plan: PathBuf,
    /// A new folder to put `Cargo.toml`, `src/main.rs` and the plan of the program in, or a file
    /// `X.rs`; standard output if it is not given
    #[arg(short, long, value_name = "DIR|FILE")]
    out: Option<PathBuf>,
    /// Write the plan as it is
    #[arg(long)]
    no_shrink: bool,
    #[command(flatten)]
    known_dir: KnownDir,
}

/// No plan is shrunk for longer.
const SHRINK_TIME_MAX: Duration = Duration::from_secs(60);

/// Shrinks the plan, and writes the program that does the same. If it is of a known finding, the
/// program says what is known, and is that of the known plan if this one's cannot be written.
pub(super) fn export(console: &mut Console, arguments: &Arguments) -> Ended {
    let mut plan = console.read_plan(&arguments.plan)?;
    let known = console.known(&arguments.known_dir)?;
    if !arguments.no_shrink {
        let before = Size::of(&plan);
        if let Some((shrunk, _)) = shrunk(console, &plan, SHRINK_TIME_MAX)? {
            plan = shrunk.plan;
            let after = Size::of(&plan);
            if after != before {
                eprintln!("shrunk from {before} to {after}");
            }
        }
    }
    let mut ran = scripted(console, &plan)?;
    for finding in &mut ran.report.findings {
        known.judge(plan.scenario(), finding);
    }
    let finding = ran.report.finding();
    let entry = finding.and_then(|finding| known.find(plan.scenario(), finding));
    if let Some(entry) = entry {
        plan.note.clone_from(&entry.plan.note);
    }
    let mut export = write(&plan, &ran);
    let trouble = match &export {
        Err(why) => Some(why.clone()),
        Ok(export) => too_long(export),
    };
    if let (Some(trouble), Some(entry)) = (trouble, entry)
        && find(console.scenarios, entry.plan.scenario()).is_some()
        && let Ok(known) = write(&entry.plan, &scripted(console, &entry.plan)?)
    {
        eprintln!("of this plan: {trouble}");
        let shown = entry.plan.signature.as_deref().unwrap_or_default();
        let name = &entry.name;
        eprintln!("instead, the program of the known finding {name}, the same cause: `{shown}`");
        plan.clone_from(&entry.plan);
        export = Ok(known);
    }
    let export = export.map_err(Failure::input)?;
    if let Some(trouble) = too_long(&export) {
        eprintln!("{trouble}");
    }
    let whole = || format!("{}{}", in_comments(&export.manifest), export.source);
    match &arguments.out {
        None => console.text(&whole())?,
        Some(file) if file.extension().is_some_and(|it| it == "rs") => {
            file::write(file, &whole())?;
        }
        Some(folder) => {
            let manifest = folder.join("Cargo.toml");
            let is_foreign = |text: String| text != export.manifest;
            if std::fs::read_to_string(&manifest).is_ok_and(is_foreign) {
                let folder = folder.display();
                let message = format!("{folder} has a package of its own: give a new folder");
                return Err(Failure::input(message));
            }
            let sources = folder.join("src");
            std::fs::create_dir_all(&sources)
                .map_err(|error| Failure::input(format!("{}: {error}", sources.display())))?;
            file::write(&manifest, &export.manifest)?;
            file::write(&sources.join("main.rs"), &export.source)?;
            file::write(&folder.join("plan.toml"), &plan.to_string())?;
            say(console, folder)?;
        }
    }
    Ok(Exit::Clean)
}

fn scripted(console: &Console, plan: &Plan) -> Result<Ran, Failure> {
    Ok(console.harness().run(Order {
        script: true,
        ..Order::of(plan)
    })?)
}

/// What is wrong with its length, if it is more than a reader likes.
fn too_long(export: &Export) -> Option<String> {
    let count = export.source.lines().count();
    (count > LINES_MAX).then(|| format!("{count} lines are more than {LINES_MAX}"))
}

fn say(console: &mut Console, folder: &Path) -> Result<(), Failure> {
    if !console.json {
        let folder = folder.display();
        let program = &console.program;
        console.text(&format!(
            "cargo run --manifest-path {folder}/Cargo.toml\n{program} replay {folder}/plan.toml --explain\n"
        ))?;
    }
    Ok(())
}

/// The manifest at the head of a source file.
fn in_comments(manifest: &str) -> String {
    let lines = manifest
        .lines()
        .map(|line| format!("// {line}").trim_end().to_owned() + "\n");
    let lines: String = lines.collect();
    format!("// Cargo.toml:\n//\n{lines}\n")
}
