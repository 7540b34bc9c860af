//! Do `bisect` and `matrix` find what they should with builds of their own, and remember them?
//!
//! The upstream of these tests is a small one: three crates of one line each, as releases in a
//! folder that cargo takes for its registry, and as commits of a repository. The program that is
//! built against them says what upstream's line tells it to. Of the C++ library a release is a header
//! with such a line, and the program a package two folders deep in a workspace.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "one of the tests interrupts a process while a build of its own runs"
)]

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Releases, and what the program says of the plan when it is built against them.
const RELEASES: [(&str, &str); 9] = [
    ("0.20.0", "good"),
    ("0.20.1", "good"),
    ("0.20.2", "does not compile"),
    ("0.20.3", "bad"),
    ("0.21.0", "bad"),
    ("0.21.1", "cannot"),
    ("0.22.0", "bad"),
    ("0.22.1", "good"),
    ("0.23.0", "good"),
];

/// Installed releases of the C++ library, and what the program says that is built with them.
const INSTALLED: [(&str, &str); 4] = [
    ("0.9.2", "bad"),
    ("1.0.0", "does not compile"),
    ("1.2.0", "good"),
    ("1.10.0", "good"),
];

struct World {
    folder: tempfile::TempDir,
    manifest: &'static str,
}

impl World {
    fn new() -> Self {
        let world = Self {
            folder: tempfile::tempdir().expect("a folder"),
            manifest: "package/Cargo.toml",
        };
        let mut index = b"\x03\x02\0\0\0etag: \"1\"\0".to_vec();
        for (version, state) in RELEASES {
            world.krate(
                &format!("vendor/capnp-rpc-{version}"),
                "capnp-rpc",
                version,
                state,
            );
            let line = json!({"name": "capnp-rpc", "vers": version, "deps": [], "yanked": false});
            index.extend(format!("{version}\0{line}\0").bytes());
        }
        for name in ["capnp", "capnp-futures"] {
            world.krate(&format!("vendor/{name}"), name, "0.20.0", "good");
        }
        let vendor = world.path("vendor");
        let config = format!(
            "[net]\noffline = true\n\n[source.crates-io]\nreplace-with = \"folder\"\n\n\
             [source.folder]\ndirectory = {vendor:?}\n"
        );
        world.write("home/config.toml", &config);
        world.write_bytes("home/registry/index/x/.cache/ca/pn/capnp-rpc", &index);
        world.write(
            "package/Cargo.toml",
            "[package]\nname = \"small\"\nversion = \"1.0.0\"\nedition = \"2021\"\n\n[workspace]\n\n\
             [[bin]]\nname = \"dismantle\"\npath = \"main.rs\"\n\n[dependencies]\n\
             capnp = \">=0.20\"\ncapnp-futures = \">=0.20\"\ncapnp-rpc = \">=0.20\"\n",
        );
        world.write("package/main.rs", &world.program("capnp_rpc::SAYS"));
        world.write(
            "plan.toml",
            "dismantle = 1\nscenario = \"pipeline\"\nsignature = \"hang call\"\n",
        );
        world
    }

    /// One whose program has a C++ library in it, by a build script and another package of its
    /// workspace; its lock file has a release of capnp-rpc that is not the newest.
    fn with_kj() -> Self {
        let world = Self {
            manifest: "workspace/scenarios/kj/Cargo.toml",
            ..Self::new()
        };
        for (version, state) in INSTALLED {
            let header = format!("user/dismantle/kj/{version}/include/says.h");
            world.write(&header, state);
        }
        world.write("user/dismantle/kj/1.1.0/lib/libkj.a", "no headers");
        let package = "edition = { workspace = true }\nversion = { workspace = true }\n";
        world.write(
            "workspace/Cargo.toml",
            "[workspace]\nresolver = \"2\"\nmembers = [\"harness\", \"scenarios/kj\"]\n\
             default-members = [\"harness\"]\n\n\
             [workspace.package]\nversion = \"1.0.0\"\nedition = \"2021\"\n\n\
             [workspace.dependencies]\nharness = { path = \"harness\", version = \"1.0.0\" }\n\
             capnp = \">=0.20\"\ncapnp-futures = \">=0.20\"\ncapnp-rpc = \">=0.20\"\n",
        );
        world.write(
            "workspace/harness/Cargo.toml",
            &format!(
                "[package]\nname = \"harness\"\n{package}\n[dependencies]\n\
                 capnp = {{ workspace = true }}\ncapnp-futures = {{ workspace = true }}\n\
                 capnp-rpc = {{ workspace = true }}\n"
            ),
        );
        world.write(
            "workspace/harness/src/lib.rs",
            "pub const RPC: &str = capnp_rpc::SAYS[0];\n",
        );
        world.write(
            world.manifest,
            &format!(
                "[package]\nname = \"small-kj\"\n{package}\n[package.metadata.dismantle]\nkj = true\n\n\
                 [[bin]]\nname = \"dismantle\"\npath = \"src/main.rs\"\n\n\
                 [dependencies]\nharness = {{ workspace = true }}\n"
            ),
        );
        world.write("workspace/scenarios/kj/cpp/shim.h", "// says\n");
        world.write(
            "workspace/scenarios/kj/build.rs",
            r#"fn main() {
    println!("cargo::rerun-if-env-changed=DISMANTLE_KJ");
    println!("cargo::rerun-if-changed=cpp");
    assert!(std::fs::exists("cpp/shim.h").unwrap());
    let version = std::env::var("DISMANTLE_KJ").unwrap_or("1.2.0".to_owned());
    let cache = std::env::var("XDG_CACHE_HOME").unwrap();
    let header = format!("{cache}/dismantle/kj/{version}/include/says.h");
    let state = std::fs::read_to_string(header).unwrap();
    assert!(state != "does not compile", "error: not this one");
    println!("cargo::rustc-env=KJ={version}");
    println!("cargo::rustc-env=STATE={state}");
}
"#,
        );
        let says =
            "[env!(\"KJ\").to_owned() + \" with \" + harness::RPC, env!(\"STATE\").to_owned()]";
        world.write("workspace/scenarios/kj/src/main.rs", &world.program(says));
        let mut cargo = Command::new("cargo");
        cargo.args(["generate-lockfile", "--manifest-path"]);
        cargo.arg(world.path("workspace/Cargo.toml"));
        let output = world.settings(&mut cargo).output().expect("it starts");
        assert!(output.status.success(), "{}", stderr(&output));
        let lock = fs::read_to_string(world.path("workspace/Cargo.lock")).expect("written");
        let older = lock.replace("\"0.23.0\"", "\"0.22.1\"");
        assert_ne!(older, lock);
        world.write("workspace/Cargo.lock", &older);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("text").to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        self.write_bytes(name, text.as_bytes());
    }

    fn write_bytes(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("created");
        fs::write(path, bytes).expect("written");
    }

    /// A crate of upstream that makes the program say `state`.
    fn krate(&self, folder: &str, name: &str, version: &str, state: &str) {
        let mut manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"{version}\"\nedition = \"2021\"\n\n\
             [lib]\npath = \"lib.rs\"\n\n[workspace]\n"
        );
        if name == "capnp-rpc" {
            manifest += "\n[dependencies]\ncapnp = \">=0.20\"\ncapnp-futures = \">=0.20\"\n";
        }
        let library = match state {
            "does not compile" => "compile_error!(\"not this one\");".to_owned(),
            state => format!("pub const SAYS: [&str; 2] = [{version:?}, {state:?}];\n"),
        };
        self.write(&format!("{folder}/Cargo.toml"), &manifest);
        self.write(&format!("{folder}/lib.rs"), &library);
        self.write(&format!("{folder}/.cargo-checksum.json"), "{\"files\":{}}");
    }

    /// The sources of a program in the place of the one that is tested; it notes when it is run, and
    /// hangs while there is a file that names its version. Version and state are those of `says`.
    fn program(&self, says: &str) -> String {
        let finding = json!({"class": "hang", "signature": "hang call", "kin": "hang call",
            "site": null, "detail": "client/call/0", "blame": "upstream"});
        let mut clean = clean();
        clean["upstream"] = "VERSION".into();
        clean["destroyed_count"] = 2.into();
        let mut bad = clean.clone();
        bad["findings"] = json!([finding]);
        bad["signature"] = "hang call".into();
        bad["outcome"] = "failed".into();
        bad["destroyed"] = json!(["client/system", "client/call/0"]);
        bad["steps"] = (clean["steps"].as_u64().expect("a number") + 100).into();
        bad["digest"] = "fedcba9876543210".into();
        clean["destroyed"] = json!(["client/call/0", "client/system"]);
        let growth = json!({"type": "growth", "scenario": "pipeline", "phase": "teardown",
            "metric": "stack_bytes", "over": "calls", "sizes": [1, 2, 4], "values": [1, 2, 4],
            "law": "LAW", "per_item": 1.0, "overflow_at": {}});
        let ran = self.path("ran");
        let hangs = self.path("hangs");
        format!(
            r###"use std::io::Write;

fn main() {{
    let [version, state] = {says};
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut ran = std::fs::File::options().create(true).append(true).open({ran:?}).unwrap();
    writeln!(ran, "{{version}} {{}}", arguments.join(" ")).unwrap();
    while std::fs::read_to_string({hangs:?}).is_ok_and(|it| it.trim() == version) {{
        std::thread::sleep(std::time::Duration::from_millis(20));
    }}
    let (line, law) = match &state[..] {{
        "good" => (r##"{clean}"##, "O(1)"),
        "bad" => (r##"{bad}"##, "O(n)"),
        _ => {{
            eprintln!("error: skipped: no streams in this release");
            std::process::exit(4);
        }}
    }};
    match arguments[0].as_str() {{
        "growth" => println!("{{}}", r##"{growth}"##.replace("LAW", law)),
        _ => println!("{{}}", line.replace("VERSION", &format!("capnp-rpc-{{version}}"))),
    }}
}}
"###
        )
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dismantle"));
        command.args(arguments);
        command.args(["--cache", &self.text("cache")]);
        command.args(["--manifest-path", &self.text(self.manifest)]);
        self.settings(&mut command);
        command
    }

    /// The environment of this world.
    fn settings<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("CARGO_HOME", self.path("home"));
        command.env("XDG_CACHE_HOME", self.path("user"));
        let all = ["CARGO_MANIFEST_DIR", "CARGO_TARGET_DIR", "RUSTFLAGS"];
        for name in all.into_iter().chain(["DISMANTLE_KJ"]) {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("it starts")
    }

    fn bisect(&self, good: &str, bad: &str, more: &[&str]) -> Output {
        let plan = self.text("plan.toml");
        let ends = ["bisect", &plan, "--good", good, "--bad", bad];
        self.run(&[&ends[..], more].concat())
    }

    /// The versions of the builds that were run, each as often as it was.
    fn ran(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("ran")).unwrap_or_default();
        let versions = text
            .lines()
            .map(|line| line.split(' ').next().expect("a word"));
        versions.map(str::to_owned).collect()
    }

    fn git(&self, arguments: &[&str]) -> String {
        let mut git = Command::new("git");
        git.arg("-C").arg(self.path("repository"));
        git.args(["-c", "user.name=A", "-c", "user.email=a@example.org"]);
        git.env("GIT_AUTHOR_DATE", "2024-02-03T04:05:06+01:00");
        let output = git.args(arguments).output().expect("git is there");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// A commit of the repository of upstream, in this state.
    fn commit(&self, subject: &str, state: &str) -> String {
        for name in ["capnp", "capnp-futures", "capnp-rpc"] {
            let version = "0.30.0";
            self.krate(&format!("repository/{name}"), name, version, state);
        }
        self.write("repository/subject", subject);
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", subject]);
        self.git(&["rev-parse", "HEAD"])
    }
}

/// The report of a clean run.
fn clean() -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dismantle"));
    let output = command.args(["run", "orderly", "--json"]).output();
    serde_json::from_slice(&output.expect("it starts").stdout).expect("a JSON line")
}

fn status(output: &Output) -> i32 {
    output.status.code().expect("no signal")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json_lines(output: &Output) -> Vec<Value> {
    let text = stdout(output);
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON line"));
    lines.collect()
}

/// The last line, which is what was found.
fn found(output: &Output) -> Value {
    assert_eq!(status(output), 0, "{}", stderr(output));
    let line = json_lines(output).pop().expect("a line");
    assert_eq!(line["type"], "regression");
    line
}

#[test]
fn releases_are_bisected_to_the_regression_and_to_the_fix_and_remembered() {
    let world = World::new();
    let output = world.bisect("0.20.0", "0.22.0", &["--json"]);
    let line = found(&output);
    assert_eq!(
        (&line["dependency"], &line["change"]),
        (&json!("capnp-rpc"), &json!("regression"))
    );
    assert_eq!(
        (&line["last_good"], &line["first_bad"]),
        (&json!("0.20.1"), &json!("0.20.3"))
    );
    assert_eq!(
        (&line["last_bad"], &line["first_good"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(
        (&line["signature"], &line["kin"]),
        (&json!("hang call"), &json!("hang call"))
    );
    let skipped = line["skipped"].as_array().expect("a list");
    assert_eq!(skipped.len(), 1);
    assert_eq!(skipped[0]["upstream"], "0.20.2");
    let why = skipped[0]["why"].as_str().expect("text");
    assert!(why.contains("not this one"), "{why}");
    // What changed between the two is what `diff` says.
    let diff = &line["diff"];
    assert_eq!(diff["findings"]["new"], json!(["hang call"]));
    assert_eq!(diff["outcome"], json!({"old": "clean", "new": "failed"}));
    assert_eq!(
        diff["upstream"],
        json!({"old": "capnp-rpc-0.20.1", "new": "capnp-rpc-0.20.3"})
    );
    let probes = json_lines(&output);
    let probed = probes.iter().filter(|line| line["type"] == "probe");
    let probed: Vec<&str> = probed
        .map(|line| line["upstream"].as_str().expect("text"))
        .collect();
    assert_eq!(&probed[..2], ["0.20.0", "0.22.0"]);
    let replay = line["replay"].as_str().expect("text");
    assert!(
        replay.contains(" against --cache ") && replay.contains(" 0.20.3 -- replay "),
        "{replay}"
    );

    // Everything is known now: nothing is run.
    let ran = world.ran();
    assert_eq!(
        world.bisect("0.20.0", "0.22.0", &["--json"]).stdout,
        output.stdout
    );
    assert_eq!(world.ran(), ran);

    // The same line, pasted, with the ends that it comes down to.
    let again = line["again"].as_str().expect("text");
    assert!(again.contains("--good 0.20.1 --bad 0.20.3"), "{again}");
    let pasted = Command::new("sh")
        .arg("-c")
        .arg(again)
        .env("CARGO_HOME", world.path("home"))
        .output();
    assert_eq!(found(&pasted.expect("a shell"))["first_bad"], "0.20.3");

    let line = found(&world.bisect("0.23.0", "0.21.0", &["--json"]));
    assert_eq!(line["change"], "fix");
    assert_eq!(
        (&line["last_bad"], &line["first_good"]),
        (&json!("0.22.0"), &json!("0.22.1"))
    );
    assert_eq!(
        (&line["last_good"], &line["first_bad"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(line["diff"]["findings"]["gone"], json!(["hang call"]));

    let text = world.bisect("0.20.0", "0.22.0", &[]);
    let said = stdout(&text);
    assert!(
        said.starts_with(
            "capnp-rpc went wrong after 0.20.1, which is good, and at the latest with 0.20.3"
        ),
        "{said}"
    );
    assert!(
        said.contains("0.20.2 is skipped: ") && said.contains("what changed between the two\n"),
        "{said}"
    );
    assert!(stderr(&text).contains("left, about "), "{}", stderr(&text));

    // What else can be compared.
    let by =
        |more: &[&str]| found(&world.bisect("0.20.0", "0.22.0", &[&["--json"], more].concat()));
    let law = by(&["--metric", "stack_bytes.teardown", "--law"]);
    assert_eq!(
        (&law["last_good"], &law["first_bad"]),
        (&json!("0.20.1"), &json!("0.20.3"))
    );
    let change = &law["diff"]["laws"][0];
    assert_eq!(
        (&change["old"], &change["new"]),
        (&json!("O(1)"), &json!("O(n)"))
    );
    let line = by(&["--digest", "--spin", "5s"]);
    let replay = line["replay"].as_str().expect("text");
    assert!(replay.ends_with(" --spin 5s"), "{replay}");
    let ran = fs::read_to_string(world.path("ran")).expect("they ran");
    assert!(ran.ends_with(" --spin 5s --json\n"), "{ran}");
    let steps = clean()["steps"].to_string();
    for more in [
        &["--metric", "steps", "--above", &steps][..],
        &["--order", "client/call before client/system"],
        &["--digest"],
    ] {
        let line = by(more);
        assert_eq!(line["first_bad"], "0.20.3", "{more:?}");
    }
}

#[test]
fn ends_that_do_not_separate_are_bad_input_that_says_what_each_showed() {
    let world = World::new();
    let cases = [
        (
            "0.20.0",
            "0.20.1",
            "nothing is found at the bad end: good 0.20.0 is clean; bad 0.20.1 is clean",
        ),
        (
            "0.21.0",
            "0.22.0",
            "0.21.0, given as good, is bad: `hang call`; 0.22.0, given as bad, is bad: `hang call`",
        ),
        (
            "0.21.1",
            "0.22.0",
            "0.21.1 cannot be an end: no streams in this release",
        ),
        ("0.20.2", "0.22.0", "0.20.2 cannot be an end: "),
        (
            "0.20.0",
            "0.99.0",
            "no capnp-rpc 0.99.0 is published; the newest is 0.23.0",
        ),
    ];
    for (good, bad, message) in cases {
        let output = world.bisect(good, bad, &["--json"]);
        assert_eq!(status(&output), 2, "{good} {bad}");
        assert!(stderr(&output).contains(message), "{}", stderr(&output));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn commits_are_bisected_and_the_repository_is_as_before() {
    let world = World::new();
    fs::create_dir(world.path("repository")).expect("created");
    world.git(&["init", "--quiet", "--initial-branch=main"]);
    let good = world.commit("first", "good");
    world.git(&["switch", "--quiet", "--create", "side"]);
    world.commit("on the side", "good");
    world.git(&["switch", "--quiet", "main"]);
    world.commit("no commit to build", "does not compile");
    let last_good = world.commit("still good", "good");
    let first_bad = world.commit("queue: a chain of promises", "bad");
    world.git(&[
        "merge",
        "--quiet",
        "--no-ff",
        "--message=merge",
        "--strategy=ours",
        "side",
    ]);
    world.commit("cannot be run", "cannot");
    let bad = world.commit("last", "bad");
    world.write("repository/subject", "work under way");
    let state = || {
        let all = [
            &["status", "--porcelain"][..],
            &["for-each-ref"],
            &["worktree", "list"],
        ];
        all.map(|arguments| world.git(arguments))
    };
    let before = state();
    let repository = world.text("repository");
    let line = found(&world.bisect(&good, "main", &["--git", &repository, "--json"]));
    assert_eq!(
        (&line["last_good"], &line["first_bad"]),
        (&json!(last_good), &json!(first_bad))
    );
    assert_eq!(line["skipped"], json!([]));
    let commit = json!({"id": first_bad, "subject": "queue: a chain of promises",
        "author_date": "2024-02-03T04:05:06+01:00"});
    assert_eq!(line["commit"], commit);
    assert_eq!(state(), before);
    let replay = line["replay"].as_str().expect("text");
    assert!(
        replay.contains(&format!("git:{repository}@{first_bad} -- replay ")),
        "{replay}"
    );
    let text = world.bisect(&good, &bad, &["--git", &repository]);
    assert!(
        stdout(&text).contains("queue: a chain of promises\n    2024-02-03"),
        "{}",
        stdout(&text)
    );
    let wrong = world.bisect("nothing", &bad, &["--git", &repository]);
    assert_eq!(status(&wrong), 2, "{}", stderr(&wrong));

    // The same upstreams in a table.
    let plan = world.text("plan.toml");
    let versions = format!("git:{repository}@{last_good},git:{repository}@{first_bad}");
    let matrix = world.run(&["matrix", &plan, "--versions", &versions, "--json"]);
    let cells = json_lines(&matrix);
    assert_eq!(
        (&cells[0]["cell"], &cells[1]["class"]),
        (&json!("clean"), &json!("hang"))
    );
}

#[test]
fn one_that_is_interrupted_goes_on_where_it_was() {
    let world = World::new();
    world.write("hangs", "0.20.1");
    let plan = world.text("plan.toml");
    let ends = [
        "bisect", &plan, "--good", "0.20.0", "--bad", "0.22.0", "--json",
    ];
    let mut command = world.command(&ends);
    // As a terminal does it: Ctrl-C is for the whole group.
    command
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let bisect = command.spawn().expect("it starts");
    let group = rustix::process::Pid::from_child(&bisect);
    let started = Instant::now();
    while !world.ran().contains(&"0.20.1".to_owned()) {
        assert!(
            started.elapsed() < Duration::from_secs(300),
            "{:?}",
            world.ran()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    rustix::process::kill_process_group(group, rustix::process::Signal::INT).expect("it is there");
    let output = bisect.wait_with_output().expect("it ends");
    assert_eq!(status(&output), 130, "{}", stderr(&output));
    assert!(
        stderr(&output).contains("goes on from there"),
        "{}",
        stderr(&output)
    );
    let before = world.ran();
    assert_eq!(
        before.iter().filter(|it| *it == "0.20.0").count(),
        3,
        "{before:?}"
    );

    fs::remove_file(world.path("hangs")).expect("it was there");
    let line = found(&world.run(&ends));
    assert_eq!(
        (&line["last_good"], &line["first_bad"]),
        (&json!("0.20.1"), &json!("0.20.3"))
    );
    let after = world.ran();
    for version in ["0.20.0", "0.22.0"] {
        let of = |ran: &[String]| ran.iter().filter(|it| *it == version).count();
        assert_eq!(of(&after), of(&before), "{version} was asked again");
    }
}

#[test]
fn a_table_has_every_plan_at_every_release_and_runs_only_what_is_missing() {
    let world = World::new();
    let other = "dismantle = 1\nscenario = \"orderly\"\nsignature = \"leak call\"\n";
    world.write("plans/other.toml", other);
    fs::copy(world.path("plan.toml"), world.path("plans/kept.toml")).expect("copied");
    let plans = world.text("plans");
    let matrix = |more: &[&str]| world.run(&[&["matrix", &plans], more].concat());
    let text = matrix(&["--versions", "0.20.1..0.22.0"]);
    assert_eq!(status(&text), 0, "{}", stderr(&text));
    let said = stdout(&text);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines[..5],
        [
            "       0.20.1  0.20.2  0.20.3     0.21.1",
            "                       to 0.21.0",
            "kept   clean   -       hang       -",
            "other  clean   -       hang*      -",
            "2 plans, 5 upstreams: 2 clean, 2 with their finding, 2 with another (*), 4 skipped",
        ],
        "{said}"
    );
    let skipped = "skipped at 0.21.1, every plan: no streams in this release";
    assert!(lines.contains(&skipped), "{said}");
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("skipped at 0.20.2, every plan: ")),
        "{said}"
    );

    let ran = world.ran();
    let file = world.text("table.md");
    let markdown = matrix(&["--versions", "0.20.1..=0.22.0", "--markdown", "-o", &file]);
    assert_eq!(status(&markdown), 0, "{}", stderr(&markdown));
    assert!(markdown.stdout.is_empty());
    let table = fs::read_to_string(&file).expect("written");
    assert!(
        table.contains("| plan | 0.20.1 | 0.20.2 | 0.20.3 – 0.21.0 | 0.21.1 | 0.22.0 |"),
        "{table}"
    );
    assert!(
        table.contains("| other | clean | - | hang\\* | - | hang\\* |"),
        "{table}"
    );
    // Only the release that was not there before.
    assert_eq!(world.ran()[ran.len()..], ["0.22.0", "0.22.0"]);

    let lines = json_lines(&matrix(&["--versions", "0.20.1,0.20.3", "--json"]));
    assert_eq!(lines.len(), 5);
    let is_other = |line: &Value| {
        (
            line["plan"].clone(),
            line["upstream"].clone(),
            line["other"].clone(),
        )
    };
    assert_eq!(
        is_other(&lines[3]),
        (json!("other"), json!("0.20.3"), json!(true))
    );
    assert_eq!(lines[4]["type"], "matrix");

    let nothing = matrix(&["--versions", "0.20.2"]);
    assert_eq!(status(&nothing), 4, "{}", stderr(&nothing));
    for (versions, message) in [
        ("0.20.9", "no capnp-rpc 0.20.9 is published"),
        ("0.24.0..0.25.0", "no release"),
        ("0.21.0..0.20.0", "runs backwards"),
    ] {
        let output = matrix(&["--versions", versions]);
        assert_eq!(status(&output), 2);
        assert!(stderr(&output).contains(message), "{}", stderr(&output));
    }
}

#[test]
fn against_runs_the_build_and_ends_with_125_where_there_is_nothing_to_replay() {
    let world = World::new();
    let plan = world.text("plan.toml");
    // Files of the package's that have the names of what is kept of a build.
    world.write("package/build.log", "the user's");
    world.write("package/program/notes", "the user's");
    let against = |version: &str, command: &str| {
        let mut against = world.command(&["--json", "against", version]);
        let output = against.args(["--", command, &plan]).output();
        output.expect("it starts")
    };
    let output = against("0.20.3", "replay");
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    assert_eq!(json_lines(&output)[0]["upstream"], "capnp-rpc-0.20.3");
    let ran = fs::read_to_string(world.path("ran")).expect("it ran");
    assert_eq!(ran, format!("0.20.3 --json replay {plan}\n"));

    let output = against("0.20.2", "replay");
    assert_eq!(status(&output), 125);
    assert!(stderr(&output).contains("not this one"), "{output:?}");
    assert_eq!(status(&against("0.21.1", "replay")), 125);
    assert_eq!(status(&against("0.21.1", "growth")), 4);
    let output = against("0.19.0", "replay");
    assert_eq!(status(&output), 2);
    assert!(stderr(&output).contains("is published"), "{output:?}");

    assert_eq!(
        fs::read(world.path("package/build.log")).expect("it is there"),
        b"the user's"
    );
    let notes = fs::read_dir(world.path("package/program")).expect("it is there");
    assert_eq!(notes.count(), 1);
}

#[test]
fn releases_of_the_cpp_library_are_upstreams_of_a_package_that_has_it() {
    let world = World::with_kj();
    let plan = world.text("plan.toml");
    let lock = fs::read(world.path("workspace/Cargo.lock")).expect("it is there");
    let against = |version: &str| {
        let mut against = world.command(&["--json", "against", version]);
        against.args(["--", "replay", &plan]);
        against
    };
    let says = |command: &mut Command| {
        let output = command.output().expect("it starts");
        assert_eq!(status(&output), 0, "{}", stderr(&output));
        json_lines(&output)[0]["upstream"].clone()
    };
    // With the release of capnp-rpc that the package's own lock file has, and in turn.
    for version in ["0.9.2", "1.2.0", "0.9.2"] {
        let upstream = says(&mut against(&format!("kj:{version}")));
        assert_eq!(upstream, format!("capnp-rpc-{version} with 0.22.1"));
    }
    // Against another release of capnp-rpc it has the library that it would have.
    for version in ["0.9.2", "1.10.0"] {
        let mut against = against("0.20.1");
        let upstream = says(against.env("DISMANTLE_KJ", version));
        assert_eq!(upstream, format!("capnp-rpc-{version} with 0.20.1"));
    }
    let output = against("kj:1.0.0").output().expect("it starts");
    assert_eq!(status(&output), 125);
    let said = stderr(&output);
    assert!(
        said.contains("cannot be built against Cap'n Proto for C++ 1.0.0: "),
        "{said}"
    );

    // Ten comes after nine, and what has no headers is not there.
    let matrix = |versions: &str| world.run(&["matrix", &plan, "--versions", versions, "--json"]);
    let cells = json_lines(&matrix("kj:0.9.2..=kj:1.10.0,0.20.3,kj:0.9.2"));
    let cells = cells.iter().map(|line| {
        let upstream = line["upstream"].as_str().unwrap_or("all");
        format!("{upstream} {}", line["cell"].as_str().unwrap_or_default())
    });
    assert_eq!(
        cells.collect::<Vec<_>>(),
        [
            "kj:0.9.2 finding",
            "kj:1.0.0 skipped",
            "kj:1.2.0 clean",
            "kj:1.10.0 clean",
            "0.20.3 clean",
            "all ",
        ]
    );

    // A column is of one library.
    let table = world.run(&[
        "matrix",
        &plan,
        "--versions",
        "kj:1.2.0..,0.20.3",
        "--markdown",
    ]);
    let head = "| plan | kj:1.2.0 – kj:1.10.0 | 0.20.3 |";
    assert!(stdout(&table).contains(head), "{table:?}");

    let line = found(&world.bisect("kj:1.10.0", "kj:0.9.2", &["--json"]));
    assert_eq!(
        (&line["dependency"], &line["change"]),
        (&json!("capnproto"), &json!("fix"))
    );
    assert_eq!(
        (&line["last_bad"], &line["first_good"]),
        (&json!("kj:0.9.2"), &json!("kj:1.2.0"))
    );
    assert_eq!(line["skipped"][0]["upstream"], "kj:1.0.0");
    let replay = line["replay"].as_str().expect("text");
    assert!(replay.contains(" kj:0.9.2 -- replay "), "{replay}");
    let again = line["again"].as_str().expect("text");
    assert!(again.contains("--good kj:1.2.0 --bad kj:0.9.2"), "{again}");

    // The ends may be the plan's own.
    let of_itself = "dismantle = 1\nscenario = \"pipeline\"\n\n[releases]\nkin = \"hang call\"\n\
                     bad = \"kj:0.9.2\"\ngood = \"kj:1.2.0\"\n";
    world.write("plan.toml", of_itself);
    let text = world.run(&["bisect", &plan]);
    let expected = "Cap'n Proto for C++ was mended after kj:0.9.2, which is bad, and at the latest \
                    with kj:1.2.0";
    assert!(stdout(&text).starts_with(expected), "{text:?}");

    let not_installed =
        "Cap'n Proto for C++ 1.1.0 is not installed: run scenarios/kj/install 1.1.0";
    let bisect = |good, bad| world.bisect(good, bad, &[]);
    for (output, message) in [
        (
            against("kj:1.1.0").output().expect("it starts"),
            not_installed,
        ),
        (matrix("kj:1.2.0,kj:1.1.0"), not_installed),
        (bisect("kj:1.1.0", "kj:0.9.2"), not_installed),
        (
            bisect("kj:1.2.0", "0.20.3"),
            "nothing is between kj:1.2.0 and 0.20.3",
        ),
        (
            matrix("kj:2.0.0.."),
            "no installed release of Cap'n Proto for C++",
        ),
        (
            world.run(&[
                "matrix",
                &plan,
                "--versions",
                "kj:0.9.2",
                "--with",
                "capnp=0.20.0",
            ]),
            "beside a release of capnp-rpc only",
        ),
    ] {
        assert_eq!(status(&output), 2, "{output:?}");
        assert!(stderr(&output).contains(message), "{output:?}");
        assert!(output.stdout.is_empty());
    }
    assert_eq!(
        fs::read(world.path("workspace/Cargo.lock")).expect("it is there"),
        lock
    );

    // A package without it.
    let world = World {
        manifest: "package/Cargo.toml",
        ..world
    };
    let mut against = world.command(&["against", "kj:0.9.2"]);
    let against = against.args(["--", "replay", &plan]).output();
    for output in [
        against.expect("it starts"),
        world.run(&["matrix", &plan, "--versions", "kj:0.9.2.."]),
        world.bisect("kj:1.2.0", "kj:0.9.2", &[]),
    ] {
        assert_eq!(status(&output), 2, "{output:?}");
        let message = "`dismantle` has no C++ library in it: its package, small, does not say";
        assert!(stderr(&output).contains(message), "{output:?}");
    }
}

#[test]
fn what_is_not_meant_so_is_exit_status_2() {
    let folder = tempfile::tempdir().expect("a folder");
    let plan = folder.path().join("plan.toml");
    let text = "dismantle = 1\nscenario = \"pipeline\"\n";
    fs::write(&plan, text).expect("written");
    let plan = plan.to_str().expect("text");
    let empty = Path::new(plan).parent().expect("a folder").join("empty");
    fs::create_dir(&empty).expect("created");
    let empty = empty.to_str().expect("text");
    let ends = |more: &[&str]| {
        let call = ["bisect", plan, "--good", "0.26.1", "--bad", "0.27.0"];
        [&call[..], more]
            .concat()
            .iter()
            .map(|it| (*it).to_owned())
            .collect::<Vec<String>>()
    };
    let words = |words: &[&str]| {
        words
            .iter()
            .map(|it| (*it).to_owned())
            .collect::<Vec<String>>()
    };
    let cases = [
        (ends(&["--metric", "steps"]), "--metric needs --above X"),
        (ends(&["--above", "5"]), "--metric"),
        (ends(&["--metric", "steps", "--law"]), "`steps` has no law"),
        (
            ends(&["--metric", "stack_bytes.drive", "--law=O(2)"]),
            "one of O(1)",
        ),
        (
            ends(&["--metric", "stack_bytes.drive", "--law=irregular"]),
            "no law is beyond",
        ),
        (
            ends(&["--metric", "stack_bytes.drive", "--law", "--over", "cals"]),
            "cals",
        ),
        (ends(&["--order", "a/b after c/d"]), "A before B"),
        (ends(&["--order", "a before c/d"]), "names such as"),
        (
            ends(&["--order", "a/b before c/d", "--digest"]),
            "cannot be used with",
        ),
        (ends(&["--times", "0"]), "0"),
        (
            words(&["bisect", plan, "--good", "0.26", "--bad", "0.27.0"]),
            "commits are bisected with --git",
        ),
        (
            words(&["bisect", plan, "--good", "0.27.0", "--bad", "0.27.0"]),
            "cannot be good and bad",
        ),
        (
            words(&[
                "bisect",
                "/nowhere.toml",
                "--good",
                "0.26.1",
                "--bad",
                "0.27.0",
            ]),
            "/nowhere.toml",
        ),
        (words(&["bisect", plan, "--good", "0.26.1"]), "--bad"),
        (words(&["matrix", "--versions", "0.26.1"]), "PLAN|DIR"),
        (words(&["matrix", plan]), "--versions"),
        (words(&["matrix", plan, "--versions", "newest"]), "such as"),
        (words(&["matrix", empty, "--versions", "0.26.1"]), "no plan"),
        (
            words(&[
                "matrix",
                plan,
                "--versions",
                "0.26.1",
                "--markdown",
                "--json",
            ]),
            "cannot be used with",
        ),
    ];
    for (arguments, message) in cases {
        let output = Command::new(env!("CARGO_BIN_EXE_dismantle"))
            .args(&arguments)
            .output()
            .expect("it starts");
        assert_eq!(status(&output), 2, "{arguments:?}: {}", stderr(&output));
        assert!(
            stderr(&output).contains(message),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}
