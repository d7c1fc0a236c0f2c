//! `/metrics`, `/healthz` and `/readyz` over HTTP.
//!
//! Healthy means that the process answers. Ready means that every part it depends on works right now; the answer names
//! those that do not.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use super::metrics::Metrics;
use super::port::{BOUNDS, run};
use crate::config::{Mistakes, Reader, Source, Variable};
use crate::exhaustion;
use crate::lifecycle::Tasks;

/// Where the pages are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpConfig {
    /// The address; port 0 takes any free one.
    pub address: SocketAddr,
}

impl HttpConfig {
    const HTTP: Variable = Variable {
        name: "COX_HTTP",
        default: "127.0.0.1:9464",
        meaning: "the address at which /metrics, /healthz and /readyz are served",
    };

    /// The variables it reads.
    pub const VARIABLES: [Variable; 1] = [Self::HTTP];

    /// Reads it.
    pub fn read(source: &Source) -> Result<Self, Mistakes> {
        let mut reader = Reader::new(source);
        let address = reader.parse(&Self::HTTP);
        reader.finish(Self { address })
    }
}

/// Says whether a part works right now; the error says why it does not.
pub type Probe = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The parts that readiness depends on.
#[derive(Clone, Default)]
pub struct Health {
    probes: Vec<(&'static str, Probe)>,
}

impl Health {
    /// Adds a part.
    #[must_use]
    pub fn with(mut self, name: &'static str, probe: Probe) -> Self {
        self.probes.push((name, probe));
        self
    }

    /// The parts that do not work, each with the reason.
    pub fn complaints(&self) -> Vec<String> {
        let ask = |(name, probe): &(&str, Probe)| probe().err().map(|why| format!("{name}: {why}"));
        self.probes.iter().filter_map(ask).collect()
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.probes.iter().map(|(name, _)| name)).finish()
    }
}

#[derive(Clone)]
struct Shown {
    metrics: Metrics,
    health: Health,
}

/// Serves the three pages, within limits, until the tasks abort: give it a set of its own, so that it outlives what drains. Returns the address that it listens on.
pub async fn serve(
    address: SocketAddr,
    metrics: Metrics,
    health: Health,
    tasks: &Tasks,
) -> std::io::Result<SocketAddr> {
    let health = health.with("resources", Arc::new(exhaustion::probe));
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let pages = Router::new()
        .route("/metrics", get(show_metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(show_readiness))
        .with_state(Shown { metrics, health });
    drop(tasks.spawn(run(listener, pages, BOUNDS, tasks.clone())));
    Ok(bound)
}

async fn show_metrics(State(shown): State<Shown>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], shown.metrics.render())
}

async fn show_readiness(State(shown): State<Shown>) -> impl IntoResponse {
    let complaints = shown.health.complaints();
    if complaints.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, complaints.join("\n") + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_names_the_part_that_does_not_work() {
        let health = Health::default()
            .with("store", Arc::new(|| Ok(())))
            .with("broker", Arc::new(|| Err("not subscribed".to_owned())));
        assert_eq!(health.complaints(), ["broker: not subscribed"]);
    }
}
