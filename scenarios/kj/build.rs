//! Compiles the shim against an installed release of the C++ library, and links both.

#![expect(
    clippy::disallowed_methods,
    reason = "a build script is told by its environment what it builds"
)]

use std::env;
use std::path::{Path, PathBuf};

/// The release if none is named.
const NEWEST: &str = "1.3.0";

const LIBRARIES: [&str; 4] = ["capnp-rpc", "capnp", "kj-async", "kj"];

fn main() {
    println!("cargo::rerun-if-env-changed=DISMANTLE_KJ");
    println!("cargo::rerun-if-env-changed=XDG_CACHE_HOME");
    println!("cargo::rerun-if-changed=cpp");
    let release = env::var("DISMANTLE_KJ").unwrap_or_else(|_| NEWEST.to_owned());
    let Some(home) = installed(&release) else {
        println!(
            "cargo::error=Cap'n Proto for C++ {release} is not installed: run \
             scenarios/kj/install {release}"
        );
        return;
    };
    println!("cargo::rerun-if-changed={}", home.display());
    println!("cargo::rustc-env=DISMANTLE_KJ_RELEASE={release}");
    let mut shim = cc::Build::new();
    shim.cpp(true).std("c++17").include(home.join("include"));
    shim.flag("-Wno-unused-parameter");
    // Templates of the library that the shim needs, too, are linked from the shim: the frames of its
    // destructors are to be those of an optimised library, whatever the profile of the harness.
    shim.opt_level(2);
    // Places are the same on every machine.
    let include = home.join("include");
    let map = |from: &Path, to: &str| format!("-ffile-prefix-map={}={to}", from.display());
    shim.flag(map(&include, &format!("/capnproto-{release}/src")));
    let here = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    shim.flag(map(Path::new(&here), "/scenarios/kj"));
    for file in [
        "loop.c++",
        "stream.c++",
        "capability.c++",
        "object.c++",
        "vat.c++",
        "memory.c++",
        "raised.c++",
        "planted.c++",
    ] {
        shim.file(Path::new("cpp").join(file));
    }
    shim.compile("dismantle-kj-shim");
    println!(
        "cargo::rustc-link-search=native={}",
        home.join("lib").display()
    );
    for library in LIBRARIES {
        println!("cargo::rustc-link-lib=static={library}");
    }
    // The wheel's archives are not position independent.
    println!("cargo::rustc-link-arg=-no-pie");
}

/// Where a release is: where `install` puts it.
fn installed(release: &str) -> Option<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.filter(|cache| cache.is_absolute());
    let cache = cache.or_else(|| Some(env::home_dir()?.join(".cache")))?;
    let home = cache.join("dismantle/kj").join(release);
    home.join("include/kj/async.h").is_file().then_some(home)
}
