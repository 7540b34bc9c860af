//! A difference for people.

use super::{Change, Diff, Findings, LawChange, Peak};
use crate::growth::Law;
use crate::report::Outcome;

impl Diff {
    /// The difference for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut change = |what: &str, change: Option<(String, String)>| {
            if let Some((old, new)) = change {
                text += &format!("{what:<12} {old} -> {new}\n");
            }
        };
        let pair = |change: &Option<Change<String>>| {
            let change = change.as_ref();
            change.map(|it| (it.old.clone(), it.new.clone()))
        };
        change("scenario", pair(&self.scenario));
        change("upstream", pair(&self.upstream));
        let outcome = self.outcome.as_ref();
        let word = |outcome: Outcome| outcome.word().to_owned();
        change("outcome", outcome.map(|it| (word(it.old), word(it.new))));
        change("digest", pair(&self.digest));
        let given = |answer: &Option<String>| answer.clone().unwrap_or_else(|| "-".to_owned());
        let Findings { gone, new, kept } = &self.findings;
        let signed = |sign: &'static str| move |it: &String| format!("{sign} {it}");
        let findings = gone
            .iter()
            .map(signed("-"))
            .chain(new.iter().map(signed("+")));
        let parting = self
            .parting
            .iter()
            .flat_map(|it| it.context.iter().cloned());
        let parts = self.parting.as_ref().map_or(0, |parting| parting.event);
        let sections = [
            (
                "decisions".to_owned(),
                listed(&self.decisions, |it| {
                    format!("{} {} -> {}", it.name, given(&it.old), given(&it.new))
                }),
            ),
            (
                "findings".to_owned(),
                findings.chain(kept.iter().map(signed(" "))).collect(),
            ),
            (
                format!("the traces part at event {parts}"),
                parting.collect(),
            ),
            ("destruction order".to_owned(), self.order.clone()),
            ("peaks".to_owned(), listed(&self.peaks, Peak::text)),
            (
                "laws of growth".to_owned(),
                listed(&self.laws, LawChange::text),
            ),
        ];
        for (heading, lines) in sections {
            if !lines.is_empty() {
                text += &format!("{heading}\n");
            }
            for line in lines {
                text += &format!("    {line}\n");
            }
        }
        if self.same {
            text += "the same\n";
        }
        text
    }
}

impl Peak {
    fn text(&self) -> String {
        let measured = |value: Option<u64>| {
            value.map_or_else(|| "not measured".to_owned(), |value| value.to_string())
        };
        let ratio = self.ratio.map(|ratio| format!(", {ratio:.2} times"));
        let (old, new) = (measured(self.old), measured(self.new));
        format!(
            "{:<22} {old} -> {new}{}",
            self.metric,
            ratio.unwrap_or_default()
        )
    }
}

impl LawChange {
    fn text(&self) -> String {
        let word = |law: Option<Law>| law.map_or("not measured", Law::word);
        let Self { metric, over, .. } = self;
        format!(
            "{metric} over {over}: {} -> {}",
            word(self.old),
            word(self.new)
        )
    }
}

fn listed<T>(items: &[T], text: impl Fn(&T) -> String) -> Vec<String> {
    items.iter().map(text).collect()
}
