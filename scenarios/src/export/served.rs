//! What the object of a program does with its calls, and when it goes.

use std::collections::BTreeSet;

use super::globals::Globals;
use super::items::words;
use super::layout::block;
use super::lines::Lines;
use super::source::simplified;

/// What a method does that only gives back what it was given.
pub const ECHO: &str = "put(results.get(), cap.as_ref());";

pub fn methods(lines: &Lines, flags: &BTreeSet<&str>) -> String {
    if !flags.contains("caps") {
        return String::new();
    }
    let simplify = |text: &String| simplified(text, flags);
    let texts: Vec<(u32, String)> = lines
        .methods
        .iter()
        .map(|(id, text)| (*id, simplify(text)))
        .collect();
    let mut kinds: Vec<(&str, Vec<u32>)> = Vec::new();
    for (id, text) in &texts {
        match kinds.iter_mut().find(|(kind, _)| kind == text) {
            Some((_, ids)) => ids.push(*id),
            None => kinds.push((text, vec![*id])),
        }
    }
    if kinds.len() > 1 {
        // What most calls do stands last.
        kinds.sort_by_key(|(text, ids)| (*text == ECHO, ids.len()));
        let mut arms = vec!["match id {".to_owned()];
        let last = kinds.len() - 1;
        for (place, (text, ids)) in kinds.iter().enumerate() {
            let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
            let ids = if place == last {
                "_".to_owned()
            } else {
                ids.join(" | ")
            };
            match text.lines().count() {
                0 => arms.push(format!("{ids} => {{}}")),
                1 => arms.push(format!("{ids} => {},", text.trim_end_matches(';'))),
                _ => arms.push(format!("{ids} => {{\n{text}\n}}")),
            }
        }
        arms.push("}".to_owned());
        return block(&arms, 12);
    }
    let only = kinds.first().map_or(ECHO, |(text, _)| text);
    block(&[only.to_owned()], 12)
}

/// How the parts of a call are named, by whether they are used.
pub fn captured(methods: &str) -> String {
    let uses = |word| words(methods).any(|known| known == word);
    let this = if uses("this") { "this" } else { "_this" };
    let results = if uses("results") {
        "mut results"
    } else {
        "_results"
    };
    format!("let ({this}, params, {results}) = (self, p, r);")
}

pub fn outcomes(lines: &Lines) -> String {
    let work = "Promise::from_future(work)";
    if lines.outcomes.is_empty() {
        return work.to_owned();
    }
    let mut arms = vec!["match id {".to_owned()];
    for (id, text) in &lines.outcomes {
        arms.push(format!(
            "{id} => Promise::from_future(async move {{\n{text}\n}}),"
        ));
    }
    arms.extend([format!("_ => {work},"), "}".to_owned()]);
    block(&arms, 8)
}

pub fn streams(lines: &Lines) -> String {
    let ids: Vec<String> = lines.streams.iter().map(u32::to_string).collect();
    match ids.is_empty() {
        true => "false".to_owned(),
        false => format!("matches!(id, {})", ids.join(" | ")),
    }
}

pub fn drops(lines: &Lines, globals: &Globals, flags: &BTreeSet<&str>) -> String {
    let mut text = Vec::new();
    for (object, acts) in lines.drops.iter().filter(|(_, acts)| !acts.is_empty()) {
        text.push(format!(
            "if self.name == \"{object}\" && !std::thread::panicking() {{"
        ));
        let unnamed = |line: &String| match line.split_once("_ends = ") {
            Some((_, expression)) => simplified(expression, flags),
            None => simplified(line, flags),
        };
        let mut acts: Vec<String> = acts.iter().map(unnamed).collect();
        globals.put(&mut acts);
        text.extend(acts);
        text.push("}".to_owned());
    }
    block(&text, 8)
}

/// Sleeps of one length end in the order of their beginning: how long they are does not matter.
pub fn without_times(source: &str) -> String {
    let mut parts = source.split("sleep_us(");
    let mut text = parts.next().unwrap_or("").to_owned();
    for part in parts {
        text.push_str("sleep_until_rest(");
        text.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    text
}

/// The id of a method is named only if it is used.
pub fn simplified_ids(source: &str) -> String {
    let body = source
        .split_once("DispatchCallResult {")
        .map_or("", |(_, body)| body);
    let body = body.split_once("fn as_ptr").map_or("", |(body, _)| body);
    match words(body).any(|word| word == "id") {
        true => source.to_owned(),
        false => source.replacen("_: u64, id: u16", "_: u64, _: u16", 1),
    }
}
