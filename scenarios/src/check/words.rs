//! How findings put what they found: lists that end, names without numbers.

use std::collections::BTreeSet;

/// A place in the code, as found from an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The source file: `capnp-rpc-0.27.3/src/rpc.rs`.
    pub path: String,
    /// A line of the function that it was at.
    pub line: u32,
    /// The function: `ConnectionState::handle_message`.
    pub function: String,
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
