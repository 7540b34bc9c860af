//! Puts the known findings into the library: each file of `known/`, with its name.

#![expect(
    clippy::disallowed_methods,
    reason = "a build script is told by its environment what it builds"
)]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=known");
    let home = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let folder = PathBuf::from(home).join("known");
    let files = fs::read_dir(&folder).expect("the folder of known findings");
    let mut paths: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    paths.sort();
    let mut list =
        "/// The built-in files: name and text.\nconst FILES: &[(&str, &str)] = &[\n".to_owned();
    for path in paths {
        let name = path
            .file_stem()
            .expect("a file has a name")
            .to_string_lossy();
        writeln!(list, "    ({name:?}, include_str!({path:?})),")
            .expect("a String takes all writes");
    }
    list += "];\n";
    let out = env::var("OUT_DIR").expect("cargo sets it");
    fs::write(PathBuf::from(out).join("known.rs"), list).expect("cargo's folder can be written");
}
