//! Which upstreams a user means: `0.13.0..0.28.0`, `0.19.0,kj:1.3.0`, `git:DIR@REV`.

use std::io;

use semver::Version;

use crate::upstream::{Library, Upstream};

/// One of what stands between commas.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// The releases of a library from the first on and before the second, or with it.
    Range {
        library: Library,
        from: Version,
        to: Option<Version>,
        is_closed: bool,
    },
    /// This one.
    One(Upstream),
}

/// Reads them.
pub(super) fn read(text: &str) -> Result<Vec<Part>, String> {
    text.split(',').map(|part| part_of(part.trim())).collect()
}

fn part_of(text: &str) -> Result<Part, String> {
    let complain = |why: &dyn std::fmt::Display| {
        format!("--versions {text}: {why}: such as 0.13.0..0.28.0 or 0.26.1,0.26.2")
    };
    // The path of a repository may have dots.
    if text.starts_with("git:") || !text.contains("..") {
        let one = text.parse().map_err(|why: String| complain(&why))?;
        return Ok(Part::One(one));
    }
    let (from, to) = text.split_once("..").unwrap_or((text, ""));
    let (to, is_closed) = match to.strip_prefix('=') {
        Some(to) => (to, true),
        None => (to, false),
    };
    let (library, from) = Library::split(from);
    let from = version(from, true).map_err(|why| complain(&why))?;
    let (other, to) = match to {
        "" => (library, to),
        to => Library::split(to),
    };
    if other != library {
        return Err(complain(&"its ends are of two libraries"));
    }
    let to = match (to, is_closed) {
        ("", false) => None,
        (to, is_closed) => Some(version(to, !is_closed).map_err(|why| complain(&why))?),
    };
    if to.as_ref().is_some_and(|to| *to < from) {
        return Err(complain(&"it runs backwards"));
    }
    Ok(Part::Range {
        library,
        from,
        to,
        is_closed,
    })
}

/// A version; if that may be, also `0.13` for `0.13.0`.
fn version(text: &str, may_be_short: bool) -> Result<Version, semver::Error> {
    let padded = match text.matches('.').count() {
        1 if may_be_short => format!("{text}.0"),
        _ => text.to_owned(),
    };
    Version::parse(&padded)
}

/// The upstreams, in the order in which they were named; each once. All releases of a library are
/// as `releases` says, which takes those that have to be among them.
pub(super) fn choose(
    parts: &[Part],
    releases: impl Fn(Library, &[&Version]) -> io::Result<Vec<Version>>,
) -> io::Result<Vec<Upstream>> {
    let mut chosen = Vec::new();
    for part in parts {
        let these: Vec<Upstream> = match part {
            Part::One(upstream) => {
                if let Upstream::Release(library, version) = upstream {
                    releases(*library, &[version])?;
                }
                vec![upstream.clone()]
            }
            Part::Range {
                library,
                from,
                to,
                is_closed,
            } => {
                let is_in = |version: &Version| {
                    let ends = to.as_ref();
                    from <= version
                        && ends.is_none_or(|to| version < to || (*is_closed && version == to))
                };
                let mut these = releases(*library, &[])?;
                these.retain(is_in);
                if these.is_empty() {
                    return Err(io::Error::other(match library {
                        Library::CapnpRpc => "--versions: no release is in one of the ranges",
                        Library::Kj => {
                            "--versions: no installed release of Cap'n Proto for C++ is in one of \
                             the ranges"
                        }
                    }));
                }
                let these = these.into_iter();
                these
                    .map(|version| Upstream::Release(*library, version))
                    .collect()
            }
        };
        for upstream in these {
            if !chosen.contains(&upstream) {
                chosen.push(upstream);
            }
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(text: &str) -> Result<String, String> {
        let releases = |library, wanted: &[&Version]| {
            let all = match library {
                Library::CapnpRpc => "0.12.9 0.13.0 0.13.1 0.14.0 0.15.0 0.15.10",
                Library::Kj => "0.9.2 1.3.0",
            };
            let all = all.split(' ').map(|it| it.parse().expect(it));
            let all: Vec<Version> = all.collect();
            match wanted.iter().all(|it| all.contains(it)) {
                true => Ok(all),
                false => Err(io::Error::other("it is not there")),
            }
        };
        let chosen = choose(&read(text)?, releases).map_err(|error| error.to_string())?;
        let chosen: Vec<String> = chosen.iter().map(ToString::to_string).collect();
        Ok(chosen.join(" "))
    }

    #[test]
    fn a_range_is_half_open_and_may_be_closed_or_without_an_end() {
        let all = [
            ("0.13.0..0.15.0", "0.13.0 0.13.1 0.14.0"),
            ("0.13.0..=0.15.0", "0.13.0 0.13.1 0.14.0 0.15.0"),
            ("0.13..0.15", "0.13.0 0.13.1 0.14.0"),
            ("0.14.0..", "0.14.0 0.15.0 0.15.10"),
            ("0.15.10,0.13.1", "0.15.10 0.13.1"),
            ("0.13.0..0.14.0, 0.13.1..=0.14.0", "0.13.0 0.13.1 0.14.0"),
            ("0.14.0,git:../a..b@HEAD~2", "0.14.0 git:../a..b@HEAD~2"),
            ("kj:0.9.2..=kj:1.3.0", "kj:0.9.2 kj:1.3.0"),
            ("kj:0.9..kj:1.3", "kj:0.9.2"),
            (
                "kj:1.0.0..,0.15.0,kj:0.9.2,kj:1.3.0",
                "kj:1.3.0 0.15.0 kj:0.9.2",
            ),
        ];
        for (text, expected) in all {
            assert_eq!(chosen(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_range_or_has_no_release_is_refused() {
        let all = [
            ("", "such as"),
            ("0.15.0..0.14.0", "runs backwards"),
            ("0.13.0..=0.15", "such as"),
            ("x..y", "such as"),
            ("0.14", "expected a release"),
            ("0.16.0..0.17.0", "no release"),
            ("0.14.0..0.14.0", "no release"),
            ("0.14.0,", "such as"),
            ("kj:0.9", "expected a release"),
            ("kj:0.9.2..1.3.0", "two libraries"),
            ("0.13.0..=kj:1.3.0", "two libraries"),
            ("kj:1.3.0..=kj:0.9.2", "runs backwards"),
            ("kj:1.0.0..kj:1.3.0", "no installed release"),
            ("0.13.0,kj:1.0.0", "not there"),
        ];
        for (text, why) in all {
            let error = chosen(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
