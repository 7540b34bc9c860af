//! What a search came to, for people and as JSON.

use std::fmt::Display;
use std::io;

use serde::Serialize;

use super::super::against;
use super::super::words::{Words, line};
use super::asker::Asker;
use super::{Console, Search};
use crate::bisect::git::Commit;
use crate::bisect::{Ask, Change, Found, Judge, Probed, Prober, Shown, Verdict};
use crate::check::kin_of;
use crate::diff::{Diff, Side};
use crate::upstream::Library;

/// What a place came to, as a JSON line.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Line {
    #[serde(rename = "type")]
    kind: &'static str,
    upstream: String,
    verdict: &'static str,
    seen: Option<String>,
    why: Option<String>,
    answers: u32,
    bad: u32,
}

impl Line {
    pub(super) fn of(upstream: String, probed: &Probed) -> Self {
        let why = match &probed.verdict {
            Verdict::Skipped(why) => Some(why.clone()),
            _ => None,
        };
        Self {
            kind: "probe",
            upstream,
            verdict: probed.verdict.word(),
            seen: why.is_none().then(|| probed.seen.clone()),
            why,
            answers: probed.asked,
            bad: probed.bad,
        }
    }

    /// One that was not asked.
    fn untold(upstream: String) -> Self {
        Self {
            kind: "probe",
            upstream,
            verdict: Verdict::Skipped(String::new()).word(),
            seen: None,
            why: None,
            answers: 0,
            bad: 0,
        }
    }
}

/// The line of `--json`. Of a fix the ends are `last_bad` and `first_good`, and the others null.
#[derive(Serialize)]
pub(super) struct Outcome {
    #[serde(rename = "type")]
    kind: &'static str,
    dependency: &'static str,
    change: Change,
    last_good: Option<String>,
    first_bad: Option<String>,
    last_bad: Option<String>,
    first_good: Option<String>,
    /// What was compared, in words.
    compared: String,
    /// Of what is found at the bad one of the two.
    signature: Option<String>,
    kin: Option<String>,
    /// Those between the two of which nobody can say.
    skipped: Vec<Line>,
    /// How many were tried, the ends among them.
    probes: usize,
    /// Of how many of these nobody can say: they cannot be built, say.
    probes_skipped: usize,
    /// Not every answer was the same, and everything was asked ten times.
    in_doubt: bool,
    commit: Option<Commit>,
    diff: Option<Diff>,
    /// That it is of another finding than the plan was kept for; what was wrong with the two when
    /// they were asked once more.
    warnings: Vec<String>,
    replay: String,
    again: String,
    #[serde(skip)]
    neighbours: [String; 2],
    #[serde(skip)]
    library: Library,
}

impl Outcome {
    /// What was found.
    pub(super) fn of<At>(
        console: &Console,
        search: &Search<'_>,
        asker: &mut Asker<'_, At>,
        change: Change,
        found: &Found<At>,
    ) -> io::Result<Self>
    where
        At: Clone + PartialEq + Display,
    {
        let (range, judge) = (&found.range, &found.judge);
        let places = [&range.old, &range.new];
        let [good, bad] = change.pair(places);
        let of = |wanted: Change, at: &At| (change == wanted).then(|| at.to_string());
        let evidence = evidence(asker, judge, bad, true)?;
        let own = judge.finding().map(|it| &it.kin);
        let mut findings = evidence.findings().iter();
        let finding = findings.find(|it| Some(&it.kin) == own);
        let finding = finding.or(evidence.findings().first());
        let skipped = range.skipped.iter().map(|at| {
            let probed = found.probed.iter().find(|(it, _)| it == at);
            probed.map_or_else(
                || Line::untold(at.to_string()),
                |(at, probed)| Line::of(at.to_string(), probed),
            )
        });
        let mut warnings = Vec::new();
        let kept_for = &search.kept_for;
        if let (Some(kin), Some(wanted)) = (own, kept_for.first())
            && kept_for.iter().all(|it| kin_of(it) != *kin)
        {
            warnings.push(format!(
                "the plan was kept for `{wanted}`, which {bad} does not show: this is of another \
                 finding"
            ));
        }
        let neighbours = [0, 1].map(|place| {
            let (at, probed) = (places[place], &found.neighbours[place]);
            let expected = if at == good { "good" } else { "bad" };
            let text = format!("{at} is {}", probed.text());
            if probed.verdict.word() != expected {
                warnings.push(format!("asked once more, {text}, and not {expected}"));
            }
            text
        });
        let upstream = asker.upstream(bad);
        let library = upstream.library();
        let again = [
            ("--good", &good.to_string()[..]),
            ("--bad", &bad.to_string()),
        ];
        Ok(Self {
            kind: "regression",
            dependency: library.dependency(),
            change,
            last_good: of(Change::Regression, good),
            first_bad: of(Change::Regression, bad),
            last_bad: of(Change::Fix, bad),
            first_good: of(Change::Fix, good),
            compared: judge.words(),
            signature: finding.map(|it| it.signature.clone()),
            kin: finding.map(|it| it.kin.clone()),
            skipped: skipped.collect(),
            probes: found.probed.len(),
            probes_skipped: found
                .probed
                .iter()
                .filter(|(_, it)| it.is_skipped())
                .count(),
            in_doubt: found.in_doubt,
            commit: None,
            diff: diff(asker, judge, [good, bad], change)?,
            warnings,
            replay: replay(console, search, judge, &upstream.to_string()),
            again: line(&Words::of_this_call().with(&again)),
            neighbours,
            library,
        })
    }

    /// The same, with what is known of the commit that it came with.
    pub(super) fn with_commit(self, commit: Commit) -> Self {
        Self {
            commit: Some(commit),
            ..self
        }
    }

    pub(super) fn print(&self, console: &mut Console) -> io::Result<()> {
        match console.json {
            true => console.json(self),
            false => console.text(&self.text()),
        }
    }

    fn text(&self) -> String {
        let named = |name: &Option<String>| name.clone().unwrap_or_default();
        let (went, old, was, new) = match self.change {
            Change::Regression => ("went wrong", &self.last_good, "good", &self.first_bad),
            Change::Fix => ("was mended", &self.last_bad, "bad", &self.first_good),
        };
        let (old, new, library) = (named(old), named(new), self.library.name());
        let mut text = match self.skipped.is_empty() {
            true => format!("{library} {went} with {new}; {old} is the last {was} one\n"),
            false => format!(
                "{library} {went} after {old}, which is {was}, and at the latest with {new}; \
                 {} between them cannot be judged\n",
                self.skipped.len()
            ),
        };
        if let Some(commit) = &self.commit {
            text += &format!("    {}\n    {}\n", commit.subject, commit.author_date);
        }
        let skipped = match self.probes_skipped {
            0 => String::new(),
            count => format!(", {count} of them skipped"),
        };
        text += &format!("by {}, in {} tries{skipped}\n", self.compared, self.probes);
        for skipped in &self.skipped {
            let why = skipped.why.as_deref().unwrap_or_default();
            text += &format!("    {} is skipped: {why}\n", skipped.upstream);
        }
        for neighbour in &self.neighbours {
            text += &format!("    {neighbour}\n");
        }
        if self.in_doubt {
            text += "not every answer was the same: all were asked ten times\n";
        }
        for warning in &self.warnings {
            text += &format!("WARNING: {warning}\n");
        }
        if let Some(diff) = &self.diff {
            text += "what changed between the two\n";
            for line in diff.text().lines() {
                text += &format!("    {line}\n");
            }
        }
        text + &format!("{}\n{}\n", self.replay, self.again)
    }
}

/// The line that shows it against this upstream.
fn replay(console: &Console, search: &Search<'_>, judge: &Judge, upstream: &str) -> String {
    let (command, options) = search.question(judge.ask());
    let plan = search.arguments.plan.display().to_string();
    let mut words = vec![console.program.clone()];
    words.extend(against::words(upstream));
    words.extend([command.to_owned(), plan]);
    words.extend(options);
    line(&words)
}

/// What one of the two showed that it is called good or bad for.
fn evidence<At: Clone + Display>(
    asker: &mut Asker<'_, At>,
    judge: &Judge,
    at: &At,
    is_bad: bool,
) -> io::Result<Shown> {
    let mut first = None;
    for nth in 0.. {
        let Ok(shown) = asker.ask(at, judge.ask(), nth)? else {
            break;
        };
        if (judge.judge(&shown) == Verdict::Bad) == is_bad {
            return Ok(shown);
        }
        first.get_or_insert(shown);
        if nth + 1 == crate::bisect::IN_DOUBT {
            break;
        }
    }
    Ok(first.unwrap_or_default())
}

/// What changed in the report from the old one to the new one; none if one of them has none.
fn diff<At: Clone + PartialEq + Display>(
    asker: &mut Asker<'_, At>,
    judge: &Judge,
    [good, bad]: [&At; 2],
    change: Change,
) -> io::Result<Option<Diff>> {
    let mut sides = Vec::new();
    for at in change.pair([good, bad]) {
        let mut shown = evidence(asker, judge, at, at == bad)?;
        if judge.ask() == Ask::Growth
            && let Ok(ran) = asker.ask(at, Ask::Replay, 0)?
        {
            shown.report = ran.report;
        }
        if let Some(report) = shown.report {
            sides.push(Side {
                report,
                plan: None,
                trace: None,
                growths: shown.growths,
            });
        }
    }
    Ok(match &sides[..] {
        [old, new] => Some(Diff::of(old, new)),
        _ => None,
    })
}
