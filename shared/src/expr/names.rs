//! Which names an expression uses. The engine can list them too, but forgets those that are only sliced (`x[1:2]`).

use std::collections::BTreeSet;

const KEYWORDS: [&str; 12] = ["and", "or", "not", "in", "is", "if", "else", "true", "false", "none", "True", "False"];

/// A word of an expression, and what stands beside it.
struct Word<'a> {
    text: &'a str,
    /// The character before it, spaces skipped.
    before: Option<u8>,
    /// Whether it stands where a test's name does: after `is` or `is not`.
    after_is: bool,
    /// What follows it, spaces skipped.
    rest: &'a str,
}

/// The words of a text that could be names: more than there are, never fewer.
pub(super) fn words(text: &str) -> BTreeSet<&str> {
    words_at(text).map(|(_, word)| word).collect()
}

fn words_at(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + text[at..].find(starts_word)?;
        let end = text[start..].find(|c| !continues_word(c)).map_or(text.len(), |length| start + length);
        at = end;
        Some((start, &text[start..end]))
    })
}

/// Whether a name occurs in a text as a whole word.
pub(super) fn occurs(text: &str, name: &str) -> bool {
    words(text).contains(name)
}

/// Whether a name occurs in a text and is not tested or given a default where it first stands.
pub(super) fn occurs_unguarded(text: &str, name: &str) -> bool {
    let Some((start, _)) = words_at(text).find(|(_, word)| *word == name) else { return false };
    let rest = text[start + name.len()..].trim_start();
    let filter = rest.strip_prefix('|').map(str::trim_start);
    !rest.starts_with("is ") && !filter.is_some_and(|filter| filter.starts_with("default") || filter.starts_with("d("))
}

/// The names that an expression reads: no attributes, filters, tests, keyword arguments or functions.
pub(super) fn free(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut before = None;
    let mut after_is = false;
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        if c == '"' || c == '\'' {
            at = end_of_string(text, at);
            (before, after_is) = (Some(b'"'), false);
        } else if starts_word(c) {
            let end = text[at..].find(|c| !continues_word(c)).map_or(text.len(), |length| at + length);
            let word = Word { text: &text[at..end], before, after_is, rest: text[end..].trim_start() };
            if word.is_name() {
                names.insert(word.text.to_owned());
            }
            after_is = word.text == "is" || (after_is && word.text == "not");
            (before, at) = (Some(b'a'), end);
        } else if c.is_ascii_digit() {
            // A number with its exponent is one thing: the `e` of `1e5` is no name.
            at += text[at..].find(|c: char| !continues_word(c)).unwrap_or(text.len() - at);
            (before, after_is) = (Some(b'0'), false);
        } else {
            if !c.is_whitespace() {
                (before, after_is) = (Some(u8::try_from(c).unwrap_or(b'?')), false);
            }
            at += c.len_utf8();
        }
    }
    names
}

impl Word<'_> {
    fn is_name(&self) -> bool {
        let keyword_argument = self.rest.starts_with('=') && !self.rest.starts_with("==");
        let function = self.rest.starts_with('(') && super::engine::FUNCTIONS.contains(&self.text);
        let keyword = KEYWORDS.contains(&self.text) || self.text == "None";
        !keyword && !keyword_argument && !function && !self.after_is && !matches!(self.before, Some(b'.' | b'|'))
    }
}

/// Where the string that starts at a quote ends.
pub(super) fn end_of_string(text: &str, start: usize) -> usize {
    let quote = text[start..].chars().next();
    let mut escaped = false;
    for (offset, c) in text[start + 1..].char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if Some(c) == quote => return start + 1 + offset + 1,
            _ => {}
        }
    }
    text.len()
}

fn starts_word(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

pub(super) fn continues_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}
