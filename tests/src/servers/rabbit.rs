//! A private rabbitmq-server, with an epmd of its own.
//!
//! Debian's wrappers of the broker's programs switch to another user and share one cookie; here the broker's own scripts
//! run as whoever runs the tests, with their own name, ports, cookie and data.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::launched::Launched;
use crate::{installed, ports};

/// A start takes 3 to 5 s on an idle machine; recovery after a crash on a loaded one may take ten times that.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// A control command takes 0.5 s on an idle machine.
const CTL_WITHIN: Duration = Duration::from_mins(1);

/// How long one look at the broker's port may take.
const PROBE_WITHIN: Duration = Duration::from_secs(1);

/// Loopback only, log to the output, quorum logs small enough for a temporary folder, no alarm from a full disk.
const CONFIG: &str = "\
log.file = false
log.console = true
log.console.level = info
raft.wal_max_size_bytes = 32000000
disk_free_limit.absolute = 10MB
vm_memory_high_watermark.relative = 0.4
";

/// A rabbitmq-server of one's own: one node, no plugins, user `guest`. Dropped, it is gone with its data.
#[derive(Debug)]
pub struct RabbitServer {
    // Before epmd, which it registers with.
    server: Launched,
    // Held for its Drop alone.
    _epmd: Launched,
    ports: Ports,
}

#[derive(Debug)]
struct Ports {
    amqp: u16,
    distribution: u16,
    epmd: u16,
    /// The first of the ports that control commands may listen on.
    control: u16,
}

impl RabbitServer {
    /// Starts a broker and returns when it speaks AMQP.
    pub async fn start() -> Self {
        let ports =
            Ports { amqp: ports::free(), distribution: ports::free(), epmd: ports::free(), control: ports::free() };
        let server = Launched::new("rabbitmq-server");
        write_files(server.folder(), ports.amqp).expect("the broker's settings can be written");
        let epmd = start_epmd(ports.epmd, server.folder()).await;
        let mut this = Self { server, _epmd: epmd, ports };
        this.launch().await;
        this
    }

    /// The URL for clients; virtual host `/`.
    pub fn url(&self) -> String {
        self.url_of("%2f")
    }

    /// The URL for clients of another virtual host, percent-encoded; made by `ctl(&["add_vhost", ..])` and
    /// `ctl(&["set_permissions", "-p", .., "guest", ".*", ".*", ".*"])`.
    pub fn url_of(&self, vhost: &str) -> String {
        format!("amqp://guest:guest@{}:{}/{vhost}", Ipv4Addr::LOCALHOST, self.ports.amqp)
    }

    /// The AMQP port, the same after a restart.
    pub fn port(&self) -> u16 {
        self.ports.amqp
    }

    /// The process id of the running broker.
    pub fn pid(&self) -> u32 {
        self.server.id()
    }

    /// What the broker has logged.
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// The broker's folder: every process of it has the path in its environment.
    pub fn folder(&self) -> &Path {
        self.server.folder()
    }

    /// Ends the broker with SIGKILL, as a crash would, after letting it note the names of its queues.
    ///
    /// Older brokers, 3.10 among them, write those only every 500 ms (rabbitmq/ra pull request 443): killed sooner after
    /// a queue was declared, they come back with that queue empty and for ever without a leader, whatever was confirmed.
    /// No test should meet that by chance; one that wants it calls [`Self::kill_at_once`].
    pub async fn kill(&mut self) {
        self.ctl(&["eval", "[ok = dets:sync(Table) || Table <- dets:all()]."]).await;
        self.kill_at_once().await;
    }

    /// Ends the broker with SIGKILL, whatever it is at; also when it is paused.
    pub async fn kill_at_once(&mut self) {
        self.server.end(Signal::SIGKILL).await;
    }

    /// Ends the broker with SIGTERM, as an operator would.
    pub async fn stop(&mut self) {
        self.server.end(Signal::SIGTERM).await;
    }

    /// Starts the broker again on the same ports and data; one that still runs is stopped first.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.launch().await;
    }

    /// Freezes the broker (SIGSTOP): connections stay open, and nothing answers.
    pub fn pause(&mut self) {
        self.server.signal(Signal::SIGSTOP);
    }

    /// Lets a frozen broker go on.
    pub fn resume(&mut self) {
        self.server.signal(Signal::SIGCONT);
    }

    /// Runs `rabbitmqctl` with the arguments and returns its output; panics with what it said if it fails.
    pub async fn ctl(&self, args: &[&str]) -> String {
        self.try_ctl(args).await.unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Closes every client connection, as an operator or a failing proxy would; clients may connect again at once.
    pub async fn close_all_connections(&self) {
        self.ctl(&["close_all_connections", "closed by a test"]).await;
    }

    /// Raises or clears the memory alarm. Under it, connections that publish are blocked: neither confirmed nor refused.
    pub async fn set_memory_alarm(&self, is_on: bool) {
        self.ctl(&["set_vm_memory_high_watermark", if is_on { "0" } else { "0.4" }]).await;
    }

    /// Sets how long a delivery may stay unacknowledged before its channel is closed (406), looked at twice in that time.
    /// Holds for channels opened afterwards, until the broker restarts.
    pub async fn set_consumer_timeout(&self, limit: Duration) {
        let millis = limit.as_millis();
        let look = (millis / 2).max(1);
        self.ctl(&[
            "eval",
            &format!(
                "application:set_env(rabbit, consumer_timeout, {millis}), \
                 application:set_env(rabbit, channel_tick_interval, {look})."
            ),
        ])
        .await;
    }

    async fn try_ctl(&self, args: &[&str]) -> anyhow::Result<String> {
        let shown = format!("rabbitmqctl {}", args.join(" "));
        let command = self.environment(Command::new(installed::rabbitmq("rabbitmqctl")));
        let mut command = tokio::process::Command::from(command);
        command.arg("--quiet").args(args).kill_on_drop(true);
        let output = timeout(CTL_WITHIN, command.output()).await;
        let output = output.with_context(|| format!("{shown}: no end within {CTL_WITHIN:?}"))?;
        let output = output.with_context(|| format!("{shown}: does not start"))?;
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if !output.status.success() {
            bail!("{shown}: {}\n{}\n{}", output.status, said(&output.stdout), said(&output.stderr));
        }
        Ok(said(&output.stdout))
    }

    async fn launch(&mut self) {
        let mut command = self.environment(Command::new(installed::rabbitmq("rabbitmq-server")));
        // The script then becomes the broker, instead of a shell that waits for it: SIGKILL hits the broker itself.
        command.env("detached", "true");
        self.server.launch(command);
        let port = self.ports.amqp;
        self.server.ready(READY_WITHIN, async || speaks_amqp(port).await.map_err(|error| format!("{error:#}"))).await;
    }

    /// The broker and its control commands find each other by name, cookie (in `HOME`) and epmd.
    fn environment(&self, mut command: Command) -> Command {
        let folder = self.server.folder();
        let Ports { amqp, distribution, epmd, control } = self.ports;
        command
            .current_dir(folder)
            .env("HOME", folder)
            .env("LANG", "C.UTF-8")
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", epmd.to_string())
            .env("RABBITMQ_NODENAME", format!("cox{amqp}@localhost"))
            .env("RABBITMQ_NODE_PORT", amqp.to_string())
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_DIST_PORT", distribution.to_string())
            .env("RABBITMQ_CTL_DIST_PORT_MIN", control.to_string())
            .env("RABBITMQ_CTL_DIST_PORT_MAX", (control + 500).to_string())
            .env("RABBITMQ_MNESIA_BASE", folder.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", folder.join("log"))
            .env("RABBITMQ_CONFIG_FILE", folder.join("rabbitmq.conf"))
            .env("RABBITMQ_CONF_ENV_FILE", folder.join("rabbitmq-env.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("enabled_plugins"))
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
            );
        command
    }
}

/// Starts the port mapper in the foreground, so that it is a child that can be ended; the broker would leave a daemon.
async fn start_epmd(port: u16, home: &Path) -> Launched {
    let mut epmd = Launched::new("epmd");
    let mut command = Command::new(installed::epmd());
    command.args(["-address", "127.0.0.1", "-port", &port.to_string()]);
    command.env("HOME", home);
    epmd.launch(command);
    let connects = async || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.map(drop).map_err(|e| e.to_string());
    epmd.ready(READY_WITHIN, connects).await;
    epmd
}

/// Sends the protocol header; a broker that is up answers with a method frame.
async fn speaks_amqp(port: u16) -> anyhow::Result<()> {
    let look = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
        stream.read_u8().await
    };
    match timeout(PROBE_WITHIN, look).await.context("connected, but silent")?? {
        1 => Ok(()),
        other => bail!("answered with byte {other} instead of a method frame"),
    }
}

fn write_files(folder: &Path, port: u16) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::create_dir(folder.join("mnesia"))?;
    std::fs::create_dir(folder.join("log"))?;
    std::fs::write(folder.join("rabbitmq.conf"), format!("listeners.tcp.1 = 127.0.0.1:{port}\n{CONFIG}"))?;
    std::fs::write(folder.join("rabbitmq-env.conf"), "")?;
    std::fs::write(folder.join("enabled_plugins"), "[].\n")?;
    let mut cookie = std::fs::OpenOptions::new();
    let cookie = cookie.write(true).create_new(true).mode(0o600).open(folder.join(".erlang.cookie"));
    std::io::Write::write_all(&mut cookie?, format!("{:032X}", rand::random::<u128>()).as_bytes())
}
