//! The checks: from what a run measured to findings, each with a signature.
//!
//! A signature says what is wrong in words that no seed, schedule or count changes, so that a
//! campaign can group by it; `kin` is the part of it that other versions of upstream share.

use std::collections::BTreeSet;
use std::fmt;

use dismantle_sim::{Name, Panic, Report};
use serde::{Deserialize, Serialize};

/// What is wrong, in the order in which one run's findings are ranked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// The process aborted: a panic while another was unwinding.
    Abort,
    /// The stack overflowed.
    Overflow,
    /// The memory was used up.
    Oom,
    /// One poll never returned.
    Spin,
    /// A panic.
    Panic,
    /// The wire broke the protocol.
    Protocol,
    /// Calls arrived out of order.
    CallOrder,
    /// An ordering rule was broken.
    DestructionOrder,
    /// A call ended with the wrong kind of error.
    WrongError,
    /// Something was said to be done before it was.
    EarlyCompletion,
    /// What had to end did not.
    Hang,
    /// Tracked objects were never destroyed.
    Leak,
    /// Stack grows with the size of the workload.
    StackGrowth,
    /// Work grows faster than the size of the workload.
    WorkGrowth,
    /// A replay of one plan differs.
    Nondeterminism,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Abort => "abort",
            Self::Overflow => "overflow",
            Self::Oom => "oom",
            Self::Spin => "spin",
            Self::Panic => "panic",
            Self::Protocol => "protocol",
            Self::CallOrder => "call-order",
            Self::DestructionOrder => "destruction-order",
            Self::WrongError => "wrong-error",
            Self::EarlyCompletion => "early-completion",
            Self::Hang => "hang",
            Self::Leak => "leak",
            Self::StackGrowth => "stack-growth",
            Self::WorkGrowth => "work-growth",
            Self::Nondeterminism => "nondeterminism",
        })
    }
}

/// One thing that is wrong with a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// What.
    pub class: Class,
    /// What, where and which kinds: findings with one signature are one.
    pub signature: String,
    /// The signature without version and line: what `bisect` compares.
    pub kin: String,
    /// Where, as `crate-version/path:line`, if there is a place.
    pub site: Option<String>,
    /// More for people: names, counts, messages.
    pub detail: String,
}

/// Applies every check to `report`; the findings, the principal one first.
///
/// After a panic, hangs and leaks are its consequences and are not reported, nor is any panic
/// but the first; nor are hangs and leaks of a run that a limit cut short.
pub fn check(report: &Report) -> Vec<Finding> {
    if let Some(first) = report.panics.first() {
        return vec![panicked(first)];
    }
    let mut findings = Vec::new();
    // A run that a limit cut short has not come to its end: nothing is said of it.
    if report.limit.is_none() {
        findings.extend(hang(report));
        findings.extend(leak(report));
    }
    findings.sort_by_key(|finding| finding.class);
    findings
}

/// The finding of a panic.
pub fn panicked(panic: &Panic) -> Finding {
    let message = normal_message(&panic.message);
    Finding {
        class: Class::Panic,
        signature: format!("panic {} {message}", panic.site),
        kin: format!("panic {} {message}", without_version(&panic.site)),
        site: Some(panic.site.clone()),
        detail: panic.message.clone(),
    }
}

/// The finding of a process that aborted after these panics (std's own last one left out).
pub fn aborted(panics: &[Panic]) -> Finding {
    let own = |panic: &&Panic| !panic.site.starts_with("core/src/panicking.rs");
    let panics: Vec<&Panic> = panics.iter().filter(own).take(2).collect();
    let join = |of: fn(&Panic) -> String| {
        let all: Vec<String> = panics.iter().map(|panic| of(panic)).collect();
        all.join(" then ")
    };
    let places = join(|panic| panic.site.clone());
    Finding {
        class: Class::Abort,
        signature: format!("abort {places}"),
        kin: format!("abort {}", join(|panic| without_version(&panic.site))),
        site: panics.last().map(|panic| panic.site.clone()),
        detail: join(|panic| format!("{} ({})", panic.message, panic.site)),
    }
}

/// The finding of a process that a signal killed, without a panic before it.
pub fn killed(signal: &str, task: Option<&str>) -> Finding {
    let kind = task.map_or_else(|| "the owner".to_owned(), kind_of);
    Finding {
        class: Class::Abort,
        signature: format!("abort {signal} in {kind}"),
        kin: format!("abort {signal} in {kind}"),
        site: None,
        detail: format!(
            "the process died of {signal} while {} ran",
            task.unwrap_or("the owner")
        ),
    }
}

/// The finding of one poll that never returned.
pub fn spun(task: Option<&str>, seconds: u64) -> Finding {
    let kind = task.map_or_else(|| "the owner".to_owned(), kind_of);
    Finding {
        class: Class::Spin,
        signature: format!("spin in {kind}"),
        kin: format!("spin in {kind}"),
        site: None,
        detail: format!(
            "one step of {} did not return within {seconds} s of processor time",
            task.unwrap_or("the owner")
        ),
    }
}

fn hang(report: &Report) -> Option<Finding> {
    let waiting: Vec<_> = report
        .pending
        .iter()
        .filter(|pending| pending.must_end)
        .collect();
    if waiting.is_empty() {
        return None;
    }
    let kinds: BTreeSet<&str> = waiting.iter().map(|pending| pending.task.kind()).collect();
    let signature = format!("hang {}", joined(&kinds));
    let names = waiting.iter().take(SHOWN_MAX).map(|pending| {
        let on = pending.on.map_or_else(String::new, |on| format!(" {on}"));
        let since = pending.since_step;
        format!(
            "{} waits for {}{on} since step {since}",
            pending.task, pending.waits_for
        )
    });
    Some(Finding {
        class: Class::Hang,
        kin: signature.clone(),
        signature,
        site: None,
        detail: with_rest(names.collect(), waiting.len()),
    })
}

fn leak(report: &Report) -> Option<Finding> {
    let names = &report.never_destroyed;
    if names.is_empty() || report.own_cycle {
        return None;
    }
    let kinds: BTreeSet<&str> = names.keys().map(Name::kind).collect();
    let signature = format!("leak {}", joined(&kinds));
    let shown = names.keys().take(SHOWN_MAX).map(Name::to_string);
    let count: u32 = names.values().sum();
    Some(Finding {
        class: Class::Leak,
        kin: signature.clone(),
        signature,
        site: None,
        detail: format!(
            "never destroyed: {}",
            with_rest(shown.collect(), count as usize)
        ),
    })
}

/// How many names a finding's detail lists.
const SHOWN_MAX: usize = 8;

fn with_rest(shown: Vec<String>, count: usize) -> String {
    let more = count.saturating_sub(shown.len());
    match more {
        0 => shown.join(", "),
        _ => format!("{} and {more} more", shown.join(", ")),
    }
}

fn joined(kinds: &BTreeSet<&str>) -> String {
    kinds.iter().copied().collect::<Vec<_>>().join(" ")
}

/// The kind in a printed name: `call` of `client/call/3`.
fn kind_of(name: &str) -> String {
    name.split('/').nth(1).unwrap_or(name).to_owned()
}

/// A message with every number as `#`, on one line.
fn normal_message(message: &str) -> String {
    let mut normal = String::new();
    for c in message.chars() {
        match c {
            c if c.is_ascii_digit() => {
                if !normal.ends_with('#') {
                    normal.push('#');
                }
            }
            c if c.is_control() => normal.push(' '),
            c => normal.push(c),
        }
    }
    normal
}

/// `capnp-rpc/src/rpc.rs` of `capnp-rpc-0.27.3/src/rpc.rs:2811`.
fn without_version(site: &str) -> String {
    let path = site.rsplit_once(':').map_or(site, |(path, _)| path);
    let Some((package, rest)) = path.split_once('/') else {
        return path.to_owned();
    };
    let is_version =
        |(_, version): &(&str, &str)| version.starts_with(|c: char| c.is_ascii_digit());
    let name = package
        .rsplit_once('-')
        .filter(is_version)
        .map_or(package, |(name, _)| name);
    format!("{name}/{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kin_has_no_version_no_line_and_no_number() {
        let finding = panicked(&Panic {
            site: "capnp-rpc-0.27.3/src/rpc.rs:2811".to_owned(),
            message: "index 17 of 4\nis out".to_owned(),
        });
        assert_eq!(
            finding.kin,
            "panic capnp-rpc/src/rpc.rs index # of # is out"
        );
        assert!(
            finding
                .signature
                .starts_with("panic capnp-rpc-0.27.3/src/rpc.rs:2811 index #")
        );
    }

    #[test]
    fn an_abort_is_the_first_two_places() {
        let panic = |site: &str| Panic {
            site: site.to_owned(),
            message: String::new(),
        };
        let finding = aborted(&[
            panic("capnp-rpc-0.27.3/src/a.rs:1"),
            panic("capnp-rpc-0.27.3/src/b.rs:2"),
            panic("core/src/panicking.rs:233"),
        ]);
        let places = "capnp-rpc-0.27.3/src/a.rs:1 then capnp-rpc-0.27.3/src/b.rs:2";
        assert_eq!(finding.signature, format!("abort {places}"));
    }
}
