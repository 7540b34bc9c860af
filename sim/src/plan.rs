//! Plans: the answers of one run, written down.
//!
//! A plan file is TOML with a version, the scenario, its limits, its parameters and the
//! decisions that are not the default, one to a line, in natural order:
//!
//! ```toml
//! dismantle = 1
//! scenario = "program"
//! signature = "panic capnp-rpc-0.27.3/src/rpc.rs:2811 …"   # what it came to; optional
//! also = ["panic capnp-rpc-0.27.3/src/rpc.rs:2820 …"]      # further signatures; optional
//! note = "seed 17"                                         # free text; optional
//! documented = "no"                                        # by upstream, and where; optional
//! upstream = "capnp-rpc-0.27.3"                            # recorded with it; optional
//!
//! [releases]                                               # where it was mended; optional
//! bad = "0.26.1"
//! good = "0.26.2"
//!
//! [parameters]
//! calls = 3
//!
//! [limits]
//! seconds = 3600
//! stack_bytes = 8388608                                    # optional
//! steps = 1000000
//!
//! [decisions]
//! op.3.what = "call"
//! pipe.c2s.delivery = "message"
//! ```
//!
//! Writing what was read gives the same bytes. A value outside the range is clamped; an unknown
//! version, scenario or decision, or a value of the wrong type, is an error that names its line.
//! Any decision may be deleted: what is left is a plan that runs.
//!
//! # Against another release
//!
//! Names are semantic (the third operation, the second Call on a pipe), never positions in a live
//! table, so that a plan means the same against another release of the system under test, though
//! that polls once more or sends another message. What survives, and what does not:
//!
//! | decision | against another release |
//! |---|---|
//! | what an operation does, to what, how often and in which order; what a server does to its k-th call; what is destroyed when | the same |
//! | steps between two operations: 0 and 10000, "until nothing can run" | the same |
//! | any other number of steps | *moves*: counts this release's polls |
//! | a fault at an operation, at a rest, at a virtual time, at the k-th Call, Return, Bootstrap or Abort, and a byte within it | the same |
//! | a fault at the k-th message of all, or Finish, Release, Resolve or Disembargo | *moves*: releases differ in how many of these they send |
//! | capacity, delays, pieces, vain wakes and delivery of a pipe; the window of a stream | the same |
//! | a task's priority, and the operation from which it is another | the same |
//! | the first look of a kind at a capability | the same, if it is looked at |
//! | hash keys | *moves*: which order they give is the standard library's and the tables' business |
//! | a cut at a step or at a byte of the stream, for sweeps | this build only: its lines say so |
//!
//! [`Question::counts_steps`] and its like declare what moves; [`Plan::moving`] names the answers
//! of a plan. To shrink a plan is also to rid it of them: what means the same to every release
//! counts as simpler.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;

use toml::de::{DeTable, DeValue};

use crate::decision::{Question, Value, quoted};
use crate::releases::Releases;

/// The version that this program writes, and the only one that it reads.
const VERSION: i64 = 1;

/// The questions that the runs of one scenario may ask.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    /// The scenario's name, as it stands in a plan.
    pub scenario: &'static str,
    /// Limits that hold where a plan names none.
    pub limits: Limits,
    /// Questions of one segment that a user sets by hand: `--set calls=1000`.
    pub parameters: &'static [Question],
    /// All others, layer by layer.
    pub questions: Vec<&'static [Question]>,
}

impl Vocabulary {
    fn find(&self, path: &[String]) -> Option<(&'static Question, bool)> {
        let parameter = self.parameters.iter().find(|q| q.matches(path));
        if let Some(question) = parameter {
            return Some((question, true));
        }
        let mut all = self.questions.iter().copied().flatten();
        all.find(|q| q.matches(path)).map(|q| (q, false))
    }
}

/// Where a run stops that would not stop by itself. Reaching one is an outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The greatest number of steps (polls of one task).
    pub steps: u64,
    /// The greatest virtual time, in seconds.
    pub seconds: u64,
    /// The stack that the run has, 64 KiB to 1 GiB in whole pages; the largest there is if not
    /// given. A run that needs more overflows it, and its process dies.
    pub stack_bytes: Option<u64>,
}

impl Default for Limits {
    /// A million steps and an hour: a guess, far above what the built-in scenarios need.
    fn default() -> Self {
        Self {
            steps: 1_000_000,
            seconds: 3600,
            stack_bytes: None,
        }
    }
}

/// The answers of one run.
#[derive(Clone, Debug)]
pub struct Plan {
    vocabulary: Vocabulary,
    /// The signature that the plan was kept for, if it was.
    pub signature: Option<String>,
    /// Further signatures with the same cause; of a known finding.
    pub also: Vec<String>,
    /// Free text: where the plan comes from, or what is wrong.
    pub note: Option<String>,
    /// Where upstream documents what happens, or that it does not; of a known finding.
    pub documented: Option<String>,
    /// Between which releases it was mended; of a finding of other releases.
    pub releases: Option<Releases>,
    /// The release of the system under test that it was recorded with.
    pub upstream: Option<String>,
    /// Where a run of it stops.
    pub limits: Limits,
    answers: BTreeMap<Path, Answer>,
}

#[derive(Clone, Debug)]
struct Answer {
    id: u64,
    value: Value,
    parameter: bool,
    this_build_only: bool,
    moves: bool,
}

impl Plan {
    /// The empty plan: a legal, orderly, minimal run.
    pub fn new(vocabulary: Vocabulary) -> Self {
        Self {
            limits: vocabulary.limits,
            vocabulary,
            signature: None,
            also: Vec::new(),
            note: None,
            documented: None,
            releases: None,
            upstream: None,
            answers: BTreeMap::new(),
        }
    }

    /// The name of the scenario that it is for.
    pub fn scenario(&self) -> &'static str {
        self.vocabulary.scenario
    }

    /// How many answers it holds.
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Whether every answer is the default.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// The names of its answers and their values, in natural order.
    pub fn answers(&self) -> impl Iterator<Item = (String, &Value)> {
        self.answers
            .iter()
            .map(|(path, answer)| (path.to_string(), &answer.value))
    }

    /// Answers `name` (`calls`, `op.3.what`) with `value`, clamped to what is possible.
    ///
    /// # Errors
    /// The scenario never asks such a question, or its answers are of another type.
    pub fn set(&mut self, name: &str, value: &Value) -> Result<(), PlanError> {
        let path = Path::read(name).map_err(PlanError::new)?;
        self.insert(path, value)
    }

    /// The answer to `name`, if the plan holds one.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let path = Path::read(name).ok()?;
        self.answers.get(&path).map(|answer| &answer.value)
    }

    /// Whether an answer counts steps or bytes of this build: another one may do other things.
    pub fn this_build_only(&self) -> bool {
        self.answers.values().any(|answer| answer.this_build_only)
    }

    /// The names of the answers that may mean another moment to another release of the system
    /// under test, because they count what one does by itself: [`Question::counts_steps`].
    pub fn moving(&self) -> impl Iterator<Item = String> {
        let moving = self.answers.iter().filter(|(_, answer)| answer.moves);
        moving.map(|(path, _)| path.to_string())
    }

    /// Deletes the answer to `name`; whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        Path::read(name).is_ok_and(|path| self.answers.remove(&path).is_some())
    }

    /// The values that are simpler than the one that `name` has, the simplest first; the default,
    /// which is to delete it, is not among them. Whoever takes one after the other comes to an
    /// end.
    pub fn simpler(&self, name: &str) -> Vec<Value> {
        let found = Path::read(name).ok().and_then(|path| {
            let answer = self.answers.get(&path)?;
            let (question, _) = self.vocabulary.find(&path.0)?;
            Some(question.simpler(&answer.value))
        });
        found.unwrap_or_default()
    }

    /// The same plan without any answer.
    pub fn cleared(&self) -> Self {
        Self {
            answers: BTreeMap::new(),
            ..self.clone()
        }
    }

    /// Reads a plan file; `vocabulary` knows the scenarios by name.
    ///
    /// # Errors
    /// What is wrong, and on which line.
    pub fn read(
        text: &str,
        vocabulary: impl Fn(&str) -> Option<Vocabulary>,
    ) -> Result<Self, PlanError> {
        let reader = Reader { text };
        let root = DeTable::parse(text).map_err(|error| PlanError {
            line: error.span().map(|span| reader.line(span.start)),
            ..PlanError::new(error.message())
        })?;
        let root = root.get_ref();
        reader.version(root)?;
        let Some((scenario, line)) = reader.string(root, "scenario")? else {
            return Err(PlanError::new("no line `scenario = \"…\"`"));
        };
        let Some(vocabulary) = vocabulary(&scenario) else {
            return Err(PlanError::at(
                line,
                format!("unknown scenario `{scenario}`; `list` shows the known ones"),
            ));
        };
        let mut plan = Plan::new(vocabulary);
        plan.signature = reader.string(root, "signature")?.map(|(text, _)| text);
        plan.also = reader.strings(root, "also")?;
        plan.note = reader.string(root, "note")?.map(|(text, _)| text);
        plan.documented = reader.string(root, "documented")?.map(|(text, _)| text);
        plan.upstream = reader.string(root, "upstream")?.map(|(text, _)| text);
        for (key, value) in root {
            let line = reader.line(key.span().start);
            let key = key.get_ref().as_ref();
            match (key, value.get_ref()) {
                (
                    "dismantle" | "scenario" | "signature" | "also" | "note" | "documented"
                    | "upstream",
                    _,
                ) => {}
                ("releases", DeValue::Table(table)) => {
                    plan.releases = Some(reader.releases(table, line)?);
                }
                ("limits", DeValue::Table(table)) => reader.limits(table, &mut plan.limits)?,
                ("parameters", DeValue::Table(table)) => {
                    reader.answers(table, &mut Vec::new(), &mut plan, true)?;
                }
                ("decisions", DeValue::Table(table)) => {
                    reader.answers(table, &mut Vec::new(), &mut plan, false)?;
                }
                ("releases" | "limits" | "parameters" | "decisions", _) => {
                    return Err(PlanError::at(
                        line,
                        format!("`{key}` is a table, `[{key}]`"),
                    ));
                }
                _ => return Err(PlanError::at(line, format!("unknown key `{key}`"))),
            }
        }
        Ok(plan)
    }

    /// The answers that the plan gives, by the decision's identity.
    pub(crate) fn given(&self) -> BTreeMap<u64, Value> {
        self.answers
            .values()
            .map(|answer| (answer.id, answer.value.clone()))
            .collect()
    }

    /// The names of the answers whose identity `used` does not know.
    pub(crate) fn unused(&self, used: impl Fn(u64) -> bool) -> Vec<String> {
        let unused = self.answers.iter().filter(|(_, answer)| !used(answer.id));
        unused.map(|(path, _)| path.to_string()).collect()
    }

    fn insert(&mut self, path: Path, value: &Value) -> Result<(), PlanError> {
        if path.0.iter().any(|segment| segment == "*") {
            return Err(PlanError::new(format!(
                "`{path}`: put a number or a name in the place of `*`"
            )));
        }
        let Some((question, parameter)) = self.vocabulary.find(&path.0) else {
            return Err(PlanError::new(format!(
                "unknown decision `{path}`: no run of `{}` asks it",
                self.scenario()
            )));
        };
        let value = question
            .read(value)
            .map_err(|message| PlanError::new(format!("`{path}` {message}")))?;
        if let Some(why) = question.why_not(&value) {
            return Err(PlanError {
                is_missing: true,
                ..PlanError::new(format!("{why}, which `{path} = {value}` needs"))
            });
        }
        let answer = Answer {
            id: question.id_of_path(&path.0),
            parameter,
            this_build_only: question.is_this_build_only(),
            moves: question.moves(&value),
            value,
        };
        self.answers.insert(path, answer);
        Ok(())
    }
}

impl fmt::Display for Plan {
    /// The plan file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "dismantle = {VERSION}")?;
        writeln!(f, "scenario = {}", basic_string(self.scenario()))?;
        if let Some(signature) = &self.signature {
            writeln!(f, "signature = {}", basic_string(signature))?;
        }
        if !self.also.is_empty() {
            writeln!(f, "also = [")?;
            for signature in &self.also {
                writeln!(f, "    {},", basic_string(signature))?;
            }
            writeln!(f, "]")?;
        }
        if let Some(note) = &self.note {
            writeln!(f, "note = {}", basic_string(note))?;
        }
        if let Some(documented) = &self.documented {
            writeln!(f, "documented = {}", basic_string(documented))?;
        }
        if let Some(upstream) = &self.upstream {
            writeln!(f, "upstream = {}", basic_string(upstream))?;
        }
        if let Some(releases) = &self.releases {
            write!(f, "\n{releases}")?;
        }
        let write_section = |f: &mut fmt::Formatter<'_>, title: &str, parameter: bool| {
            let mut answers = self
                .answers
                .iter()
                .filter(|(_, answer)| answer.parameter == parameter)
                .peekable();
            if answers.peek().is_none() {
                return Ok(());
            }
            writeln!(f, "\n[{title}]")?;
            for (path, answer) in answers {
                match &answer.value {
                    Value::Count(count) => write!(f, "{path} = {count}")?,
                    Value::Word(word) => write!(f, "{path} = {}", basic_string(word))?,
                }
                let only = if answer.this_build_only {
                    " # this build only"
                } else {
                    ""
                };
                writeln!(f, "{only}")?;
            }
            Ok(())
        };
        write_section(f, "parameters", true)?;
        writeln!(f, "\n[limits]")?;
        writeln!(f, "seconds = {}", self.limits.seconds)?;
        if let Some(bytes) = self.limits.stack_bytes {
            writeln!(f, "stack_bytes = {bytes}")?;
        }
        writeln!(f, "steps = {}", self.limits.steps)?;
        write_section(f, "decisions", false)
    }
}

/// Why a plan cannot be used: what is wrong, and where in its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError {
    line: Option<usize>,
    message: String,
    is_missing: bool,
}

impl PlanError {
    fn new(message: impl Into<String>) -> Self {
        Self {
            line: None,
            message: message.into(),
            is_missing: false,
        }
    }

    fn at(line: usize, message: impl Into<String>) -> Self {
        Self {
            line: Some(line),
            ..Self::new(message)
        }
    }

    /// Whether nothing is wrong with the plan, but this build cannot do what it says
    /// ([`Question::without`]).
    pub fn is_missing(&self) -> bool {
        self.is_missing
    }

    /// The line of the plan's text, from 1, where there is one.
    pub fn line(&self) -> Option<usize> {
        self.line
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for PlanError {}

/// The segments of a decision's name, ordered so that `op.2` stands before `op.10`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Path(Vec<String>);

impl Path {
    /// Reads a printed path; quotes protect dots.
    fn read(text: &str) -> Result<Self, String> {
        let mut segments = Vec::new();
        let mut rest = text;
        loop {
            let (segment, after) = match rest.strip_prefix('"') {
                Some(inner) => inner
                    .split_once('"')
                    .ok_or_else(|| format!("`{text}`: a quote is not closed"))?,
                None => rest.split_at(rest.find('.').unwrap_or(rest.len())),
            };
            if segment.is_empty() {
                return Err(format!("`{text}` is not the name of a decision"));
            }
            segments.push(segment.to_owned());
            if after.is_empty() {
                return Ok(Self(segments));
            }
            rest = after
                .strip_prefix('.')
                .ok_or_else(|| format!("`{text}` is not the name of a decision"))?;
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_char('.')?;
            }
            f.write_str(&quoted(segment))?;
        }
        Ok(())
    }
}

impl Ord for Path {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |segment: &String| (segment.parse::<u64>().ok(), segment.clone());
        self.0.iter().map(key).cmp(other.0.iter().map(key))
    }
}

impl PartialOrd for Path {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

struct Reader<'a> {
    text: &'a str,
}

impl Reader<'_> {
    fn line(&self, offset: usize) -> usize {
        self.text[..offset].matches('\n').count() + 1
    }

    fn version(&self, root: &DeTable<'_>) -> Result<(), PlanError> {
        let Some(value) = root.get("dismantle") else {
            return Err(PlanError::new(format!(
                "no line `dismantle = {VERSION}`: not a plan of this tool"
            )));
        };
        match whole_number(value.get_ref()) {
            Some(number) if number == VERSION as u64 => Ok(()),
            _ => Err(PlanError::at(
                self.line(value.span().start),
                format!("this program reads plans of version {VERSION} only"),
            )),
        }
    }

    fn string(&self, root: &DeTable<'_>, key: &str) -> Result<Option<(String, usize)>, PlanError> {
        let Some(value) = root.get(key) else {
            return Ok(None);
        };
        let line = self.line(value.span().start);
        match value.get_ref() {
            DeValue::String(text) => Ok(Some((text.to_string(), line))),
            _ => Err(PlanError::at(line, format!("`{key}` takes a string"))),
        }
    }

    fn strings(&self, root: &DeTable<'_>, key: &str) -> Result<Vec<String>, PlanError> {
        let Some(value) = root.get(key) else {
            return Ok(Vec::new());
        };
        let error = || {
            let line = self.line(value.span().start);
            PlanError::at(line, format!("`{key}` takes a list of strings"))
        };
        let DeValue::Array(list) = value.get_ref() else {
            return Err(error());
        };
        let string = |value: &DeValue<'_>| match value {
            DeValue::String(text) => Ok(text.to_string()),
            _ => Err(error()),
        };
        list.iter().map(|value| string(value.get_ref())).collect()
    }

    fn releases(&self, table: &DeTable<'_>, line: usize) -> Result<Releases, PlanError> {
        const KEYS: [&str; 4] = ["kin", "first_bad", "bad", "good"];
        for key in table.keys() {
            if !KEYS.contains(&key.get_ref().as_ref()) {
                let message = format!("unknown key `{}` of `releases`", key.get_ref());
                return Err(PlanError::at(self.line(key.span().start), message));
            }
        }
        let string = |key| Ok(self.string(table, key)?.map(|(text, _)| text));
        let needed = |key| {
            let missing =
                || PlanError::at(line, format!("`releases` needs a line `{key} = \"…\"`"));
            string(key)?.ok_or_else(missing)
        };
        Ok(Releases {
            kin: needed("kin")?,
            first_bad: string("first_bad")?,
            bad: needed("bad")?,
            good: needed("good")?,
        })
    }

    fn limits(&self, table: &DeTable<'_>, limits: &mut Limits) -> Result<(), PlanError> {
        for (key, value) in table {
            let line = self.line(key.span().start);
            let Some(number) = whole_number(value.get_ref()) else {
                return Err(PlanError::at(line, "a limit takes a whole number"));
            };
            match key.get_ref().as_ref() {
                "steps" => limits.steps = number,
                "seconds" => limits.seconds = number,
                "stack_bytes" => limits.stack_bytes = Some(number),
                other => return Err(PlanError::at(line, format!("unknown limit `{other}`"))),
            }
        }
        Ok(())
    }

    fn answers(
        &self,
        table: &DeTable<'_>,
        path: &mut Vec<String>,
        plan: &mut Plan,
        parameter: bool,
    ) -> Result<(), PlanError> {
        for (key, value) in table {
            let line = self.line(key.span().start);
            path.push(key.get_ref().to_string());
            let answer = match value.get_ref() {
                DeValue::Table(inner) => {
                    self.answers(inner, path, plan, parameter)?;
                    None
                }
                DeValue::String(word) => Some(Value::Word(word.to_string())),
                other => Some(Value::Count(whole_number(other).ok_or_else(|| {
                    let path = Path(path.clone());
                    PlanError::at(line, format!("`{path}` takes a whole number or a word"))
                })?)),
            };
            if let Some(answer) = answer {
                let path = Path(path.clone());
                plan.insert(path.clone(), &answer)
                    .map_err(|error| PlanError {
                        line: Some(line),
                        ..error
                    })?;
                if plan.answers[&path].parameter != parameter {
                    let section = if parameter { "decisions" } else { "parameters" };
                    return Err(PlanError::at(
                        line,
                        format!("`{path}` belongs in [{section}]"),
                    ));
                }
            }
            path.pop();
        }
        Ok(())
    }
}

fn whole_number(value: &DeValue<'_>) -> Option<u64> {
    match value {
        DeValue::Integer(integer) => u64::from_str_radix(integer.as_str(), integer.radix()).ok(),
        _ => None,
    }
}

/// A TOML basic string: Rust's escapes, with `\u{…}` in TOML's spelling.
pub(crate) fn basic_string(text: &str) -> String {
    let mut string = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => string.push_str("\\\""),
            '\\' => string.push_str("\\\\"),
            '\n' => string.push_str("\\n"),
            '\t' => string.push_str("\\t"),
            c if c.is_control() => {
                write!(string, "\\u{:04X}", u32::from(c)).expect("a String takes all writes");
            }
            c => string.push(c),
        }
    }
    string.push('"');
    string
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::share;

    static PARAMETERS: [Question; 1] = [Question::count("calls", (0, 1000), 1, &[])];
    static QUESTIONS: [Question; 3] = [
        Question::word("op.*.what", &["nothing", "call"], &[share(1, 0, 1)]),
        Question::count("op.*.steps", (0, 10), 0, &[]),
        Question::count("task.*.priority", (0, 10), 0, &[]),
    ];

    fn vocabulary(name: &str) -> Option<Vocabulary> {
        (name == "program").then(|| Vocabulary {
            scenario: "program",
            limits: Limits::default(),
            parameters: &PARAMETERS,
            questions: vec![&QUESTIONS],
        })
    }

    const TEXT: &str = r#"dismantle = 1
scenario = "program"
signature = "panic rpc.rs:1 \"x\" \\ \u0007 ünï"
also = [
    "leak call",
]
note = "two\nlines"
documented = "no"
upstream = "capnp-rpc-0.27.3"

[parameters]
calls = 7

[limits]
seconds = 3600
steps = 5

[decisions]
op.2.what = "call"
op.10.steps = 3
op.10.what = "call"
task."client/system".priority = 4
"#;

    #[test]
    fn writing_what_was_read_gives_the_same_bytes() {
        let plan = Plan::read(TEXT, vocabulary).expect("a legal plan");
        assert_eq!(plan.to_string(), TEXT);
        let again = Plan::read(&plan.to_string(), vocabulary).expect("what was written is read");
        assert_eq!(again.to_string(), TEXT);
    }

    const RELEASES: &str = r#"
[releases]
kin = "panic rpc.rs x"
first_bad = "0.20.0"
bad = "0.26.1"
good = "0.26.2"
"#;

    #[test]
    fn the_releases_of_a_mended_bug_are_read_and_written() {
        let head = "upstream = \"capnp-rpc-0.27.3\"\n";
        let with = |releases: &str| TEXT.replace(head, &format!("{head}{releases}"));
        let text = with(RELEASES);
        let plan = Plan::read(&text, vocabulary).expect("a legal plan");
        assert_eq!(plan.to_string(), text);
        let releases = plan.releases.expect("they are there");
        assert_eq!(
            (&releases.bad[..], &releases.good[..]),
            ("0.26.1", "0.26.2")
        );
        let short = with("\n[releases]\nkin = \"x\"\nbad = \"1\"\ngood = \"2\"\n");
        let plan = Plan::read(&short, vocabulary).expect("the rest is optional");
        assert_eq!(plan.to_string(), short);
        for (line, without) in [("bad = \"0.26.1\"\n", ""), ("first_bad", "frist_bad")] {
            let text = with(&RELEASES.replace(line, without));
            let error = Plan::read(&text, vocabulary).expect_err("it is wrong");
            assert!(error.to_string().contains("`releases`"), "{error}");
        }
    }

    #[test]
    fn a_value_out_of_range_is_clamped() {
        let text = TEXT.replace("op.10.steps = 3", "op.10.steps = 99");
        let plan = Plan::read(&text, vocabulary).expect("clamped");
        assert!(plan.to_string().contains("op.10.steps = 10\n"));
    }

    #[test]
    fn what_this_build_cannot_do_is_told_from_what_is_wrong() {
        static LACKING: [Question; 1] =
            [
                Question::word("op.*.what", &["nothing", "call", "fly"], &[])
                    .without(&["fly"], Some("no wings")),
            ];
        let vocabulary = |_: &str| {
            Some(Vocabulary {
                scenario: "program",
                limits: Limits::default(),
                parameters: &[],
                questions: vec![&LACKING],
            })
        };
        let text = |word: &str| {
            format!("dismantle = 1\nscenario = \"program\"\n[decisions]\nop.2.what = \"{word}\"\n")
        };
        let mut plan = Plan::read(&text("call"), vocabulary).expect("it can do that");
        let error = Plan::read(&text("fly"), vocabulary).expect_err("it cannot");
        assert!(error.is_missing());
        let said = "line 4: no wings, which `op.2.what = fly` needs";
        assert_eq!(error.to_string(), said);
        let error = Plan::read(&text("swim"), vocabulary).expect_err("nobody can");
        assert!(!error.is_missing());
        let error = plan.set("op.1.what", &Value::Word("fly".to_owned()));
        assert!(error.expect_err("by hand neither").is_missing());
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_line() {
        let cases = [
            ("dismantle = 1", "dismantle = 2", Some(1), "version 1 only"),
            ("dismantle = 1\n", "", None, "dismantle = 1"),
            (
                "\"program\"",
                "\"nobody\"",
                Some(2),
                "unknown scenario `nobody`",
            ),
            (
                "op.2.what",
                "op.2.why",
                Some(19),
                "unknown decision `op.2.why`",
            ),
            (
                "\"call\"\nop.10",
                "3\nop.10",
                Some(19),
                "one of the words nothing|call",
            ),
            (
                "steps = 3\n",
                "steps = \"many\"\n",
                Some(20),
                "a whole number",
            ),
            ("steps = 3\n", "steps = -3\n", Some(20), "a whole number"),
            ("steps = 3\n", "steps = 3.5\n", Some(20), "a whole number"),
            ("steps = 5", "polls = 5", Some(16), "unknown limit `polls`"),
            (
                "calls = 7",
                "op.1.what = \"call\"",
                Some(12),
                "belongs in [decisions]",
            ),
            ("    \"leak call\"", "    7", Some(4), "a list of strings"),
            ("[limits]", "[limts]", Some(14), "unknown key `limts`"),
            ("calls = 7", "calls = = 7", Some(12), ""),
        ];
        for (good, bad, line, message) in cases {
            let error = Plan::read(&TEXT.replacen(good, bad, 1), vocabulary)
                .expect_err("an error for each bad line");
            assert_eq!(error.line(), line, "{bad}: {error}");
            assert!(error.to_string().contains(message), "{bad}: {error}");
        }
    }
}
