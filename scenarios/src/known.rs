//! Known findings: plans that were looked at, with what is wrong and whether it is documented.
//!
//! An entry is a plan file like any other whose head says more: the signature that it shows,
//! `also` with further signatures of the same cause, `note` with what is wrong in a paragraph, and
//! `documented` with where upstream says so, or `no`. Those of the release that this library was
//! tested with are built in (`scenarios/known/`, capnp-rpc 0.27.3); a user has a folder of their
//! own beside.

use std::fs;
use std::io;
use std::path::Path;

use dismantle_sim::{Plan, Vocabulary};
use dismantle_transport::compat::CAPNP_RPC_VERSION;

use crate::catalogue::BUILT_IN;
use crate::check::{Blame, Finding};
use crate::file;
use crate::scenario::{Scenario, find, vocabulary};

/// The release of capnp-rpc that the built-in findings are of.
const UPSTREAM: &str = "0.27.3";

include!(concat!(env!("OUT_DIR"), "/known.rs"));

/// One known finding.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The name of its file: `panic-import-drop`.
    pub name: String,
    /// The plan that shows it.
    pub plan: Plan,
    is_built_in: bool,
}

/// All known findings, and whose fault the others are.
#[derive(Clone, Default)]
pub struct Known {
    entries: Vec<Entry>,
    /// The scenarios of the program, and whether they do nothing that upstream does not allow.
    program: Option<(&'static [&'static dyn Scenario], bool)>,
}

impl Entry {
    /// Whether a finding with this signature is this one.
    pub fn is_of(&self, signature: &str) -> bool {
        let also = self.plan.also.iter();
        self.plan
            .signature
            .iter()
            .chain(also)
            .any(|known| known == signature)
    }

    /// Whether it knows of a panic at this place, by itself or on the way to an abort.
    fn panics_at(&self, place: &str) -> bool {
        let also = self.plan.also.iter();
        let mut signatures = self.plan.signature.iter().chain(also);
        signatures.any(|signature| match signature.split_once(' ') {
            Some(("panic", rest)) => rest.split(' ').next() == Some(place),
            Some(("abort", rest)) => rest.split(" then ").any(|known| known == place),
            _ => false,
        })
    }

    /// What the kinds of tasks and objects in a signature mean is the scenario's: one of a user's
    /// own may call by the same word something else.
    fn is_for(&self, scenario: &str, finding: &Finding) -> bool {
        !self.is_built_in || finding.site.is_some() || is_catalogue(scenario)
    }
}

impl Known {
    /// The findings known of the built-in scenarios; none against another release than theirs.
    pub fn built_in() -> Self {
        let read = |(name, text): &(&str, &str)| Entry {
            name: (*name).to_owned(),
            plan: Plan::read(text, |name| find(BUILT_IN, name).map(vocabulary))
                .expect("the tests read all of them"),
            is_built_in: true,
        };
        let files = FILES.iter().filter(|_| CAPNP_RPC_VERSION == UPSTREAM);
        Self {
            entries: files.map(read).collect(),
            program: None,
        }
    }

    /// The same for the findings of these scenarios. If they are a catalogue, they do nothing that
    /// upstream does not allow: what they find is its fault.
    #[must_use]
    pub fn of(self, scenarios: &'static [&'static dyn Scenario], is_catalogue: bool) -> Self {
        Self {
            program: Some((scenarios, is_catalogue)),
            ..self
        }
    }

    /// Adds the plans of a folder, the files `*.toml` in it; none if there is no such folder.
    ///
    /// # Errors
    /// A file cannot be read, or is no plan with a signature.
    pub fn read(
        &mut self,
        folder: &Path,
        vocabulary: impl Fn(&str) -> Option<Vocabulary>,
    ) -> io::Result<()> {
        let paths = match file::plans(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            paths => paths?,
        };
        for path in paths {
            let text = fs::read_to_string(&path).map_err(|error| complain(&path, &error))?;
            let plan = Plan::read(&text, &vocabulary).map_err(|error| complain(&path, &error))?;
            if plan.signature.is_none() {
                return Err(complain(&path, &"no line `signature = \"…\"`"));
            }
            let name = path.file_stem().unwrap_or_default();
            self.entries.push(Entry {
                name: name.to_string_lossy().into_owned(),
                plan,
                is_built_in: false,
            });
        }
        Ok(())
    }

    /// All of them, the built-in ones first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry of a finding of `scenario`: two causes may show one signature, such as a leak of
    /// the same kinds, and then that of the same scenario is the likelier one.
    pub fn find(&self, scenario: &str, finding: &Finding) -> Option<&Entry> {
        let is_it =
            |entry: &&Entry| entry.is_of(&finding.signature) && entry.is_for(scenario, finding);
        let mut same = self.entries.iter().filter(is_it);
        same.clone()
            .find(|entry| entry.plan.scenario() == scenario)
            .or_else(|| same.next())
            .or_else(|| self.find_combined(finding))
    }

    /// The entry of an abort that only combines what is known: each of its panics is at the place
    /// of a known one, so that mending those mends it. There are as many as pairs of causes, which
    /// nobody wants to list. It goes by the last place: the panic that came while one unwound.
    fn find_combined(&self, finding: &Finding) -> Option<&Entry> {
        let places = finding.signature.strip_prefix("abort ")?;
        let (first, last) = places.rsplit_once(" then ").unwrap_or(("", places));
        let at = |place: &str| self.entries.iter().find(|entry| entry.panics_at(place));
        let is_known = |place: &str| place.is_empty() || follows(place) || at(place).is_some();
        at(last).filter(|_| first.split(" then ").all(is_known))
    }

    /// Says of a finding of `scenario` whether it is known, and whose fault it is.
    pub fn judge(&self, scenario: &str, finding: &mut Finding) {
        let (scenarios, is_trusted) = self.program.unwrap_or((BUILT_IN, false));
        let is_planted = find(scenarios, scenario).is_some_and(|it| it.planted().is_some());
        let is_catalogue = is_catalogue(scenario) || is_trusted && !is_planted;
        finding.judged.blame = Blame::of(finding, is_catalogue, is_planted);
        if let Some(entry) = self.find(scenario, finding) {
            finding.judged.known = true;
            finding.judged.known_as = Some(entry.name.clone());
            finding.judged.documented = entry.plan.documented.clone();
        }
    }
}

/// Whether a panic at this place is one that another left behind: a `Shared` says so when it is polled
/// after its future has panicked.
fn follows(place: &str) -> bool {
    place.starts_with("futures-util-") && place.contains("/future/shared.rs:")
}

/// Whether it is a scenario of the catalogue, and none with a bug of its own.
fn is_catalogue(scenario: &str) -> bool {
    find(BUILT_IN, scenario).is_some_and(|scenario| scenario.planted().is_none())
}

fn complain(path: &Path, what: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {what}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Class, Judged};

    fn known(signatures: &[&str]) -> Known {
        let entry = |(index, signature): (usize, &&str)| {
            let mut plan = Plan::new(vocabulary(find(BUILT_IN, "program").unwrap()));
            plan.signature = Some((*signature).to_owned());
            Entry {
                name: index.to_string(),
                plan,
                is_built_in: true,
            }
        };
        Known {
            entries: signatures.iter().enumerate().map(entry).collect(),
            program: None,
        }
    }

    fn finding(class: Class, signature: &str, site: &str) -> Finding {
        Finding {
            class,
            signature: signature.to_owned(),
            kin: String::new(),
            site: Some(site.to_owned()),
            detail: String::new(),
            judged: Judged::default(),
        }
    }

    #[test]
    fn an_abort_of_known_panics_is_known_as_its_last() {
        let known = known(&[
            "panic a/x.rs:1 so it goes",
            "panic a/y.rs:2",
            "abort a/z.rs:3 then a/z.rs:4",
            "hang call",
        ]);
        let name = |signature: &str| {
            let finding = finding(Class::Abort, signature, "a/y.rs:2");
            let entry = known.find("program", &finding);
            entry.map(|entry| entry.name.clone())
        };
        assert_eq!(name("abort a/x.rs:1 then a/y.rs:2").as_deref(), Some("1"));
        assert_eq!(name("abort a/y.rs:2 then a/x.rs:1").as_deref(), Some("0"));
        assert_eq!(name("abort a/x.rs:1 then a/z.rs:3").as_deref(), Some("2"));
        assert_eq!(
            name("abort a/y.rs:2").as_deref(),
            Some("1"),
            "while a panic of the program's own unwinds"
        );
        let shared = "futures-util-0.3.34/src/future/future/shared.rs:300";
        let after = format!("abort {shared} then a/x.rs:1");
        assert_eq!(name(&after).as_deref(), Some("0"));
        let only = format!("abort {shared}");
        for unknown in [
            &only[..],
            "abort a/x.rs:1 then a/x.rs:10",
            "abort a/x.rs:9 then a/y.rs:2",
            "abort scenarios/src/catalogue/planted/process.rs:5",
            "abort SIGSEGV in call",
            "abort call",
        ] {
            assert_eq!(name(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_known_abort_makes_no_panic_known() {
        let known = known(&["abort a/z.rs:3 then a/z.rs:4"]);
        let finding = finding(Class::Panic, "panic a/z.rs:3 why", "a/z.rs:3");
        assert!(known.find("program", &finding).is_none());
    }
}
