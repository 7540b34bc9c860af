//! The words that this program was called with, for lines to paste.

/// The words of a call, the program first.
#[derive(Clone, Debug)]
pub(super) struct Words(Vec<String>);

impl Words {
    /// Those of this process.
    pub(super) fn of_this_call() -> Self {
        Self(std::env::args().collect())
    }

    /// The options of these names, with their values; those of a command behind `--` are its own.
    pub(super) fn options(&self, names: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        let mut words = self.0.iter().take_while(|word| word.as_str() != "--");
        while let Some(word) = words.next() {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word.as_str(), None),
            };
            if !names.contains(&name) {
                continue;
            }
            let value = value.or_else(|| words.next().map(String::as_str));
            found.push(name.to_owned());
            found.extend(value.map(str::to_owned));
        }
        found
    }

    /// All of them, with other values for these options.
    pub(super) fn with(&self, values: &[(&str, &str)]) -> Vec<String> {
        let mut all = Vec::new();
        let mut words = self.0.iter();
        while let Some(word) = words.next() {
            let name = word.split_once('=').map_or(word.as_str(), |(name, _)| name);
            match values.iter().find(|(option, _)| *option == name) {
                None => all.push(word.clone()),
                Some((option, value)) => {
                    if name == word {
                        words.next();
                    }
                    all.extend([*option, *value].map(str::to_owned));
                }
            }
        }
        all
    }
}

/// The limits of runs that were given: every build has them, too.
pub(super) fn limits() -> Vec<String> {
    Words::of_this_call().options(&["--memory", "--spin"])
}

/// Words as a line for a shell.
pub(super) fn line(words: &[String]) -> String {
    let quoted = words.iter().map(|word| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+%".contains(c);
        match !word.is_empty() && word.chars().all(is_plain) {
            true => word.clone(),
            false => format!("'{}'", word.replace('\'', "'\\''")),
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Words {
        Words(text.split(' ').map(str::to_owned).collect())
    }

    #[test]
    fn options_are_found_in_both_spellings_and_replaced() {
        let call =
            words("dismantle bisect a.toml --good 0.19.0 --bad=0.20.0 --with capnp=0.19.1 --json");
        assert_eq!(
            call.options(&["--with", "--cache"]),
            ["--with", "capnp=0.19.1"]
        );
        assert_eq!(call.options(&["--bad"]), ["--bad", "0.20.0"]);
        let inner = words("dismantle against --cache a 0.20.0 -- replay p --spin 1s");
        assert_eq!(inner.options(&["--cache", "--spin"]), ["--cache", "a"]);
        let narrowed = call.with(&[("--good", "1"), ("--bad", "2")]);
        assert_eq!(
            line(&narrowed),
            "dismantle bisect a.toml --good 1 --bad 2 --with capnp=0.19.1 --json"
        );
    }

    #[test]
    fn what_a_shell_would_read_is_quoted() {
        let words = [
            "bisect",
            "a b.toml",
            "it's",
            "",
            "client/a before client/b",
            "git:../x@HEAD",
        ];
        let words = words.map(str::to_owned);
        assert_eq!(
            line(&words),
            "bisect 'a b.toml' 'it'\\''s' '' 'client/a before client/b' git:../x@HEAD"
        );
    }
}
