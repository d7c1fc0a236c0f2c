//! Finds the name that was probably meant. It knows nothing of what the names name.

use std::borrow::Borrow;

/// The candidate nearest to `text`, if one is near enough to be a slip of the pen. Of equals, the first by name.
pub(crate) fn nearest<'a, N: Borrow<str> + Ord>(
    text: &str,
    candidates: impl IntoIterator<Item = &'a N>,
) -> Option<&'a N> {
    let allowed = (text.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(text, candidate.borrow()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_finds_its_name_and_a_stranger_finds_none() {
        let names = ["messages", "count", "plan", "planner"].map(str::to_owned);
        for (text, meant) in
            [("mesages", Some("messages")), ("coutn", Some("count")), ("plann", Some("plan")), ("verdict", None)]
        {
            assert_eq!(nearest(text, &names).map(String::as_str), meant, "{text}");
        }
    }
}
