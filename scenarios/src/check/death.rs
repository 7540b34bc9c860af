//! The ends of runs that took their process with them.

use std::time::Duration;

use dismantle_sim::Panic;

use super::words::{Place, without_version};
use super::{Class, Finding, Judged};

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
        judged: Judged::default(),
    }
}

/// Whose turn it was when a process ended, or was ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Turn {
    /// The phase: `teardown`.
    pub phase: String,
    /// The task that was polled, or the owner's action; else it was the owner's own code.
    pub who: Option<String>,
}

impl Turn {
    fn kind(&self) -> String {
        let who = self.who.as_deref();
        who.map_or_else(|| "the owner".to_owned(), kind_of)
    }

    fn who(&self) -> &str {
        self.who.as_deref().unwrap_or("the owner")
    }
}

/// The finding of a process that something killed, without a panic before it; `evidence` is what
/// is known beside.
pub fn killed(how: &str, turn: &Turn, evidence: &str) -> Finding {
    let signature = format!("abort {how} in {}", turn.kind());
    let detail = format!("the process died of {how} while {} ran", turn.who());
    Finding {
        class: Class::Abort,
        kin: signature.clone(),
        signature,
        site: None,
        detail: match evidence {
            "" => detail,
            evidence => format!("{detail}: {evidence}"),
        },
        judged: Judged::default(),
    }
}

/// The finding of a stack that no size would have held.
///
/// The frames are evidence only: the same overflow folds to other frames in another build.
pub fn overflowed(turn: &Turn, frames: &str) -> Finding {
    let signature = format!("overflow in {} of {}", turn.phase, turn.kind());
    Finding {
        class: Class::Overflow,
        kin: signature.clone(),
        signature,
        site: None,
        detail: format!("{} overflowed {frames}", turn.who()),
        judged: Judged::default(),
    }
}

/// The finding of a run that takes more memory than a worker may have.
pub fn out_of_memory(turn: &Turn, why: &str) -> Finding {
    let signature = format!("oom in {}", turn.kind());
    Finding {
        class: Class::Oom,
        kin: signature.clone(),
        signature,
        site: None,
        detail: format!("while {} ran: {why}", turn.who()),
        judged: Judged::default(),
    }
}

/// The finding of one poll or action that never returned: where, if its samples share a place in
/// upstream, else in which kind of task. `frames` is what they share at all.
pub fn spun(turn: &Turn, allowed: Duration, place: Option<&Place>, frames: &str) -> Finding {
    let (signature, kin) = match place {
        Some(Place { path, function, .. }) => (
            format!("spin {path} {function}"),
            format!("spin {} {function}", without_version(path)),
        ),
        None => {
            let signature = format!("spin in {}", turn.kind());
            (signature.clone(), signature)
        }
    };
    Finding {
        class: Class::Spin,
        signature,
        kin,
        site: place.and_then(Place::site),
        detail: format!(
            "a step of {} did not return within {} s of processor time{}{frames}",
            turn.who(),
            allowed.as_secs_f64(),
            if frames.is_empty() {
                ""
            } else {
                "; it stays in "
            },
        ),
        judged: Judged::default(),
    }
}

/// The kind in a printed name: `call` of `client/call/3`.
fn kind_of(name: &str) -> String {
    name.split('/').nth(1).unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

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
