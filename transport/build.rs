//! Finds out which upstream release the version ranges were resolved to.
//!
//! The build dependencies have the same requirements as the dependencies, so that they are the
//! same releases. Each is asked itself: a panic on purpose has its `Location` in the crate's own
//! source, beside (or below) the `Cargo.toml` that has the version.

#![expect(
    clippy::disallowed_methods,
    reason = "a build script is told by its environment what it builds"
)]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::{env, fs, panic};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(capnp_server, values(\"mut\", \"rc\", \"value\"))");

    let (capnp, text) = version("capnp", "DISMANTLE_CAPNP_VERSION", || {
        let mut message = capnp::message::Builder::new_default();
        let root: capnp::any_pointer::Builder = message.init_root();
        let empty: capnp::primitive_list::Builder<u8> = root.initn_as(0);
        empty.get(0);
    });
    println!("cargo:rustc-env=DISMANTLE_RESOLVED_CAPNP={text}");
    let server = match capnp {
        (0, ..=21, _) => "mut",
        (0, 22, _) => "rc",
        _ => "value",
    };
    println!("cargo:rustc-cfg=capnp_server=\"{server}\"");

    let (rpc, text) = version("capnp-rpc", "DISMANTLE_CAPNP_RPC_VERSION", || {
        use capnp_rpc::{VatNetwork, rpc_twoparty_capnp::Side, twoparty};
        let (input, output, options) = (&b""[..], Vec::new(), Default::default());
        let mut network = twoparty::VatNetwork::new(input, output, Side::Client, options);
        drop(network.accept());
        network.connect(Side::Server);
    });
    println!("cargo:rustc-env=DISMANTLE_RESOLVED_CAPNP_RPC={text}");
    for (name, is_set) in [
        // `FromClientHook` has no more than `new`.
        ("capnp_hook_in_only", capnp < (0, 15, 0)),
        // What an error says is its `description`, and no `extra`.
        ("capnp_error_description", capnp < (0, 18, 0)),
        // `rpc.capnp` of 0.16.0 was taken back.
        (
            "capnp_rpc_no_finish",
            rpc >= (0, 19, 0) || rpc == (0, 16, 0),
        ),
        // What is to be said as a text is given as a `text::Reader`.
        ("capnp_text_reader", (capnp.0, capnp.1) == (0, 18)),
        ("capnp_streaming", rpc >= (0, 20, 0)),
        ("capnp_early_pipeline", rpc >= (0, 19, 5)),
        ("capnp_rpc_reconnect", rpc >= (0, 16, 0)),
        ("capnp_rpc_promise_client", rpc < (0, 20, 2)),
    ] {
        println!("cargo:rustc-check-cfg=cfg({name})");
        if is_set {
            println!("cargo:rustc-cfg={name}");
        }
    }
}

/// The version of `name`: as numbers and as written.
fn version(name: &str, variable: &str, panics: fn()) -> ((u32, u32, u32), String) {
    println!("cargo:rerun-if-env-changed={variable}");
    let file = || source_file_of(panics);
    let text = env::var(variable)
        .ok()
        .or_else(|| version_above(name, &file()?));
    let text = text.unwrap_or_else(|| {
        panic!("cannot find the version of {name}: set the environment variable {variable}=x.y.z")
    });
    let mut numbers = text
        .split(['.', '-', '+'])
        .map(|number| number.parse().ok());
    match [numbers.next(), numbers.next(), numbers.next()].map(Option::flatten) {
        [Some(major), Some(minor), Some(patch)] => ((major, minor, patch), text),
        _ => panic!("{name} has the version {text:?}: set {variable}=x.y.z"),
    }
}

/// The source file that `panics` panics in.
fn source_file_of(panics: fn()) -> Option<PathBuf> {
    if cfg!(panic = "abort") {
        return None; // It could not be caught.
    }
    let found = Arc::new(Mutex::new(None));
    let seen = found.clone();
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        *seen.lock().expect("nothing panics while it is locked") = info
            .location()
            .map(|location| PathBuf::from(location.file()));
    }));
    drop(panic::catch_unwind(panics));
    panic::set_hook(previous);
    let mut found = found.lock().expect("nothing panics while it is locked");
    found.take()
}

/// The version in the `Cargo.toml` of `name` above `file`, else in the name of a folder.
fn version_above(name: &str, file: &Path) -> Option<String> {
    // A path within the workspace that is built can be relative to its root.
    let roots = ["CARGO_MANIFEST_DIR", "OUT_DIR", "PWD"]
        .into_iter()
        .filter_map(env::var_os);
    for root in roots.map(PathBuf::from) {
        for folder in root
            .ancestors()
            .flat_map(|root| folders_above(&root.join(file)))
        {
            let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
            if value(&manifest, "[package]", "name").as_deref() != Some(name) {
                continue;
            }
            let inherited = || {
                folder.ancestors().find_map(|folder| {
                    let manifest = fs::read_to_string(folder.join("Cargo.toml")).ok()?;
                    value(&manifest, "[workspace.package]", "version")
                })
            };
            return value(&manifest, "[package]", "version").or_else(inherited);
        }
    }
    // The sources can have gone, or their path can be remapped: `.../capnp-0.27.3/src/...`
    file.iter().rev().find_map(|folder| {
        let version = folder.to_str()?.strip_prefix(name)?.strip_prefix('-')?;
        version
            .starts_with(|c: char| c.is_ascii_digit())
            .then(|| version.to_owned())
    })
}

/// The folders above `file`, innermost first.
fn folders_above(file: &Path) -> Vec<PathBuf> {
    file.ancestors().skip(1).map(Path::to_owned).collect()
}

/// The string `key = "..."` of a section of a manifest.
fn value(manifest: &str, section: &str, key: &str) -> Option<String> {
    let lines = manifest
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != section)
        .skip(1);
    let mut lines = lines.take_while(|line| !line.starts_with('['));
    lines.find_map(|line| {
        let value = line.strip_prefix(key)?.trim_start().strip_prefix('=')?;
        value.split('"').nth(1).map(str::to_owned)
    })
}
