//! The source of a program: header, uses, `main`, and what of the prelude it needs.

use std::collections::BTreeSet;

use super::Shows;
use super::globals::Globals;
use super::items::{prelude, words};
use super::layout::{LINES_MAX, bare, indented, tight, uses};
use super::lines::Lines;
use super::main_fn::declared;
use super::main_fn::{
    connect_again, needless, share_systems, spawn_at_once, take_responses, unused,
};
use super::served::{
    ECHO, captured, drops, methods, outcomes, simplified_ids, streams, without_times,
};
use super::verdict::verdict;
use crate::report::RunReport;

/// Writes the program.
pub fn write(
    header: &str,
    lines: &Lines,
    shows: Shows,
    report: &RunReport,
) -> Result<String, String> {
    let mut main = lines.main.clone();
    let acts: Vec<String> = lines.drops.values().flatten().cloned().collect();
    let reaches = |line: &String| words(line).any(|word| ["client", "server"].contains(&word));
    if acts.iter().any(reaches) {
        return Err("export cannot write a destructor that reaches a whole system".to_owned());
    }
    let globals = Globals::of(&acts);
    spawn_at_once(&mut main);
    if shows == Shows::InTheEnd {
        main.extend(verdict(&main, report, lines)?);
    } else {
        main.push("println!(\"nothing went wrong\");".to_owned());
    }
    connect_again(&mut main, &lines.again)?;
    let flags = flags(lines, &main, &acts, shows);
    let sleeps: BTreeSet<&str> = lines
        .methods
        .values()
        .chain(lines.outcomes.values())
        .flat_map(|text| {
            text.lines()
                .filter_map(|line| line.strip_prefix("sleep_us("))
        })
        .collect();
    if sleeps.len() > 1 {
        return Err("export cannot write sleeps of two lengths, `op.*.late_us`".to_owned());
    }
    share_systems(&mut main);
    take_responses(&mut main);
    if flags.contains("keeps") {
        let plain = |line: &String| declared(line).is_some_and(|(start, _)| start == "let ");
        for line in main
            .iter_mut()
            .filter(|line| plain(line) && line.contains(" = answer("))
        {
            let (name, rest) = line[4..].split_once(" = ").unwrap_or_default();
            *line = format!("let ({name}, _) = {rest}");
        }
    }
    needless(&mut main, &globals);
    unused(&mut main, &globals);
    let simplify = |line: &String| simplified(line, &flags);
    let mut main: Vec<String> = main.iter().map(simplify).collect();
    main.iter_mut().for_each(explain);
    globals.put(&mut main);
    let body = indented(&main, 1);
    let fill = |source: &str| {
        let source = source
            .replace("{captured}", &captured(&methods(lines, &flags)))
            .replace(
                "let cap = params",
                match words(&methods(lines, &flags)).any(|word| word == "cap") {
                    true => "let cap = params",
                    false => "let _cap = params",
                },
            )
            .replace("{methods}", &methods(lines, &flags))
            // Where no method does anything.
            .replace("            \n", "")
            .replace("{outcomes}", &outcomes(lines))
            .replace("{streams}", &streams(lines))
            .replace("{drops}", &drops(lines, &globals, &flags));
        simplified_ids(&without_times(&source))
    };
    let prelude = prelude(&format!("{body}{}", globals.used()), &flags, fill);
    let code = format!("fn main() {{\n{body}}}\n\n{}{prelude}\n", globals.text());
    let source = format!("{header}\n{}\n{code}", uses(&code));
    let fits = |source: &String| source.lines().count() <= LINES_MAX;
    Ok(match source {
        source if fits(&source) => source,
        source => Some(tight(&source))
            .filter(fits)
            .unwrap_or_else(|| bare(&source)),
    })
}

/// Says what a line does that does not say so itself.
fn explain(line: &mut String) {
    let of = |start: &str, end: &str| {
        let at = line.find(start)? + start.len();
        let vat = line[at..].strip_suffix(end)?;
        Some(vat.replace('_', "'s connection "))
    };
    let dropped = of("abort(", "_system);").map(|vat| format!("The {vat}'s RpcSystem is dropped."));
    let ended =
        of("spawn(", "_disconnector.map(drop));").map(|vat| format!("The {vat} disconnects."));
    let comment = match &line[..] {
        "steps(usize::MAX);" => Some("Until nothing can run.".to_owned()),
        _ => dropped.or(ended),
    };
    if let Some(comment) = comment {
        line.push_str(&format!(" // {comment}"));
    }
}

/// Which of the prelude's variants this program needs.
fn flags(lines: &Lines, main: &[String], acts: &[String], shows: Shows) -> BTreeSet<&'static str> {
    let all = || main.iter().chain(acts);
    let methods = || lines.methods.values();
    let says = |word: &str| {
        let mut served = methods().chain(lines.outcomes.values());
        served.any(|text| text.contains(word))
    };
    // Whether a raw peer passes any, its numbers do not say.
    let caps = all().any(|line| line.contains(", Some(") || line.starts_with("say("))
        || methods().any(|text| !text.is_empty() && !text.starts_with(ECHO));
    let listed =
        shows == Shows::InTheEnd && main.iter().any(|line| line.contains("executor().objects"));
    let names = listed || !lines.drops.is_empty();
    let sleep = says("sleep_us(");
    let abort_within = acts.iter().any(|line| line.contains("abort("));
    let passes = all().chain(methods()).any(|line| line.contains(", Some("));
    let flags = [
        ("caps", caps),
        ("passes", passes),
        ("outcomes", !lines.outcomes.is_empty()),
        ("kept", says("this.0.kept")),
        ("names", names),
        ("listed", listed),
        ("state", lines.has_state()),
        ("drops", !lines.drops.is_empty()),
        ("own", says("new_client(*this)")),
        ("outlived", says("drop(this);")),
        ("sleep", sleep),
        (
            "keeps",
            main.iter().any(|line| line.contains(") = answer(")),
        ),
        ("abort_within", abort_within),
        ("more", sleep || abort_within || listed),
    ];
    flags
        .into_iter()
        .filter_map(|(flag, on)| on.then_some(flag))
        .collect()
}

/// A line without what this program has no use for.
pub fn simplified(line: &str, flags: &BTreeSet<&str>) -> String {
    let mut line = line.to_owned();
    if !flags.contains("names") {
        while let Some(at) = line.find("object(\"") {
            let name = at + "object(".len();
            let end = line[name + 1..]
                .find('"')
                .map_or(line.len(), |end| name + end + 2);
            line.replace_range(name..end, "");
        }
        if let Some((call, _)) = line
            .split_once(", \"")
            .filter(|(call, _)| call.contains("= vat("))
        {
            line = format!("{call});");
        }
    }
    match flags.contains("passes") {
        true => line,
        false => line.replace(", None)", ")"),
    }
}
