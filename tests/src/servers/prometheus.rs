//! A private Prometheus that scrapes programs under test.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Deserialize;

use super::launched::Launched;
use crate::{installed, ports, web};

/// A start takes half a second on an idle machine.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// How long one answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Often enough that a test need not wait long; a page may take as long, on a loaded machine.
const SCRAPE_INTERVAL: &str = "1s";

/// A Prometheus of one's own, on loopback. Dropped, it is gone with its data.
#[derive(Debug)]
pub struct PrometheusServer {
    // Held for its folder and its end.
    _server: Launched,
    port: u16,
    client: reqwest::Client,
}

/// One series of an answer, with its newest value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its labels; the metric's name is `__name__`.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

impl PrometheusServer {
    /// Starts a server that scrapes `/metrics` at each address under the name of its job, and returns when it is ready.
    pub async fn start(targets: &[(&str, SocketAddr)]) -> Self {
        let mut server = Launched::new("prometheus");
        let settings = server.folder().join("prometheus.yml");
        std::fs::write(&settings, config(targets)).expect("Prometheus' settings can be written");
        let port = ports::free();
        let mut command = Command::new(installed::prometheus());
        command
            .arg(format!("--config.file={}", settings.display()))
            .arg(format!("--storage.tsdb.path={}", server.folder().join("data").display()))
            .arg(format!("--web.listen-address={}:{port}", Ipv4Addr::LOCALHOST));
        server.launch(command);
        let client = web::client(ANSWER_WITHIN);
        let ready = format!("http://{}:{port}/-/ready", Ipv4Addr::LOCALHOST);
        let is_ready = async || match client.get(&ready).send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(answer.status().to_string()),
            Err(error) => Err(error.to_string()),
        };
        server.ready(READY_WITHIN, is_ready).await;
        Self { _server: server, port, client }
    }

    /// Evaluates an expression now; all series of the answer.
    pub async fn query(&self, expression: &str) -> anyhow::Result<Vec<Sample>> {
        let url = format!("http://{}:{}/api/v1/query", Ipv4Addr::LOCALHOST, self.port);
        let url = reqwest::Url::parse_with_params(&url, [("query", expression)])?;
        let answer = self.client.get(url).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{expression}: {status}: {text}");
        let answer: Answer = serde_json::from_str(&text).with_context(|| text.clone())?;
        answer.data.result.into_iter().map(Series::sample).collect()
    }

    /// The one value of an expression that yields one series.
    pub async fn value(&self, expression: &str) -> anyhow::Result<f64> {
        let samples = self.query(expression).await?;
        ensure!(samples.len() == 1, "{expression}: one series expected, found {samples:?}");
        Ok(samples[0].value)
    }
}

#[derive(Debug, Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Debug, Deserialize)]
struct Data {
    result: Vec<Series>,
}

#[derive(Debug, Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    /// The time, and the value as text: JSON has no infinity.
    value: (f64, String),
}

impl Series {
    fn sample(self) -> anyhow::Result<Sample> {
        let value = self.value.1.parse().with_context(|| format!("`{}` is no value", self.value.1))?;
        Ok(Sample { labels: self.metric, value })
    }
}

fn config(targets: &[(&str, SocketAddr)]) -> String {
    let mut text =
        format!("global: {{scrape_interval: {SCRAPE_INTERVAL}, scrape_timeout: {SCRAPE_INTERVAL}}}\nscrape_configs:\n");
    for (job, address) in targets {
        writeln!(text, "  - {{job_name: {job}, static_configs: [{{targets: [\"{address}\"]}}]}}")
            .expect("writing to a string does not fail");
    }
    text
}
