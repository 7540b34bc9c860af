//! The prelude: what every program may use, and which of it one does.

use std::collections::BTreeSet;

/// The prelude's source. A line that ends in `//? flag !other` is written only if that flag is on
/// and the other is not.
const PRELUDE: &str = include_str!("prelude.rs");

/// A top-level item of the prelude.
struct Item<'a> {
    text: &'a str,
    /// What has to be used for the item to be.
    name: &'a str,
}

/// The words in a text: what may be the name of something.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.split(move |c| !is_word(c))
        .filter(|word| !word.is_empty())
}

/// The items that `used` uses, and those that they use, with the lines that `flags` ask for and
/// what stands for the places in braces.
pub fn prelude(used: &str, flags: &BTreeSet<&str>, fill: impl Fn(&str) -> String) -> String {
    let source = fill(&chosen(flags));
    let items = items(&source);
    let used = code(used);
    let mut known: BTreeSet<&str> = words(&used).collect();
    let mut kept = vec![false; items.len()];
    loop {
        let before = known.len();
        for (item, kept) in items.iter().zip(&mut kept) {
            if !*kept && known.contains(item.name) {
                *kept = true;
                known.extend(words(&code(item.text)).map(|word| {
                    let at = item.text.find(word).unwrap_or(0);
                    &item.text[at..at + word.len()]
                }));
            }
        }
        if known.len() == before {
            break;
        }
    }
    let kept = items.iter().zip(kept).filter(|(_, kept)| *kept);
    let mut text = String::new();
    for (item, _) in kept {
        // What is one line belongs to what follows.
        let between = match item.text.contains('\n') {
            true => "\n\n",
            false => "\n",
        };
        text.push_str(&format!("{}{between}", item.text.trim()));
    }
    text.trim_end().to_owned()
}

/// The text without its comments: what they say is not used.
fn code(text: &str) -> String {
    let lines = text.lines().map(|line| match line.find("// ") {
        Some(comment) => &line[..comment],
        None => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn chosen(flags: &BTreeSet<&str>) -> String {
    let mut source = String::new();
    for line in PRELUDE.lines() {
        let (text, asks) = line.split_once(" //? ").unwrap_or((line, ""));
        let is_on = |flag: &str| match flag.strip_prefix('!') {
            Some(flag) => !flags.contains(flag),
            None => flags.contains(flag),
        };
        if asks.split_whitespace().all(is_on) {
            source.push_str(text);
            source.push('\n');
        }
    }
    // Of an item that is off altogether nothing is left.
    while source.contains("\n\n\n") {
        source = source.replace("\n\n\n", "\n\n");
    }
    source
}

fn items(source: &str) -> Vec<Item<'_>> {
    let mut items = Vec::new();
    let mut from = 0;
    while from < source.len() {
        let rest = &source[from..];
        let mut ends = rest.match_indices("\n\n").map(|(at, _)| at);
        let end = ends
            .find(|at| !rest[at + 2..].starts_with([' ', '\n', '}']))
            .unwrap_or(rest.len());
        let text = rest[..end].trim_end();
        items.push(Item {
            text,
            name: name(text),
        });
        from += end + 2;
    }
    items
}

fn name(text: &str) -> &str {
    let mut lines = text.lines();
    let first = lines.find(|line| !line.starts_with("//") && !line.starts_with('#'));
    let first = first.unwrap_or_default();
    let mut words = words(first);
    if first.starts_with("impl") {
        if first.contains("FromServer") {
            return "Object";
        }
        let after = first.split(" for ").last().unwrap_or(first);
        let last = self::words(after).filter(|word| !["impl", "Box"].contains(word));
        return last.last().unwrap_or_default();
    }
    let is_keyword = |word: &&str| {
        [
            "fn",
            "struct",
            "type",
            "const",
            "static",
            "async",
            "thread_local",
        ]
        .contains(word)
    };
    words.find(|word| !is_keyword(word)).unwrap_or_default()
}
