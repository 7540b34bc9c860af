//! What a run said that a program would do, put in order.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalogue::place;

/// The parts of a program, as a run said them.
#[derive(Default)]
pub struct Lines {
    /// The statements of `main`, one a line.
    pub main: Vec<String>,
    /// What methods do, by id.
    pub methods: BTreeMap<u32, String>,
    /// What becomes of calls that are not just answered, by id.
    pub outcomes: BTreeMap<u32, String>,
    /// The ids of streaming methods.
    pub streams: BTreeSet<u32>,
    /// What destructors do, by object.
    pub drops: BTreeMap<String, Vec<String>>,
    /// How a client that reconnects connects for the second time.
    pub again: Vec<String>,
    /// In the end the objects had something to forget, or somebody waited for ever.
    pub forgets: bool,
}

/// Who does what is said next.
#[derive(Default)]
enum Actor {
    #[default]
    Owner,
    Destructor(String),
}

/// The waits of an owner, as they come.
enum Wait {
    Steps(u64),
    Rest,
}

impl Lines {
    /// The lines of one run.
    ///
    /// # Errors
    /// What it did that no program can be written of.
    pub fn of(script: &[(String, String)]) -> Result<Self, String> {
        let mut lines = Self::default();
        let mut actor = Actor::default();
        let mut waits = Waits::default();
        let mut reset = false;
        let mut connects_again = false;
        // A run that leaves memory is run again, and says everything again.
        let first = script
            .iter()
            .skip(1)
            .take_while(|(place, _)| place != "run");
        for (place, line) in first {
            match place.as_str() {
                place::AGAIN if line == "true" => {
                    if !lines.again.is_empty() {
                        return Err(
                            "export cannot write a client that connects again twice".to_owned()
                        );
                    }
                    connects_again = true;
                }
                place::AGAIN => connects_again = false,
                place::MAIN if connects_again => {
                    lines.again.extend(line.lines().map(str::to_owned));
                }
                place::MAIN => {
                    actor = Actor::Owner;
                    for line in line.lines().filter(|line| !line.is_empty()) {
                        waits.flush(&mut lines.main, line.starts_with("//"));
                        lines.main.push(line.to_owned());
                    }
                }
                place::STEPS => {
                    actor = Actor::Owner;
                    waits.begin(match line.parse() {
                        Ok(steps) => Wait::Steps(steps),
                        Err(_) => Wait::Rest,
                    });
                }
                place::MADE => {
                    let made = line.parse().unwrap_or(0);
                    if made > 0 && std::mem::take(&mut reset) {
                        return Err("export cannot write a reset".to_owned());
                    }
                    waits.made(made);
                }
                place::RESET => reset = true,
                place::METHOD => lines.methods.extend(numbered(line)),
                place::OUTCOME => lines.outcomes.extend(numbered(line)),
                place::STREAM => lines.streams.extend(line.parse::<u32>()),
                place::DROP => {
                    // Objects of one name do the same, as far as there is anything to do.
                    actor = match lines.drops.contains_key(line) {
                        true => Actor::Owner,
                        false => Actor::Destructor(line.clone()),
                    };
                    lines.drops.entry(line.clone()).or_default();
                }
                place::ACT => match &actor {
                    Actor::Destructor(object) => {
                        let acts = lines.drops.entry(object.clone()).or_default();
                        acts.push(line.clone());
                    }
                    Actor::Owner => {}
                },
                place::FORGET => lines.forgets = true,
                _ => return Err(format!("export cannot write {line}")),
            }
        }
        waits.flush(&mut lines.main, false);
        lines.drops.retain(|_, acts| !acts.is_empty());
        lines.forget_nothing();
        lines.drop_idle_comments();
        Ok(lines)
    }

    /// Whether objects consist of more than a name.
    pub fn has_state(&self) -> bool {
        let keeps = |text: &String| text.contains("this.0.kept");
        !self.drops.is_empty() || self.methods.values().any(keeps)
    }

    /// Where no object keeps anything, nothing is asked of what it keeps.
    fn forget_nothing(&mut self) {
        if self
            .methods
            .values()
            .any(|text| text.contains("kept.replace"))
        {
            return;
        }
        for text in self.methods.values_mut() {
            let asks = text
                .lines()
                .next()
                .is_some_and(|line| line.contains("this.0.kept"));
            if asks {
                let passed = text.contains(".or(cap)");
                let inner = text.lines().filter(|line| line.starts_with(' '));
                let inner: Vec<&str> = inner.map(str::trim).filter(|_| passed).collect();
                *text = inner.join("\n").replace("&target", "&cap.unwrap()");
            }
        }
    }

    /// A comment says what follows; where nothing does, there is nothing to say.
    fn drop_idle_comments(&mut self) {
        let is_comment = |line: &String| line.starts_with("//");
        let lines = std::mem::take(&mut self.main);
        for line in lines {
            let idle = self.main.last().is_some_and(is_comment);
            if idle && (is_comment(&line) || line.starts_with("steps(")) {
                self.main.pop();
            }
            self.main.push(line);
        }
    }
}

fn numbered(line: &str) -> Option<(u32, String)> {
    let (id, text) = line.split_once('\n')?;
    Some((id.parse().ok()?, text.to_owned()))
}

/// Steps that were asked for since the last statement, of which some were made.
#[derive(Default)]
struct Waits {
    asked: Option<Wait>,
    steps: u64,
    rests: bool,
}

impl Waits {
    fn begin(&mut self, wait: Wait) {
        // The one before was not ended by the run: it goes on in this one.
        self.end(None);
        self.asked = Some(wait);
    }

    fn made(&mut self, steps: u64) {
        self.end(Some(steps));
    }

    fn end(&mut self, made: Option<u64>) {
        match (self.asked.take(), made) {
            (None, _) | (Some(_), Some(0)) => {}
            (Some(Wait::Steps(asked)), Some(made)) if made < asked => self.rests = true,
            (Some(Wait::Steps(asked)), _) => self.steps += asked,
            (Some(Wait::Rest), _) => self.rests = true,
        }
    }

    /// Writes them down, unless only a comment follows.
    fn flush(&mut self, main: &mut Vec<String>, comment: bool) {
        if comment && self.asked.is_none() && self.steps == 0 && !self.rests {
            return;
        }
        self.end(None);
        let steps = std::mem::take(&mut self.steps);
        if std::mem::take(&mut self.rests) {
            main.push("steps(usize::MAX);".to_owned());
        } else if steps > 0 {
            main.push(format!("steps({steps});"));
        }
    }
}
