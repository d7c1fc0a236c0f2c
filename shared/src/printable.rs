//! Texts of others, made fit to be shown: what would steer a terminal, forge a line or hide is shown as an escape.
//!
//! | characters | shown as |
//! |---|---|
//! | control characters but the tab: U+0000 to U+001F, U+007F to U+009F | `\n`, `\r`, `\u{1b}` |
//! | line and paragraph separators: U+2028, U+2029 | `\u{2028}` |
//! | marks that change the direction of writing: U+061C, U+200E, U+200F, U+202A to U+202E, U+2066 to U+206F | `\u{202e}` |
//! | characters without a width: U+00AD, U+180E, U+200B to U+200D, U+2060 to U+2065, U+FEFF, U+FFF9 to U+FFFB, U+E0000 to U+E007F | `\u{200b}` |
//!
//! In JSON they are escaped as JSON has it, so that the document means the same: `\u009b`.

use std::fmt::Write as _;

/// Whether a character steers, breaks a line, or turns the direction of writing. Names and labels have none.
pub const fn is_control(character: char) -> bool {
    matches!(
        character,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{206f}'
    )
}

/// Whether a character is never shown as it is.
const fn is_escaped(character: char) -> bool {
    let is_hidden = matches!(
        character,
        '\u{ad}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200d}'
            | '\u{2060}'..='\u{2065}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    );
    is_hidden || (is_control(character) && character != '\t')
}

/// A text on one line: its line breaks are escapes too.
pub fn line(text: &str) -> String {
    escape(text, |_| false)
}

/// A text of ours on several lines, with texts of others in it.
pub fn lines(text: &str) -> String {
    escape(text, |character| character == '\n')
}

/// A JSON document that means the same.
pub fn json(document: &str) -> String {
    let mut escaped = String::with_capacity(document.len());
    for character in document.chars() {
        // Between the texts of a document, there are line breaks of its layout alone.
        if character == '\n' || !is_escaped(character) {
            escaped.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            write!(escaped, "\\u{unit:04x}").expect("a text takes whatever is written");
        }
    }
    escaped
}

fn escape(text: &str, is_kept: impl Fn(char) -> bool) -> String {
    if !text.chars().any(is_escaped) {
        return text.to_owned();
    }
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            _ if is_kept(character) || !is_escaped(character) => escaped.push(character),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            _ => write!(escaped, "\\u{{{:x}}}", u32::from(character)).expect("a text takes whatever is written"),
        }
    }
    escaped
}

/// Texts that must not reach a terminal, a log or a table as they are, for tests.
pub const NASTY: [&str; 14] = [
    "\u{1b}[2J",
    "\u{1b}]0;title\u{7}",
    "\u{9b}31m",
    "\u{85}next",
    "two\nlines",
    "over\rwritten",
    "back\u{8}space",
    "\u{7f}",
    "\0",
    "\u{202e}gpj.exe",
    "\u{2067}isolate\u{2069}",
    "\u{2028}line\u{2029}",
    "zero\u{200b}width\u{feff}",
    "\u{e0041}tag",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn has_any(text: &str) -> bool {
        text.chars().any(is_escaped)
    }

    #[test]
    fn what_steers_or_hides_is_an_escape() {
        for nasty in NASTY {
            let shown = line(nasty);
            assert!(!has_any(&shown) && shown.contains('\\'), "{nasty:?}: {shown}");
            assert_eq!(line(&shown), shown, "once is enough");
        }
        assert_eq!(line("\u{1b}[31mred\nline"), r"\u{1b}[31mred\nline");
        assert_eq!(lines("a\nb\r\u{9b}"), "a\nb\\r\\u{9b}");
        for plain in ["größe 日本 🚀", "a\tb", "c:\\n", ""] {
            assert_eq!(line(plain), plain);
        }
    }

    #[test]
    fn json_means_the_same() {
        for nasty in NASTY {
            let document = serde_json::to_string_pretty(&serde_json::json!({"text": nasty, nasty: 1})).unwrap();
            let escaped = json(&document);
            assert!(!escaped.chars().any(|c| c != '\n' && is_escaped(c)), "{escaped}");
            let (one, other): (serde_json::Value, serde_json::Value) =
                (serde_json::from_str(&document).unwrap(), serde_json::from_str(&escaped).unwrap());
            assert_eq!(one, other);
        }
    }
}
