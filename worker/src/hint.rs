//! What a message about an unknown name says of the known ones.

use std::fmt::Write as _;

use coxswain_shared::closest::closest;

/// Names that a message lists; more are counted.
const LISTED_MAX: usize = 20;

/// Says which names are known, and which one was probably meant: `; did you mean `fetch`? known: a, b`.
pub(crate) fn hint<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let mut known: Vec<_> = known.into_iter().collect();
    known.sort_unstable();
    let mut text = String::new();
    if let Some(name) = closest(wrong, known.iter().copied()) {
        let _ = write!(text, "; did you mean `{name}`?");
    }
    let shown = known.iter().take(LISTED_MAX).copied().collect::<Vec<_>>().join(", ");
    let rest = known.len().saturating_sub(LISTED_MAX);
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    let _ = if known.is_empty() { write!(text, "; none is known") } else { write!(text, "; known: {shown}{more}") };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_told_what_was_meant() {
        assert_eq!(hint("fecth", ["fetch", "write"]), "; did you mean `fetch`?; known: fetch, write");
        assert_eq!(hint("xyz", ["fetch"]), "; known: fetch");
        assert_eq!(hint("xyz", []), "; none is known");
    }

    #[test]
    fn a_long_list_is_cut() {
        let names: Vec<_> = (0..30).map(|n| format!("name{n:02}")).collect();
        assert!(hint("zzzzzz", names.iter().map(String::as_str)).ends_with("and 10 more"));
    }
}
