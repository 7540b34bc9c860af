//! Cuts paths of types and functions into their parts, with an eye on brackets.

/// The parts of a path, each with its generic arguments: of `<A as B>::f` the type's own name
/// stands first.
pub fn segments(name: &str) -> Vec<(String, Vec<&str>)> {
    let mut found: Vec<(String, Vec<&str>)> = Vec::new();
    for part in split_path(name) {
        if let Some(inner) = part.strip_prefix('<').and_then(|it| it.strip_suffix('>')) {
            let this = split_word(inner, " as ");
            if found.is_empty() {
                found = segments(this);
            } else if let Some(last) = found.last_mut() {
                // Of an older mangling: `f::<T>`.
                last.1 = split(inner, ',');
            }
            continue;
        }
        match part.find('<').filter(|_| part.ends_with('>')) {
            Some(open) => {
                let arguments = split(&part[open + 1..part.len() - 1], ',');
                found.push((part[..open].to_owned(), arguments));
            }
            None => found.push((part.to_owned(), Vec::new())),
        }
    }
    found
}

/// What stands in these brackets, if that is all of it.
pub fn within(text: &str, open: char, close: char) -> Option<&str> {
    text.strip_prefix(open)?.strip_suffix(close)
}

/// `text` cut at each `::` outside of all brackets.
fn split_path(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut from, mut last) = (0, None);
    for (at, _) in outside(text).filter(|(_, c)| *c == ':') {
        if at > 0 && last == Some(at - 1) {
            parts.push(&text[from..at - 1]);
            from = at + 1;
        }
        last = Some(at);
    }
    parts.push(&text[from..]);
    parts.retain(|part| !part.is_empty());
    parts
}

/// `text` cut at each `separator` outside of all brackets; one part at least.
pub fn split(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut from = 0;
    for (at, c) in outside(text).filter(|(_, c)| *c == separator) {
        parts.push(text[from..at].trim());
        from = at + c.len_utf8();
    }
    parts.push(text[from..].trim());
    parts
}

/// What stands before the first `word` outside of all brackets.
fn split_word<'a>(text: &'a str, word: &str) -> &'a str {
    let mut places = outside(text);
    let found = places.find(|(at, _)| text[*at..].starts_with(word));
    found.map_or(text, |(at, _)| &text[..at])
}

/// The characters outside of all brackets, and where they are; the `>` of an arrow is no bracket.
fn outside(text: &str) -> impl Iterator<Item = (usize, char)> {
    let (mut depth, mut before) = (0_i32, ' ');
    text.char_indices().filter(move |(_, c)| {
        let is_arrow = *c == '>' && before == '-';
        before = *c;
        match c {
            '<' | '(' | '[' | '{' => depth += 1,
            '>' | ')' | ']' | '}' if !is_arrow => depth -= 1,
            _ => return depth == 0 && !is_arrow,
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_cut_where_no_bracket_is_open() {
        let parts = |name| -> Vec<String> {
            let parts = segments(name).into_iter();
            parts
                .map(|(part, arguments)| format!("{part}{}", arguments.len()))
                .collect()
        };
        assert_eq!(parts("a::B<c::D, e::F<g::H>>::f"), ["a0", "B2", "f0"]);
        assert_eq!(
            parts("<a::B<T> as c::D<E>>::f::{{closure}}"),
            ["a0", "B1", "f0", "{{closure}}0"]
        );
        assert_eq!(parts("f::<fn(a::B) -> c::D>"), ["f1"]);
        assert_eq!(
            split("u32, (A, B), [C; 2]", ','),
            ["u32", "(A, B)", "[C; 2]"]
        );
        assert_eq!(within("(A, B)", '(', ')'), Some("A, B"));
        assert_eq!(within("[A", '[', ']'), None);
    }
}
