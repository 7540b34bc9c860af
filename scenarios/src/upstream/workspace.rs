//! The generated workspace: a package as it is, against an upstream.
//!
//! Its manifest is written from what cargo says of the package, with the three crates of upstream
//! replaced, if that is capnp-rpc; everything else in the package's folder is linked to. Its lock
//! file begins as the package's own, so that all other dependencies are the same.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use cargo_metadata::{Dependency, DependencyKind, TargetKind};
use semver::Version;
use serde::Serialize;
use toml::{Table, Value};

use super::package::Package;
use super::sources::Sources;
use crate::file;

/// What writes generated code, in build scripts: of upstream too, and of the same minor.
const COMPILER: &str = "capnpc";

/// The profile of all builds.
pub(super) const PROFILE: &str = "probe";

/// Writes the workspace of `package` against `sources`, where it is not as it should be.
pub(super) fn generate(folder: &Path, package: &Package, sources: &Sources) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    link(folder, package.folder())?;
    let manifest = manifest(package, sources).map_err(io::Error::other)?;
    let written = folder.join("Cargo.toml");
    let lock = match fs::read_to_string(package.root.join("Cargo.lock")) {
        Ok(lock) => without_upstream(&lock, sources).map_err(io::Error::other)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    // Whether the package has another lock file now is seen by this line.
    let hash = dismantle_sim::hash(lock.as_bytes());
    let manifest = format!("# The lock file was {hash:016x}.\n{manifest}");
    if fs::read_to_string(&written).is_ok_and(|text| text == manifest) {
        return Ok(());
    }
    // The lock file first: a manifest that is there has one.
    match lock.is_empty() {
        false => file::write(&folder.join("Cargo.lock"), &lock)?,
        true => drop(fs::remove_file(folder.join("Cargo.lock"))),
    }
    file::write(&written, &manifest)
}

/// Links to all that the package's build may read, and drops links to what is no longer there.
fn link(folder: &Path, package: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?.path();
        if entry.is_symlink() && !entry.exists() {
            fs::remove_file(entry)?;
        }
    }
    for entry in fs::read_dir(package)? {
        let name = entry?.file_name();
        let is_own = ["Cargo.toml", "Cargo.lock", "target"]
            .iter()
            .any(|own| name == *own);
        let link = folder.join(&name);
        if !is_own && !link.is_symlink() {
            symlink(package.join(&name), link)?;
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct Manifest {
    package: Table,
    features: BTreeMap<String, Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lib: Option<Table>,
    bin: Vec<Table>,
    #[serde(flatten)]
    dependencies: Table,
    patch: Table,
    profile: BTreeMap<&'static str, Table>,
    workspace: Table,
}

fn manifest(package: &Package, sources: &Sources) -> Result<String, String> {
    let about = &package.manifest;
    let mut head = Table::new();
    for (key, value) in [
        ("name", about.name.to_string()),
        ("version", version(&about.version, sources)),
        ("edition", about.edition.to_string()),
    ] {
        head.insert(key.to_owned(), value.into());
    }
    if let Some(links) = &about.links {
        head.insert("links".to_owned(), links.clone().into());
    }
    for kind in [
        "autobins",
        "autolib",
        "autoexamples",
        "autotests",
        "autobenches",
    ] {
        head.insert(kind.to_owned(), false.into());
    }
    // Else cargo takes a `build.rs` that the package says is none.
    head.insert("build".to_owned(), false.into());
    let (mut lib, mut bin) = (None, Vec::new());
    for (kind, target) in package.targets() {
        let source = target.src_path.as_std_path();
        let source = source.strip_prefix(package.folder()).unwrap_or(source);
        let source = source.to_str().ok_or("a path that is no text")?;
        if *kind == TargetKind::CustomBuild {
            head.insert("build".to_owned(), source.into());
            continue;
        }
        let mut table = Table::new();
        table.insert("name".to_owned(), target.name.clone().into());
        table.insert("path".to_owned(), source.into());
        match kind {
            TargetKind::Bin => {
                table.insert(
                    "required-features".to_owned(),
                    target.required_features.clone().into(),
                );
                bin.push(table);
            }
            kind => {
                table.insert(
                    "proc-macro".to_owned(),
                    (*kind == TargetKind::ProcMacro).into(),
                );
                lib = Some(table);
            }
        }
    }
    let mut patch = patches(&package.root, sources)?;
    let all = patch
        .entry("crates-io")
        .or_insert_with(|| Table::new().into());
    let all = all.as_table_mut().ok_or("a patch that is no table")?;
    for it in &sources.crates {
        let folder = it.folder.to_str().ok_or("a path that is no text")?;
        all.insert(it.name.to_owned(), one("path", folder));
    }
    let manifest = Manifest {
        package: head,
        features: about.features.clone(),
        lib,
        bin,
        dependencies: dependencies(&about.dependencies, sources)?,
        patch,
        profile: BTreeMap::from([(PROFILE, profile())]),
        workspace: Table::new(),
    };
    toml::to_string(&manifest).map_err(|error| error.to_string())
}

/// The package's version with the upstream's name behind it.
///
/// What a build script made would else be the same file for all upstreams, and each new one would
/// have the others built again.
fn version(version: &Version, sources: &Sources) -> String {
    let apart = if version.build.is_empty() { '+' } else { '.' };
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let upstream: String = sources.name.chars().map(plain).collect();
    let library = if sources.kj.is_some() {
        ""
    } else {
        "capnp-rpc-"
    };
    format!("{version}{apart}{library}{upstream}")
}

/// Level 1 for all but the harness and the package itself, which are compiled anew for each
/// upstream: with level 1 there, too, that takes 66 s of processor time and not 14, and a campaign
/// of 1,000 seeds 3.5 s and not 4.7.
fn profile() -> Table {
    let level =
        |level: i64| Value::Table(Table::from_iter([("opt-level".to_owned(), level.into())]));
    let packages = Table::from_iter([
        ("*".to_owned(), level(1)),
        (env!("CARGO_PKG_NAME").to_owned(), level(0)),
    ]);
    Table::from_iter([
        ("inherits".to_owned(), "release".into()),
        ("opt-level".to_owned(), 0.into()),
        ("debug".to_owned(), "line-tables-only".into()),
        ("incremental".to_owned(), false.into()),
        ("package".to_owned(), packages.into()),
    ])
}

fn one(key: &str, value: &str) -> Value {
    Value::Table(Table::from_iter([(key.to_owned(), value.into())]))
}

/// The tables of dependencies: those of all targets by kind, and those of one under `target`.
fn dependencies(all: &[Dependency], sources: &Sources) -> Result<Table, String> {
    let mut tables = Table::new();
    for dependency in all {
        let kind = match dependency.kind {
            DependencyKind::Normal => "dependencies",
            DependencyKind::Build => "build-dependencies",
            _ => continue,
        };
        let mut place = &mut tables;
        let target = dependency.target.as_ref().map(ToString::to_string);
        let path = target.iter().flat_map(|target| ["target", target.as_str()]);
        for key in path.chain([kind]) {
            let table = place.entry(key).or_insert_with(|| Table::new().into());
            place = table
                .as_table_mut()
                .ok_or("a dependency that is no table")?;
        }
        let name = dependency.rename.as_ref().unwrap_or(&dependency.name);
        place.insert(name.clone(), of(dependency, sources)?.into());
    }
    Ok(tables)
}

fn of(dependency: &Dependency, sources: &Sources) -> Result<Table, String> {
    let mut table = Table::new();
    let mut put = |key: &str, value: Value| table.insert(key.to_owned(), value);
    if let Some(of_upstream) = sources.named(&dependency.name) {
        put("version", format!("={}", of_upstream.version).into());
    } else if dependency.name == COMPILER
        && let Some(capnp) = sources.crates.first()
    {
        let Version { major, minor, .. } = capnp.version;
        put("version", format!("{major}.{minor}").into());
    } else {
        let takes_any = dependency.req.comparators.is_empty();
        if !takes_any {
            put("version", dependency.req.to_string().into());
        }
        let source = dependency
            .source
            .as_ref()
            .map(|source| source.repr.as_str());
        if let Some(path) = &dependency.path {
            put("path", path.as_str().into());
        } else if let Some(git) = source.and_then(|source| source.strip_prefix("git+")) {
            let git = git.split('#').next().unwrap_or(git);
            let (url, query) = git.split_once('?').unwrap_or((git, ""));
            put("git", url.into());
            if let Some((key, value)) = query.split_once('=') {
                put(key, value.into());
            }
        } else {
            if takes_any {
                put("version", "*".into());
            }
            if let Some(registry) = &dependency.registry {
                put("registry-index", registry.as_str().into());
            }
        }
    }
    if dependency.rename.is_some() {
        put("package", dependency.name.clone().into());
    }
    put("optional", dependency.optional.into());
    put("default-features", dependency.uses_default_features.into());
    put("features", dependency.features.clone().into());
    Ok(table)
}

/// What the package's workspace takes from elsewhere, upstream left out.
fn patches(root: &Path, sources: &Sources) -> Result<Table, String> {
    let manifest =
        fs::read_to_string(root.join("Cargo.toml")).map_err(|error| error.to_string())?;
    let mut manifest: Table = manifest
        .parse()
        .map_err(|error: toml::de::Error| error.to_string())?;
    let Some(Value::Table(mut patches)) = manifest.remove("patch") else {
        return Ok(Table::new());
    };
    for (_, patch) in patches.iter_mut() {
        let Value::Table(patch) = patch else { continue };
        patch.retain(|name, _| sources.named(name).is_none());
        for (_, from) in patch.iter_mut() {
            if let Some(Value::String(path)) = from.get_mut("path") {
                *path = root.join(&path).to_string_lossy().into_owned();
            }
        }
    }
    Ok(patches)
}

/// A lock file without upstream's crates, if it has such: cargo finds them again, in the patches.
fn without_upstream(lock: &str, sources: &Sources) -> Result<String, toml::de::Error> {
    if sources.crates.is_empty() {
        return Ok(lock.to_owned());
    }
    let mut lock: Table = lock.parse()?;
    if let Some(Value::Array(packages)) = lock.get_mut("package") {
        let name = |package: &Value| {
            package
                .get("name")
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let is_upstream = |name: String| sources.named(&name).is_some() || name == COMPILER;
        packages.retain(|package| !name(package).is_some_and(is_upstream));
    }
    Ok(lock.to_string())
}

/// Whether the graph has another of the crates than the one of `sources`, or more: which, if so.
pub(super) fn check(folder: &Path, sources: &Sources) -> io::Result<Option<String>> {
    let lock = match fs::read_to_string(folder.join("Cargo.lock")) {
        Ok(lock) => lock,
        // There is no graph.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let lock: Table = lock.parse().map_err(io::Error::other)?;
    let packages = lock.get("package").and_then(Value::as_array);
    for of_upstream in &sources.crates {
        let (name, version) = (of_upstream.name, &of_upstream.version);
        let of_name = |package: &&Value| package.get("name").and_then(Value::as_str) == Some(name);
        let all = packages.into_iter().flatten().filter(of_name);
        let versions: Vec<_> = all
            .filter_map(|package| package.get("version")?.as_str())
            .collect();
        if !versions.is_empty() && versions != [version.to_string()] {
            return Ok(Some(format!(
                "it needs {name} {} and cannot have {version} alone",
                versions.join(" and ")
            )));
        }
    }
    Ok(None)
}
