//! The HTTP clients of a worker: one for each connect limit that is in use, since that is a property of a client.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Client;
use reqwest::redirect::{Attempt, Policy};

use super::config::OutsideConfig;
use super::guard::{self, Guard};

/// Redirects that are followed.
const REDIRECTS_MAX: usize = 5;
/// Clients that are kept. Graphs seldom have more connect limits than this; the others get clients without a memory.
const KEPT_MAX: usize = 16;
/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_mins(1);
/// Idle connections to one host.
const IDLE_PER_HOST: usize = 32;

/// The clients.
#[derive(Debug)]
pub(crate) struct Clients {
    config: Arc<OutsideConfig>,
    kept: Mutex<BTreeMap<Duration, Client>>,
}

/// A redirect that is not followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotFollowed {
    /// It leads elsewhere, and headers and keys would go along.
    #[error("it redirects to another origin, {0}: if that is meant, write that address in the node")]
    Elsewhere(String),
    /// It goes on and on.
    #[error("it redirected {0} times")]
    TooMany(usize),
}

impl Clients {
    pub(crate) fn new(config: OutsideConfig) -> Self {
        // A provider that was set before serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { config: Arc::new(config), kept: Mutex::default() }
    }

    /// The settings.
    pub(crate) fn config(&self) -> &Arc<OutsideConfig> {
        &self.config
    }

    /// The client with this connect limit.
    pub(super) fn client(&self, connect_timeout: Duration) -> Result<Client, reqwest::Error> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = kept.get(&connect_timeout) {
            return Ok(client.clone());
        }
        let client = self.build(connect_timeout)?;
        if kept.len() < KEPT_MAX {
            kept.insert(connect_timeout, client.clone());
        }
        Ok(client)
    }

    fn build(&self, connect_timeout: Duration) -> Result<Client, reqwest::Error> {
        let config = Arc::clone(&self.config);
        Client::builder()
            .user_agent(concat!("coxswain/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(connect_timeout)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            // A proxy would look names up itself, past the guard.
            .no_proxy()
            .dns_resolver(Arc::new(Guard::new(Arc::clone(&self.config))))
            .redirect(Policy::custom(move |attempt| follow(&config, attempt)))
            .build()
    }
}

fn follow(config: &OutsideConfig, attempt: Attempt<'_>) -> reqwest::redirect::Action {
    if attempt.previous().len() > REDIRECTS_MAX {
        return attempt.error(NotFollowed::TooMany(REDIRECTS_MAX));
    }
    let (from, to) = (attempt.previous().last().cloned(), attempt.url().clone());
    if let Err(private) = guard::check(config, &to) {
        return attempt.error(private);
    }
    let is_upgrade = |from: &reqwest::Url| {
        from.host() == to.host() && from.scheme() == "http" && to.scheme() == "https" && from.port().is_none()
    };
    match from {
        Some(from) if from.origin() != to.origin() && !is_upgrade(&from) => {
            attempt.error(NotFollowed::Elsewhere(to.origin().ascii_serialization()))
        }
        Some(_) | None => attempt.follow(),
    }
}
