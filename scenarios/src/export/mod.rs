//! A run as a program of its own: one source file that needs nothing of ours.
//!
//! While a run goes on, whoever acts says what a program would do ([`dismantle_sim::Sim::script`]).
//! Here these lines become a `main`, between a header that says what is wrong and a prelude of
//! which only what is used is written. What cannot be written is an error, never another program.

mod globals;
mod items;
mod layout;
mod lines;
mod main_fn;
mod served;
mod source;
mod verdict;

use std::collections::BTreeMap;

use dismantle_sim::Plan;
use dismantle_transport::compat::{CAPNP_RPC_VERSION, CAPNP_VERSION};

use crate::check::{Blame, Class};
use crate::growth::is_of_growth;
use crate::harness::Ran;

pub use self::layout::LINES_MAX;
use self::lines::Lines;

/// A program that shows a finding.
pub struct Export {
    /// `src/main.rs`.
    pub source: String,
    /// `Cargo.toml`.
    pub manifest: String,
}

/// The release whose interface the programs use.
const WRITTEN_FOR: &str = "0.27.";

/// What decisions are about that a program follows: the first part of their names.
const FOLLOWED: [&str; 9] = [
    "op",
    "teardown",
    "connections",
    "reconnecting",
    "server_runs",
    "bootstraps",
    "msg",
    "level",
    "end",
];

/// What goes wrong in a program, and how it shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shows {
    /// By itself: it panics, aborts or overflows.
    ByItself,
    /// By what is left when all is over; nothing is, if the run was clean.
    InTheEnd,
}

/// Writes the program of a run that was asked for its script.
///
/// # Errors
/// Why it cannot be written.
pub fn export(plan: &Plan, ran: &Ran) -> Result<Export, String> {
    if !CAPNP_RPC_VERSION.starts_with(WRITTEN_FOR) {
        return Err(format!(
            "export writes for capnp-rpc {WRITTEN_FOR}*, and this is {CAPNP_RPC_VERSION}"
        ));
    }
    if plan.signature.as_deref().is_some_and(is_of_growth) {
        return Err("export writes one run, and a law of growth is no property of one".to_owned());
    }
    let finding = ran.report.findings.first();
    if finding.is_some_and(|finding| finding.judged.blame == Blame::Harness) {
        return Err(
            "the panic is this tool's own: no other program shows it; please report it".to_owned(),
        );
    }
    let shows = match finding.map(|finding| finding.class) {
        Some(Class::Panic | Class::Abort | Class::Overflow) => Shows::ByItself,
        None | Some(Class::Hang | Class::Leak) => Shows::InTheEnd,
        Some(class) => {
            return Err(format!(
                "export writes what shows by itself: a panic, an abort, an overflow, a hang or a \
                 leak; this is a finding of class {class}"
            ));
        }
    };
    if finding.is_some_and(|it| it.class == Class::Leak && !it.kin.contains("object")) {
        return Err("export can show only leaks that objects are among".to_owned());
    }
    for (name, _) in ran.plan.answers() {
        let first = name.split('.').next().unwrap_or_default();
        if !FOLLOWED.contains(&first) {
            return Err(format!(
                "export cannot write `{name}`; remove it from the plan, if the finding stays"
            ));
        }
    }
    if let Some(limit) = &ran.report.limit {
        return Err(format!(
            "export cannot write a run that its limit of {limit} ends"
        ));
    }
    let lines = Lines::of(&ran.script)?;
    if lines.main.is_empty() {
        let scenario = plan.scenario();
        return Err(format!("export cannot write the scenario `{scenario}`"));
    }
    let sentences: Vec<&str> = plan.note.iter().flat_map(|note| sentences(note)).collect();
    // As much of the note as there is room for, its beginning at least.
    let mut said = sentences.len();
    loop {
        let header = header(&sentences[..said], ran);
        let source = source::write(&header, &lines, shows, &ran.report)?;
        if source.lines().count() <= LINES_MAX || said < 2 {
            let manifest = manifest();
            return Ok(Export { source, manifest });
        }
        said -= 1;
    }
}

/// The sentences of a text.
fn sentences(text: &str) -> Vec<&str> {
    let ends = text.match_indices(". ").map(|(at, _)| at + 1);
    let mut from = 0;
    let mut sentences = Vec::new();
    for end in ends.chain([text.len()]) {
        sentences.push(text[from..end].trim());
        from = end;
    }
    sentences
}

/// The first lines: what this is, and what it shows.
fn header(note: &[&str], ran: &Ran) -> String {
    let finding = ran.report.findings.first();
    let shows = match finding {
        Some(finding) => format!("capnp-rpc {CAPNP_RPC_VERSION}: {}", finding.signature),
        None => format!("capnp-rpc {CAPNP_RPC_VERSION}: nothing is wrong here"),
    };
    let mut header = layout::comment("//!", &shows);
    if !note.is_empty() {
        header.push_str("//!\n");
        header.push_str(&layout::comment("//!", &note.join(" ")));
    }
    header
}

fn manifest() -> String {
    let dependencies = BTreeMap::from([
        ("capnp", format!("={CAPNP_VERSION}")),
        ("capnp-rpc", format!("={CAPNP_RPC_VERSION}")),
        ("futures", "0.3".to_owned()),
    ]);
    let mut manifest =
        "[package]\nname = \"reproducer\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n".to_owned();
    // Wherever it is put, it is no part of what is there.
    manifest.push_str("[workspace]\n\n[dependencies]\n");
    for (name, version) in dependencies {
        manifest.push_str(&format!("{name} = \"{version}\"\n"));
    }
    manifest
}
