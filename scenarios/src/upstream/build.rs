//! The shelf: builds against upstreams, made when they are asked for and kept.

use std::env;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cargo_metadata::Message;
use semver::Version;
use xxhash_rust::xxh3::xxh3_64;

use super::package::Package;
use super::sources::{Pins, Sources, scratch};
use super::{Library, Upstream, kj, releases, workspace};
use crate::file;

/// What was wanted, or why it cannot be had of this upstream: it cannot be built there, say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Built<T> {
    /// It is there.
    Yes(T),
    /// It cannot be, for this reason. Nothing is wrong with the machine.
    Skipped(String),
}

/// A program built against an upstream.
#[derive(Clone, Debug)]
pub struct Build {
    /// What it was built against.
    pub upstream: Upstream,
    /// The program.
    pub executable: PathBuf,
    /// What tells it from all other builds: a hash of its bytes.
    pub(super) id: u64,
    /// The folder of answers.
    pub(super) asked: PathBuf,
    pub(super) interrupted: Arc<AtomicBool>,
}

/// Builds of one package, kept in a cache folder.
pub struct Shelf {
    cache: PathBuf,
    package: Package,
    pins: Pins,
    interrupted: Arc<AtomicBool>,
}

impl Shelf {
    /// The builds of `package` in the folder `cache`; when `interrupted` is raised, whatever is
    /// under way ends with [`io::ErrorKind::Interrupted`].
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(
        cache: &Path,
        package: Package,
        pins: Pins,
        interrupted: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        fs::create_dir_all(cache).map_err(|error| file::at(cache, error))?;
        let cache = cache.canonicalize()?;
        Ok(Self {
            cache,
            package,
            pins,
            interrupted,
        })
    }

    /// The folder that everything is kept in.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// All releases of a library in ascending order: of capnp-rpc those that are published and not
    /// taken back, of the C++ one those that are installed.
    ///
    /// # Errors
    /// One of `wanted` is not among them, or there is no list; or the package has no C++ library.
    pub fn releases(&self, library: Library, wanted: &[&Version]) -> io::Result<Vec<Version>> {
        match library {
            Library::CapnpRpc => self.published(wanted),
            Library::Kj if self.package.has_kj() => kj::releases(wanted),
            Library::Kj => Err(io::Error::other(format!(
                "`{}` has no C++ library in it: its package, {}, does not say `kj = true` in \
                 `[package.metadata.dismantle]`, as dismantle-kj does",
                self.package.program, self.package.manifest.name
            ))),
        }
    }

    /// Those of capnp-rpc: cargo's own list as it was last read, or read now if one of `wanted` is
    /// not in it.
    fn published(&self, wanted: &[&Version]) -> io::Result<Vec<Version>> {
        let home = cargo_home()?;
        let lacking = |all: &[Version]| {
            wanted
                .iter()
                .find(|version| !all.contains(version))
                .copied()
        };
        let mut all = releases::known(&home)?;
        let mut trouble = String::new();
        if all.is_empty() || lacking(&all).is_some() {
            let folder = self.cache.join("releases/newest");
            let manifest = scratch(&folder, "capnp-rpc = \"*\"\n")?;
            let mut cargo = self.cargo();
            cargo
                .args(["generate-lockfile", "--quiet", "--manifest-path"])
                .arg(manifest);
            let output = output_of(&mut cargo)?;
            self.unless_interrupted()?;
            if !output.status.success() {
                trouble = format!(" ({})", complaint(&output.stderr));
            }
            all = releases::known(&home)?;
        }
        match (lacking(&all), all.last()) {
            (None, Some(_)) => Ok(all),
            (Some(version), Some(newest)) => Err(io::Error::other(format!(
                "no capnp-rpc {version} is published; the newest is {newest}{trouble}"
            ))),
            (_, None) => Err(io::Error::other(format!(
                "cargo has no list of the releases of capnp-rpc{trouble}"
            ))),
        }
    }

    /// The program against this upstream, built if it has to be: that can take a minute, and the
    /// first time some more. One that is built and whose sources are as they were is there at once.
    ///
    /// # Errors
    /// The machine is to blame, or there is no such upstream.
    pub fn build(&self, upstream: &Upstream) -> io::Result<Built<Build>> {
        let _alone = self.lock()?;
        let takes_pins = matches!(upstream, Upstream::Release(Library::CapnpRpc, _));
        if !takes_pins && self.pins != Pins::default() {
            return Err(io::Error::other(format!(
                "crates can be pinned beside a release of capnp-rpc only, not beside {upstream}"
            )));
        }
        if let Upstream::Release(Library::Kj, version) = upstream {
            self.releases(Library::Kj, &[version])?;
        }
        let sources = upstream.sources(&self.cache, &mut self.cargo(), &self.pins);
        self.unless_interrupted()?;
        if let (Err(_), Upstream::Release(library, version)) = (&sources, upstream) {
            // That there is no such release is said best by the list of those that there are.
            self.releases(*library, &[version])?;
        }
        let sources = match sources? {
            Built::Yes(sources) => sources,
            Built::Skipped(why) => return Ok(Built::Skipped(why)),
        };
        let path = self.package.folder().as_os_str();
        let owner = dismantle_sim::hash(path.as_encoded_bytes()) as u32;
        let owner = format!("{}-{owner:08x}", self.package.manifest.name);
        let home = self.cache.join(owner).join(&sources.name);
        let executable = match self.compile(&home, &sources)? {
            Built::Yes(executable) => executable,
            Built::Skipped(why) => return Ok(Built::Skipped(why)),
        };
        // The next build replaces the one in the target folder.
        let (executable, id) = keep(&executable, &home.join("programs"))?;
        Ok(Built::Yes(Build {
            upstream: upstream.clone(),
            executable,
            id,
            asked: self.cache.join("asked"),
            interrupted: self.interrupted.clone(),
        }))
    }

    /// Has cargo build the program against these sources, and says where it is.
    fn compile(&self, home: &Path, sources: &Sources) -> io::Result<Built<PathBuf>> {
        // Nothing else is written there: of what stands beside the links, one may have our name.
        let folder = home.join("package");
        workspace::generate(&folder, &self.package, sources)?;

        let mut cargo = self.cargo();
        cargo.args([
            "build",
            "--message-format",
            "json-render-diagnostics",
            "--profile",
            workspace::PROFILE,
        ]);
        cargo.args(["--bin", &self.package.program]);
        cargo.args(["--features", &self.package.features().join(",")]);
        cargo.arg("--target-dir").arg(self.cache.join("target"));
        cargo.arg("--manifest-path").arg(folder.join("Cargo.toml"));
        if let Some(version) = &sources.kj {
            cargo.env(kj::VARIABLE, version.to_string());
        }
        let output = output_of(&mut cargo)?;
        self.unless_interrupted()?;
        let log = home.join("build.log");
        file::write(&log, &String::from_utf8_lossy(&output.stderr))?;
        // Two of one crate are why it does not compile.
        if let Some(why) = workspace::check(&folder, sources)? {
            return Ok(Built::Skipped(why));
        }
        if !output.status.success() {
            let why = complaint(&output.stderr);
            let why = format!("{why} (more in {})", log.display());
            return match is_of_the_sources(&output.stderr) {
                true => Ok(Built::Skipped(why)),
                false => Err(io::Error::other(why)),
            };
        }
        let mut executable = None;
        for message in Message::parse_stream(&output.stdout[..]) {
            if let Message::CompilerArtifact(artifact) = message? {
                executable = artifact.executable.or(executable);
            }
        }
        match executable {
            Some(executable) => Ok(Built::Yes(executable.into())),
            None => Err(io::Error::other("cargo names no program that it built")),
        }
    }

    /// One process builds at a time: the target folder's program is of the last build.
    #[expect(
        clippy::disallowed_methods,
        reason = "it waits for another process; no run depends on it"
    )]
    fn lock(&self) -> io::Result<File> {
        let file = File::create(self.cache.join("lock"))?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(50)),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // One that waits in the kernel would not be interrupted.
            self.unless_interrupted()?;
        }
    }

    /// Cargo, with the settings that are in force where the package is.
    #[expect(
        clippy::disallowed_methods,
        reason = "it says which cargo it is, and what the compiler is told; no run depends on it"
    )]
    fn cargo(&self) -> Command {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(self.package.folder());
        // Cargo caps no lints of sources that are given by their path, as upstream's are.
        if let Ok(flags) = env::var("RUSTFLAGS") {
            cargo.env("RUSTFLAGS", format!("{flags} --cap-lints warn"));
        }
        cargo
    }

    fn unless_interrupted(&self) -> io::Result<()> {
        match self.interrupted.load(Ordering::Relaxed) {
            true => Err(io::ErrorKind::Interrupted.into()),
            false => Ok(()),
        }
    }
}

/// Puts a program where no other build replaces it, as it may start itself again: in a folder that
/// is named by the hash of its bytes. Those of earlier sources go.
fn keep(built: &Path, folder: &Path) -> io::Result<(PathBuf, u64)> {
    let id = xxh3_64(&fs::read(built)?);
    let own = folder.join(format!("{id:016x}"));
    let kept = own.join(built.file_name().unwrap_or_default());
    if kept.is_file() {
        return Ok((kept, id));
    }
    if folder.is_dir() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(&own)?;
    if fs::hard_link(built, &kept).is_err() {
        fs::copy(built, &kept)?;
    }
    Ok((kept, id))
}

/// What cargo says, or that there is none.
pub(super) fn output_of(cargo: &mut Command) -> io::Result<Output> {
    let output = cargo.stdin(Stdio::null()).output();
    output.map_err(|error| {
        let program = cargo.get_program().display();
        io::Error::new(error.kind(), format!("cannot run {program}: {error}"))
    })
}

/// Whether cargo failed because of what it was to build, and not for want of a network, say.
pub(super) fn is_of_the_sources(stderr: &[u8]) -> bool {
    let text = String::from_utf8_lossy(stderr);
    let marks = [
        "could not compile",
        "failed to select a version",
        "failed to run custom build",
    ];
    // A compiler that was killed is nobody's fault there.
    marks.iter().any(|mark| text.contains(mark)) && !text.contains("(signal: ")
}

/// What cargo complained of: its first error, with what caused it.
pub(super) fn complaint(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let mut lines = text.lines().skip_while(|line| !line.starts_with("error"));
    let first = lines
        .next()
        .unwrap_or("cargo failed and did not say why")
        .trim();
    let mut causes = lines.skip_while(|line| line.trim() != "Caused by:").skip(1);
    match causes.next() {
        Some(cause) if !first.starts_with("error[") => {
            format!("{}: {}", first.trim_start_matches("error: "), cause.trim())
        }
        _ => first.strip_prefix("error: ").unwrap_or(first).to_owned(),
    }
}

/// Cargo's own folder.
#[expect(
    clippy::disallowed_methods,
    reason = "cargo's settings; no run depends on them"
)]
fn cargo_home() -> io::Result<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(env::home_dir()?.join(".cargo")));
    home.ok_or_else(|| io::Error::other("no home folder, and CARGO_HOME is not set"))
}
