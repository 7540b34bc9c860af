//! What a campaign has reached: the words that decisions were answered with, and the messages
//! that crossed the wire.
//!
//! A campaign that finds nothing has proved little if it never reset a connection. A sample of
//! its runs is looked at; what none of them did is said by name.

use std::collections::BTreeSet;

use dismantle_sim::{Event, Plan, Question, Value, Vocabulary};
use dismantle_transport::MessageKind;
use serde::{Deserialize, Serialize};

/// What runs did, as `pattern=word` and `kind on pipe`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Reached(BTreeSet<String>);

/// What there was to reach.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Coverage {
    /// Words and messages that runs of the sample had.
    pub reached: usize,
    /// All that the scenarios may have.
    pub possible: usize,
    /// What none had.
    pub never: Vec<String>,
}

impl Reached {
    /// What a run did whose answers were `plan` and whose events were `trace`.
    pub fn of(vocabulary: &Vocabulary, plan: &Plan, trace: &[Event]) -> Self {
        let mut reached = BTreeSet::new();
        for (path, value) in plan.answers() {
            let question = questions(vocabulary).find(|it| fits(it.pattern(), &path));
            if let (Some(question), Value::Word(word)) = (question, value) {
                reached.insert(word_of(question, word));
            }
        }
        for event in trace {
            if event.subject.owner() == "pipe" {
                reached.insert(message_on(event.kind.text(), event.subject.kind()));
            }
        }
        Self(reached)
    }

    /// Adds what another run, or another worker's runs, did. Whether any of it was new.
    pub fn add(&mut self, other: Self) -> bool {
        let before = self.0.len();
        self.0.extend(other.0);
        self.0.len() > before
    }

    /// Holds it against what the scenarios may do.
    pub fn coverage<'a>(&self, vocabularies: impl Iterator<Item = &'a Vocabulary>) -> Coverage {
        let mut possible = BTreeSet::new();
        for vocabulary in vocabularies {
            // What counts steps or bytes is for sweeps; no seed asks for it.
            for question in questions(vocabulary).filter(|it| !it.is_this_build_only()) {
                let words = question.other_words();
                possible.extend(words.map(|word| word_of(question, word)));
            }
        }
        for pipe in ["c2s", "s2c"] {
            let kinds = MessageKind::NAMED.into_iter();
            possible.extend(kinds.map(|kind| message_on(kind.word(), pipe)));
        }
        let never: Vec<String> = possible.difference(&self.0).cloned().collect();
        Coverage {
            reached: possible.len() - never.len(),
            possible: possible.len(),
            never,
        }
    }
}

fn questions(vocabulary: &Vocabulary) -> impl Iterator<Item = &Question> {
    let layers = vocabulary.questions.iter().copied().flatten();
    vocabulary.parameters.iter().chain(layers)
}

fn word_of(question: &Question, word: &str) -> String {
    format!("{}={word}", question.pattern())
}

fn message_on(kind: &str, pipe: &str) -> String {
    format!("{kind} on {pipe}")
}

/// Whether `path` is the name of a decision of this pattern: `op.3.what` of `op.*.what`.
fn fits(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern.split('.'), path.split('.'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return true,
            (Some(star), Some(segment)) if star == "*" || star == segment => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{find, vocabulary};
    use crate::{BUILT_IN, Harness, InProcess, Order};
    use dismantle_sim::Seed;

    #[test]
    fn what_a_plan_says_is_reached_and_the_rest_is_not() {
        let vocabulary = vocabulary(find(BUILT_IN, "program").expect("built in"));
        let mut plan = Plan::new(vocabulary.clone());
        plan.set("op.1.what", &Value::from_text("cancel"))
            .expect("a word of the question");
        let reached = Reached::of(&vocabulary, &plan, &[]);
        let coverage = reached.coverage(std::iter::once(&vocabulary));
        assert_eq!(coverage.reached, 1);
        assert_eq!(coverage.never.len() + 1, coverage.possible);
        assert!(!coverage.never.contains(&"op.*.what=cancel".to_owned()));
        assert!(coverage.never.contains(&"op.*.what=stream".to_owned()));
        assert!(coverage.never.contains(&"call on c2s".to_owned()));
    }

    #[test]
    fn messages_on_the_wire_are_reached() {
        let vocabulary = vocabulary(find(BUILT_IN, "program").expect("built in"));
        let plan = Plan::new(vocabulary.clone());
        let mut harness = InProcess::new(BUILT_IN);
        let order = Order {
            seed: Some(Seed(1)),
            reached: true,
            ..Order::of(&plan)
        };
        let reached = harness.run(order).expect("it runs").reached;
        let never = reached.coverage(std::iter::once(&vocabulary)).never;
        assert!(!never.contains(&"bootstrap on c2s".to_owned()), "{never:?}");
    }
}
