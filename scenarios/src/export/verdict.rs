//! The end of a program that does not fail by itself: what has not ended, what is still there?

use super::layout::ARRAY_WIDTH;
use super::lines::Lines;
use super::main_fn::declared;
use crate::check::Class;
use crate::report::RunReport;

/// The last statements: what has not ended, or is still there?
///
/// # Errors
/// What a program of its own would see differs from what the run saw.
pub fn verdict(main: &[String], report: &RunReport, lines: &Lines) -> Result<Vec<String>, String> {
    let ran_after = report.steps > report.owner_steps;
    let keeps = lines
        .methods
        .values()
        .any(|text| text.contains("kept.replace"));
    if lines.forgets && (ran_after || keeps) {
        return Err("export cannot write what objects forget in the end".to_owned());
    }
    let has_state = lines.has_state();
    let class = report.findings.first().map(|finding| finding.class);
    let waits = report.pending.iter().filter(|wait| wait.must_end);
    let hung: Vec<String> = waits.map(|wait| variable_of(&wait.task)).collect();
    let declared = main.iter().filter_map(|line| declared(line).map(|it| it.1));
    let declared = declared.filter(|name| name.starts_with("call_") || name.ends_with("_ends"));
    let mut tasks: Vec<&str> = declared.collect();
    match class {
        Some(Class::Hang) => tasks.retain(|name| hung.iter().any(|hung| hung == name)),
        Some(_) => tasks.clear(),
        None => {}
    }
    tasks.dedup();
    if class == Some(Class::Hang) && tasks.len() < hung.len() {
        return Err("export cannot wait for a call that a destructor makes".to_owned());
    }
    let mut lines = Vec::new();
    let mut wrong = Vec::new();
    if !tasks.is_empty() {
        let pairs: Vec<String> = tasks
            .iter()
            .map(|task| format!("(\"{}\", {task})", task.replace('_', " ")))
            .collect();
        match pairs.join(", ").len() + 2 <= ARRAY_WIDTH {
            true => lines.push(format!("let mut hung = vec![{}];", pairs.join(", "))),
            false => {
                lines.push("let mut hung = vec![".to_owned());
                lines.extend(pairs.iter().map(|pair| format!("{pair},")));
                lines.push("];".to_owned());
            }
        }
        lines.push("hung.retain(|(_, task)| executor().tasks[*task].is_some());".to_owned());
        lines.push("println!(\"never ended: {hung:?}\");".to_owned());
        wrong.push("!hung.is_empty()");
    }
    if class != Some(Class::Hang) {
        lines.push(
            "let tasks: Vec<_> = executor().tasks.iter_mut().map(Option::take).collect();"
                .to_owned(),
        );
        lines.push("drop(tasks);".to_owned());
        lines.push("let objects = std::mem::take(&mut executor().objects);".to_owned());
        if has_state {
            lines.push("let left = objects.iter().filter_map(Weak::upgrade);".to_owned());
            lines.push("let left: Vec<_> = left.map(|it| it.name.clone()).collect();".to_owned());
        } else {
            let left = "let left: Vec<_> = objects.iter().filter_map(Weak::upgrade).collect();";
            lines.push(left.to_owned());
        }
        lines.push("println!(\"never destroyed: {left:?}\");".to_owned());
        wrong.push("!left.is_empty()");
    }
    lines.push(format!(
        "std::process::exit(i32::from({}));",
        wrong.join(" || ")
    ));
    Ok(lines)
}

/// The variable of a task of the run: `call_3_1` of `client/call/67`.
fn variable_of(task: &str) -> String {
    let mut parts = task.split('/');
    let (vat, kind) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let index: u32 = parts
        .next()
        .and_then(|index| index.parse().ok())
        .unwrap_or(0);
    match (kind, index % 64, index / 64) {
        ("call", operation, 0) => format!("call_{operation}"),
        ("call", operation, place) => format!("call_{operation}_{place}"),
        _ => format!("{}_ends", vat.replace('-', "_")),
    }
}
