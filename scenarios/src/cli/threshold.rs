//! `threshold`: at which size a stack overflows.

use clap::Args;

use super::{Console, Ended, Exit, Set, bytes, grow};
use crate::threshold::{Need, Search, threshold};

/// What `threshold` takes.
#[derive(Args)]
pub struct Arguments {
    /// The scenario, or a plan file
    #[arg(value_name = "SCENARIO|PLAN")]
    subject: String,
    /// The number to enlarge; the scenario's own choice if it is not given
    #[arg(long, value_name = "NAME")]
    over: Option<String>,
    /// The stack that there is
    #[arg(long, value_name = "SIZE", value_parser = bytes, default_value = "8MiB")]
    stack: u64,
    /// The largest size to try; 131072 if not given, or what is possible
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    most: Option<u64>,
    #[command(flatten)]
    set: Set,
}

/// The largest size that is tried if the user names none.
const MOST: u64 = 1 << 17;

/// Bisects and prints.
pub fn run(console: &mut Console, arguments: &Arguments) -> Ended {
    let plan = console.subject(&arguments.subject, &arguments.set)?;
    let over = grow::over(console, &plan, arguments.over.clone())?;
    let most = match arguments.most {
        Some(most) => grow::fits(&plan, &over, most)?,
        None => grow::clamped(&plan, &over, MOST)?,
    };
    let quiet = console.json;
    let mut told = |size: u64, need: Need| {
        if !quiet {
            let needs = need.phase.map_or_else(
                || "more than any stack".to_owned(),
                |(_, bytes)| format!("{bytes} B of stack"),
            );
            eprintln!("{over}={size} needs {needs}");
        }
    };
    let mut harness = console.harness();
    let found = threshold(
        harness.as_mut(),
        &plan,
        &over,
        arguments.stack,
        most,
        &mut told,
    )?;
    let found = match found {
        Search::Found(found) => found,
        Search::Broken { size, ran } => return grow::broken(console, &over, size, &ran.report),
    };
    if console.json {
        console.json(&found)?;
        return Ok(Exit::Clean);
    }
    let stack = arguments.stack;
    let text = match (found.size, &found.phase, found.needs_bytes) {
        (None, ..) => {
            let fits = found.fits.unwrap_or_default();
            format!("{over}={fits} still fits into {stack} B; --most tries larger sizes\n")
        }
        (Some(size), Some(phase), Some(needs)) => {
            format!(
                "{over}={size} is the first to need more than {stack} B: {phase} needs {needs} B\n"
            )
        }
        (Some(size), ..) => {
            format!("{over}={size} is the first to need more than {stack} B: it overflowed\n")
        }
    };
    console.text(&text)?;
    Ok(Exit::Clean)
}
