//! Does `git bisect`, as it is driven here, find the commit, and leave the repository as it was?
//!
//! Each test makes a repository whose commits say in a file what a probe comes to there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use dismantle::bisect::git::{Commit, Commits, is_ancestor};
use dismantle::bisect::{Ask, Change, Compare, Found, Prober, Shown, Verdict, Wanted, bisect};
use serde_json::{Value, json};

struct Repository {
    folder: tempfile::TempDir,
}

impl Repository {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let new = Self { folder };
        new.git(&["init", "--quiet", "--initial-branch=main"]);
        new
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn cache(&self) -> PathBuf {
        self.path().join(".git/cache of the test")
    }

    fn git(&self, arguments: &[&str]) -> String {
        let mut git = Command::new("git");
        git.arg("-C").arg(self.path());
        git.args(["-c", "user.name=A", "-c", "user.email=a@example.org"]);
        git.env("GIT_AUTHOR_DATE", "2024-02-03T04:05:06+01:00");
        git.env("GIT_CONFIG_GLOBAL", "/dev/null");
        let output = git.args(arguments).output().expect("git is there");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// A commit at which a probe comes to `state`; each has its own name.
    fn commit(&self, name: &str, state: &str) -> String {
        fs::write(self.path().join("state"), state).expect("written");
        fs::write(self.path().join(name), name).expect("written");
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", name]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn merge(&self, branch: &str) -> String {
        self.git(&[
            "merge",
            "--quiet",
            "--no-ff",
            "--strategy-option=theirs",
            "--message=merge",
            branch,
        ]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Everything that a user could miss.
    fn state(&self) -> Vec<String> {
        let all: [&[&str]; 5] = [
            &["status", "--porcelain=v2", "--branch"],
            &["for-each-ref"],
            &["worktree", "list", "--porcelain"],
            &["stash", "list"],
            &["diff"],
        ];
        all.iter().map(|arguments| self.git(arguments)).collect()
    }
}

/// Says of a commit what is in its file.
struct Reader<'a> {
    repository: &'a Repository,
    asked: Vec<String>,
}

impl Prober for Reader<'_> {
    type At = String;

    fn ask(&mut self, at: &String, _: Ask, nth: u32) -> io::Result<Result<Shown, String>> {
        self.asked.push(at.clone());
        let state = self.repository.git(&["show", &format!("{at}:state")]);
        let is_bad = match state.as_str() {
            "good" => false,
            "bad" => true,
            // Seen in 3 of 10 answers, and not in the first two.
            "flaky" => [2, 5, 6].contains(&nth),
            _ => return Ok(Err("does not compile".to_owned())),
        };
        Ok(Ok(report(is_bad, state == "flaky" && nth == 0)))
    }
}

fn report(is_bad: bool, differs: bool) -> Shown {
    let finding = |class: &str, kin: &str| json!({"class": class, "signature": kin, "kin": kin, "site": null, "detail": "", "blame": "upstream"});
    let mut findings = Vec::new();
    if is_bad {
        findings.push(finding("hang", "hang call"));
    }
    if differs {
        findings.push(finding("nondeterminism", "nondeterminism of a run"));
    }
    let mut line: Value = empty();
    line["findings"] = Value::Array(findings);
    Shown::read(vec![line]).expect("a report")
}

/// The report of a clean run, as `run --json` prints it.
fn empty() -> Value {
    static LINE: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let line = LINE.get_or_init(|| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dismantle"));
        let output = command
            .args(["run", "orderly", "--json"])
            .output()
            .expect("it starts");
        String::from_utf8_lossy(&output.stdout).into_owned()
    });
    serde_json::from_str(line).expect("a JSON line")
}

fn find(repository: &Repository, good: &str, bad: &str) -> io::Result<Found<String>> {
    let change = match is_ancestor(repository.path(), good, bad)? {
        true => Change::Regression,
        false => Change::Fix,
    };
    let [old, new] = change.pair([good, bad]);
    let wanted = Wanted {
        good: good.to_owned(),
        bad: bad.to_owned(),
        change,
        compare: Compare::Kin,
        kept_for: Vec::new(),
        times: 1,
    };
    let mut reader = Reader {
        repository,
        asked: Vec::new(),
    };
    let mut course = || Commits::start(repository.path(), &repository.cache(), old, new);
    let found = bisect(&mut reader, &wanted, &mut course, &mut |_| {})?;
    Ok(found.expect("the ends separate"))
}

#[test]
fn of_a_line_of_commits_the_first_bad_one_is_found_wherever_it_is() {
    let states = |first: usize| (0..12).map(move |at| if at >= first { "bad" } else { "good" });
    for first in [1, 4, 7, 11] {
        let repository = Repository::new();
        let ids = states(first).enumerate();
        let ids: Vec<String> = ids
            .map(|(at, state)| repository.commit(&format!("c{at}"), state))
            .collect();
        let found = find(&repository, &ids[0], &ids[11]).expect("found");
        assert_eq!(
            (&found.range.old, &found.range.new),
            (&ids[first - 1], &ids[first])
        );
        assert!(found.range.skipped.is_empty());
        assert!(found.probed.len() <= 2 + 4, "{:?}", found.probed);
        let commit = Commit::of(repository.path(), &found.range.new).expect("there");
        assert_eq!(commit.subject, format!("c{first}"));
        assert_eq!(commit.author_date, "2024-02-03T04:05:06+01:00");
    }
}

#[test]
fn what_came_with_a_merged_branch_is_the_commit_of_the_branch_not_the_merge() {
    let repository = Repository::new();
    let good = repository.commit("a", "good");
    repository.git(&["switch", "--quiet", "--create", "side"]);
    let last_good = repository.commit("s1", "good");
    let first_bad = repository.commit("s2", "bad");
    repository.commit("s3", "bad");
    repository.git(&["switch", "--quiet", "main"]);
    for name in ["b", "c", "d", "e"] {
        repository.commit(name, "good");
    }
    let merge = repository.merge("side");
    assert_eq!(repository.git(&["show", &format!("{merge}:state")]), "bad");
    repository.commit("f", "bad");
    let bad = repository.commit("g", "bad");
    let found = find(&repository, &good, &bad).expect("found");
    assert_eq!((found.range.old, found.range.new), (last_good, first_bad));
}

#[test]
fn a_merge_that_is_bad_of_two_good_parents_is_the_commit_itself() {
    let repository = Repository::new();
    let good = repository.commit("a", "good");
    repository.git(&["switch", "--quiet", "--create", "side"]);
    repository.commit("s1", "good");
    repository.git(&["switch", "--quiet", "main"]);
    let main = repository.commit("b", "good");
    repository.git(&["merge", "--quiet", "--no-ff", "--no-commit", "side"]);
    fs::write(repository.path().join("state"), "bad").expect("written");
    repository.git(&["commit", "--quiet", "--all", "--message=merge"]);
    let merge = repository.git(&["rev-parse", "HEAD"]);
    let bad = repository.commit("c", "bad");
    let found = find(&repository, &good, &bad).expect("found");
    assert_eq!((found.range.old, found.range.new), (main, merge));
}

#[test]
fn commits_that_cannot_be_built_are_skipped_and_named_if_it_may_be_one_of_them() {
    let repository = Repository::new();
    let states = [
        "good", "good", "none", "good", "good", "none", "none", "bad", "none", "bad",
    ];
    let ids = states.iter().enumerate();
    let ids: Vec<String> = ids
        .map(|(at, state)| repository.commit(&format!("c{at}"), state))
        .collect();
    let found = find(&repository, &ids[0], &ids[9]).expect("found");
    assert_eq!((&found.range.old, &found.range.new), (&ids[4], &ids[7]));
    let mut skipped = found.range.skipped;
    skipped.sort();
    let mut expected = vec![ids[5].clone(), ids[6].clone()];
    expected.sort();
    assert_eq!(skipped, expected);
}

#[test]
fn what_comes_in_three_of_ten_answers_is_found() {
    let repository = Repository::new();
    let states = (0..9).map(|at| if at >= 5 { "flaky" } else { "good" });
    let ids = states.enumerate();
    let ids: Vec<String> = ids
        .map(|(at, state)| repository.commit(&format!("c{at}"), state))
        .collect();
    let found = find(&repository, &ids[0], &ids[8]).expect("found");
    assert_eq!((&found.range.old, &found.range.new), (&ids[4], &ids[5]));
    assert!(found.in_doubt);
    assert_eq!(
        (found.neighbours[1].bad, found.neighbours[1].asked),
        (3, 10)
    );

    // One flaky commit, between others that are certain.
    let repository = Repository::new();
    let states = ["good", "good", "good", "flaky", "bad", "bad", "bad"];
    let ids = states.iter().enumerate();
    let ids: Vec<String> = ids
        .map(|(at, state)| repository.commit(&format!("c{at}"), state))
        .collect();
    let found = find(&repository, &ids[0], &ids[6]).expect("found");
    assert_eq!((&found.range.old, &found.range.new), (&ids[2], &ids[3]));
}

#[test]
fn good_and_bad_turned_round_find_the_commit_of_the_fix() {
    let repository = Repository::new();
    let states = ["bad", "bad", "none", "bad", "good", "good", "good"];
    let ids = states.iter().enumerate();
    let ids: Vec<String> = ids
        .map(|(at, state)| repository.commit(&format!("c{at}"), state))
        .collect();
    let found = find(&repository, &ids[6], &ids[0]).expect("found");
    assert_eq!((&found.range.old, &found.range.new), (&ids[3], &ids[4]));
    assert_eq!(found.neighbours[0].verdict, Verdict::Bad);
    assert_eq!(found.neighbours[1].verdict, Verdict::Good);
}

#[test]
fn the_users_checkout_references_and_work_trees_are_as_before() {
    let repository = Repository::new();
    let states = (0..8).map(|at| if at >= 3 { "bad" } else { "good" });
    let ids = states.enumerate();
    let ids: Vec<String> = ids
        .map(|(at, state)| repository.commit(&format!("c{at}"), state))
        .collect();
    // Work under way, and a bisect of the user's own.
    fs::write(repository.path().join("c1"), "changed").expect("written");
    fs::write(repository.path().join("new"), "new").expect("written");
    repository.git(&["add", "new"]);
    repository.git(&["bisect", "start", "--no-checkout", "HEAD", "HEAD~6"]);
    let before = repository.state();
    let own = repository.git(&["bisect", "log"]);
    find(&repository, &ids[0], &ids[7]).expect("found");
    assert_eq!(repository.state(), before);
    assert_eq!(repository.git(&["bisect", "log"]), own);
    let left = fs::read_dir(repository.cache()).expect("there");
    let left: Vec<_> = left.map(|entry| entry.expect("an entry").path()).collect();
    assert!(
        left.iter()
            .all(|path| path.extension().is_some_and(|it| it == "lock")),
        "{left:?}"
    );
}

#[test]
fn one_that_was_killed_is_in_nobodys_way_and_one_under_way_is() {
    let repository = Repository::new();
    let states = (0..8).map(|at| if at >= 3 { "bad" } else { "good" });
    let ids = states.enumerate();
    let ids: Vec<String> = ids
        .map(|(at, state)| repository.commit(&format!("c{at}"), state))
        .collect();
    let before = repository.state();
    let start = || Commits::start(repository.path(), &repository.cache(), &ids[0], &ids[7]);
    let under_way = start().expect("started");
    let trees = fs::read_dir(repository.cache()).expect("there");
    let mut trees = trees.map(|entry| entry.expect("an entry").path());
    let tree = trees.find(|path| path.is_dir()).expect("its work tree");
    let error = start().expect_err("one at a time");
    assert!(error.to_string().contains("under way"), "{error}");
    drop(under_way);
    // What is left if nobody cleans up.
    let path = tree.to_str().expect("text");
    repository.git(&[
        "worktree",
        "add",
        "--quiet",
        "--no-checkout",
        "--detach",
        path,
        "HEAD",
    ]);
    let found = find(&repository, &ids[0], &ids[7]).expect("found");
    assert_eq!(found.range.new, ids[3]);
    assert_eq!(repository.state(), before);
}

#[test]
fn a_bare_repository_and_one_of_two_branches_are_searched() {
    let repository = Repository::new();
    repository.commit("a", "good");
    repository.git(&["switch", "--quiet", "--create", "side"]);
    let good = repository.commit("s1", "good");
    repository.git(&["switch", "--quiet", "main"]);
    let last_good = repository.commit("b", "good");
    let first_bad = repository.commit("c", "bad");
    let bad = repository.commit("d", "bad");
    repository.git(&["config", "core.bare", "true"]);
    let mut reader = Reader {
        repository: &repository,
        asked: Vec::new(),
    };
    let wanted = Wanted {
        good: good.clone(),
        bad: bad.clone(),
        change: Change::Regression,
        compare: Compare::Kin,
        kept_for: Vec::new(),
        times: 1,
    };
    let mut course = || Commits::start(repository.path(), &repository.cache(), &good, &bad);
    let found = bisect(&mut reader, &wanted, &mut course, &mut |_| {});
    let found = found.expect("asked").expect("the ends separate");
    assert_eq!((found.range.old, found.range.new), (last_good, first_bad));
}

#[test]
fn what_git_refuses_is_said_in_gits_words() {
    let repository = Repository::new();
    // The place where the two branches part is bad: it was mended on the way to the good end.
    repository.commit("a", "bad");
    repository.git(&["switch", "--quiet", "--create", "side"]);
    let good = repository.commit("s1", "good");
    repository.git(&["switch", "--quiet", "main"]);
    let bad = repository.commit("b", "bad");
    let mut reader = Reader {
        repository: &repository,
        asked: Vec::new(),
    };
    let wanted = Wanted {
        good: good.clone(),
        bad: bad.clone(),
        change: Change::Regression,
        compare: Compare::Kin,
        kept_for: Vec::new(),
        times: 1,
    };
    let mut course = || Commits::start(repository.path(), &repository.cache(), &good, &bad);
    let error = bisect(&mut reader, &wanted, &mut course, &mut |_| {}).expect_err("git says no");
    assert!(error.to_string().contains("merge base"), "{error}");
    let error = Commit::of(repository.path(), "nothing").expect_err("no commit");
    assert!(error.to_string().contains("rev-parse"), "{error}");
    let elsewhere = tempfile::tempdir().expect("a folder");
    let error = Commit::of(elsewhere.path(), "HEAD").expect_err("no repository");
    assert!(
        error.to_string().contains("not a git repository"),
        "{error}"
    );
}
