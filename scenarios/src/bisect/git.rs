//! Commits, in the order in which `git bisect` wants them.
//!
//! Merges, skips and what to test next are git's business. It works without a checkout, in a work
//! tree of its own without files, so that the user's is not touched; what it leaves in the
//! repository, that work tree's own entry and references, goes when the course is dropped, or when
//! the next one starts that finds it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::course::{Course, Left, Next, Range};
use crate::git::{command, complaint, git};

/// `git bisect` between two commits.
#[derive(Debug)]
pub struct Commits {
    tree: Tree,
    /// What was told already, the ends among it: git asks for nothing twice.
    told: BTreeSet<String>,
}

/// What is known of a commit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Commit {
    /// Its full name.
    pub id: String,
    /// The first line of its message.
    pub subject: String,
    /// When its author wrote it.
    pub author_date: String,
}

impl Commit {
    /// The commit that `revision` names.
    ///
    /// # Errors
    /// There is none.
    pub fn of(repository: &Path, revision: &str) -> io::Result<Self> {
        let commit = format!("{revision}^{{commit}}");
        // Not with the next command: this one says what is wrong with a name.
        let id = git(
            repository,
            &["rev-parse", "--verify", "--end-of-options", &commit],
        )?;
        let text = git(
            repository,
            &[
                "show",
                "--no-patch",
                "--no-show-signature",
                "--format=%aI%n%s",
                &id,
            ],
        )?;
        let (date, subject) = text.split_once('\n').unwrap_or((&text, ""));
        Ok(Self {
            subject: subject.to_owned(),
            author_date: date.to_owned(),
            id,
        })
    }

    /// For people: `1a2b3c4d5e (subject)`.
    pub fn text(&self) -> String {
        let short = self.id.get(..10).unwrap_or(&self.id);
        format!("{short} ({})", self.subject)
    }
}

/// Whether all that is in `old` is in `new`, too.
///
/// # Errors
/// One of them is not there.
pub fn is_ancestor(repository: &Path, old: &str, new: &str) -> io::Result<bool> {
    let output = command(repository, &["merge-base", "--is-ancestor", old, new]).output()?;
    match output.status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => Err(complaint("merge-base", &output.stderr)),
    }
}

impl Commits {
    /// Starts between two commits, both full names; `folder` is where the work tree may be.
    ///
    /// # Errors
    /// Git says no, or another search in this repository is under way.
    pub fn start(repository: &Path, folder: &Path, old: &str, new: &str) -> io::Result<Self> {
        let tree = Tree::add(repository, folder, new)?;
        let terms = ["--no-checkout", "--term-old=old", "--term-new=new"];
        tree.git(&[&["bisect", "start"], &terms[..]].concat())?;
        tree.git(&["bisect", "new", new])?;
        tree.git(&["bisect", "old", old])?;
        Ok(Self {
            tree,
            told: [old, new].map(str::to_owned).into(),
        })
    }

    /// The commits that may be the first new one, that one's own name first, and after them the
    /// names of those that are known to be old, each with a `-`.
    fn candidates(&self, more: &str) -> io::Result<String> {
        let olds = [
            "for-each-ref",
            "--format=^%(objectname)",
            "refs/bisect/old-*",
        ];
        let olds = self.tree.git(&olds)?;
        let mut list = vec!["rev-list", more, "refs/bisect/new"];
        list.extend(olds.lines());
        self.tree.git(&list)
    }

    fn left(&self) -> io::Result<Left> {
        let text = self.candidates("--bisect-vars")?;
        let figure = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|figure| figure.trim_matches('\'').parse().ok())
        };
        // The first new commit is one of them, and known.
        let all: u64 = figure("bisect_all=").unwrap_or(1);
        Ok(Left {
            candidates: all.saturating_sub(1),
            steps: figure("bisect_steps=").unwrap_or(0) + 1,
        })
    }

    fn range(&self) -> io::Result<Range<String>> {
        let new = self.tree.git(&["rev-parse", "refs/bisect/new"])?;
        let text = self.candidates("--boundary")?;
        let (old, candidates): (Vec<&str>, Vec<&str>) =
            text.lines().partition(|line| line.starts_with('-'));
        let old: Vec<&str> = old.iter().map(|line| &line[1..]).collect();
        // Of a merge the first parent is what it was merged into.
        let parent = self.tree.git(&["rev-parse", "refs/bisect/new^1"]);
        let parent = parent.ok().filter(|parent| old.contains(&parent.as_str()));
        let old = parent.or_else(|| old.first().map(|id| (*id).to_owned()));
        let skipped = candidates.into_iter().map(str::to_owned);
        Ok(Range {
            old: old.ok_or_else(|| io::Error::other("git knows of no old commit"))?,
            skipped: skipped.filter(|id| *id != new).collect(),
            new,
        })
    }
}

impl Course for Commits {
    type At = String;

    fn next(&mut self) -> io::Result<Next<String>> {
        let head = self.tree.git(&["rev-parse", "BISECT_HEAD"])?;
        match self.told.contains(&head) {
            true => Ok(Next::Found(self.range()?)),
            false => Ok(Next::Probe(head, self.left()?)),
        }
    }

    fn tell(&mut self, at: &String, is_new: Option<bool>) -> io::Result<()> {
        let word = match is_new {
            None => "skip",
            Some(true) => "new",
            Some(false) => "old",
        };
        self.told.insert(at.clone());
        let output = command(&self.tree.path, &["bisect", word, at]).output()?;
        // 2 says that only skipped ones are left.
        match output.status.code() {
            Some(0 | 2) => Ok(()),
            _ => {
                let said = [output.stdout, output.stderr].concat();
                Err(complaint("bisect", &said))
            }
        }
    }
}

/// A work tree of ours in the user's repository, without files.
#[derive(Debug)]
struct Tree {
    repository: PathBuf,
    path: PathBuf,
    /// Held as long as the tree is there.
    _lock: File,
}

impl Tree {
    fn add(repository: &Path, folder: &Path, revision: &str) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        // Git wants to hear of a folder from wherever it is.
        let folder = fs::canonicalize(folder)?;
        let home = git(
            repository,
            &["rev-parse", "--path-format=absolute", "--git-common-dir"],
        )?;
        let name = format!("{:016x}", dismantle_sim::hash(home.as_bytes()));
        let lock = File::create(folder.join(&name).with_extension("lock"))?;
        if lock.try_lock().is_err() {
            let why = "another bisect of this repository is under way";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, why));
        }
        let tree = Self {
            repository: repository.to_owned(),
            path: folder.join(name),
            _lock: lock,
        };
        // What one left that was killed.
        tree.remove();
        let path = tree.path.to_string_lossy().into_owned();
        let add = ["worktree", "add", "--quiet", "--no-checkout", "--detach"];
        git(repository, &[&add[..], &[&path, revision]].concat())?;
        Ok(tree)
    }

    fn git(&self, arguments: &[&str]) -> io::Result<String> {
        git(&self.path, arguments)
    }

    fn remove(&self) {
        let path = self.path.to_string_lossy().into_owned();
        drop(git(
            &self.repository,
            &["worktree", "remove", "--force", &path],
        ));
        drop(fs::remove_dir_all(&self.path));
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.remove();
    }
}
