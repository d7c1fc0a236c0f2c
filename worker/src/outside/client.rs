//! The HTTP clients of a worker: one for each connect limit that is in use, since that is a property of a client.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Url};

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
    kept: Mutex<BTreeMap<Sort, Client>>,
}

/// What clients differ by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Sort {
    connect_timeout: Duration,
    /// The one port that it calls, where it matters to which port a private address is called.
    port: Option<u16>,
    /// Whether a redirect from `http` to `https` of the same host is followed: to another port.
    is_upgraded: bool,
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

    /// The client with this connect limit for calls of such a URL; `keeps_port` keeps it from following redirects to another port.
    pub(super) fn client(
        &self,
        connect_timeout: Duration,
        url: &Url,
        keeps_port: bool,
    ) -> Result<Client, reqwest::Error> {
        let port = self.config.minds_ports().then(|| url.port_or_known_default()).flatten();
        let sort = Sort { connect_timeout, port, is_upgraded: !keeps_port && port.is_none() };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = kept.get(&sort) {
            return Ok(client.clone());
        }
        let client = self.build(sort)?;
        if kept.len() < KEPT_MAX {
            kept.insert(sort, client.clone());
        }
        Ok(client)
    }

    fn build(&self, sort: Sort) -> Result<Client, reqwest::Error> {
        let Sort { connect_timeout, port, is_upgraded } = sort;
        let config = Arc::clone(&self.config);
        Client::builder()
            .user_agent(concat!("coxswain/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(connect_timeout)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            // A proxy would look names up itself, past the guard.
            .no_proxy()
            .dns_resolver(Arc::new(Guard::new(Arc::clone(&self.config), port)))
            .redirect(Policy::custom(move |attempt| follow(&config, is_upgraded, attempt)))
            .build()
    }
}

fn follow(config: &OutsideConfig, is_upgraded: bool, attempt: Attempt<'_>) -> reqwest::redirect::Action {
    if attempt.previous().len() > REDIRECTS_MAX {
        return attempt.error(NotFollowed::TooMany(REDIRECTS_MAX));
    }
    let (from, to) = (attempt.previous().last().cloned(), attempt.url().clone());
    if let Err(private) = guard::check(config, &to) {
        return attempt.error(private);
    }
    let is_upgrade = |from: &Url| {
        is_upgraded
            && from.host() == to.host()
            && from.scheme() == "http"
            && to.scheme() == "https"
            && from.port().is_none()
    };
    match from {
        Some(from) if from.origin() != to.origin() && !is_upgrade(&from) => {
            attempt.error(NotFollowed::Elsewhere(to.origin().ascii_serialization()))
        }
        Some(_) | None => attempt.follow(),
    }
}
