//! The sources of an upstream: three crates, each in a folder, or which C++ library it is.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use cargo_metadata::Metadata;
use semver::Version;

use super::build::{Built, complaint, is_of_the_sources, output_of};
use super::{Library, Upstream};
use crate::file;
use crate::git::command;

/// The crates that come with capnp-rpc, which is the last of them.
const CRATES: [&str; 3] = ["capnp", "capnp-futures", "capnp-rpc"];

/// Releases of crates that are pinned by hand: `capnp-futures=0.19.0`.
///
/// What is not pinned is the newest that the release of capnp-rpc takes, when it is first fetched.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Pins(BTreeMap<String, Version>);

impl Pins {
    /// These pins together.
    ///
    /// # Errors
    /// One crate is pinned twice.
    pub fn of(pins: Vec<(String, Version)>) -> Result<Self, String> {
        let mut all = BTreeMap::new();
        for (name, version) in pins {
            if all.insert(name.clone(), version).is_some() {
                return Err(format!("{name} is pinned twice"));
            }
        }
        Ok(Self(all))
    }

    /// Reads one: `CRATE=VERSION`.
    ///
    /// # Errors
    /// It is no crate that comes with capnp-rpc, or no version.
    pub fn read(text: &str) -> Result<(String, Version), String> {
        let (name, version) = text.split_once('=').ok_or("expected CRATE=VERSION")?;
        if !["capnp", "capnp-futures"].contains(&name) {
            return Err("one of capnp, capnp-futures".to_owned());
        }
        let version = Version::from_str(version).map_err(|error| error.to_string())?;
        Ok((name.to_owned(), version))
    }

    /// The same as the end of a file's name.
    pub(super) fn suffix(&self) -> String {
        let pins = self.0.iter();
        pins.map(|(name, version)| format!("+{name}-{version}"))
            .collect()
    }
}

/// The sources of an upstream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Sources {
    /// The crates of capnp-rpc, capnp first; none if the package's own stay.
    pub crates: Vec<Crate>,
    /// The release of the C++ library that the package's build script is to take, if that is the
    /// upstream.
    pub kj: Option<Version>,
    /// A name for files: `0.26.1`, `kj-0.9.2`, or the commit.
    pub name: String,
}

/// One crate of upstream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Crate {
    pub name: &'static str,
    pub folder: PathBuf,
    pub version: Version,
}

impl Sources {
    /// Finds or fetches those of a release; `home` is the folder `releases` of the cache.
    pub fn of_release(
        home: &Path,
        cargo: &mut Command,
        version: &Version,
        pins: &Pins,
    ) -> io::Result<Built<Self>> {
        let name = format!("{version}{}", pins.suffix());
        let folder = home.join(&name);
        let mut dependencies = format!("capnp-rpc = \"={version}\"\n");
        for (name, version) in &pins.0 {
            dependencies += &format!("{name} = \"={version}\"\n");
        }
        let manifest = scratch(&folder, &dependencies)?;
        cargo.args([
            "metadata",
            "--quiet",
            "--format-version",
            "1",
            "--manifest-path",
        ]);
        let output = output_of(cargo.arg(manifest))?;
        if !output.status.success() {
            let why = complaint(&output.stderr);
            // The release is there; what is pinned may not go with it.
            return match *pins != Pins::default() && is_of_the_sources(&output.stderr) {
                true => Ok(Built::Skipped(why)),
                false => Err(io::Error::other(why)),
            };
        }
        let metadata: Metadata = serde_json::from_slice(&output.stdout)?;
        let mut folders = BTreeMap::new();
        for package in metadata.packages {
            let manifest = package.manifest_path.into_std_path_buf();
            let folder = manifest.parent().map(Path::to_owned).unwrap_or_default();
            folders.insert(package.name.to_string(), (folder, package.version));
        }
        Self::of(&folders, name)
    }

    /// Finds or unpacks those of a commit; `home` is the folder `checkouts` of the cache.
    ///
    /// The repository is read, never written: no checkout of it changes.
    pub fn of_checkout(home: &Path, dir: &Path, rev: &str) -> io::Result<Built<Self>> {
        let git = |arguments: &[&str]| command(dir, arguments);
        let commit = format!("{rev}^{{commit}}");
        let output = git(&["rev-parse", "--verify", "--end-of-options", &commit]).output();
        let output =
            output.map_err(|error| io::Error::new(error.kind(), format!("git: {error}")))?;
        if !output.status.success() {
            let message = format!("no commit `{rev}` in {}", dir.display());
            return Err(io::Error::other(message));
        }
        let commit = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let folder = home.join(&commit);
        if !folder.is_dir() {
            fs::create_dir_all(home)?;
            let whole = tempfile::tempdir_in(home)?;
            let mut archive = git(&["archive", &commit]).stdout(Stdio::piped()).spawn()?;
            let mut tar = Command::new("tar");
            tar.arg("-x").arg("-C").arg(whole.path());
            tar.stdin(archive.stdout.take().map_or_else(Stdio::null, Stdio::from));
            let (unpacked, archived) = (tar.status()?, archive.wait()?);
            if !unpacked.success() || !archived.success() {
                return Err(io::Error::other(format!("cannot unpack {commit}")));
            }
            fs::rename(whole.keep(), &folder)?;
        }
        let mut folders = BTreeMap::new();
        for entry in fs::read_dir(&folder)? {
            let folder = entry?.path();
            if let Some((name, version)) = package(&folder) {
                folders.insert(name, (folder, version));
            }
        }
        Self::of(&folders, format!("git-{}", &commit[..12.min(commit.len())]))
    }

    fn of(folders: &BTreeMap<String, (PathBuf, Version)>, name: String) -> io::Result<Built<Self>> {
        let found = CRATES.iter().map(|name| {
            let (folder, version) = folders.get(*name)?.clone();
            Some(Crate {
                name,
                folder,
                version,
            })
        });
        Ok(match found.collect() {
            Some(crates) => Built::Yes(Self {
                crates,
                kj: None,
                name,
            }),
            None => {
                Built::Skipped("it has not all of capnp, capnp-futures and capnp-rpc".to_owned())
            }
        })
    }

    /// The crate of this name, if it is one of these.
    pub fn named(&self, name: &str) -> Option<&Crate> {
        self.crates.iter().find(|it| it.name == name)
    }

    /// Those of an installed release of the C++ library.
    fn of_kj(version: &Version) -> Self {
        Self {
            crates: Vec::new(),
            kj: Some(version.clone()),
            name: format!("kj-{version}"),
        }
    }
}

impl Upstream {
    /// Its sources, fetched if they are not there yet.
    pub(super) fn sources(
        &self,
        cache: &Path,
        cargo: &mut Command,
        pins: &Pins,
    ) -> io::Result<Built<Sources>> {
        match self {
            Self::Release(Library::CapnpRpc, version) => {
                Sources::of_release(&cache.join("releases"), cargo, version, pins)
            }
            Self::Release(Library::Kj, version) => Ok(Built::Yes(Sources::of_kj(version))),
            Self::Checkout { dir, rev } => Sources::of_checkout(&cache.join("checkouts"), dir, rev),
        }
    }
}

/// Makes a package that is there for its dependencies only: for cargo to resolve and to fetch them.
/// Its manifest.
pub(super) fn scratch(folder: &Path, dependencies: &str) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let manifest = folder.join("Cargo.toml");
    let text = format!(
        "[package]\nname = \"upstream\"\nedition = \"2021\"\n\n[workspace]\n\n[lib]\npath = \"lib.rs\"\n\n\
         [dependencies]\n{dependencies}"
    );
    file::write_new(&manifest, &text)?;
    file::write_new(&folder.join("lib.rs"), "")?;
    Ok(manifest)
}

/// Name and version of the package in a folder.
fn package(folder: &Path) -> Option<(String, Version)> {
    let text = fs::read_to_string(folder.join("Cargo.toml")).ok()?;
    let manifest: toml::Table = text.parse().ok()?;
    let package = manifest.get("package")?;
    let name = package.get("name")?.as_str()?;
    Some((
        name.to_owned(),
        package.get("version")?.as_str()?.parse().ok()?,
    ))
}
