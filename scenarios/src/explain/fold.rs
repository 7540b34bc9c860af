//! Folds what repeats itself: of a thousand calls one is told.

use super::{Line, Repeated};

/// The longest sequence of lines that is seen to repeat itself.
const PERIOD_MAX: usize = 16;

/// A sequence that is there less often is told in full.
const TIMES_MIN: usize = 3;

/// The lines without those that say, but for numbers, what the ones before them say.
pub(super) fn fold(lines: Vec<Line>) -> Vec<Line> {
    let shapes: Vec<String> = lines.iter().map(shape).collect();
    let mut folded = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let (period, times) = (1..=PERIOD_MAX)
            .map(|period| (period, times(&shapes[at..], period)))
            .filter(|(_, times)| *times >= TIMES_MIN)
            .max_by_key(|(period, times)| (period * times, usize::MAX - period))
            .unwrap_or((1, 1));
        folded.extend_from_slice(&lines[at..at + period]);
        at += period * times;
        if times > 1 {
            let last = folded.last_mut().expect("a period has a line");
            last.repeated = Some(Repeated {
                lines: period,
                times: times as u64 - 1,
                last: lines[at - 1].number,
            });
        }
    }
    folded
}

/// How many times the first `period` shapes are there in a row. The finding's line is itself.
fn times(shapes: &[String], period: usize) -> usize {
    let mut times = 1;
    let first = shapes.get(..period);
    while first.is_some_and(|first| {
        let next = shapes.get(times * period..(times + 1) * period);
        next == Some(first)
    }) {
        times += 1;
    }
    times
}

/// What a line says, without its numbers.
fn shape(line: &Line) -> String {
    let text = format!("{}\n{}", line.who, line.what);
    let mut shape = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_ascii_digit() {
            false => shape.push(c),
            true if shape.ends_with('#') => {}
            true => shape.push('#'),
        }
    }
    if line.is_finding {
        shape += &line.number.to_string();
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: u64, what: &str) -> Line {
        Line {
            kind: "explain-event",
            number,
            step: number,
            time_us: 0,
            who: "client/system".to_owned(),
            what: what.to_owned(),
            because: Vec::new(),
            is_finding: what == "panics",
            repeated: None,
        }
    }

    fn told(whats: &[&str]) -> Vec<(String, Option<(usize, u64)>)> {
        let lines = (0..).zip(whats).map(|(number, what)| line(number, what));
        let folded = fold(lines.collect());
        let repeated = |line: &Line| line.repeated.map(|it| (it.lines, it.times));
        let told = folded.iter().map(|it| (it.what.clone(), repeated(it)));
        told.collect()
    }

    #[test]
    fn repetitions_are_told_once_with_their_count() {
        let whats = [
            "start", "call 1", "ret 1", "call 2", "ret 2", "call 13", "ret 13", "end",
        ];
        let text = |text: &str| text.to_owned();
        assert_eq!(
            told(&whats),
            [
                (text("start"), None),
                (text("call 1"), None),
                (text("ret 1"), Some((2, 2))),
                (text("end"), None)
            ]
        );
        let drops = ["drop 1"; 100];
        assert_eq!(told(&drops), [(text("drop 1"), Some((1, 99)))]);
    }

    #[test]
    fn two_of_a_kind_and_the_finding_are_told() {
        assert_eq!(told(&["call 1", "call 2", "end"]).len(), 3);
        assert_eq!(told(&["panics", "panics", "panics", "panics"]).len(), 4);
    }
}
