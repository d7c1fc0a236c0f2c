//! Bounds how deep an expression can nest, before the engine sees it.
//!
//! The engine refuses brackets that nest too deep, but builds chains (`a.b.c…`, `a or b or c…`) as trees as deep as the
//! chain is long, and walks them by recursion: a few thousand links would overflow the stack of a thread.

/// Operators, brackets, dots and pipes of one expression. An unoptimised engine overflows 2 MiB at about 1,000.
pub(super) const OPERATORS_MAX: usize = 400;

const NESTING_WORDS: [&str; 7] = ["and", "or", "not", "in", "is", "if", "else"];

/// The most operators that one expression of a template has.
pub(super) fn in_template(text: &str) -> usize {
    let mut most = 0;
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        rest = &rest[start + 1..];
        if rest.starts_with(['{', '%']) {
            let (operators, end) = count(&rest[1..], true);
            most = most.max(operators);
            rest = &rest[1 + end..];
        }
    }
    most
}

/// The operators of an expression.
pub(super) fn in_expression(text: &str) -> usize {
    count(text, false).0
}

/// Counts operators until the text ends, or until a template's closing mark; gives the count and where it ended.
fn count(text: &str, in_template: bool) -> (usize, usize) {
    let bytes = text.as_bytes();
    let mut operators = 0;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' | b'\'' => {
                at = super::names::end_of_string(text, at);
                continue;
            }
            b'}' | b'%' if in_template && bytes.get(at + 1) == Some(&b'}') => return (operators, at + 2),
            byte if byte.is_ascii_alphabetic() || *byte == b'_' => {
                let end = text[at..].find(|c| !super::names::continues_word(c)).map_or(text.len(), |n| at + n);
                operators += usize::from(NESTING_WORDS.contains(&&text[at..end]));
                at = end;
                continue;
            }
            b'.' | b'|' | b'(' | b'[' | b'{' | b'+' | b'-' | b'*' | b'/' | b'%' | b'~' | b'<' | b'>' | b'=' | b'!' => {
                operators += 1;
            }
            _ => {}
        }
        at += 1;
    }
    (operators, text.len())
}
