//! What to do about an unknown name.

use crate::closest::closest;

/// The most names that are listed where none is close.
const LISTED_MAX: usize = 12;

/// A remedy for an unknown name: the closest known one, else the list of the known ones; nothing if there are none.
pub(super) fn remedy<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    if let Some(close) = closest(name, known.iter().copied()) {
        return Some(format!("did you mean `{close}`?"));
    }
    match known.len() {
        0 => None,
        count if count > LISTED_MAX => None,
        _ => Some(format!("there is {}", known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_recognised() {
        let known = ["work", "route", "attempt_timeout", "END"];
        for (name, meant) in
            [("wrok", "work"), ("rout", "route"), ("attempt_timout", "attempt_timeout"), ("end", "END")]
        {
            assert_eq!(remedy(name, known), Some(format!("did you mean `{meant}`?")), "{name}");
        }
    }

    #[test]
    fn without_a_close_name_the_known_ones_are_listed_while_they_are_few() {
        assert_eq!(remedy("summarize", ["a", "b"]), Some("there is `a`, `b`".to_owned()));
        assert_eq!(remedy("x", []), None);
        let many: Vec<String> = (0..100).map(|n| format!("node-number-{n}")).collect();
        assert_eq!(remedy("zzzzzz", many.iter().map(String::as_str)), None);
    }
}
