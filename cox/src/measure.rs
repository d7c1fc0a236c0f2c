//! Durations and ages as people read them at a glance; `duration::show` is exact, this is not.

use std::time::Duration;

use coxswain_shared::time::Timestamp;

/// A duration with two significant parts: `870 ms`, `4.2 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
pub(crate) fn brief(duration: Duration) -> String {
    let millis = duration.as_millis();
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{millis} ms"),
        1..10 => format!("{seconds}.{} s", millis % 1_000 / 100),
        10..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// The duration between two times that may be absent.
pub(crate) fn between(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<String> {
    Some(brief(to?.since(from?)))
}

/// A text for a table cell: cut at a width, on one line.
pub(crate) fn cut(text: &str, width: usize) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= width && line.len() == text.len() {
        return line.to_owned();
    }
    let kept: String = line.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// A text for the last cell of a line: cut at a width, its lines one after another.
pub(crate) fn one_line(text: &str, width: usize) -> String {
    cut(&text.lines().collect::<Vec<_>>().join(" "), width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        for (millis, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (4_260, "4.2 s"),
            (59_900, "59 s"),
            (200_000, "3 min 20 s"),
            (7_500_000, "2 h 5 min"),
            (273_600_000, "3 d 4 h"),
        ] {
            assert_eq!(brief(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn a_long_text_is_cut_with_a_mark() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
        assert_eq!(cut("a\nb", 9), "a…");
        assert_eq!(one_line("a\nb", usize::MAX), "a b", "nothing is lost where there is room");
    }
}
