//! `export`: a plan as a program that needs nothing of ours.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Console, Ended, Exit, Failure};
use crate::campaign;
use crate::export::{LINES_MAX, export as write};
use crate::harness::Order;

#[derive(Args)]
pub(super) struct Arguments {
    /// The plan file
    plan: PathBuf,
    /// A new folder to put `Cargo.toml` and `src/main.rs` in, or a file; standard output if it is
    /// not given
    #[arg(short, long, value_name = "DIR|FILE")]
    out: Option<PathBuf>,
}

/// Runs the plan, and writes the program that does the same.
pub(super) fn export(console: &mut Console, arguments: &Arguments) -> Ended {
    let plan = console.read_plan(&arguments.plan)?;
    let order = Order {
        script: true,
        ..Order::of(&plan)
    };
    let ran = console.harness().run(order)?;
    let export = write(&plan, &ran).map_err(Failure::input)?;
    let count = export.source.lines().count();
    if count > LINES_MAX {
        eprintln!("{count} lines: a plan that was shrunk has a shorter program");
    }
    let whole = || format!("{}{}", in_comments(&export.manifest), export.source);
    match &arguments.out {
        None => console.text(&whole())?,
        Some(file) if file.extension().is_some_and(|it| it == "rs") => {
            campaign::write(file, &whole())?;
        }
        Some(folder) => {
            std::fs::create_dir_all(folder.join("src"))?;
            campaign::write(&folder.join("Cargo.toml"), &export.manifest)?;
            campaign::write(&folder.join("src/main.rs"), &export.source)?;
            say(console, folder)?;
        }
    }
    Ok(Exit::Clean)
}

fn say(console: &mut Console, folder: &Path) -> Result<(), Failure> {
    if !console.json {
        let folder = folder.display();
        console.text(&format!("cargo run --manifest-path {folder}/Cargo.toml\n"))?;
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
