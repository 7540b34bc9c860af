//! Does the exported program of each known finding build by itself and fail in the same way?
//!
//! All of them are built at once, as the binaries of one package with a target folder of its own:
//! after the first time only they are compiled.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dismantle::export::LINES_MAX;
use dismantle_transport::compat::CAPNP_RPC_VERSION;

/// The plans of known findings.
const PLANS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/known");

/// The classes that show by themselves.
const SHOWN: [&str; 5] = ["panic", "abort", "overflow", "hang", "leak"];

/// A plan that nothing is wrong with.
const CLEAN: &str = r#"dismantle = 1
scenario = "program"

[decisions]
op.1.argument = "object"
op.1.keep = "both"
op.1.steps = 10000
op.1.what = "call"
op.2.what = "make-promise"
op.3.on = 2
op.3.what = "call"
op.4.argument = "bootstrap"
op.4.on = 2
op.4.steps = 10000
op.4.what = "resolve"
"#;

fn export(plan: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dismantle"))
        .arg("export")
        .arg(plan)
        .args(arguments)
        .output()
        .expect("it starts")
}

/// Exports a plan to `folder`; gives the source.
fn exported(plan: &Path, folder: &Path) -> String {
    let output = export(plan, &["-o", folder.to_str().expect("a path in UTF-8")]);
    assert!(output.status.success(), "{}: {output:?}", plan.display());
    fs::read_to_string(folder.join("src/main.rs")).expect("written")
}

/// What a plan was kept for.
fn signature(plan: &Path) -> Option<String> {
    let text = fs::read_to_string(plan).expect("a file of ours");
    let table: toml::Table = text.parse().expect("a plan");
    let signature = table.get("signature")?.as_str()?;
    Some(signature.to_owned())
}

fn known() -> Vec<(PathBuf, String)> {
    let files = fs::read_dir(PLANS).expect("a folder of plans");
    let paths = files.map(|file| file.expect("a file").path());
    let mut known: Vec<_> = paths
        .filter_map(|path| {
            let signature = signature(&path)?;
            let class = signature.split(' ').next()?.to_owned();
            SHOWN.contains(&&class[..]).then_some((path, signature))
        })
        .collect();
    known.sort();
    known
}

fn name(plan: &Path) -> String {
    let stem = plan.file_stem().expect("a file's name");
    stem.to_str().expect("a name in UTF-8").to_owned()
}

/// Says what is wrong with how a program ended that shows `signature`.
fn wrong(signature: &str, output: &Output) -> Option<&'static str> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut words = signature.split(' ');
    let class = words.next().expect("a class");
    let (ended, shown) = match class {
        "panic" => {
            let site = words.next().expect("a place");
            let message: Vec<&str> = words.collect();
            let said = errors.contains(&format!("{site}:")) && errors.contains(&message.join(" "));
            (output.status.code() == Some(101), said)
        }
        "abort" => {
            let sites: Vec<&str> = words.filter(|word| *word != "then").collect();
            let seen = |site: &&&str| errors.matches(&format!("{site}:")).count();
            let twice = |site: &&str| sites.iter().filter(|other| *other == site).count();
            let said = sites.iter().all(|site| seen(&site) >= twice(site));
            (output.status.signal() == Some(6), said)
        }
        "overflow" => {
            let said = errors.contains("has overflowed its stack");
            (output.status.signal() == Some(6), said)
        }
        "hang" => {
            let said = words.all(|kind| text.contains(&format!("never ended: [(\"{kind} ")));
            (output.status.code() == Some(1), said)
        }
        _ => {
            let said = text.contains("never destroyed: [\"") && text.contains("/object/");
            (output.status.code() == Some(1), said)
        }
    };
    match (ended, shown) {
        (true, true) => None,
        (false, _) => Some("it does not end as it should"),
        _ => Some("it does not show what it should"),
    }
}

#[test]
fn every_known_finding_has_a_program_that_shows_it() {
    if CAPNP_RPC_VERSION != "0.27.3" {
        eprintln!("nothing to compare: capnp-rpc is {CAPNP_RPC_VERSION}");
        return;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("exports");
    let binaries = folder.join("src/bin");
    drop(fs::remove_dir_all(folder.join("src")));
    fs::create_dir_all(&binaries).expect("a folder");
    let single = tempfile::tempdir().expect("a folder");
    let clean = single.path().join("clean.toml");
    fs::write(&clean, CLEAN).expect("written");

    let mut expected = BTreeMap::new();
    for (plan, signature) in known() {
        let source = exported(&plan, single.path());
        let count = source.lines().count();
        assert!(count <= LINES_MAX, "{}: {count} lines", plan.display());
        fs::write(binaries.join(name(&plan) + ".rs"), source).expect("written");
        expected.insert(name(&plan), Some(signature));
    }
    let source = exported(&clean, single.path());
    fs::write(binaries.join("clean.rs"), source).expect("written");
    expected.insert("clean".to_owned(), None);

    let manifest = single.path().join("Cargo.toml");
    let manifest = fs::read_to_string(manifest).expect("written");
    let manifest = format!("{manifest}\n[profile.dev]\ndebug = false\n");
    fs::write(folder.join("Cargo.toml"), manifest).expect("written");
    // The releases that are here already.
    let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock");
    fs::copy(lock, folder.join("Cargo.lock")).expect("copied");

    let rustfmt = Command::new("rustfmt")
        .args(["--check", "--edition", "2024"])
        .args(
            expected
                .keys()
                .map(|name| binaries.join(name.to_owned() + ".rs")),
        )
        .output()
        .expect("rustfmt is there");
    let diff = String::from_utf8_lossy(&rustfmt.stdout).into_owned();
    assert!(rustfmt.status.success(), "not as rustfmt writes it: {diff}");

    let target = folder.join("target");
    let build = Command::new(env!("CARGO"))
        .args(["build", "--offline", "--quiet"])
        .current_dir(&folder)
        .env("CARGO_TARGET_DIR", &target)
        .env("RUSTFLAGS", "-Dwarnings")
        .output()
        .expect("cargo is there");
    let errors = String::from_utf8_lossy(&build.stderr).into_owned();
    assert!(build.status.success(), "{errors}");

    for (name, signature) in expected {
        let output = Command::new(target.join("debug").join(&name))
            .env("RUST_BACKTRACE", "0")
            .output()
            .expect("it was built");
        let wrong = match &signature {
            Some(signature) => wrong(signature, &output),
            None => {
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                let silent = text == "never ended: []\nnever destroyed: []\n";
                for class in SHOWN {
                    let other = format!("{class} capnp-rpc-0.27.3/src/rpc.rs:1");
                    assert!(
                        self::wrong(&other, &output).is_some(),
                        "{class} would be seen"
                    );
                }
                (!output.status.success() || !silent).then_some("nothing is wrong with it")
            }
        };
        assert_eq!(wrong, None, "{name}: {signature:?}: {output:?}");
    }
}

/// What a program cannot do is an error that names it, and nothing is written.
#[test]
fn what_cannot_be_written_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let plan = folder.path().join("plan.toml");
    let written = folder.path().join("written");
    let cases = [
        ("pipe.c2s.capacity = 7", "`pipe.c2s.capacity`"),
        ("release = \"first\"", "`release`"),
        (
            "op.1.late_us = 5\nop.1.method = \"early\"\nop.2.method = \"early\"\nop.2.what = \"call\"",
            "`op.*.late_us`",
        ),
    ];
    for (decisions, named) in cases {
        let text = format!(
            "dismantle = 1\nscenario = \"program\"\n\n[decisions]\nop.1.what = \"call\"\n{decisions}\n"
        );
        fs::write(&plan, text).expect("written");
        let output = export(&plan, &["-o", written.to_str().expect("a path in UTF-8")]);
        assert_eq!(output.status.code(), Some(2), "{decisions}: {output:?}");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(errors.contains(named), "{decisions}: {errors}");
        assert!(!written.exists());
    }
}

/// On standard output it is one file, with the manifest at its head.
#[test]
fn a_program_on_standard_output_says_what_it_needs() {
    let folder = tempfile::tempdir().expect("a folder");
    let plan = folder.path().join("plan.toml");
    fs::write(&plan, CLEAN).expect("written");
    let output = export(&plan, &[]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.starts_with("// Cargo.toml:\n"), "{text}");
    assert!(text.contains("// capnp-rpc = \"=") && text.contains("\nfn main() {\n"));
}
