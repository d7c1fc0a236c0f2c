//! A private model: llama.cpp with a small one, behind the API of `OpenAI`.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

use super::launched::Launched;
use crate::{installed, ports, web};

/// It is up within a second on an idle machine.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// A model of one's own. Dropped, it is gone.
#[derive(Debug)]
pub struct LlamaServer {
    server: Launched,
    port: u16,
}

#[derive(Debug, Deserialize)]
struct Slot {
    is_processing: bool,
}

impl LlamaServer {
    /// Starts a server and returns when it answers.
    pub async fn start() -> Self {
        let (mut server, port) = (Launched::new("llama"), ports::free());
        let model = installed::models().join("smollm2.gguf");
        let mut command = model_server();
        command.arg("llama").arg(model).arg(port.to_string());
        server.launch(command);
        let health = format!("http://{}:{port}/health", Ipv4Addr::LOCALHOST);
        server.ready(READY_WITHIN, async || web::is_up(&health).await).await;
        Self { server, port }
    }

    /// Where the API is.
    pub fn base_url(&self) -> String {
        format!("http://{}:{}/v1", Ipv4Addr::LOCALHOST, self.port)
    }

    /// How many requests it is working on.
    pub async fn busy(&self) -> anyhow::Result<usize> {
        let slots = web::page(&format!("http://{}:{}/slots", Ipv4Addr::LOCALHOST, self.port)).await?;
        let slots: Vec<Slot> = serde_json::from_str(&slots)?;
        Ok(slots.iter().filter(|slot| slot.is_processing).count())
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        self.server.log()
    }
}

/// The program that starts one of the model's servers.
pub(super) fn model_server() -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the repository");
    let python: PathBuf = installed::models().join("bin/python");
    let mut command = Command::new(python);
    command.arg("-B").arg(root.join("scripts/model_server.py"));
    command
}
