//! Which upstreams a user means: `0.13.0..0.28.0`, `0.19.0,0.19.1`, `git:DIR@REV`.

use semver::Version;

use crate::upstream::Upstream;

/// One of what stands between commas.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// The releases from the first on and before the second, or with it.
    Range {
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
    let from = version(from, true).map_err(|why| complain(&why))?;
    let to = match (to, is_closed) {
        ("", false) => None,
        (to, is_closed) => Some(version(to, !is_closed).map_err(|why| complain(&why))?),
    };
    if to.as_ref().is_some_and(|to| *to < from) {
        return Err(complain(&"it runs backwards"));
    }
    Ok(Part::Range {
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

/// Whether no release is among them.
pub(super) fn are_commits(parts: &[Part]) -> bool {
    let mut parts = parts.iter();
    parts.all(|part| matches!(part, Part::One(Upstream::Checkout { .. })))
}

/// The releases that are named themselves: there have to be such.
pub(super) fn named(parts: &[Part]) -> Vec<&Version> {
    let named = parts.iter().filter_map(|part| match part {
        Part::One(Upstream::Release(version)) => Some(version),
        _ => None,
    });
    named.collect()
}

/// The upstreams, in the order in which they were named; each once.
pub(super) fn choose(parts: &[Part], releases: &[Version]) -> Result<Vec<Upstream>, String> {
    let mut chosen = Vec::new();
    for part in parts {
        let these: Vec<Upstream> = match part {
            Part::One(upstream) => vec![upstream.clone()],
            Part::Range {
                from,
                to,
                is_closed,
            } => {
                let is_in = |version: &&Version| {
                    let ends = to.as_ref();
                    from <= *version
                        && ends.is_none_or(|to| *version < to || (*is_closed && *version == to))
                };
                let these = releases.iter().filter(is_in).cloned();
                these.map(Upstream::Release).collect()
            }
        };
        if these.is_empty() {
            return Err("--versions: no release is in one of the ranges".to_owned());
        }
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
        let releases = ["0.12.9", "0.13.0", "0.13.1", "0.14.0", "0.15.0", "0.15.10"];
        let releases = releases.map(|version| version.parse().expect(version));
        let chosen = choose(&read(text)?, &releases)?;
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
        ];
        for (text, why) in all {
            let error = chosen(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
