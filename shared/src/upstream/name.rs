//! The name of an upstream.

use std::fmt;
use std::sync::Arc;

/// The longest name: that of a host.
const HOST_CHARS_MAX: usize = 255;

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
    fn what_could_not_stand_in_a_key_is_replaced() {
        assert_eq!(UpstreamName::of("a{b} ü", 1).as_str(), "a_b___:1");
        assert!(UpstreamName::of(&"x".repeat(9_999), 1).as_str().len() < 300);
    }
}
