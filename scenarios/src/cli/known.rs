//! Known findings: where they are read from, and `accept`, which adds one.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::{Console, Ended, Exit, Failure, plain_name};
use crate::check::{Class, Finding};
use crate::file::write;
use crate::growth;
use crate::harness::Order;
use crate::known::Known;
use crate::scenario::{find, vocabulary};
use crate::shrink::Size;

/// Where the user's own known findings are.
#[derive(Args, Clone)]
pub struct KnownDir {
    /// The folder of your own known findings, beside those that are built in
    /// [default: the program's own, `known-findings` if it names none]
    #[arg(long, value_name = "DIR")]
    known_dir: Option<PathBuf>,
}

/// What `accept` takes.
#[derive(Args)]
pub struct Arguments {
    /// The plan file of a run that fails
    plan: PathBuf,
    #[command(flatten)]
    known_dir: KnownDir,
    /// What is wrong, in a paragraph; the plan's own note if not given
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Where upstream documents it, or `no`
    #[arg(long, value_name = "WHERE")]
    documented: Option<String>,
    /// The name of the entry; the plan file's if it is not given
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// The line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    class: Class,
    signature: &'a str,
    known_as: String,
    plan: PathBuf,
}

impl Console {
    /// The findings that are known: built in, and in the user's folder.
    pub(super) fn known(&self, dir: &KnownDir) -> Result<Known, Failure> {
        let mut known = Known::built_in().of(self.scenarios, self.this.is_catalogue);
        let ours = |name: &str| find(self.scenarios, name).map(vocabulary);
        known.read(self.known_folder(dir), ours)?;
        Ok(known)
    }

    fn known_folder<'a>(&self, dir: &'a KnownDir) -> &'a Path {
        let known_dir = dir.known_dir.as_deref();
        known_dir.unwrap_or(Path::new(self.this.known))
    }
}

/// Replays a plan and makes what it shows known.
pub fn accept(console: &mut Console, arguments: Arguments) -> Ended {
    let path = &arguments.plan;
    let plan = console.read_plan(path)?;
    let scenario = console.scenario(plan.scenario())?;
    let known = console.known(&arguments.known_dir)?;
    let ran = growth::examined(console.harness().as_mut(), scenario, Order::of(&plan))?;
    let found = &ran.report.findings;
    let Some(principal) = found.first() else {
        let path = path.display();
        let message = format!("{path}: nothing to accept, the run is not a failing one");
        return Err(Failure::input(message));
    };
    let is_new = |finding: &&Finding| known.find(plan.scenario(), finding).is_none();
    let mut new = found.iter().filter(is_new);
    let Some(Finding {
        class, signature, ..
    }) = new.next()
    else {
        let entry = known.find(plan.scenario(), principal);
        let name = entry.map_or("", |entry| &entry.name);
        console.text(&format!(
            "known already, as {name}: {}\n",
            principal.signature
        ))?;
        return Ok(Exit::Clean);
    };
    let mut entry = ran.plan.clone();
    entry.signature = Some(signature.clone());
    entry.also = new.map(|finding| finding.signature.clone()).collect();
    entry.note = arguments.note.or(plan.note);
    entry.documented = arguments.documented.or(plan.documented);
    let name = plain_name(path, arguments.name.as_deref())?;
    let folder = console.known_folder(&arguments.known_dir);
    let file = folder.join(format!("{name}.toml"));
    if file.exists() {
        let file = file.display();
        let message = format!("{file} is there already, for another finding: give a --name");
        return Err(Failure::input(message));
    }
    std::fs::create_dir_all(folder)?;
    write(&file, &entry.to_string())?;
    if console.json {
        console.json(&Line {
            kind: "accepted",
            class: *class,
            signature,
            known_as: name,
            plan: file,
        })?;
        return Ok(Exit::Clean);
    }
    let mut text = format!("known from now on, as {name}: {signature}\n");
    for also in &entry.also {
        text += &format!("and with it: {also}\n");
    }
    text += &format!("{}, {}\n", file.display(), Size::of(&entry));
    if entry.documented.is_none() {
        text +=
            "its file has room for a `note` (what is wrong) and `documented` (where, or \"no\")\n";
    }
    console.text(&text)?;
    Ok(Exit::Clean)
}
