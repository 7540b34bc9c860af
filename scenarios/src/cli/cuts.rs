//! `fuzz --cuts PLAN`: one plan, ended everywhere.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use dismantle_sim::Plan;

use super::fuzz::{ended, found, progress_bar};
use super::{Console, Ended, Failure};
use crate::campaign::Progress;
use crate::cuts::{At, How, Means, POINTS_MAX, Series, Sweep, Swept, rows};
use crate::known::Known;
use crate::report::Outcome;

/// What the sweep takes, beside the plan.
pub struct Arguments {
    /// Worker processes.
    pub jobs: usize,
    /// Where to write plans.
    pub out: PathBuf,
    /// How connections end at a byte.
    pub hows: Vec<How>,
    /// The findings that are known already.
    pub known: Known,
    /// Whether these are no failure.
    pub forgive: bool,
}

/// Runs the sweep; prints the table, the findings and the summary.
pub fn cuts(console: &mut Console, plan: &Plan, arguments: Arguments) -> Ended {
    let scenario = console.scenario(plan.scenario())?;
    let mut harness = console.harness();
    let sweep = Sweep::learn(
        harness.as_mut(),
        scenario,
        plan,
        &arguments.hows,
        POINTS_MAX,
    )?;
    drop(harness);
    let sweep = Arc::new(sweep);
    for series in &sweep.series {
        eprintln!("{}: {}", series.title(), points(series));
    }
    let bar = progress_bar(Some(sweep.count()), "points");
    let told = |progress: Progress<'_>| match progress {
        Progress::Seeds(count) => bar.set_position(count),
        Progress::New(group) => bar.suspend(|| found(group)),
        Progress::After(..) => {}
    };
    let means = Means {
        jobs: arguments.jobs,
        harness: &|| console.harness(),
        known: &arguments.known,
        out: arguments.out,
        interrupted: console.interrupted.clone(),
        program: console.program.clone(),
    };
    let swept = sweep.run(means, &told);
    bar.finish_and_clear();
    let swept = swept?;
    print(console, &sweep, &swept)?;
    if let Some(error) = swept.error {
        return Err(error.into());
    }
    let groups = swept.findings.iter().map(|found| &found.group);
    Ok(ended(groups, &swept.summary, arguments.forgive))
}

fn points(series: &Series) -> String {
    match series.stride {
        1 => format!("0 to {}, {} points", series.last, series.count()),
        stride => format!(
            "0 to {}, every {stride}th: {} points, for a sweep has at most {POINTS_MAX}",
            series.last,
            series.count()
        ),
    }
}

fn print(console: &mut Console, sweep: &Sweep, swept: &Swept) -> Result<(), Failure> {
    let summary = &swept.summary;
    if console.json {
        for cut in &swept.cuts {
            console.json(cut)?;
        }
        for found in &swept.findings {
            console.json(found)?;
        }
        console.json(summary)?;
        return Ok(());
    }
    let mut text = String::new();
    table(&mut text, sweep, swept).expect("a String takes all writes");
    for found in &swept.findings {
        let group = &found.group;
        text += &format!("\n{:>7} x {}\n", group.count, group.finding.signature);
        text += &format!("          first {}\n", found.place());
        text += &format!("          {} (this build only)\n", group.replay);
        text += &format!("          {}\n", group.finding.judged.text());
        text += &format!("          {}\n", group.over_unix.text());
    }
    text += &format!(
        "\n{} points in {:.1} s ({:.0} a second){}: {} findings\n",
        summary.seeds,
        summary.seconds,
        summary.seeds_per_second,
        if summary.complete {
            ""
        } else {
            ", INTERRUPTED"
        },
        summary.findings,
    );
    if summary.deaths > 0 {
        text += &format!("{} runs took their worker process along\n", summary.deaths);
    }
    console.text(&text)?;
    Ok(())
}

fn table(text: &mut String, sweep: &Sweep, swept: &Swept) -> std::fmt::Result {
    writeln!(
        text,
        "{}, whole: {}",
        sweep.whole.scenario,
        outcome(sweep.whole.outcome, sweep.whole.signature.as_deref())
    )?;
    for series in &sweep.series {
        writeln!(text, "\n{} ({})", series.title(), points(series))?;
        if series.at == At::Step {
            let drive = sweep.whole.drive_steps;
            writeln!(text, "  the teardown begins after {drive}")?;
        }
        writeln!(
            text,
            "{:>15}  {:>10}  {:>16}",
            "cut after", "drop depth", "stack"
        )?;
        for row in rows(series, &swept.cuts) {
            let (first, last) = row.points;
            let points = match first == last {
                true => first.to_string(),
                false => format!("{first}..={last}"),
            };
            let depth = row
                .drop_depth
                .map_or_else(|| "-".to_owned(), |depth| depth.to_string());
            let stack = row.stack_bytes.map_or_else(|| "-".to_owned(), kibibytes);
            let outcome = outcome(row.outcome, row.signature.as_deref());
            writeln!(text, "{points:>15}  {depth:>10}  {stack:>16}  {outcome}")?;
        }
    }
    Ok(())
}

fn outcome(outcome: Outcome, signature: Option<&str>) -> &str {
    match (outcome, signature) {
        (_, Some(signature)) => signature,
        (Outcome::Limited, None) => "limited",
        _ => "clean",
    }
}

/// `5.7 KiB`, `5.7-8.1 KiB`.
fn kibibytes((least, most): (u64, u64)) -> String {
    let [least, most] = [least, most].map(|bytes| format!("{:.1}", bytes as f64 / 1024.0));
    match least == most {
        true => format!("{least} KiB"),
        false => format!("{least}-{most} KiB"),
    }
}
