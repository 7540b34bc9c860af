//! What is compared: of what one build says of a plan, whether it is bad.
//!
//! What cannot be judged is skipped, and never good: a run that panics before it could hang says
//! nothing of the hang.

use serde_json::Value;

use super::Verdict;
use super::probe::Ask;
use crate::check::{Class, Finding, kin_of};
use crate::growth::{Growth, Law, Metric};
use crate::report::RunReport;

/// What a build said of the plan.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// What the run came to; of a series of sizes, that of the one that did not end well.
    pub report: Option<RunReport>,
    /// How its gauges grow, if that was asked.
    pub growths: Vec<Growth>,
}

/// What goes by.
#[derive(Clone, PartialEq, Debug)]
pub enum Compare {
    /// Whether there is the finding that the plan was kept for, by its kin.
    Kin,
    /// Whether a gauge grows by more than this law.
    Law {
        /// Its path in the report: `stack_bytes.teardown`.
        metric: String,
        /// The greatest law that is good.
        most: Law,
    },
    /// Whether a number is above this.
    Above {
        /// Its path in the report.
        metric: String,
        /// The greatest value that is good.
        most: f64,
    },
    /// Whether a `second` is destroyed before a `first`.
    Order {
        /// Its name, `client/call/0`, or `client/call` for all of that kind.
        first: String,
        /// As well.
        second: String,
    },
    /// Whether the digest is another one than the good end's.
    Digest,
}

/// [`Compare`], with what it took from the ends.
#[derive(Clone, Debug)]
pub struct Judge {
    compare: Compare,
    /// The finding that is looked for.
    finding: Option<Finding>,
    /// The good end's digest.
    digest: String,
}

impl Shown {
    /// The report and the laws among the lines of `--json`.
    ///
    /// # Errors
    /// A line is not what its type says.
    pub fn read(lines: Vec<Value>) -> Result<Self, serde_json::Error> {
        let mut shown = Self::default();
        for line in lines {
            match line["type"].as_str() {
                Some("report") => shown.report = Some(serde_json::from_value(line)?),
                Some("growth") => shown.growths.push(serde_json::from_value(line)?),
                _ => {}
            }
        }
        Ok(shown)
    }

    /// What was found, the principal finding first.
    pub fn findings(&self) -> &[Finding] {
        self.report.as_ref().map_or(&[], |it| &it.findings)
    }

    /// Whether two runs of it were not the same.
    pub fn is_uncertain(&self) -> bool {
        let mut found = self.findings().iter();
        found.any(|finding| finding.class == Class::Nondeterminism)
    }

    /// What it came to in one word or signature.
    fn outcome(&self) -> String {
        match (&self.report, self.findings().first()) {
            (_, Some(finding)) => format!("`{}`", finding.signature),
            (Some(report), None) => report.outcome.word().to_owned(),
            (None, None) => "without a report".to_owned(),
        }
    }
}

/// What all of these came to: the first that is not clean, else that they are.
pub fn named(shown: &[Shown]) -> String {
    let found = shown.iter().find(|shown| !shown.findings().is_empty());
    let first = found.or(shown.first());
    first.map_or_else(|| "not there".to_owned(), Shown::outcome)
}

impl Compare {
    /// What a build has to be asked for it.
    pub const fn ask(&self) -> Ask {
        match self {
            Self::Law { .. } => Ask::Growth,
            _ => Ask::Replay,
        }
    }

    /// Takes what it needs from the ends.
    ///
    /// # Errors
    /// They do not have it: why.
    pub fn settle(
        &self,
        kept_for: &[String],
        good: &[Shown],
        bad: &[Shown],
    ) -> Result<Judge, String> {
        let mut judge = Judge {
            compare: self.clone(),
            finding: None,
            digest: String::new(),
        };
        match self {
            Self::Kin => {
                let wanted: Vec<String> = kept_for.iter().map(|it| kin_of(it)).collect();
                let found = bad.iter().flat_map(Shown::findings);
                let own = |it: &&Finding| it.class != Class::Nondeterminism;
                let found: Vec<&Finding> = found.filter(own).collect();
                let mut wanted = wanted
                    .iter()
                    .filter_map(|kin| found.iter().find(|it| it.kin == *kin));
                let finding = wanted.next().or(found.first());
                let finding = finding.ok_or("nothing is found at the bad end")?;
                judge.finding = Some((*finding).clone());
            }
            Self::Above { metric, .. } => {
                let reports = [good, bad].map(|shown| shown.first()?.report.as_ref());
                let mut reports = reports.into_iter().flatten();
                if let Some(report) = reports.next()
                    && !numbers(report).iter().any(|(name, _)| name == metric)
                {
                    let names = numbers(report);
                    let names: Vec<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
                    let names = names.join(", ");
                    return Err(format!("no number `{metric}` in the report, but {names}"));
                }
            }
            Self::Digest => {
                let report = good.first().and_then(|shown| shown.report.as_ref());
                let digest = report.map_or("", |report| &report.digest);
                if digest.is_empty() {
                    return Err("the good end has no digest".to_owned());
                }
                digest.clone_into(&mut judge.digest);
            }
            Self::Law { .. } | Self::Order { .. } => {}
        }
        Ok(judge)
    }
}

impl Judge {
    /// The finding that is looked for, if it is one.
    pub fn finding(&self) -> Option<&Finding> {
        self.finding.as_ref()
    }

    /// What a build has to be asked.
    pub const fn ask(&self) -> Ask {
        self.compare.ask()
    }

    /// What is compared, in words.
    pub fn words(&self) -> String {
        match &self.compare {
            Compare::Kin => format!("`{}`", self.kin()),
            Compare::Law { metric, most } => format!("{metric} beyond {}", most.word()),
            Compare::Above { metric, most } => format!("{metric} above {most}"),
            Compare::Order { first, second } => format!("{first} before {second}"),
            Compare::Digest => format!("another digest than {}", self.digest),
        }
    }

    /// Whether it is bad.
    pub fn judge(&self, shown: &Shown) -> Verdict {
        let judged = match &self.compare {
            Compare::Law { metric, most } => law(shown, metric, *most),
            compare => match &shown.report {
                None => Err("there is no report".to_owned()),
                Some(report) => match compare {
                    Compare::Above { metric, most } => number(report, metric).map(|it| it > *most),
                    Compare::Order { first, second } => order(report, first, second),
                    Compare::Digest => Ok(report.digest != self.digest),
                    _ => self.by_kin(report),
                },
            },
        };
        match judged {
            Ok(true) => Verdict::Bad,
            Ok(false) => Verdict::Good,
            Err(why) => Verdict::Skipped(why),
        }
    }

    /// What it was like, in words.
    pub fn seen(&self, shown: &Shown) -> String {
        let Some(report) = &shown.report else {
            return match &self.compare {
                Compare::Law { metric, .. } => growth(shown, metric)
                    .map_or_else(|| "not measured".to_owned(), |it| it.law.word().to_owned()),
                _ => shown.outcome(),
            };
        };
        match &self.compare {
            Compare::Above { metric, .. } => number(report, metric)
                .map_or_else(|_| "not measured".to_owned(), |it| format!("{metric} {it}")),
            Compare::Digest => format!("digest {}", report.digest),
            Compare::Order { first, second } => match order(report, first, second) {
                Ok(false) => format!("{first} before {second}"),
                Ok(true) => format!("{second} before {first}"),
                Err(_) => shown.outcome(),
            },
            Compare::Kin => {
                let own = report.findings.iter().find(|it| it.kin == self.kin());
                own.map_or_else(|| shown.outcome(), |own| format!("`{}`", own.signature))
            }
            Compare::Law { .. } => shown.outcome(),
        }
    }

    fn kin(&self) -> &str {
        self.finding.as_ref().map_or("", |finding| &finding.kin)
    }

    fn by_kin(&self, report: &RunReport) -> Result<bool, String> {
        let Some(wanted) = &self.finding else {
            return Ok(!report.findings.is_empty());
        };
        if report.findings.iter().any(|it| it.kin == wanted.kin) {
            return Ok(true);
        }
        let hides = |it: &&Finding| match wanted.class {
            // Growth is asked of a run in which nothing else was found.
            Class::StackGrowth | Class::WorkGrowth => it.class != Class::Nondeterminism,
            _ => ends_a_run(it.class),
        };
        if let Some(other) = report.findings.iter().find(hides) {
            return Err(format!("`{}` comes instead and hides it", other.signature));
        }
        if let Some(limit) = &report.limit {
            return Err(format!("the limit of {limit} was reached before"));
        }
        if report.own_cycle && matches!(wanted.class, Class::Hang | Class::Leak) {
            return Err("the run made a cycle of its own".to_owned());
        }
        Ok(false)
    }
}

/// Whether a run that shows this goes no further.
const fn ends_a_run(class: Class) -> bool {
    matches!(
        class,
        Class::Abort | Class::Overflow | Class::Oom | Class::Spin | Class::Panic
    )
}

/// All numbers of a report, by their paths.
fn numbers(report: &RunReport) -> Vec<(String, Option<f64>)> {
    fn collect(value: &Value, path: &str, all: &mut Vec<(String, Option<f64>)>) {
        match value {
            Value::Number(number) => all.push((path.to_owned(), number.as_f64())),
            Value::Object(fields) => {
                for (name, value) in fields {
                    let path = match path {
                        "" => name.clone(),
                        path => format!("{path}.{name}"),
                    };
                    collect(value, &path, all);
                }
            }
            // What could not be measured is a number all the same.
            Value::Null if path.contains('.') => all.push((path.to_owned(), None)),
            _ => {}
        }
    }
    let mut all = Vec::new();
    if let Ok(value) = serde_json::to_value(report) {
        collect(&value, "", &mut all);
    }
    all
}

fn number(report: &RunReport, metric: &str) -> Result<f64, String> {
    if report.died() {
        return Err("the process died, nothing was measured".to_owned());
    }
    let all = numbers(report);
    let number = all.iter().find(|(name, _)| name == metric);
    let number = number.ok_or_else(|| format!("no number `{metric}` in the report"))?;
    number.1.ok_or_else(|| format!("{metric} is not measured"))
}

/// Whether a `second` was destroyed before a `first`, both of which were.
fn order(report: &RunReport, first: &str, second: &str) -> Result<bool, String> {
    let is_of = |pattern: &str, name: &str| {
        let rest = name.strip_prefix(pattern);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let destroyed = &report.destroyed;
    let last = destroyed.iter().rposition(|name| is_of(first, name));
    let next = destroyed.iter().position(|name| is_of(second, name));
    let is_cut = report.destroyed_count > destroyed.len() as u64;
    match (last, next) {
        (Some(first), Some(second)) if second < first => Ok(true),
        (Some(_), Some(_)) if is_cut => {
            let told = destroyed.len();
            Err(format!("only the first {told} destructions are told"))
        }
        (Some(_), Some(_)) => Ok(false),
        (None, _) => Err(format!("{first} is not among those that were destroyed")),
        (_, None) => Err(format!("{second} is not among those that were destroyed")),
    }
}

fn growth<'a>(shown: &'a Shown, metric: &str) -> Option<&'a Growth> {
    let (gauge, phase) = metric.split_once('.')?;
    let mut growths = shown.growths.iter();
    growths.find(|growth| growth.metric == gauge && growth.phase == phase)
}

/// Whether a gauge grows by more than `most`; a stack that overflowed does.
fn law(shown: &Shown, metric: &str, most: Law) -> Result<bool, String> {
    let rank = |law: Law| match law {
        Law::Constant => Some(0),
        Law::Linear => Some(1),
        Law::Quadratic => Some(2),
        Law::Irregular => None,
    };
    if let Some(growth) = growth(shown, metric) {
        let law = rank(growth.law).ok_or("it grows by no law")?;
        return Ok(Some(law) > rank(most));
    }
    let found = shown.findings().first();
    match found {
        Some(found)
            if found.class == Class::Overflow && metric.starts_with(Metric::Stack.word()) =>
        {
            Ok(true)
        }
        Some(found) => Err(format!("`{}` comes instead", found.signature)),
        None => Err(format!("{metric} is not measured")),
    }
}
