//! The package that the running program is built from.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use cargo_metadata::{Metadata, MetadataCommand, TargetKind};

/// The package of a program with scenarios.
#[derive(Clone, Debug)]
pub struct Package {
    /// What cargo says of it.
    pub(super) manifest: cargo_metadata::Package,
    /// The root of its workspace, in which its lock file is.
    pub(super) root: PathBuf,
    /// The name of the program.
    pub(super) program: String,
}

impl Package {
    /// The package of the running program: the one of `manifest`, if that is given; else the one
    /// that `cargo run` names, or that is found above the current folder or above the program, or
    /// the one of the built-in scenarios.
    ///
    /// # Errors
    /// None has a program of this name.
    #[expect(
        clippy::disallowed_methods,
        reason = "cargo says by the environment what it runs; no run depends on it"
    )]
    pub fn of_this_program(manifest: Option<&Path>) -> io::Result<Self> {
        let program = env::current_exe()?;
        let name = program.file_stem().unwrap_or_default().to_string_lossy();
        if let Some(manifest) = manifest {
            let metadata = metadata(manifest)?;
            return Self::with_program(metadata, &name).ok_or_else(|| {
                let manifest = manifest.display();
                io::Error::other(format!(
                    "{manifest}: no package of it has a program `{name}`"
                ))
            });
        }
        let by_cargo = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let here = env::current_dir()?;
        let above = here.ancestors().chain(program.ancestors().skip(1));
        let built_in = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folders = by_cargo
            .as_deref()
            .into_iter()
            .chain(above)
            .chain([built_in]);
        let mut trouble = String::new();
        for folder in folders {
            let manifest = folder.join("Cargo.toml");
            if !manifest.is_file() {
                continue;
            }
            match metadata(&manifest) {
                Ok(metadata) => {
                    if let Some(package) = Self::with_program(metadata, &name) {
                        return Ok(package);
                    }
                }
                Err(error) if trouble.is_empty() => {
                    trouble = format!(" ({}: {error})", manifest.display());
                }
                Err(_) => {}
            }
        }
        Err(io::Error::other(format!(
            "the sources of `{name}` were not found: name its Cargo.toml with --manifest-path{trouble}"
        )))
    }

    fn with_program(metadata: Metadata, program: &str) -> Option<Self> {
        let root = metadata.workspace_root.clone().into_std_path_buf();
        let mut packages = metadata.packages.into_iter();
        let manifest = packages.find(|package| {
            let mut targets = package.targets.iter();
            targets.any(|target| target.is_bin() && target.name == program)
        })?;
        Some(Self {
            manifest,
            root,
            program: program.to_owned(),
        })
    }

    /// Its folder.
    pub(super) fn folder(&self) -> &Path {
        let manifest = self.manifest.manifest_path.as_std_path();
        manifest.parent().unwrap_or(Path::new("/"))
    }

    /// Whether the C++ library is built into it, which it says by `kj = true` in
    /// `[package.metadata.dismantle]`.
    pub(super) fn has_kj(&self) -> bool {
        self.manifest.metadata["dismantle"]["kj"] == true
    }

    /// The features that the program is not built without.
    pub(super) fn features(&self) -> Vec<String> {
        let mut targets = self.targets();
        let program = targets.find(|(kind, _)| **kind == TargetKind::Bin);
        program.map_or_else(Vec::new, |(_, target)| target.required_features.clone())
    }

    /// The sources of what has to be built: its library, its build script and the program.
    pub(super) fn targets(&self) -> impl Iterator<Item = (&TargetKind, &cargo_metadata::Target)> {
        let targets = self.manifest.targets.iter();
        let kinds = targets.flat_map(|target| target.kind.iter().map(move |kind| (kind, target)));
        kinds.filter(|(kind, target)| match kind {
            TargetKind::Bin => target.name == self.program,
            TargetKind::Lib
            | TargetKind::RLib
            | TargetKind::ProcMacro
            | TargetKind::CustomBuild => true,
            _ => false,
        })
    }
}

fn metadata(manifest: &Path) -> io::Result<Metadata> {
    let mut command = MetadataCommand::new();
    command.manifest_path(manifest).no_deps();
    command.exec().map_err(io::Error::other)
}
