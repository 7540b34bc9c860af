//! What destructors reach, and therefore no variable of `main` can be.

use std::collections::BTreeSet;

use super::items::words;
use super::main_fn::declared;

/// What destructors and hooks reach, which is therefore no variable of `main`.
pub struct Globals(BTreeSet<String>);

impl Globals {
    pub fn of(acts: &[String]) -> Self {
        let kinds = ["_bootstrap", "_disconnector", "_system"];
        let reached = acts.iter().flat_map(|line| words(line));
        let reached = reached.filter(|word| kinds.iter().any(|kind| word.ends_with(kind)));
        Self(reached.map(str::to_owned).collect())
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// Has lines use the globals in the place of variables.
    pub fn put(&self, lines: &mut [String]) {
        for name in &self.0 {
            let global = name.to_uppercase();
            let is_task = name.ends_with("_system");
            for line in lines.iter_mut() {
                if let Some((_, declared)) = declared(line)
                    && declared == name
                {
                    let expression = line.split_once(" = ").map_or("", |(_, it)| it);
                    let expression = expression.trim_end_matches(';');
                    *line = match is_task {
                        true => format!("{global}.set({expression});"),
                        false => format!("{global}.set(Some({expression}));"),
                    };
                    continue;
                }
                let (borrowed, owned) = match is_task {
                    true => (format!("&{global}.get()"), format!("{global}.get()")),
                    false => (format!("&{name}()"), format!("{global}.take().unwrap()")),
                };
                let cloned = borrowed.trim_start_matches('&').to_owned();
                *line = replaced(line, &format!("{name}.clone()"), &cloned);
                *line = replaced(line, &format!("&{name}"), &borrowed);
                *line = called(line, name, &owned);
            }
        }
    }

    pub fn used(&self) -> String {
        let is_task = |name: &&String| name.ends_with("_system");
        let words = match self.0.iter().all(|name| is_task(&name)) {
            true => "",
            false => " RefCell",
        };
        words.to_owned()
    }

    pub fn text(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let mut text = String::new();
        for name in &self.0 {
            let global = name.to_uppercase();
            let (kind, value) = match name {
                name if name.ends_with("_system") => ("Cell<usize>", "Cell::default()"),
                name if name.ends_with("_bootstrap") => {
                    ("RefCell<Option<Client>>", "RefCell::default()")
                }
                _ => ("RefCell<Option<Disconnector<Side>>>", "RefCell::default()"),
            };
            text.push_str(&format!(
                "thread_local!(static {global}: {kind} = {value});\n"
            ));
        }
        text.push('\n');
        for name in self.0.iter().filter(|name| name.ends_with("_bootstrap")) {
            let global = name.to_uppercase();
            text.push_str(&format!(
                "fn {name}() -> Client {{\n    \
                 {global}.with_borrow(Option::clone).unwrap()\n}}\n\n"
            ));
        }
        text
    }
}

/// `line` with each variable `name` replaced, but where it is called.
fn called(line: &str, name: &str, to: &str) -> String {
    let call = format!("{name}()");
    let mut parts = line.split(&call).map(|part| replaced(part, name, to));
    let first = parts.next().unwrap_or_default();
    parts.fold(first, |text, part| text + &call + &part)
}

/// `line` with each word `from` replaced.
pub fn replaced(line: &str, from: &str, to: &str) -> String {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let mut text = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(from) {
        let end = at + from.len();
        let before = rest[..at].chars().next_back().or(text.chars().next_back());
        let whole = !is_word(before) && !is_word(rest[end..].chars().next());
        text.push_str(&rest[..at]);
        text.push_str(if whole { to } else { from });
        rest = &rest[end..];
    }
    text + rest
}
