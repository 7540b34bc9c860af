//! Panics.

use dismantle_sim::Panic;

use super::words::{normal_message, without_error, without_version};
use super::{Class, Finding, Judged};

/// The finding of a panic.
pub fn panicked(panic: &Panic) -> Finding {
    let message = normal_message(&panic.message);
    let site = without_version(&panic.site);
    Finding {
        class: Class::Panic,
        signature: format!("panic {} {message}", panic.site),
        kin: format!("panic {site} {}", without_error(&message)),
        site: Some(panic.site.clone()),
        detail: panic.message.clone(),
        judged: Judged::default(),
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
}
