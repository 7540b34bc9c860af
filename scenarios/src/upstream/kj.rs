//! Which releases of the C++ library are installed, and how a package is told to take one.
//!
//! `scenarios/kj/install` puts each into a folder named by its version, with `include` and `lib` in
//! it, under `dismantle/kj` in the user's cache folder. There the build script of a package with the
//! library looks for the one that [`VARIABLE`] names; so it is there also where builds are kept
//! elsewhere (`--cache`), of which a build script does not know.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use semver::Version;

use super::Library;

/// Tells a build script which release it is to take, in cargo's environment.
pub(super) const VARIABLE: &str = "DISMANTLE_KJ";

/// The folder `dismantle` in the user's cache folder; none if the user has no home folder.
#[expect(
    clippy::disallowed_methods,
    reason = "a user's settings; no run depends on them"
)]
pub fn user_cache() -> Option<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.filter(|cache| cache.is_absolute());
    let cache = cache.or_else(|| Some(env::home_dir()?.join(".cache")))?;
    Some(cache.join("dismantle"))
}

/// All that are installed, in ascending order.
///
/// # Errors
/// One of `wanted` is not.
pub(super) fn releases(wanted: &[&Version]) -> io::Result<Vec<Version>> {
    let cache = user_cache().ok_or_else(|| io::Error::other("no home folder"))?;
    let folder = cache.join("kj");
    let all = installed(&folder)?;
    match wanted.iter().find(|version| !all.contains(version)) {
        None => Ok(all),
        Some(version) => Err(io::Error::other(format!(
            "{} {version} is not installed: run scenarios/kj/install {version}, of the repository \
             of dismantle, which puts it into {}",
            Library::Kj.name(),
            folder.join(version.to_string()).display()
        ))),
    }
}

/// Those in this folder.
fn installed(folder: &Path) -> io::Result<Vec<Version>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut all = Vec::new();
    for entry in entries {
        let folder = entry?.path();
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        if let Ok(version) = Version::parse(&name)
            && folder.join("include").is_dir()
        {
            all.push(version);
        }
    }
    all.sort();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_headers_is_installed_and_the_order_is_that_of_versions() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(
            installed(&folder.path().join("kj"))
                .expect("none")
                .is_empty()
        );
        for name in [
            "1.10.0/include",
            "1.3.0/include",
            "0.9.2/include",
            "1.0.0/lib",
            "downloads/include",
        ] {
            fs::create_dir_all(folder.path().join(name)).expect("created");
        }
        let all = installed(folder.path()).expect("read");
        let versions = [
            Version::new(0, 9, 2),
            Version::new(1, 3, 0),
            Version::new(1, 10, 0),
        ];
        assert_eq!(all, versions);
    }
}
