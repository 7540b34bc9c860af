//! The prober of real builds.

use std::collections::BTreeMap;
use std::io;

use super::super::against::build;
use super::Search;
use crate::bisect::{Ask, Asked, Prober, Shown};
use crate::upstream::{Answer, Build, Built, Upstream};

/// Has builds of the shelf run the plan; a place is an upstream by `upstream`.
pub(super) struct Asker<'a, At> {
    search: &'a Search<'a>,
    upstream: Box<dyn Fn(&At) -> Upstream + 'a>,
    builds: BTreeMap<String, Built<Build>>,
}

impl<'a, At: ToString> Asker<'a, At> {
    pub(super) fn new(search: &'a Search<'a>, upstream: impl Fn(&At) -> Upstream + 'a) -> Self {
        Self {
            search,
            upstream: Box::new(upstream),
            builds: BTreeMap::new(),
        }
    }

    /// What the place is called on the command line.
    pub(super) fn upstream(&self, at: &At) -> Upstream {
        (self.upstream)(at)
    }

    fn build(&mut self, at: &At) -> io::Result<&Built<Build>> {
        let upstream = self.upstream(at);
        let name = upstream.to_string();
        if !self.builds.contains_key(&name) {
            let built = build(self.search.shelf, &upstream)?;
            self.builds.insert(name.clone(), built);
        }
        Ok(&self.builds[&name])
    }
}

impl<At: ToString> Prober for Asker<'_, At> {
    type At = At;

    fn ask(&mut self, at: &At, what: Ask, nth: u32) -> io::Result<Asked> {
        let build = match self.build(at)? {
            Built::Yes(build) => build.clone(),
            Built::Skipped(why) => return Ok(Err(why.clone())),
        };
        let (command, options) = self.search.question(what);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let answer = build.ask(command, &self.search.arguments.plan, &options, nth)?;
        shown(answer)
    }
}

/// What a build has shown, or why it has shown nothing.
pub(in crate::cli) fn shown(answer: Answer) -> io::Result<Asked> {
    let Answer {
        status,
        lines,
        complaint,
    } = answer;
    let shown = Shown::read(lines)?;
    if shown.report.is_some() || !shown.growths.is_empty() {
        return Ok(Ok(shown));
    }
    let why = complaint.strip_prefix("error: ").unwrap_or(&complaint);
    Ok(Err(match (why, why.strip_prefix("skipped: ")) {
        ("", _) => format!("it ended with exit status {status}"),
        // What that release lacks.
        (_, Some(lacks)) => lacks.to_owned(),
        (why, None) => format!("it cannot be run: {why}"),
    }))
}
