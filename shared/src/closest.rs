//! Finds the name that was probably meant. It knows nothing of what the names name.

use std::borrow::Borrow;

/// Letters that are compared; what comes after them is not looked at, since a text may be of any length.
const COMPARED_MAX: usize = 64;

/// The candidate closest to `text`, if it is close enough to be a slip of the pen: one letter in three put in, left out,
/// replaced or swapped with its neighbour, from one letter to three, and something of it right; or the same letters
/// in another case. Of equals, the first by name.
pub fn closest<'a, N: Borrow<str> + Ord + ?Sized + 'a>(
    text: &str,
    candidates: impl IntoIterator<Item = &'a N>,
) -> Option<&'a N> {
    let text = head(text);
    let allowed = (text.chars().count() / 3).clamp(1, 3);
    let near = candidates.into_iter().filter_map(|candidate| {
        let name = head(candidate.borrow());
        let distance = if name.eq_ignore_ascii_case(text) { 0 } else { strsim::osa_distance(text, name) };
        (distance <= allowed && distance < name.chars().count()).then_some((distance, candidate))
    });
    near.min().map(|(_, candidate)| candidate)
}

fn head(text: &str) -> &str {
    text.char_indices().nth(COMPARED_MAX).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_finds_its_name_and_a_stranger_finds_none() {
        let names = ["messages", "count", "plan", "planner", "END", "attempt_timeout"];
        for (text, meant) in [
            ("mesages", Some("messages")),
            ("coutn", Some("count")),
            ("plann", Some("plan")),
            ("end", Some("END")),
            ("atempt_timout", Some("attempt_timeout")),
            ("verdict", None),
            ("clean", None),
            ("", None),
        ] {
            assert_eq!(closest(text, names), meant, "{text}");
        }
    }

    #[test]
    fn a_name_of_which_no_letter_is_right_is_not_what_was_meant() {
        assert_eq!(closest("x", ["a", "b"]), None);
        assert_eq!(closest("B", ["a", "b"]), Some("b"));
    }

    #[test]
    fn of_a_long_text_the_beginning_is_compared() {
        let long = "ä".repeat(100_000);
        assert_eq!(closest(&long, ["ä".repeat(64).as_str(), "a"]), Some("ä".repeat(64).as_str()));
        assert_eq!(closest(&long, ["a"]), None);
    }
}
