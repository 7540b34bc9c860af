//! The statements of `main`, made fit for a reader: what nobody needs is left out.

use std::collections::BTreeSet;

use super::globals::Globals;
use super::items::words;
use super::layout::ARGUMENTS_WIDTH;

/// The one variable that a line declares, with what stands before its name.
pub fn declared(line: &str) -> Option<(&str, &str)> {
    let rest = line.strip_prefix("let ")?;
    let rest = rest
        .strip_prefix("mut ")
        .or_else(|| rest.strip_prefix('('))
        .unwrap_or(rest);
    let name = words(rest).next()?;
    let at = line.len() - rest.len();
    Some((&line[..at], name))
}

/// Systems that are asked for something while they run are shared with their tasks.
pub fn share_systems(main: &mut Vec<String>) {
    let vats = ["client", "server"]
        .into_iter()
        .flat_map(|vat| ["", "_2", "_3"].map(|number| format!("{vat}{number}")));
    for vat in vats {
        let asked = [format!("running(&{vat})"), format!(" {vat}.clone()")];
        if !main
            .iter()
            .any(|line| asked.iter().any(|asked| line.contains(asked)))
        {
            continue;
        }
        let (spawn, abort) = (
            format!("spawn({vat}.map(drop))"),
            format!("abort({vat}_system);"),
        );
        *main = std::mem::take(main)
            .into_iter()
            .flat_map(|line| {
                if line.contains(&spawn) {
                    let shared = format!("let {vat} = Shared::new(RefCell::new(Some({vat})));");
                    vec![shared, line.replace(&spawn, &format!("run(&{vat})"))]
                } else if line == abort {
                    vec![line, format!("drop({vat}.take());")]
                } else {
                    vec![line]
                }
            })
            .collect();
    }
}

/// A client that reconnects makes its second connection by itself. Nobody else has what it is made
/// of: it stays for as long as the program runs.
pub fn connect_again(main: &mut Vec<String>, again: &[String]) -> Result<(), String> {
    let Some(vat) = again.iter().find_map(|line| {
        let (_, name) = declared(line)?;
        name.strip_suffix("_bootstrap")
    }) else {
        return Ok(());
    };
    let (spawn, first) = (
        format!("spawn({vat}.map(drop))"),
        "let bootstrap = move || ",
    );
    let Some(at) = main.iter().position(|line| line.starts_with(first)) else {
        return Ok(());
    };
    let made: Vec<&str> = again
        .iter()
        .filter_map(|line| declared(line))
        .map(|it| it.1)
        .collect();
    let used = |name: &&str| {
        main.iter()
            .any(|line| words(line).any(|word| word == *name))
    };
    if let Some(name) = made.iter().find(|name| used(name)) {
        return Err(format!(
            "export cannot write what is done to `{name}`, which connects again"
        ));
    }
    let lines: &[&str] = match main[at].contains("first.take()") {
        true => &[
            "let bootstrap = move || {",
            "if let Some(first) = first.take() {",
            "return Ok(first);",
            "}",
        ],
        false => &[
            "let mut again = false;",
            "let bootstrap = move || {",
            "if !std::mem::replace(&mut again, true) {",
            "return Ok(running(&shared).bootstrap(Side::Server));",
            "}",
        ],
    };
    let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    // A disconnector that is not polled keeps only what its system does.
    let is_idle = |line: &&String| declared(line).is_some_and(|it| it.1.ends_with("_disconnector"));
    for line in again.iter().filter(|line| !is_idle(line)) {
        match line.split_once(" = ") {
            Some((_, expression)) if line.contains(&spawn) => {
                let given = format!("let given: Client = {vat}.bootstrap(Side::Server);");
                lines.extend([given, expression.to_owned()]);
            }
            Some((_, expression)) if expression.starts_with("spawn(") => {
                lines.push(expression.to_owned());
            }
            _ => lines.push(line.clone()),
        }
    }
    for name in made.into_iter().filter(|name| name.ends_with("_bootstrap")) {
        lines.push(format!("std::mem::forget({name});"));
    }
    lines.extend(["Ok(given)".to_owned(), "};".to_owned()]);
    main.splice(at..=at, lines);
    Ok(())
}

/// A response is waited for in a task, and taken from it when it is used for the first time.
pub fn take_responses(main: &mut Vec<String>) {
    let used = "capability(&";
    let mut taken = BTreeSet::new();
    for place in 0.. {
        let Some(line) = main.get(place) else { break };
        let uses = line
            .match_indices(used)
            .map(|(at, _)| &line[at + used.len()..]);
        let names = uses.filter_map(|rest| words(rest).next());
        let new: Vec<String> = names
            .filter(|name| !taken.contains(*name))
            .map(str::to_owned)
            .collect();
        for name in new {
            if taken.insert(name.clone()) {
                let took =
                    format!("let {name} = {name}.now_or_never().unwrap().unwrap().unwrap();");
                main.insert(place, took);
            }
        }
    }
}

/// A vat of which nothing is asked is given to its task where it is made.
pub fn spawn_at_once(main: &mut Vec<String>) {
    for place in 1..main.len() {
        let made = main[place - 1]
            .strip_prefix("let ")
            .and_then(|line| line.split_once(" = vat("));
        let Some((vat, arguments)) = made else {
            continue;
        };
        let spawned = format!("spawn({vat}.map(drop));");
        let arguments = arguments.trim_end_matches(");");
        let arguments = arguments.split(", \"").next().unwrap_or(arguments);
        let whole = format!("vat({arguments}).map(drop)");
        if main[place].ends_with(&spawned) && whole.len() <= ARGUMENTS_WIDTH {
            let line = main[place].replace(&spawned, &format!("spawn({whole});"));
            main.splice(place - 1..=place, [line]);
            return spawn_at_once(main);
        }
    }
}

/// A disconnector that is never polled and does not outlive its system is not asked for: until
/// then it keeps only what the system does.
pub fn needless(main: &mut Vec<String>, globals: &Globals) {
    let declares = |line: &String| {
        let (_, name) = declared(line)?;
        Some(name.strip_suffix("_disconnector")?.to_owned())
    };
    for vat in main.iter().filter_map(declares).collect::<Vec<_>>() {
        let name = format!("{vat}_disconnector");
        let uses = |line: &String| words(line).any(|word| word == name);
        let gone = main
            .iter()
            .position(|line| *line == format!("drop({name});"));
        let aborted = main
            .iter()
            .position(|line| *line == format!("abort({vat}_system);"));
        let used = main.iter().filter(|line| uses(line)).count();
        let idle = match (gone, aborted) {
            (Some(gone), Some(aborted)) => used == 2 && gone < aborted,
            (None, None) => used == 1,
            _ => false,
        };
        if idle && !globals.has(&name) {
            main.retain(|line| !uses(line));
        }
    }
}

/// Variables that nobody uses are not declared, or say so.
pub fn unused(main: &mut [String], globals: &Globals) {
    for place in 0..main.len() {
        let (before, after) = main.split_at_mut(place + 1);
        let line = &mut before[place];
        let Some((start, name)) = declared(line) else {
            continue;
        };
        if let Some((one, other, expression)) = pair(line) {
            let of = |name: &str| match is_used(name, after) {
                true => name.to_owned(),
                false if name.starts_with("call_") => "_".to_owned(),
                false => format!("_{}", name.trim_start_matches('_')),
            };
            *line = match (of(&one), of(&other)) {
                (one, other) if (&one[..], &other[..]) == ("_", "_") => {
                    format!("let _ = {expression}")
                }
                (one, other) => format!("let ({one}, {other}) = {expression}"),
            };
            continue;
        }
        if is_used(name, after) || globals.has(name) {
            continue;
        }
        let is_task = ["_system", "_ends", "hears", "says"]
            .iter()
            .any(|end| name.ends_with(end));
        if is_task || name.starts_with("call_") {
            let expression = line.split_once(" = ").map_or("", |(_, it)| it);
            *line = expression.to_owned();
        } else {
            let rest = &line[start.len()..];
            *line = format!("{}_{rest}", start.replace("mut ", ""));
        }
    }
}

/// The two variables that a line declares, and as what.
fn pair(line: &str) -> Option<(String, String, String)> {
    let (names, expression) = line.strip_prefix("let (")?.split_once(") = ")?;
    let (one, other) = names.split_once(", ")?;
    Some((one.to_owned(), other.to_owned(), expression.to_owned()))
}

/// Whether a variable is used before another one has its name.
fn is_used(name: &str, after: &[String]) -> bool {
    let names = |line: &&String| words(line).any(|word| word == name);
    let next = after.iter().find(names);
    next.is_some_and(|line| {
        let expression = line.split_once(" = ").map_or(&line[..], |(_, it)| it);
        words(expression).any(|word| word == name)
    })
}
