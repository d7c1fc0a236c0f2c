//! Guesses which name was meant.

/// The most names that are listed where none is close.
const LISTED_MAX: usize = 12;

/// A remedy for an unknown name: the closest known one, else the list of the known ones; nothing if there are none.
pub(super) fn remedy<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    if let Some(close) = closest(name, &known) {
        return Some(format!("did you mean `{close}`?"));
    }
    match known.len() {
        0 => None,
        count if count > LISTED_MAX => None,
        _ => Some(format!("there is {}", known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))),
    }
}

fn closest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let allowed = match name.chars().count() {
        0..=2 => 1,
        3..=6 => 2,
        _ => 3,
    };
    let same_letters = known.iter().find(|candidate| candidate.eq_ignore_ascii_case(name));
    let nearest = || known.iter().map(|candidate| (distance(name, candidate), candidate)).min();
    let near = nearest().filter(|(distance, candidate)| *distance <= allowed && *distance < candidate.chars().count());
    same_letters.or(near.map(|(_, candidate)| candidate)).copied()
}

/// How many letters must be put in, left out, replaced or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
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
