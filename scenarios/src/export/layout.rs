//! How a program is laid out: as rustfmt would, and shorter where it would be too long.

use std::collections::BTreeSet;

use super::items::words;

/// The width of a line, rustfmt's own.
const WIDTH: usize = 100;
/// The width of a comment's line: it is read, not compiled.
const COMMENT_WIDTH: usize = 96;
/// What rustfmt puts of a call's arguments on one line.
pub const ARGUMENTS_WIDTH: usize = 60;
/// What rustfmt puts of an array on one line.
pub const ARRAY_WIDTH: usize = 60;

/// What may be used, by crate: the word that uses it, and its path. In rustfmt's order.
const USES: [(&str, &[(&str, &str)]); 4] = [
    (
        "std",
        &[
            ("RefCell", "cell::*"),
            ("VecDeque", "collections::VecDeque"),
            ("pending", "future::pending"),
            ("poll_fn", "future::poll_fn"),
            ("io", "io"),
            ("Rc", "rc::Rc"),
            ("Weak", "rc::Weak"),
            ("Arc", "sync::Arc"),
            ("Wake", "task::*"),
        ],
    ),
    (
        "capnp",
        &[
            ("Error", "Error"),
            ("MessageSize", "MessageSize"),
            ("put", "any_pointer"),
            ("Any", "any_pointer::Owned as Any"),
            ("Client", "capability::*"),
            ("ClientHook", "private::capability::*"),
        ],
    ),
    (
        "capnp_rpc",
        &[
            ("Disconnector", "Disconnector"),
            ("RpcSystem", "RpcSystem"),
            ("auto_reconnect", "auto_reconnect"),
            ("lazy_auto_reconnect", "lazy_auto_reconnect"),
            ("new_client", "new_client"),
            ("new_future_client", "new_future_client"),
            ("Side", "rpc_twoparty_capnp::Side"),
            ("twoparty", "twoparty"),
        ],
    ),
    (
        "futures",
        &[
            ("mpsc", "channel::*"),
            ("LocalBoxFuture", "future::LocalBoxFuture"),
            ("AllowStdIo", "io::AllowStdIo"),
            ("spawn", "prelude::*"),
        ],
    ),
];

/// What a reader is spared: of a longer program all that is no `main` is written without empty
/// lines, and without comments if that is not enough.
pub const LINES_MAX: usize = 149;

/// The same without the empty lines behind `main`.
pub fn tight(source: &str) -> String {
    let (main, rest) = source.split_once("\n}\n").unwrap_or((source, ""));
    let rest: Vec<&str> = rest.lines().filter(|line| !line.is_empty()).collect();
    format!("{main}\n}}\n\n{}\n", rest.join("\n"))
}

/// The uses as one group, of which the standard library comes last.
fn one_group(source: &str) -> String {
    let parts = source.split_once("\nuse std::");
    let parts = parts.and_then(|(head, rest)| Some((head, rest.split_once("\n\n")?)));
    let Some((head, (std, rest))) = parts else {
        return source.to_owned();
    };
    let (others, rest) = rest.split_once("\n\n").unwrap_or((rest, ""));
    format!("{head}\n{others}\nuse std::{std}\n\n{rest}")
}

/// The same, and without comments there.
pub fn bare(source: &str) -> String {
    let source = tight(source);
    let source = source.replacen("//!\n", "", 1);
    let source = one_group(&source);
    let source = source.replacen("    println!(\"nothing went wrong\");\n", "", 1);
    let (main, rest) = source.split_once("\n}\n").unwrap_or((&source, ""));
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let rest: Vec<&str> = rest.lines().filter(is_code).collect();
    format!("{main}\n}}\n{}\n", rest.join("\n"))
}

/// Text as a comment, wrapped.
pub fn comment(mark: &str, text: &str) -> String {
    let mut lines = String::new();
    let mut line = mark.to_owned();
    for word in text.split_whitespace() {
        if line.len() + 1 + word.len() > COMMENT_WIDTH && line != mark {
            lines.push_str(&line);
            lines.push('\n');
            line = mark.to_owned();
        }
        line.push(' ');
        line.push_str(word);
    }
    lines + &line + "\n"
}

/// What is imported for this code.
pub fn uses(code: &str) -> String {
    let used: BTreeSet<&str> = words(code).collect();
    let mut text = String::new();
    for (root, items) in USES {
        let items = items.iter().filter(|(word, _)| used.contains(word));
        let paths: Vec<&str> = items.map(|(_, path)| *path).collect();
        let one_line = match &paths[..] {
            [] => continue,
            [path] => format!("use {root}::{path};\n"),
            paths => format!("use {root}::{{{}}};\n", paths.join(", ")),
        };
        // Behind the last item rustfmt wants room for a comma.
        match one_line.len() <= WIDTH {
            true => text.push_str(&one_line),
            false => text.push_str(&format!("use {root}::{{\n{}}};\n", filled(&paths))),
        }
        if root == "std" {
            text.push('\n');
        }
    }
    text
}

/// Items one behind the other, in as few indented lines as they need.
fn filled(items: &[&str]) -> String {
    let mut text = String::new();
    let mut line = String::from("   ");
    for item in items {
        if line.len() + item.len() + 2 > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = String::from("   ");
        }
        line.push_str(&format!(" {item},"));
    }
    text + &line + "\n"
}

/// Lines with their indentation, as their braces have it.
pub fn indented(lines: &[String], level: usize) -> String {
    let mut text = String::new();
    let mut level = level;
    for line in lines.iter().flat_map(|line| line.lines()).map(str::trim) {
        if line.starts_with(['}', ']', ')']) {
            level -= 1;
        }
        for line in wrapped(line, 4 * level) {
            text.push_str(&format!("{:1$}{line}\n", "", 4 * level));
        }
        if line.ends_with(['{', '[', '(']) {
            level += 1;
        }
    }
    text
}

/// A line that is too long, as rustfmt breaks it: the arguments of a call one below the other.
fn wrapped(line: &str, indentation: usize) -> Vec<String> {
    let open = ["call(", "stream("]
        .iter()
        .filter_map(|call| line.find(call).map(|at| at + call.len()));
    // The statement ends with `;` and closes what it opened.
    let outer = line.find("answer(").map(|at| at + "answer(".len());
    let width = |open: usize| line.len() - 2 - open;
    let Some(open) = open.min() else {
        return vec![line.to_owned()];
    };
    let narrow = width(outer.unwrap_or(open)) <= ARGUMENTS_WIDTH;
    let open = match (line.len() + indentation <= WIDTH, line.split_once(" = ")) {
        (true, _) if narrow => return vec![line.to_owned()],
        (false, Some((name, call))) if narrow => {
            return vec![format!("{name} ="), format!("    {call}")];
        }
        _ => open,
    };
    let mut depth = 0_usize;
    let mut arguments = vec![String::new()];
    let mut close = line.len();
    for (at, c) in line[open..].char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => {
                close = open + at;
                break;
            }
            ')' => depth -= 1,
            ',' if depth == 0 => {
                arguments.push(String::new());
                continue;
            }
            _ => {}
        }
        arguments.last_mut().expect("there is one").push(c);
    }
    let arguments = arguments.iter().map(|it| format!("    {},", it.trim()));
    let first = std::iter::once(line[..open].to_owned());
    first
        .chain(arguments)
        .chain([line[close..].to_owned()])
        .collect()
}

/// A block that is put in the place of a word which stands behind so many spaces.
pub fn block(lines: &[String], spaces: usize) -> String {
    indented(lines, spaces / 4).trim().to_owned()
}
