//! Values that are never shown.

use std::fmt;

/// What is shown in place of a secret.
const STARS: &str = "***";

/// A value that prints as `***`, whatever prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, for the one place that needs it.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<T> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A URL that may be shown: all up to the last `@`, and the query, are replaced by `***`. A password may hold `/`, `?`
/// and `#`, although it should not: where it ends is known only by the `@` behind it.
pub fn redact_url(url: &str) -> String {
    // Without `://` there is no telling which part is the password.
    let Some((scheme, rest)) = url.split_once("://") else { return STARS.to_owned() };
    let (before, behind) = rest.rsplit_once('@').map_or((None, rest), |(before, behind)| (Some(before), behind));
    // A second `@` behind a `?` may be one of the query, or of a password: neither is shown.
    let is_unclear = before.is_some_and(|before| before.split_once('?').is_some_and(|(first, _)| first.contains('@')));
    if is_unclear {
        return format!("{scheme}://{STARS}");
    }
    let shown = behind.split_once('?').map_or_else(|| behind.to_owned(), |(place, _)| format!("{place}?{STARS}"));
    let shown = shown.split_once('#').map_or_else(|| shown.clone(), |(place, _)| format!("{place}#{STARS}"));
    if before.is_some() { format!("{scheme}://{STARS}@{shown}") } else { format!("{scheme}://{shown}") }
}

/// What is most often wrong with a URL that cannot be read, if it may be wrong with this one. It repeats nothing of it.
pub fn url_remedy(url: &str) -> Option<&'static str> {
    let login = url.split_once("://")?.1.rsplit_once('@')?.0;
    let is_special = |c: char| matches!(c, '/' | '?' | '#' | '@' | '[' | ']' | '%' | '\\') || c.is_whitespace();
    login.contains(is_special).then_some(
        "in its user name and password, percent-encode / as %2F, ? as %3F, # as %23, @ as %40, [ as %5B, ] as %5D, \
        \\ as %5C, % as %25 and a blank as %20",
    )
}

/// Whether a character that ends a URL's host stands before its last `@`: it belongs to a password, and who reads the URL
/// would take a part of that password for the host.
pub fn has_split_login(url: &str) -> bool {
    let login = url.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'));
    login.is_some_and(|(login, _)| login.contains(['/', '?', '#', '\\']))
}

/// Whether a text has blanks, control characters or invisible characters before or behind: it was copied with more than was meant.
pub fn has_blanks_around(text: &str) -> bool {
    let is_blank =
        |c: char| c.is_whitespace() || c.is_control() || matches!(c, '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2060}');
    text.starts_with(is_blank) || text.ends_with(is_blank)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_as_stars() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        assert_eq!(*secret.expose(), "hunter2");
    }

    #[test]
    fn a_shown_url_has_no_credentials() {
        assert_eq!(redact_url("amqp://u:p@ss@host:5672/%2f"), "amqp://***@host:5672/%2f");
        assert_eq!(redact_url("redis://host/0?password=x"), "redis://host/0?***");
        assert_eq!(redact_url("redis://host"), "redis://host");
        for password in
            ["hun/ter", "hun?ter", "hun#ter", "hun@ter", "hun/t?e#r@", "hun:ter", "6379/hun", "[hun]", "a b"]
        {
            let shown = redact_url(&format!("redis://ann:{password}@host:6379/0"));
            assert_eq!(shown, "redis://***@host:6379/0", "{password}");
            assert_eq!(redact_url(&format!("redis://{password}@host:6379/0")), shown, "{password}");
        }
        for hidden in ["redis://u:hun@ter?x@host", "redis://host@x?password=hun@ter", "redis:ann:hun", "hun"] {
            assert!(!redact_url(hidden).contains("hun") && !redact_url(hidden).contains("ter"), "{hidden}");
        }
        assert_eq!(redact_url("http://host/a#hun"), "http://host/a#***");
    }

    #[test]
    fn what_to_encode_is_said_where_a_login_holds_it() {
        for bad in
            ["redis://:a/b@host", "amqp://u:a?b@host", "redis://a#b@host/0", "redis://u:a@b@host", "redis://u:a%@host"]
        {
            assert!(url_remedy(bad).unwrap().contains("/ as %2F"), "{bad}");
        }
        for other in ["redis://host/0", "redis://ann:hunter2@host:1/0", "host"] {
            assert_eq!(url_remedy(other), None, "{other}");
        }
    }
}
