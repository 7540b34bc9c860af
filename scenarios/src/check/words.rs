//! How findings put what they found: lists that end, names without numbers.

use std::collections::BTreeSet;

/// A place in the code, as found from an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The source file: `capnp-rpc-0.27.3/src/rpc.rs`. Of a C++ function without one its folder.
    pub path: String,
    /// A line of the function that it was at; 0 if there is none.
    pub line: u32,
    /// The function: `ConnectionState::handle_message`.
    pub function: String,
}

impl Place {
    /// `capnp-rpc-0.27.3/src/rpc.rs:2811`.
    pub(super) fn site(&self) -> Option<String> {
        (self.line > 0).then(|| format!("{}:{}", self.path, self.line))
    }

    /// The same; of a function without a line the folder and its name.
    pub(super) fn owner(&self) -> String {
        let Self { path, function, .. } = self;
        self.site().unwrap_or_else(|| format!("{path} {function}"))
    }
}

/// How many names a finding's detail lists.
pub(super) const SHOWN_MAX: usize = 8;

pub(super) fn with_rest(shown: Vec<String>, count: usize) -> String {
    let more = count.saturating_sub(shown.len());
    match more {
        0 => shown.join(", "),
        _ => format!("{} and {more} more", shown.join(", ")),
    }
}

pub(super) fn joined(kinds: &BTreeSet<&str>) -> String {
    kinds.iter().copied().collect::<Vec<_>>().join(" ")
}

/// The kin of a finding with this signature: each place in it without version and line, and an
/// error of upstream's without its fields.
#[cfg(feature = "cli")]
pub fn kin_of(signature: &str) -> String {
    let is_site = |word: &str| {
        let Some((package, path)) = word.split_once('/') else {
            return false;
        };
        let line = path.rsplit_once(':').map_or("", |(_, line)| line);
        let version = package.rsplit_once('-').map_or("", |(_, version)| version);
        let is_line = !line.is_empty() && line.chars().all(|c| c.is_ascii_digit());
        is_line || version.starts_with(|c: char| c.is_ascii_digit())
    };
    let words = signature.split(' ').map(|word| match is_site(word) {
        true => without_version(word),
        false => word.to_owned(),
    });
    without_error(&words.collect::<Vec<_>>().join(" "))
}

/// A panic's message without the fields of the error in it, if `unwrap` or `expect` put one there:
/// they are others before 0.18 (`Error { kind: Failed, description: "Message contains null …" }`)
/// than since (`Error { kind: MessageContainsNullCapabilityPointer, extra: "" }`), and may be a
/// peer's words.
pub(super) fn without_error(message: &str) -> String {
    let error = message.find("Error { kind: ").zip(message.rfind(" }"));
    match error {
        Some((start, end)) if start < end => {
            format!("{}Error{}", &message[..start], &message[end + 2..])
        }
        _ => message.to_owned(),
    }
}

/// A message with every number as `#`, on one line.
pub(super) fn normal_message(message: &str) -> String {
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
pub(super) fn without_version(site: &str) -> String {
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
    use super::kin_of;

    #[test]
    fn the_kin_of_a_signature_has_no_version_and_no_line() {
        let kin = |signature: &str| kin_of(signature);
        assert_eq!(
            kin("panic capnp-rpc-0.27.3/src/rpc.rs:2811 index # of # is out"),
            "panic capnp-rpc/src/rpc.rs index # of # is out"
        );
        assert_eq!(
            kin("abort capnp-rpc-0.27.3/src/a.rs:1 then capnp-0.27.3/src/b.rs:22"),
            "abort capnp-rpc/src/a.rs then capnp/src/b.rs"
        );
        assert_eq!(
            kin("spin capnp-rpc-0.27.3/src/queued.rs queued::Client::resolve"),
            "spin capnp-rpc/src/queued.rs queued::Client::resolve"
        );
        assert_eq!(kin("protocol a/b:#: 3"), "protocol a/b:#: 3");
        assert_eq!(kin("hang call disconnect"), "hang call disconnect");
    }

    #[test]
    fn an_error_is_kin_to_what_it_was_before_its_fields_were_others() {
        let unwrapped = |error: &str| {
            kin_of(&format!(
                "panic capnp-rpc-0.15.1/src/rpc.rs:9 called `Result::unwrap()` on an `Err` value: {error}"
            ))
        };
        let before = r#"Error { kind: Failed, description: "a { b } c" }"#;
        let since = r#"Error { kind: MessageContainsNullCapabilityPointer, extra: "" }"#;
        assert_eq!(unwrapped(before), unwrapped(since));
        assert!(unwrapped(since).ends_with("an `Err` value: Error"));
    }
}
