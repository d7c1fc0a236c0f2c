//! The name of an upstream.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

/// The longest name: that of a host.
const HOST_CHARS_MAX: usize = 255;
/// Characters of a subject that are shown.
const SUBJECT_CHARS_MAX: usize = 100;

/// An upstream: `host:port`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpstreamName(Arc<str>);

impl UpstreamName {
    /// The name of a host and a port, in small letters. What cannot stand in a key is replaced.
    pub fn of(host: &str, port: u16) -> Self {
        let fit = |c: char| {
            let is_fit = c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '[' | ']');
            if is_fit { c.to_ascii_lowercase() } else { '_' }
        };
        let host: String = host.trim_end_matches('.').chars().take(HOST_CHARS_MAX).map(fit).collect();
        Self(format!("{host}:{port}").into())
    }

    /// The same upstream as one of those sees it that share it: a graph, or all runs with a label.
    #[must_use]
    pub fn of_subject(&self, subject: &str) -> Self {
        let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let fit: String = subject.chars().take(SUBJECT_CHARS_MAX).map(|c| if is_fit(c) { c } else { '_' }).collect();
        if fit == subject {
            return Self(format!("{}/{fit}", self.0).into());
        }
        // What was replaced or cut off must not make two of them one.
        let digest = Sha256::digest(subject.as_bytes());
        let mark = digest.iter().take(8).fold(0_u64, |mark, byte| mark << 8 | u64::from(*byte));
        Self(format!("{}/{fit}~{mark:016x}", self.0).into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UpstreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_one_upstream_however_it_is_written() {
        assert_eq!(UpstreamName::of("API.example.com.", 443), UpstreamName::of("api.example.com", 443));
        assert_eq!(UpstreamName::of("[::1]", 80).as_str(), "[::1]:80");
    }

    #[test]
    fn subjects_are_kept_apart_whatever_they_are_called() {
        let upstream = UpstreamName::of("h", 80);
        assert_eq!(upstream.of_subject("papers").as_str(), "h:80/papers");
        let told = |subject: &str| upstream.of_subject(subject).as_str().to_owned();
        assert!(told("a b").starts_with("h:80/a_b~") && told("a b") != told("a}b"));
        assert!(told(&"x".repeat(999)) != told(&"x".repeat(998)) && told(&"x".repeat(999)).len() < 200);
    }

    #[test]
    fn what_could_not_stand_in_a_key_is_replaced() {
        assert_eq!(UpstreamName::of("a{b} ü", 1).as_str(), "a_b___:1");
        assert!(UpstreamName::of(&"x".repeat(9_999), 1).as_str().len() < 300);
    }
}
