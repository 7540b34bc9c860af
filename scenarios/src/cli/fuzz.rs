//! `fuzz`: the main job.

#![expect(
    clippy::disallowed_types,
    reason = "a fresh base of seeds comes from the clock"
)]

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use dismantle_sim::{Plan, Seed};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::known::KnownDir;
use super::{Console, Ended, Exit, Failure, Set, Stack, cuts, duration, seeds};
use crate::campaign::{Campaign, Group, Outcome, Progress, Shrinking, Summary};
use crate::check::Class;
use crate::cuts::How;
use crate::scenario::{Scenario, vocabulary};

/// What `fuzz` takes.
#[derive(Args)]
pub struct Arguments {
    /// The scenarios; all but the planted ones if none is named
    scenario: Vec<String>,
    /// Run these seeds, half open: 0..1000
    #[arg(long, value_name = "A..B", value_parser = seeds, conflicts_with_all = ["time", "from"])]
    seeds: Option<(u64, u64)>,
    /// Run for so long (500ms, 60s, 10m)
    #[arg(long, value_parser = duration, default_value = "60s")]
    time: Duration,
    /// The first seed; a fresh one if it is not given
    #[arg(long, value_name = "N")]
    from: Option<Seed>,
    /// Worker processes; as many as there are cores if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Where to write plans
    #[arg(long, value_name = "DIR", default_value = "target/dismantle")]
    out: PathBuf,
    /// Instead of seeds: run this plan, ended at every step and at every byte
    #[arg(long, value_name = "PLAN", conflicts_with_all = ["scenario", "seeds", "time", "from"])]
    cuts: Option<PathBuf>,
    /// How the connection ends at a byte
    #[arg(long, value_name = "HOW", requires = "cuts", value_delimiter = ',',
          default_value = "reset", value_parser = how)]
    cut_by: Vec<How>,
    /// Known findings are no failure: the exit status is 1 only for new ones. Those that did not
    /// come are replayed, and said if they are gone
    #[arg(long)]
    known: bool,
    #[command(flatten)]
    known_dir: KnownDir,
    /// Keep the plans of findings as they came
    #[arg(long)]
    no_shrink: bool,
    #[command(flatten)]
    set: Set,
    #[command(flatten)]
    stack: Stack,
}

/// Runs the campaign, prints findings and the summary.
pub fn fuzz(console: &mut Console, arguments: Arguments) -> Ended {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u16);
    let jobs = match console.in_process {
        true => 1,
        false => arguments.jobs.unwrap_or(cores).into(),
    };
    let known = console.known(&arguments.known_dir)?;
    if let Some(path) = &arguments.cuts {
        let mut plan = console.read_plan(path)?;
        console.assign(&mut plan, &arguments.set)?;
        arguments.stack.apply(&mut plan);
        let arguments = cuts::Arguments {
            jobs,
            out: arguments.out,
            hows: arguments.cut_by,
            known,
            forgive: arguments.known,
        };
        return cuts::cuts(console, &plan, arguments);
    }
    let chosen = match arguments.scenario.is_empty() {
        true => console
            .scenarios
            .iter()
            .copied()
            .filter(|scenario| scenario.planted().is_none())
            .collect(),
        false => {
            let named = arguments.scenario.iter().map(|name| console.scenario(name));
            named.collect::<Result<Vec<_>, _>>()?
        }
    };
    let mut plans: Vec<(&dyn Scenario, Plan)> = Vec::new();
    let mut missing = Vec::new();
    for scenario in chosen {
        if plans
            .iter()
            .any(|(known, _)| known.name() == scenario.name())
        {
            continue;
        }
        missing.extend(missing_in(scenario));
        if scenario.missing().is_none() {
            let mut plan = console.empty_plan(scenario, &arguments.set)?;
            arguments.stack.apply(&mut plan);
            plans.push((scenario, plan));
        }
    }
    for what in &missing {
        eprintln!("left out: {what}");
    }
    if plans.is_empty() {
        return Ok(Exit::NothingRan);
    }
    let (from, to, time) = match arguments.seeds {
        Some((from, to)) => (from, Some(to), None),
        None => {
            let from = arguments.from.map_or_else(fresh_seed, |seed| seed.0);
            (from, None, Some(arguments.time))
        }
    };
    if arguments.seeds.is_none() {
        eprintln!("seeds from {from} on; the same ones again with --from {from}");
    }
    let to_shrink = |class| console.harness_to_shrink(class);
    let campaign = Campaign {
        jobs,
        harness: &|| console.harness(),
        shrink: (!arguments.no_shrink).then_some(&to_shrink),
        known: &known,
        recheck: arguments.known,
        plans,
        from,
        to,
        time,
        out: arguments.out,
        interrupted: console.interrupted.clone(),
        program: console.program.clone(),
    };
    let total = to.map(|to| (to - from) * campaign.plans.len() as u64);
    let bar = progress_bar(total, "seeds");
    let told = |progress: Progress<'_>| match progress {
        Progress::Seeds(count) => bar.set_position(count),
        Progress::New(group) => bar.suspend(|| found(group)),
        Progress::After(done, all) => {
            bar.set_message(format!("; {done} of {all} findings shrunk and confirmed"));
        }
    };
    let outcome = campaign.run(&told);
    bar.finish_and_clear();
    let mut outcome = outcome?;
    outcome.summary.missing = missing;
    print(console, &outcome)?;
    if let Some(error) = outcome.error {
        return Err(error.into());
    }
    Ok(ended(
        outcome.groups.iter(),
        &outcome.summary,
        arguments.known,
    ))
}

/// What of a scenario, if not all of it, cannot be run against this upstream, and why.
fn missing_in(scenario: &dyn Scenario) -> Vec<String> {
    let name = scenario.name();
    if let Some(why) = scenario.missing() {
        return vec![format!("`{name}`: {why}")];
    }
    let vocabulary = vocabulary(scenario);
    let questions = vocabulary.questions.into_iter().flatten();
    let questions = scenario.parameters().iter().chain(questions);
    let missing = questions.filter_map(|question| {
        let (words, why) = question.missing()?;
        let (pattern, words) = (question.pattern(), words.join("|"));
        Some(format!("`{pattern} = {words}` of `{name}`: {why}"))
    });
    missing.collect()
}

/// Says at once what is new.
pub(super) fn found(group: &Group) {
    let what = if group.is_known() { "known" } else { "found" };
    eprintln!(
        "{what}: {} ({})",
        group.finding.signature,
        group.plan.display()
    );
}

/// The exit status of a campaign; `forgive` if known findings are no failure.
pub(super) fn ended<'a>(
    groups: impl Iterator<Item = &'a Group>,
    summary: &Summary,
    forgive: bool,
) -> Exit {
    let counted = groups.filter(|group| !(forgive && group.is_known()));
    let classes: Vec<Class> = counted.map(|group| group.finding.class).collect();
    if classes.contains(&Class::Nondeterminism) {
        Exit::NotDeterministic
    } else if !classes.is_empty() {
        Exit::Findings
    } else if !summary.complete {
        Exit::Interrupted
    } else if summary.seeds == 0 {
        Exit::NothingRan
    } else {
        Exit::Clean
    }
}

/// Reads how a connection ends at a byte.
fn how(text: &str) -> Result<How, String> {
    let hows = [How::Reset, How::HalfClose];
    let how = hows.into_iter().find(|how| how.word() == text);
    how.ok_or_else(|| "one of reset, half-close".to_owned())
}

/// A base that nightly runs do not repeat: from the clock, short enough to read out.
fn fresh_seed() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    dismantle_sim::hash(&since.as_nanos().to_le_bytes()) % 1_000_000_000
}

/// A bar that counts up to `total`, if that is known, what `unit` says.
pub(super) fn progress_bar(total: Option<u64>, unit: &str) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (
            ProgressBar::new(total),
            format!("{{wide_bar}} {{pos}}/{{len}} {unit}, {{per_sec}}, {{eta}} left{{msg}}"),
        ),
        None => (
            ProgressBar::no_length(),
            format!("{{spinner}} {{pos}} {unit}, {{per_sec}}, {{elapsed}}{{msg}}"),
        ),
    };
    // Drawn on a terminal only; elsewhere it stays silent.
    bar.set_draw_target(ProgressDrawTarget::stderr());
    bar.with_style(ProgressStyle::with_template(&template).expect("a template of ours"))
}

fn print(console: &mut Console, outcome: &Outcome) -> Result<(), Failure> {
    let summary = &outcome.summary;
    if console.json {
        for group in &outcome.groups {
            console.json(group)?;
        }
        console.json(summary)?;
        return Ok(());
    }
    let mut text = String::new();
    for Group {
        finding,
        count,
        seed,
        scenario,
        replay,
        over_unix,
        size,
        shrunk,
        ..
    } in &outcome.groups
    {
        text += &format!("\n{count:>7} x {}\n", finding.signature);
        if !finding.signature.ends_with(&finding.detail) {
            text += &format!("          {}\n", finding.detail);
        }
        text += &format!("          {}\n", finding.judged.text());
        text += &format!("          {scenario}, smallest seed {seed}");
        text += &match shrunk {
            Shrinking::Minimal => format!("; shrunk to {size}\n"),
            Shrinking::Partly => format!("; shrunk to {size} so far\n"),
            Shrinking::NotTried => "\n".to_owned(),
        };
        text += &format!("          {replay}\n");
        text += &format!("          {}\n", over_unix.text());
    }
    let seconds = summary.seconds;
    text += &format!(
        "\n{} seeds in {seconds:.1} s ({:.0} a second){}: {}, {} of them known\n",
        summary.seeds,
        summary.seeds_per_second,
        if summary.complete {
            ""
        } else {
            ", INTERRUPTED"
        },
        match summary.findings {
            1 => "1 finding".to_owned(),
            count => format!("{count} findings"),
        },
        summary.known,
    );
    for name in &summary.gone {
        text += &format!("GONE: the known finding {name} does not come any more\n");
    }
    if summary.deaths > 0 {
        text += &format!("{} runs took their worker process along\n", summary.deaths);
    }
    if summary.killed > 0 {
        text += &format!(
            "{} workers were killed from outside; what they were at was run again\n",
            summary.killed
        );
    }
    for what in &summary.missing {
        text += &format!("left out: {what}\n");
    }
    for (what, count) in &summary.limited {
        text += &format!("{count} runs were ended by {what}\n");
    }
    let coverage = &summary.coverage;
    if summary.sampled > 0 {
        text += &format!(
            "{} clean seeds were run again in another process, to the same digest; they reached {} of {} words and messages\n",
            summary.sampled, coverage.reached, coverage.possible
        );
        text += &never(&coverage.never);
    }
    if let Some(seeds) = summary.last_new_finding {
        text += &format!("the last new finding came within {seeds} seeds\n");
    }
    console.text(&text)?;
    Ok(())
}

/// How many things that were never reached are named; JSON has all.
const NEVER_SHOWN: usize = 12;

fn never(never: &[String]) -> String {
    if never.is_empty() {
        return String::new();
    }
    let shown: Vec<&str> = never.iter().take(NEVER_SHOWN).map(String::as_str).collect();
    let more = match never.len() - shown.len() {
        0 => String::new(),
        more => format!(", and {more} more (--json names all)"),
    };
    format!("none of them had {}{more}\n", shown.join(", "))
}
