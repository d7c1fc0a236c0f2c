//! A private mock of models and of stores for vectors: it says what it is told to, and fails as it is told to.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::{Value, json};

use super::launched::Launched;
use super::llama::model_server;
use crate::{ports, web};

/// It is up within a second on an idle machine.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// A mock of one's own. Dropped, it is gone.
#[derive(Debug)]
pub struct MockModel {
    // Held for its folder and its end.
    _server: Launched,
    url: String,
}

/// A request that came.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// Where to.
    pub path: String,
    /// When.
    pub at: Duration,
    /// The status of its answer.
    pub status: u64,
    /// Its headers.
    pub headers: Value,
}

impl MockModel {
    /// Starts a mock that keeps vectors: these collections, each with the `queryResults` that any search in it gives. It
    /// makes vectors of texts, too.
    pub async fn of_vectors(collections: &Value) -> Self {
        Self::launch(Launched::new("aimock"), &json!({"vector": {"path": "/vector", "collections": collections}})).await
    }

    /// Starts a mock that gives these answers, one after another, to whoever asks for what holds this text. Each is a
    /// `response` of aimock's fixtures, with what may stand beside it.
    pub async fn start(text: &str, answers: &[Value]) -> Self {
        let server = Launched::new("aimock");
        let fixtures = answers.iter().enumerate().map(|(index, answer)| {
            let mut fixture = answer.clone();
            fixture["match"] = json!({"userMessage": text, "sequenceIndex": index});
            fixture
        });
        let fixtures = json!({"fixtures": fixtures.collect::<Vec<_>>()});
        let file = server.folder().join("fixtures.json");
        std::fs::write(&file, fixtures.to_string()).expect("the mock's fixtures can be written");
        Self::launch(server, &json!({"strict": true, "llm": {"fixtures": file}})).await
    }

    async fn launch(mut server: Launched, config: &Value) -> Self {
        let (file, port) = (server.folder().join("config.json"), ports::free());
        std::fs::write(&file, config.to_string()).expect("the mock's settings can be written");
        let mut command = model_server();
        command.arg("mock").arg(file).arg(port.to_string());
        server.launch(command);
        let url = format!("http://{}:{port}", Ipv4Addr::LOCALHOST);
        let journal = format!("{url}/__aimock/journal");
        server.ready(READY_WITHIN, async || web::is_up(&journal).await).await;
        Self { _server: server, url }
    }

    /// Where it is; the API of `OpenAI` is beneath, at `/v1`, and those of stores at `/vector`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The requests for an answer so far.
    pub async fn asked(&self) -> anyhow::Result<Vec<Asked>> {
        let journal = web::page(&format!("{}/__aimock/journal", self.url)).await?;
        let entries: Vec<Value> = serde_json::from_str(&journal)?;
        let asked = entries.iter().map(|entry| Asked {
            path: entry["path"].as_str().unwrap_or_default().to_owned(),
            at: Duration::from_millis(entry["timestamp"].as_u64().unwrap_or_default()),
            status: entry["response"]["status"].as_u64().unwrap_or_default(),
            headers: entry["headers"].clone(),
        });
        Ok(asked.collect())
    }
}
