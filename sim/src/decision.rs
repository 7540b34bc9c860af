//! Decisions: everything that a run may do in more than one way, asked by name.
//!
//! A [`Question`] is declared once, as a constant; a run asks it through [`Decisions::ask`].
//! Three sources answer, and nothing else in the program knows which: a *plan* that names the
//! decision, a *seed*, or *nothing*, which gives the default: always the simplest thing.
//!
//! The invariant owned here: an answer is a stateless function of (run key, name). A question
//! that is added, asked earlier or asked twice moves no other answer.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::heap::uncounted;
use crate::name::{FNV_START, Name, fnv};

/// The number that all answers of a run are drawn from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Seed(pub u64);

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Seed {
    type Err = std::num::ParseIntError;

    /// Reads `17` or `0x11`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => text.parse(),
        }
        .map(Seed)
    }
}

impl Serialize for Seed {
    /// A string: 64-bit numbers do not survive every JSON reader.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One share of a [`Draw`]: out of all weights, `weight` times a value of `low..=high`.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// How often, relative to the sum of all weights.
    pub weight: u32,
    /// The smallest value of this share.
    pub low: u64,
    /// The greatest value of this share.
    pub high: u64,
}

/// A short way to write a [`Share`].
pub const fn share(weight: u32, low: u64, high: u64) -> Share {
    Share { weight, low, high }
}

/// How a seed answers: a weighted choice of ranges, each drawn evenly. Empty: the default.
pub type Draw = &'static [Share];

/// What the answers to a question are.
#[derive(Clone, Copy, Debug)]
enum Answers {
    /// Whole numbers of `low..=high`.
    Count { low: u64, high: u64, default: u64 },
    /// One of these words; the first is the default.
    Word(&'static [&'static str]),
}

/// A named question that a run may ask, with its possible answers and how a seed draws them.
///
/// The name is a pattern of segments, where `*` stands for a number or a name that the asking
/// place fills in: `op.*.what`, `task.*.priority`.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    pattern: &'static str,
    id: u64,
    answers: Answers,
    draw: Draw,
    about: &'static str,
    this_build_only: bool,
    moving: Moving,
    missing: Option<Missing>,
}

/// Which answers count what a release of the system under test does by itself: a plan that was
/// recorded with another one may mean another moment by them.
#[derive(Clone, Copy, Debug)]
enum Moving {
    None,
    /// Numbers between the lowest and the highest.
    Inner,
    Words(&'static [&'static str]),
    /// All but the default.
    All,
}

/// Answers that this build cannot do.
#[derive(Clone, Copy, Debug)]
struct Missing {
    words: &'static [&'static str],
    why: &'static str,
}

impl Question {
    /// A question for a whole number of `low..=high`, which must hold the default.
    pub const fn count(
        pattern: &'static str,
        (low, high): (u64, u64),
        default: u64,
        draw: Draw,
    ) -> Self {
        assert!(low <= default && default <= high);
        Self {
            pattern,
            id: fnv(FNV_START, pattern.as_bytes()),
            answers: Answers::Count { low, high, default },
            draw,
            about: "",
            this_build_only: false,
            moving: Moving::None,
            missing: None,
        }
    }

    /// A question for one of `words`, the first of which is the default. Weights in `draw` are
    /// over the words' places.
    pub const fn word(pattern: &'static str, words: &'static [&'static str], draw: Draw) -> Self {
        assert!(!words.is_empty());
        Self {
            pattern,
            id: fnv(FNV_START, pattern.as_bytes()),
            answers: Answers::Word(words),
            draw,
            about: "",
            this_build_only: false,
            moving: Moving::None,
            missing: None,
        }
    }

    /// Adds the one line that `list` and the error messages show.
    pub const fn about(mut self, about: &'static str) -> Self {
        self.about = about;
        self
    }

    /// Says that an answer means what it means to this build alone: it counts steps or bytes, of
    /// which another release makes more or fewer. For sweeps; no seed draws such an answer.
    pub const fn this_build_only(mut self) -> Self {
        assert!(self.draw.is_empty());
        self.this_build_only = true;
        self.moving = Moving::All;
        self
    }

    /// Says that a number counts steps, except the lowest and the highest, which stand for "at
    /// once" and "until nothing can run": another release may poll once more, and be elsewhere
    /// after so many.
    pub const fn counts_steps(mut self) -> Self {
        assert!(matches!(self.answers, Answers::Count { .. }));
        self.moving = Moving::Inner;
        self
    }

    /// Says of some words that they count what a release does by itself: messages of a kind of
    /// which another one sends more or fewer.
    pub const fn moving(mut self, words: &'static [&'static str]) -> Self {
        self.moving = Moving::Words(words);
        self
    }

    /// Says that an answer works through something that a release does in its own way.
    pub const fn always_moving(mut self) -> Self {
        self.moving = Moving::All;
        self
    }

    /// The answers that may mean another moment to another release, in words: `1..=9999`.
    pub fn moving_answers(&self) -> Option<String> {
        match (self.moving, self.answers) {
            (Moving::None, _) => None,
            (Moving::Inner, Answers::Count { low, high, .. }) => {
                Some(format!("{}..={}", low + 1, high - 1))
            }
            (Moving::Words(words), _) => Some(words.join("|")),
            _ => Some("all".to_owned()),
        }
    }

    /// Whether `answer` is one of [`Question::moving_answers`].
    pub(crate) fn moves(&self, answer: &Value) -> bool {
        match (self.moving, self.answers, answer) {
            (Moving::None, ..) => false,
            (Moving::Inner, Answers::Count { low, high, .. }, Value::Count(count)) => {
                low < *count && *count < high
            }
            (Moving::Words(words), _, Value::Word(word)) => words.contains(&word.as_str()),
            _ => *answer != self.default_value(),
        }
    }

    /// Whether [`Question::this_build_only`] was said.
    pub const fn is_this_build_only(&self) -> bool {
        self.this_build_only
    }

    /// Says of some words that this build cannot do them, if there is a reason `why`: what it was
    /// built against lacks something. No seed answers them, and a plan that does is refused.
    pub const fn without(
        mut self,
        words: &'static [&'static str],
        why: Option<&'static str>,
    ) -> Self {
        if let Some(why) = why {
            self.missing = Some(Missing { words, why });
        }
        self
    }

    /// The words that this build cannot do, and why, if there are any: [`Question::without`].
    pub fn missing(&self) -> Option<(&'static [&'static str], &'static str)> {
        self.missing.map(|missing| (missing.words, missing.why))
    }

    /// Why this build cannot do what `answer` says.
    pub(crate) fn why_not(&self, answer: &Value) -> Option<&'static str> {
        let missing = self.missing?;
        let is_missing = |word: &String| missing.words.contains(&word.as_str());
        matches!(answer, Value::Word(word) if is_missing(word)).then_some(missing.why)
    }

    /// What is drawn in the place of `answer`: the default, if this build cannot do it.
    fn possible_here(&self, answer: u64) -> u64 {
        match self.missing {
            Some(_) if self.why_not(&self.value(self.clamp(answer))).is_some() => self.default(),
            _ => answer,
        }
    }

    /// The name with `*` where a number or name belongs.
    pub const fn pattern(&self) -> &'static str {
        self.pattern
    }

    /// What the question decides, in one line; may be empty.
    pub const fn description(&self) -> &'static str {
        self.about
    }

    /// The possible answers in words, for people: `0..=64` or `nothing|call`.
    pub fn possible(&self) -> String {
        match self.answers {
            Answers::Count { low, high, .. } => format!("{low}..={high}"),
            Answers::Word(words) => words.join("|"),
        }
    }

    /// The words that may answer here beside the default; none for a number.
    pub fn other_words(&self) -> impl Iterator<Item = &'static str> {
        let words = match self.answers {
            Answers::Count { .. } => &[],
            Answers::Word(words) => &words[1..],
        };
        let missing = self.missing.map_or(&[][..], |missing| missing.words);
        let here = words.iter().filter(|word| !missing.contains(word));
        here.copied()
    }

    /// The answers that are simpler than `value`, the simplest first, without the default: the
    /// words before it, or some twenty smaller numbers, its half and its predecessor among them.
    /// What means the same to every release is simpler than what does not.
    pub(crate) fn simpler(&self, value: &Value) -> Vec<Value> {
        let answer = self.number(value);
        let mut simpler: Vec<u64> = match self.answers {
            Answers::Word(_) => (0..answer).collect(),
            Answers::Count { low, .. } => {
                let distance = answer - low;
                let doubled = |step: &u64| step.checked_mul(2);
                let up =
                    std::iter::successors(Some(1), doubled).take_while(|step| *step < distance);
                let up: Vec<u64> = up.collect();
                let down = up.iter().rev().map(|step| answer - step);
                let near = up.iter().map(|step| low + step);
                std::iter::once(low).chain(near).chain(down).collect()
            }
        };
        simpler.sort_unstable();
        simpler.dedup();
        simpler.retain(|other| *other < answer && *other != self.default());
        simpler.retain(|other| self.possible_here(*other) == *other);
        let mut simpler: Vec<Value> = simpler.into_iter().map(|it| self.value(it)).collect();
        if let (Moving::Inner, Answers::Count { low, high, .. }) = (self.moving, self.answers) {
            if self.moves(value) {
                let ends = [low, high].map(|end| self.value(end));
                simpler.retain(|other| self.moves(other));
                let ends = ends.into_iter().filter(|end| *end != self.default_value());
                simpler.splice(0..0, ends);
            } else {
                simpler.retain(|other| !self.moves(other));
            }
        }
        simpler
    }

    /// The default answer, printed.
    pub fn default_value(&self) -> Value {
        self.value(self.default())
    }

    fn default(&self) -> u64 {
        match self.answers {
            Answers::Count { default, .. } => default,
            Answers::Word(_) => 0,
        }
    }

    fn value(&self, answer: u64) -> Value {
        match self.answers {
            Answers::Count { .. } => Value::Count(answer),
            Answers::Word(words) => Value::Word(words[answer as usize].to_owned()),
        }
    }

    fn clamp(&self, answer: u64) -> u64 {
        match self.answers {
            Answers::Count { low, high, .. } => answer.clamp(low, high),
            Answers::Word(words) => answer.min(words.len() as u64 - 1),
        }
    }

    /// Whether `path` (segments, in order) is a name of this question.
    pub(crate) fn matches(&self, path: &[String]) -> bool {
        let mut segments = self.pattern.split('.');
        let fits = path
            .iter()
            .all(|given| segments.next().is_some_and(|s| s == "*" || s == given));
        fits && segments.next().is_none()
    }

    /// The identity of the decision that `path`, which must match, names.
    pub(crate) fn id_of_path(&self, path: &[String]) -> u64 {
        let mut id = self.id;
        for (segment, given) in self.pattern.split('.').zip(path) {
            if segment == "*" {
                id = mix(id, part_of_text(given));
            }
        }
        id
    }

    /// Reads a value of this question: a number is clamped, anything of another type refused.
    pub(crate) fn read(&self, value: &Value) -> Result<Value, String> {
        match (self.answers, value) {
            (Answers::Count { .. }, Value::Count(count)) => Ok(self.value(self.clamp(*count))),
            (Answers::Word(words), Value::Word(word)) if words.contains(&word.as_str()) => {
                Ok(value.clone())
            }
            (Answers::Count { .. }, Value::Word(_)) => {
                Err(format!("takes a whole number, {}", self.possible()))
            }
            (Answers::Word(_), _) => Err(format!("takes one of the words {}", self.possible())),
        }
    }

    fn number(&self, value: &Value) -> u64 {
        match (self.answers, value) {
            (Answers::Word(words), Value::Word(word)) => {
                words.iter().position(|w| w == word).unwrap_or(0) as u64
            }
            (_, Value::Count(count)) => *count,
            (Answers::Count { default, .. }, Value::Word(_)) => default,
        }
    }
}

/// What takes the place of a `*` in a question's pattern.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// A number: the third operation.
    Number(u32),
    /// A word: the pipe `c2s`.
    Word(&'static str),
    /// The name of a task or object.
    Name(Name),
}

impl Part {
    const fn id(&self) -> u64 {
        match self {
            Part::Number(number) => *number as u64,
            Part::Word(word) => fnv(FNV_START, word.as_bytes()),
            Part::Name(name) => name.id(),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Number(number) => fmt::Display::fmt(number, f),
            Part::Word(word) => f.write_str(word),
            Part::Name(name) => fmt::Display::fmt(name, f),
        }
    }
}

impl From<u32> for Part {
    fn from(number: u32) -> Self {
        Part::Number(number)
    }
}

impl From<&'static str> for Part {
    fn from(word: &'static str) -> Self {
        Part::Word(word)
    }
}

impl From<Name> for Part {
    fn from(name: Name) -> Self {
        Part::Name(name)
    }
}

/// The same number for a segment read from a file as [`Part::id`] gives where it is asked.
fn part_of_text(text: &str) -> u64 {
    match text.parse::<u32>() {
        Ok(number) => number.into(),
        Err(_) => fnv(FNV_START, text.as_bytes()),
    }
}

/// An answer as it stands in a plan file: a whole number, or a word.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// A whole number.
    Count(u64),
    /// One of the question's words.
    Word(String),
}

impl Value {
    /// Reads what follows `=` in `--set key=value`: digits are a number, all else is a word.
    pub fn from_text(text: &str) -> Self {
        match text.parse() {
            Ok(count) => Value::Count(count),
            Err(_) => Value::Word(text.to_owned()),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Count(count) => fmt::Display::fmt(count, f),
            Value::Word(word) => f.write_str(word),
        }
    }
}

/// Called with each answer that is not the default, as it is given: `(path, value)`.
pub(crate) type Recorder = Box<dyn FnMut(&str, &Value)>;

/// The one place that answers questions, for one run.
pub(crate) struct Decisions {
    /// Answers that a plan or `--set` names, by the decision's identity.
    given: BTreeMap<u64, Value>,
    /// The seed's key, if a seed answers what is not given.
    key: Option<[u64; 2]>,
    recorder: Option<Recorder>,
    recorded: BTreeSet<u64>,
    /// The given answers that were asked for.
    used: BTreeSet<u64>,
}

impl Decisions {
    /// Answers from `given` first, then from `seed`, then by default.
    pub(crate) fn new(
        given: BTreeMap<u64, Value>,
        seed: Option<Seed>,
        recorder: Option<Recorder>,
    ) -> Self {
        let key = seed.map(|seed| {
            let mut stream = ChaCha8Rng::seed_from_u64(seed.0);
            [stream.next_u64(), stream.next_u64()]
        });
        Self {
            given,
            key,
            recorder,
            recorded: BTreeSet::new(),
            used: BTreeSet::new(),
        }
    }

    /// Answers `question`; `parts` fill its pattern's stars, `draw` overrides its own.
    ///
    /// Returns the number, or the place of the word in the question's list.
    pub fn ask(&mut self, question: &'static Question, parts: &[Part], draw: Option<Draw>) -> u64 {
        let id = parts
            .iter()
            .fold(question.id, |id, part| mix(id, part.id()));
        let answer = match (self.given.get(&id), self.key) {
            (Some(value), _) => {
                let pause = uncounted();
                self.used.insert(id);
                drop(pause);
                question.number(value)
            }
            (None, Some(key)) => {
                let draw = draw.unwrap_or(question.draw);
                let drawn = drawn(draw, key, id);
                drawn.map_or_else(|| question.default(), |it| question.possible_here(it))
            }
            (None, None) => question.default(),
        };
        let answer = question.clamp(answer);
        if answer != question.default() {
            self.record(id, question, parts, answer);
        }
        answer
    }

    /// Whether the given answer with this identity was asked for.
    pub(crate) fn used(&self, id: u64) -> bool {
        self.used.contains(&id)
    }

    /// A number below `bound` that shapes what is drawn and is no part of a plan.
    ///
    /// Without a seed it is 0: a plan needs no profile, because its answers are given.
    pub fn profile(&self, name: &'static str, bound: u64) -> u64 {
        match self.key {
            Some(key) => {
                let [value, _] = random(key, fnv(FNV_START, name.as_bytes()));
                below(value, bound)
            }
            None => 0,
        }
    }

    fn record(&mut self, id: u64, question: &'static Question, parts: &[Part], answer: u64) {
        let Some(recorder) = &mut self.recorder else {
            return;
        };
        let pause = uncounted();
        if self.recorded.insert(id) {
            recorder(&path(question, parts), &question.value(answer));
        }
        drop(pause);
    }
}

/// The printed path of a decision, segments quoted where TOML wants it: `op.3.what`.
pub(crate) fn path(question: &Question, parts: &[Part]) -> String {
    let mut parts = parts.iter();
    let mut path = String::new();
    for segment in question.pattern.split('.') {
        if !path.is_empty() {
            path.push('.');
        }
        match segment {
            "*" => {
                let part = parts.next().expect("one part for each star of the pattern");
                path.push_str(&quoted(&part.to_string()));
            }
            _ => path.push_str(segment),
        }
    }
    assert!(
        parts.next().is_none(),
        "{}: too many parts",
        question.pattern
    );
    path
}

/// A segment as TOML reads it back: bare where it may be, in quotes elsewhere.
pub(crate) fn quoted(segment: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !segment.is_empty() && segment.chars().all(bare) {
        segment.to_owned()
    } else {
        format!("{segment:?}")
    }
}

fn drawn(draw: Draw, key: [u64; 2], id: u64) -> Option<u64> {
    let total: u64 = draw.iter().map(|share| u64::from(share.weight)).sum();
    if total == 0 {
        return None;
    }
    let [which, value] = random(key, id);
    let mut rest = below(which, total);
    for share in draw {
        if rest < u64::from(share.weight) {
            return Some(share.low + below(value, share.high - share.low + 1));
        }
        rest -= u64::from(share.weight);
    }
    unreachable!("the rest is below the sum of the weights")
}

/// Two numbers that depend on the run's key and the decision alone.
fn random([first, second]: [u64; 2], id: u64) -> [u64; 2] {
    let one = mix(first ^ id, second);
    [one, mix(one, first)]
}

/// Scales `value` to `0..bound` by the high half of a product: no modulo bias to speak of.
fn below(value: u64, bound: u64) -> u64 {
    ((u128::from(value) * u128::from(bound)) >> 64) as u64
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014) over two words.
const fn mix(a: u64, b: u64) -> u64 {
    let mut z = a
        .wrapping_add(b.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    static WHAT: Question = Question::word("op.*.what", &["nothing", "call"], &[share(1, 0, 1)]);
    static BYTES: Question = Question::count("pipe.*.bytes", (0, 64), 0, &[share(1, 1, 64)]);

    fn from_seed(seed: u64) -> Decisions {
        Decisions::new(BTreeMap::new(), Some(Seed(seed)), None)
    }

    #[test]
    fn an_answer_does_not_depend_on_what_was_asked_before() {
        let mut alone = from_seed(7);
        let mut after = from_seed(7);
        for index in 0..100 {
            after.ask(&WHAT, &[Part::Number(index)], None);
        }
        for pipe in ["c2s", "s2c"] {
            assert_eq!(
                alone.ask(&BYTES, &[pipe.into()], None),
                after.ask(&BYTES, &[pipe.into()], None)
            );
        }
    }

    #[test]
    fn what_is_simpler_comes_to_an_end_and_holds_no_default() {
        static SIZE: Question = Question::count("size", (3, 1_000_000), 5, &[]);
        let mut value = Value::Count(1_000_000);
        while let Some(largest) = SIZE.simpler(&value).pop() {
            let simpler = SIZE.simpler(&value);
            assert!(simpler.iter().all(|other| *other < value), "{simpler:?}");
            assert!(!simpler.contains(&Value::Count(5)), "{simpler:?}");
            assert!(simpler.len() < 50, "{simpler:?}");
            value = match largest {
                Value::Count(largest) if largest > 100 => simpler[simpler.len() / 2].clone(),
                largest => largest,
            };
        }
        assert_eq!(value, Value::Count(3));
        assert_eq!(SIZE.simpler(&Value::Count(8)).len(), 4);
        assert!(WHAT.simpler(&Value::Word("call".to_owned())).is_empty());
    }

    #[test]
    fn every_answer_is_drawn_under_some_seed_and_none_outside_the_range() {
        let mut seen = [false; 65];
        for seed in 0..2000 {
            let answer = from_seed(seed).ask(&BYTES, &["c2s".into()], None);
            seen[answer as usize] = true;
        }
        assert!(!seen[0] && seen[1..].iter().all(|seen| *seen));
    }

    #[test]
    fn what_counts_steps_is_shrunk_to_what_does_not() {
        static STEPS: Question = Question::count("steps", (0, 10_000), 0, &[]).counts_steps();
        static AFTER: Question = Question::count("after", (0, 10_000), 10_000, &[]).counts_steps();
        let counts = |question: &Question, value| -> Vec<String> {
            let simpler = question.simpler(&Value::Count(value));
            simpler.iter().map(Value::to_string).collect()
        };
        assert_eq!(counts(&STEPS, 4), ["10000", "1", "2", "3"]);
        assert_eq!(counts(&AFTER, 4), ["0", "1", "2", "3"]);
        assert!(counts(&STEPS, 10_000).is_empty() && counts(&AFTER, 0).is_empty());
        let moves = |value| STEPS.moves(&Value::Count(value));
        assert_eq!([0, 1, 9999, 10_000].map(moves), [false, true, true, false]);
        assert_eq!(STEPS.moving_answers().as_deref(), Some("1..=9999"));
    }

    #[test]
    fn no_seed_answers_what_this_build_cannot_do() {
        const WORDS: [&str; 4] = ["nothing", "call", "fly", "swim"];
        static ALL: Question = Question::word("op.*.what", &WORDS, &[share(1, 0, 3)]);
        static SOME: Question = ALL.without(&["fly"], Some("no wings"));
        let mut fell = 0;
        for seed in 0..200 {
            let answers = [&ALL, &SOME].map(|it| from_seed(seed).ask(it, &[1.into()], None));
            match answers {
                [2, some] => {
                    assert_eq!(some, 0, "the default stands in");
                    fell += 1;
                }
                [all, some] => assert_eq!(all, some, "the others stay"),
            }
        }
        assert!(fell > 10);
        assert_eq!(SOME.other_words().collect::<Vec<_>>(), ["call", "swim"]);
        let simpler = SOME.simpler(&Value::Word("swim".to_owned()));
        assert_eq!(simpler, [Value::Word("call".to_owned())]);
    }

    #[test]
    fn without_a_source_the_default_answers() {
        let mut nothing = Decisions::new(BTreeMap::new(), None, None);
        assert_eq!(nothing.ask(&BYTES, &["c2s".into()], None), 0);
        assert_eq!(nothing.profile("length", 10), 0);
    }

    #[test]
    fn what_is_read_from_a_path_is_what_the_run_asks() {
        let path: Vec<String> = ["op", "12", "what"].map(String::from).into();
        assert!(WHAT.matches(&path));
        let given = BTreeMap::from([(WHAT.id_of_path(&path), Value::Word("call".into()))]);
        let mut decisions = Decisions::new(given, None, None);
        assert_eq!(decisions.ask(&WHAT, &[Part::Number(12)], None), 1);
        assert_eq!(decisions.ask(&WHAT, &[Part::Number(1)], None), 0);
    }
}
