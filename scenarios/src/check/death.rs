//! Panics, and the ends of runs that took their process with them.

use dismantle_sim::Panic;

use super::words::{kind_of, normal_message, without_version};
use super::{Class, Finding};

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
