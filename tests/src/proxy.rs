//! A TCP proxy on loopback that loses, delays and cuts, so that tests can take away a push, a reply or a connection.
//!
//! ```text
//! client ──► pump(ToServer) ──► server       one task a connection, two pumps in it; each asks the mode
//!        ◄── pump(ToClient) ◄──              what becomes of every chunk *after* reading it
//! ```
//!
//! What is sent after [`Proxy::set`] returns is treated in the new mode. It knows nothing of protocols, and it never
//! hands on a stream with a hole: a connection that lost bytes is reset when the mode stops swallowing.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// One read; the size at which a chunk of a pipelined stream is treated as one.
const CHUNK_BYTES: usize = 16 * 1024;

/// What the proxy does with what it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Hands everything on.
    Pass,
    /// Hands each chunk on after this time, in both directions.
    Latency(Duration),
    /// Keeps everything back and hands it on later, as a partition that heals.
    Stall,
    /// Accepts connections and swallows both directions, as a partition that outlives its connections.
    Blackhole,
    /// Swallows one direction and hands the other on: `ToClient` loses replies and pushes of what was done.
    HalfOpen(Direction),
    /// Resets new connections at once; those that are open go on, unless they are [cut](Proxy::cut).
    Refuse,
}

/// Where bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// What becomes of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Forward,
    ForwardAfter(Duration),
    Hold,
    Swallow,
}

impl Mode {
    fn fate(self, direction: Direction) -> Fate {
        match self {
            Self::Latency(delay) => Fate::ForwardAfter(delay),
            Self::Stall => Fate::Hold,
            Self::Blackhole => Fate::Swallow,
            Self::HalfOpen(lost) if lost == direction => Fate::Swallow,
            Self::Pass | Self::Refuse | Self::HalfOpen(_) => Fate::Forward,
        }
    }

    fn swallows(self) -> bool {
        matches!(self, Self::Blackhole | Self::HalfOpen(_))
    }
}

/// A running proxy. Dropped, its port and its connections are closed.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    upstream: u16,
    shared: Arc<Shared>,
    // Held for its Drop, which ends the listener and with it all connections.
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    mode: watch::Sender<Mode>,
    /// Counts the cuts; a change resets every connection.
    cuts: watch::Sender<u64>,
    open: AtomicUsize,
    swallowed: AtomicU64,
}

impl Proxy {
    /// Starts a proxy before a loopback port, in [`Mode::Pass`].
    pub async fn start(upstream: u16) -> Self {
        let port = crate::ports::free();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.expect("a free port can be bound");
        let shared = Arc::new(Shared {
            mode: watch::Sender::new(Mode::Pass),
            cuts: watch::Sender::new(0),
            open: AtomicUsize::new(0),
            swallowed: AtomicU64::new(0),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(listener, upstream, shared.clone()));
        Self { port, upstream, shared, _tasks: tasks }
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A server's URL, led through the proxy.
    pub fn url(&self, direct: &str) -> String {
        let [theirs, ours] = [self.upstream, self.port].map(|port| format!("{}:{port}", Ipv4Addr::LOCALHOST));
        assert!(direct.contains(&theirs), "the proxy stands before {theirs}, not before {direct}");
        direct.replacen(&theirs, &ours, 1)
    }

    /// Changes what is done with everything that is sent from now on.
    pub fn set(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
    }

    /// Resets every open connection; new ones are taken as the mode says.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// How many bytes were swallowed: under `HalfOpen(ToClient)`, a growing number proves that the server has answered.
    pub fn swallowed(&self) -> u64 {
        self.shared.swallowed.load(Ordering::SeqCst)
    }
}

async fn listen(listener: TcpListener, upstream: u16, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        // Both are cancel safe.
        let client = tokio::select! {
            accepted = listener.accept() => accepted.ok(),
            Some(_) = connections.join_next() => None,
        };
        let Some((client, _)) = client else { continue };
        if *shared.mode.borrow() == Mode::Refuse {
            reset(&client);
            continue;
        }
        connections.spawn(carry(client, upstream, shared.clone()));
    }
}

/// Carries one connection to its end: both sides done, cut, broken, or spoiled by lost bytes.
async fn carry(mut client: TcpStream, upstream: u16, shared: Arc<Shared>) {
    let _open = Open::count(&shared);
    let mut cuts = shared.cuts.subscribe();
    let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream)).await else {
        return reset(&client);
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let spoiled = AtomicBool::new(false);
    let is_whole = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let there = pump(from_client, to_server, Direction::ToServer, &shared, &spoiled);
        let back = pump(from_server, to_client, Direction::ToClient, &shared, &spoiled);
        tokio::select! {
            done = async { tokio::try_join!(there, back) } => done.is_ok(),
            _ = cuts.changed() => false,
            () = healed(&shared, &spoiled) => false,
        }
    };
    if !is_whole {
        reset(&client);
        reset(&server);
    }
}

/// Carries one direction until its end, which is handed on as everything else.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    direction: Direction,
    shared: &Shared,
    spoiled: &AtomicBool,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut modes = shared.mode.subscribe();
    loop {
        let count = from.read(&mut chunk).await?;
        let let_go = modes.wait_for(|mode| mode.fate(direction) != Fate::Hold);
        let fate = let_go.await.map(|mode| mode.fate(direction)).map_err(io::Error::other)?;
        match fate {
            Fate::Forward | Fate::Hold => {}
            Fate::ForwardAfter(delay) => sleep(delay).await,
            Fate::Swallow => {
                spoiled.store(true, Ordering::SeqCst);
                shared.swallowed.fetch_add(count as u64, Ordering::SeqCst);
                if count == 0 {
                    return std::future::pending().await;
                }
                continue;
            }
        }
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&chunk[..count]).await?;
    }
}

/// Returns when bytes of the connection were lost and the mode no longer loses any.
async fn healed(shared: &Shared, spoiled: &AtomicBool) {
    let mut modes = shared.mode.subscribe();
    loop {
        if spoiled.load(Ordering::SeqCst) && !modes.borrow_and_update().swallows() {
            return;
        }
        if modes.changed().await.is_err() {
            return;
        }
    }
}

/// Makes the closing of the stream a reset, as of a host that is gone, instead of an orderly end.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

/// Counts a connection as open while it lives.
struct Open<'a>(&'a AtomicUsize);

impl<'a> Open<'a> {
    fn count(shared: &'a Shared) -> Self {
        shared.open.fetch_add(1, Ordering::SeqCst);
        Self(&shared.open)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
