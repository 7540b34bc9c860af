//! `growth`: one plan at three sizes.

use dismantle_sim::{Plan, Seed, Value};

use super::{Console, Ended, Exit, Failure};
use crate::growth::{Growth, Law, Metric, Series, measure};
use crate::harness::Order;
use crate::report::RunReport;

/// Measures and prints one line a gauge.
pub fn growth(
    console: &mut Console,
    plan: &Plan,
    seed: Option<Seed>,
    over: Option<String>,
    sizes: &[u64],
    metric: Option<Metric>,
    expect: Option<Law>,
) -> Ended {
    let sizes = <[u64; 3]>::try_from(sizes)
        .ok()
        .filter(|[one, two, four]| *one > 0 && *two == one * 2 && *four == one * 4)
        .ok_or_else(|| Failure::input("--sizes takes n,2n,4n, such as 1000,2000,4000"))?;
    let over = self::over(console, plan, over)?;
    fits(plan, &over, sizes[2])?;
    let order = Order {
        seed,
        ..Order::of(plan)
    };
    let quiet = console.json;
    let tell = |size: u64| {
        if !quiet {
            eprintln!("measured {over}={size}");
        }
    };
    let series = measure(console.harness().as_mut(), order, &over, sizes, tell)?;
    let growths = match series {
        Series::Measured(growths) => growths,
        Series::Broken { size, ran } => return broken(console, &over, size, &ran.report),
    };
    let is_of = |metric: Metric, growth: &&Growth| growth.metric == metric.word();
    for growth in growths
        .iter()
        .filter(|growth| metric.is_none_or(|metric| is_of(metric, growth)))
    {
        if console.json {
            console.json(growth)?;
        } else {
            console.text(&line(growth))?;
        }
    }
    let judged = metric.unwrap_or(Metric::Stack);
    let judged = growths.iter().filter(|growth| is_of(judged, growth));
    let met = expect.is_none_or(|expected| greatest(judged) == expected);
    Ok(if met { Exit::Clean } else { Exit::Findings })
}

/// What is enlarged: what the user says, or the scenario.
pub(super) fn over(
    console: &Console,
    plan: &Plan,
    over: Option<String>,
) -> Result<String, Failure> {
    let scenario = console.scenario(plan.scenario())?;
    let own = scenario.over().filter(|over| !over.contains('*'));
    over.or_else(|| own.map(str::to_owned)).ok_or_else(|| {
        Failure::input(format!(
            "`{}` has no size of its own; name one with --over, such as --over op.1.repeat",
            scenario.name()
        ))
    })
}

/// Refuses a size that the decision cannot have.
pub(super) fn fits(plan: &Plan, over: &str, size: u64) -> Result<u64, Failure> {
    match clamped(plan, over, size)? {
        same if same == size => Ok(size),
        most => Err(Failure::input(format!(
            "`{over}` cannot be as large as {size}; {most} is the most"
        ))),
    }
}

/// The size nearest to this one that the decision can have.
pub(super) fn clamped(plan: &Plan, over: &str, size: u64) -> Result<u64, Failure> {
    let mut probe = plan.clone();
    probe
        .set(over, &Value::Count(size))
        .map_err(Failure::input)?;
    match probe.get(over) {
        Some(Value::Count(clamped)) => Ok(*clamped),
        _ => Err(Failure::input(format!("`{over}` is no number"))),
    }
}

/// Why there is nothing to say of stacks.
const NOT_MEASURED: &str = "the stack is not measured here (under memcheck, or not on Linux)";

/// Says what the run at one size came to, of which there is nothing to measure.
pub(super) fn broken(console: &mut Console, over: &str, size: u64, report: &RunReport) -> Ended {
    if report.findings.is_empty() {
        return Err(Failure::input(NOT_MEASURED));
    }
    if console.json {
        console.json(report)?;
    } else {
        console.text(&format!(
            "{over}={size} does not come to an end to measure:\n"
        ))?;
        console.text(&report.text())?;
    }
    Ok(Exit::Findings)
}

/// The law of the whole run: that of its worst phase.
fn greatest<'a>(growths: impl Iterator<Item = &'a Growth>) -> Law {
    let rank = |law: Law| match law {
        Law::Constant => 0,
        Law::Irregular => 1,
        Law::Linear => 2,
        Law::Quadratic => 3,
    };
    let laws = growths.map(|growth| growth.law);
    laws.max_by_key(|law| rank(*law)).unwrap_or(Law::Constant)
}

fn line(growth: &Growth) -> String {
    let values: Vec<String> = growth.values.iter().map(u64::to_string).collect();
    let (gauge, unit) = match growth.metric.split_once("_bytes") {
        Some((gauge, _)) => (gauge, " B"),
        None => (growth.metric.as_str(), ""),
    };
    let mut line = format!(
        "{:<9} {:<9} {gauge} {}{unit} at {}={}",
        growth.phase,
        growth.law.word(),
        values.join(", "),
        growth.over,
        growth
            .sizes
            .iter()
            .map(u64::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    );
    if growth.law == Law::Linear {
        line += &format!("; {:.0}{unit} an item", growth.per_item);
        for (stack, size) in &growth.overflow_at {
            line += &format!("; {stack} overflows near {size}");
        }
    }
    line + "\n"
}
