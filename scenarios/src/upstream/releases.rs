//! Which releases of capnp-rpc there are: cargo's own cache of the registry's index.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use semver::Version;
use serde::Deserialize;

/// The file of capnp-rpc in an index.
const FILE: &str = ".cache/ca/pn/capnp-rpc";

/// One line of an index.
#[derive(Deserialize)]
struct Line {
    vers: Version,
    #[serde(default)]
    yanked: bool,
}

/// All releases that are not yanked, in ascending order; none if cargo has not read the index yet.
///
/// `cargo_home` is cargo's folder. Of several registries (a mirror, say) the one that was read
/// last counts.
pub(super) fn known(cargo_home: &Path) -> io::Result<Vec<Version>> {
    let indices = match fs::read_dir(cargo_home.join("registry/index")) {
        Ok(indices) => indices,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut newest: Option<(std::fs::Metadata, PathBuf)> = None;
    for index in indices {
        let file = index?.path().join(FILE);
        let Ok(about) = fs::metadata(&file) else {
            continue;
        };
        let is_newer = |(other, _): &(std::fs::Metadata, PathBuf)| {
            other.modified().ok() < about.modified().ok()
        };
        if newest.as_ref().is_none_or(is_newer) {
            newest = Some((about, file));
        }
    }
    let Some((_, file)) = newest else {
        return Ok(Vec::new());
    };
    Ok(read(&fs::read(file)?))
}

/// The releases in cargo's cache file: a head, and then each version and its line of the index,
/// all with a zero byte behind.
fn read(bytes: &[u8]) -> Vec<Version> {
    let lines = bytes
        .split(|byte| *byte == 0)
        .filter(|part| part.starts_with(b"{"));
    let lines = lines.filter_map(|line| serde_json::from_slice::<Line>(line).ok());
    let mut versions: Vec<Version> = lines
        .filter(|line| !line.yanked && line.vers.pre.is_empty())
        .map(|line| line.vers)
        .collect();
    versions.sort();
    versions.dedup();
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    const CACHE: &[u8] = b"\x03\x02\0\0\0etag: \"1\"\x000.9.1\0{\"name\":\"capnp-rpc\",\"vers\":\"0.9.1\",\
        \"deps\":[],\"cksum\":\"\",\"yanked\":false}\x000.10.0\0{\"name\": \"capnp-rpc\", \"vers\": \"0.10.0\"}\x00\
        0.8.0\0{\"vers\":\"0.8.0\",\"yanked\":true}\x000.11.0-a\0{\"vers\":\"0.11.0-a\"}\0";

    #[test]
    fn releases_are_in_the_order_of_versions_without_what_was_taken_back() {
        assert_eq!(read(CACHE), [Version::new(0, 9, 1), Version::new(0, 10, 0)]);
    }

    #[test]
    fn of_several_registries_the_one_read_last_counts() {
        let home = tempfile::tempdir().expect("a folder");
        assert!(known(home.path()).expect("no index").is_empty());
        for (index, minor) in [("a", 1), ("b", 3), ("c", 2)] {
            let file = home.path().join("registry/index").join(index).join(FILE);
            fs::create_dir_all(file.parent().expect("a parent")).expect("created");
            fs::write(&file, format!("{{\"vers\":\"0.{minor}.0\"}}\0")).expect("written");
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(minor);
            let file = fs::File::options().append(true).open(file).expect("opened");
            file.set_modified(time).expect("set");
        }
        assert_eq!(known(home.path()).expect("read"), [Version::new(0, 3, 0)]);
    }
}
