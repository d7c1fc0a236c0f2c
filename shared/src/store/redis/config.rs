//! How a Redis store is reached and set up.

use std::path::PathBuf;
use std::time::Duration;

use redis::IntoConnectionInfo as _;

use crate::config::{Secret, has_split_login, redact_url, url_remedy};
use crate::store::Error;

/// What is said of a URL that cannot be read.
pub(super) const FORM: &str =
    "its URL cannot be read: write redis://[user:password@]host[:port][/database], or rediss:// for TLS";

/// The settings of a [`super::RedisStore`].
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS. Never shown.
    pub url: Secret<String>,
    /// A file of PEM certificates to trust in place of the system's, for `rediss://`.
    pub tls_ca: Option<PathBuf>,
    /// What all keys and channels start with; `cox` by default. Stores of different prefixes do not see each other.
    pub key_prefix: String,
    /// How many partitions a new database gets; 16 by default. Fixed at the first use.
    pub partitions: u16,
    /// For how long ended runs are kept; 7 days by default.
    pub retention: Duration,
    /// For how long the tasks of a finished step are kept; a minute by default.
    pub step_retention: Duration,
    /// How long an answer may take; 5 s by default.
    pub response_timeout: Duration,
    /// How long connecting may take; 2 s by default.
    pub connect_timeout: Duration,
    /// Connections that share the short calls; 1 by default.
    pub connections: usize,
    /// Connections for long reads (listings, history), made when they are needed; 4 by default.
    pub pool_size: usize,
    /// Whether `Signal::Ready` is received: schedulers need it, workers do not. True by default.
    pub ready_signals: bool,
}

impl RedisConfig {
    /// The defaults, for this URL.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: Secret::new(url.into()),
            tls_ca: None,
            key_prefix: "cox".to_owned(),
            partitions: 16,
            retention: Duration::from_hours(7 * 24),
            step_retention: Duration::from_mins(1),
            response_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(2),
            connections: 1,
            pool_size: 4,
            ready_signals: true,
        }
    }

    /// The address without credentials, for errors and logs.
    pub fn place(&self) -> String {
        redact_url(self.url.expose())
    }

    /// Whether TLS is spoken.
    pub(super) fn is_tls(&self) -> bool {
        self.url.expose().starts_with("rediss://")
    }

    /// What is wrong with the URL, with the remedy, as far as it shows without the server. It repeats nothing of it.
    pub fn mistake_of_url(&self) -> Option<String> {
        let url = self.url.expose().as_str();
        if !matches!(url.split_once("://"), Some(("redis" | "rediss", _))) {
            return Some("its URL has another scheme: write redis://, or rediss:// for TLS".to_owned());
        }
        if !has_split_login(url) && url.into_connection_info().is_ok() {
            return None;
        }
        Some(url_remedy(url).map_or_else(|| FORM.to_owned(), |remedy| format!("{FORM}; {remedy}")))
    }

    /// Checks what can be checked without the server.
    pub(super) fn check(&self) -> Result<(), Error> {
        let refuse = |why: String| Err(Error::Unsuitable { place: self.place(), why });
        if let Some(why) = self.mistake_of_url() {
            return refuse(why);
        }
        let is_prefix_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
        if self.key_prefix.is_empty() || self.key_prefix.len() > 64 || !self.key_prefix.chars().all(is_prefix_char) {
            return refuse("its key prefix must be 1 to 64 characters of A-Z a-z 0-9 _ - . :".to_owned());
        }
        if self.partitions == 0 || self.connections == 0 || self.pool_size == 0 {
            return refuse("partitions, connections and the pool's size must be at least 1".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_show_nowhere() {
        let config = RedisConfig::new("redis://ann:hunter2@localhost:1/0");
        let shown = format!("{config:?} {}", config.place());
        assert!(!shown.contains("hunter2") && !shown.contains("ann:") && shown.contains("localhost"), "{shown}");
    }

    #[test]
    fn an_unknown_scheme_and_a_bad_prefix_are_refused_with_the_remedy() {
        let refused = RedisConfig::new("unix://user:hunter2@host/").check().unwrap_err().to_string();
        assert!(refused.contains("rediss://") && !refused.contains("hunter2"), "{refused}");
        for url in
            ["redis://:zzq/wwx@host:6379/0", "redis://zzq?wwx@host/0", "redis://zzq#wwx@host", "redis://12/wwx@host/0"]
        {
            let refused = RedisConfig::new(url).check().unwrap_err().to_string();
            assert!(refused.contains("***@host") && refused.contains("/ as %2F"), "{refused}");
            assert!(!refused.contains("zzq") && !refused.contains("wwx"), "{refused}");
        }
        for url in
            ["redis://host", "redis://:hun%2Fter@host:6379/0", "rediss://ann:h@nter@host/3", "redis://[::1]:6379"]
        {
            assert_eq!(RedisConfig::new(url).mistake_of_url(), None, "{url}");
        }
        for url in ["redis://host:port/0", "redis://host/zero", "redis://"] {
            assert!(RedisConfig::new(url).mistake_of_url().is_some_and(|why| why.contains("cannot be read")), "{url}");
        }
        let config = RedisConfig { key_prefix: "{x}".into(), ..RedisConfig::new("redis://host/") };
        assert!(config.check().unwrap_err().to_string().contains("prefix"));
    }
}
