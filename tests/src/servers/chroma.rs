//! A private Chroma.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::Value;

use super::launched::Launched;
use super::llama::model_server;
use crate::{ports, web};

/// It is up within a second on an idle machine.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// A Chroma of one's own. Dropped, it is gone with its data.
#[derive(Debug)]
pub struct ChromaServer {
    // Held for its folder and its end.
    _server: Launched,
    url: String,
}

impl ChromaServer {
    /// Starts a server and returns when it answers.
    pub async fn start() -> Self {
        let (mut server, port) = (Launched::new("chroma"), ports::free());
        let mut command = model_server();
        command.arg("chroma").arg(server.folder().join("data")).arg(port.to_string());
        server.launch(command);
        let url = format!("http://{}:{port}", Ipv4Addr::LOCALHOST);
        let beat = format!("{url}/api/v2/heartbeat");
        server.ready(READY_WITHIN, async || web::is_up(&beat).await).await;
        Self { _server: server, url }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How many items a collection has.
    pub async fn count(&self, collection: &str) -> anyhow::Result<u64> {
        let collections = format!("{}/api/v2/tenants/default_tenant/databases/default_database/collections", self.url);
        let described: Value = serde_json::from_str(&web::page(&format!("{collections}/{collection}")).await?)?;
        let id = described["id"].as_str().ok_or_else(|| anyhow::anyhow!("it has no id: {described}"))?;
        Ok(web::page(&format!("{collections}/{id}/count")).await?.parse()?)
    }
}
