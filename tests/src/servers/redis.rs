//! A private redis-server.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::launched::Launched;
use crate::{installed, ports};

/// A cold start takes 50 ms; a loaded machine that replays a long log gets time.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// The client's own limit of 500 ms is too short for a machine that starts three brokers beside.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// What a test may choose about its server.
#[derive(Debug, Clone, Default)]
pub struct RedisOptions {
    /// Keep an append-only file, synced at every write: an acknowledged write survives SIGKILL. Without it nothing is
    /// kept, not even over a polite stop.
    pub appendonly: bool,
    /// A node of a cluster; set by [`super::RedisCluster`].
    pub cluster: bool,
    /// Further settings, as `("maxmemory", "64mb")`; they win over the harness's own.
    pub settings: Vec<(&'static str, String)>,
}

/// A redis-server of one's own, with `noeviction`. Dropped, it is gone with its data.
#[derive(Debug)]
pub struct RedisServer {
    server: Launched,
    port: u16,
    bus_port: Option<u16>,
    options: RedisOptions,
}

impl RedisServer {
    /// Starts a server and returns when it answers PING.
    pub async fn start(options: RedisOptions) -> Self {
        let bus_port = options.cluster.then(ports::free);
        let mut this = Self { server: Launched::new("redis-server"), port: ports::free(), bus_port, options };
        this.launch().await;
        this
    }

    /// The URL for clients; database 0.
    pub fn url(&self) -> String {
        format!("redis://{}:{}/", Ipv4Addr::LOCALHOST, self.port)
    }

    /// The loopback port, the same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the running server.
    pub fn pid(&self) -> u32 {
        self.server.id()
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// Opens a connection that waits 3 s for answers; panics if the server cannot be reached.
    pub async fn connection(&self) -> redis::aio::MultiplexedConnection {
        Self::connection_to(&self.url()).await.expect("a running redis-server can be reached")
    }

    /// The same to any URL, through a [proxy](crate::Proxy) for example.
    pub async fn connection_to(url: &str) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
        let limits = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER_WITHIN))
            .set_response_timeout(Some(ANSWER_WITHIN));
        let client = redis::Client::open(url)?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&limits).await?;
        redis::cmd("PING").query_async::<()>(&mut connection).await?;
        Ok(connection)
    }

    /// Ends the server with SIGKILL, as a crash would.
    pub async fn kill(&mut self) {
        self.server.end(Signal::SIGKILL).await;
    }

    /// Ends the server with SIGTERM, as an operator would.
    pub async fn stop(&mut self) {
        self.server.end(Signal::SIGTERM).await;
    }

    /// Starts the server again on the same port and data; one that still runs is stopped first.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.launch().await;
    }

    /// Freezes the server (SIGSTOP): connections stay open, and nothing answers.
    pub fn pause(&mut self) {
        self.server.signal(Signal::SIGSTOP);
    }

    /// Lets a frozen server go on.
    pub fn resume(&mut self) {
        self.server.signal(Signal::SIGCONT);
    }

    /// The port of the cluster bus.
    pub(super) fn bus_port(&self) -> u16 {
        self.bus_port.expect("a cluster node has a bus port")
    }

    async fn launch(&mut self) {
        self.server.launch(self.command());
        let url = self.url();
        // A server that still loads its file answers with an error.
        let ping = async || Self::connection_to(&url).await.map(drop).map_err(|error| error.to_string());
        self.server.ready(READY_WITHIN, ping).await;
    }

    fn command(&self) -> Command {
        let on_off = |on: bool| if on { "yes" } else { "no" };
        let mut command = Command::new(installed::redis_server());
        command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--dir", "."])
            .args(["--daemonize", "no", "--save", "", "--maxmemory-policy", "noeviction"])
            .args(["--appendonly", on_off(self.options.appendonly), "--appendfsync", "always"])
            .args(["--enable-debug-command", "local"]);
        if let Some(bus_port) = self.bus_port {
            // A node that loses its masters for a moment must not stop serving: tests restart them.
            command
                .args(["--cluster-enabled", "yes", "--cluster-port", &bus_port.to_string()])
                .args(["--cluster-node-timeout", "5000"]);
        }
        for (name, value) in &self.options.settings {
            command.arg(format!("--{name}")).arg(value);
        }
        command
    }
}
