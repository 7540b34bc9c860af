//! Files, whole or not at all.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Writes a file whole or not at all.
///
/// # Errors
/// The folder or the disk refuses.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let whole = || -> io::Result<()> {
        // A temporary file is for its user only, unless it is said otherwise; the umask still counts.
        let readable = fs::Permissions::from_mode(0o666);
        let mut builder = tempfile::Builder::new();
        let mut file = builder.permissions(readable).tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.persist(path)?;
        Ok(())
    };
    whole().map_err(|error| at(path, error))
}

/// The same, if the file does not have this text yet: whoever looks at its time sees no change.
///
/// # Errors
/// The folder or the disk refuses.
#[cfg(feature = "cli")]
pub fn write_new(path: &Path, text: &str) -> io::Result<()> {
    match fs::read_to_string(path) {
        Ok(written) if written == text => Ok(()),
        _ => write(path, text),
    }
}

/// The plan files of a folder, `*.toml`, in the order of their names.
///
/// # Errors
/// The folder cannot be read, or is not there.
pub fn plans(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let files = fs::read_dir(folder).map_err(|error| at(folder, error))?;
    let paths = files.map(|file| file.map(|file| file.path()));
    let mut paths = paths.collect::<io::Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|it| it == "toml"));
    paths.sort();
    Ok(paths)
}

/// An error that names what it is about.
pub(crate) fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_be_read_by_whom_the_umask_lets() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        write(&path("ours"), "text").expect("written");
        fs::write(path("any"), "text").expect("written");
        let mode = |name: &str| {
            let file = fs::metadata(path(name)).expect("a file");
            file.permissions().mode()
        };
        assert_eq!(mode("ours"), mode("any"));
    }
}
