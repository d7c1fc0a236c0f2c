//! The connections of a store: shared ones for short calls, a pool for long reads; each call is bounded in time. With a
//! cluster, one connection that knows which node serves which slot.
//!
//! A call whose connection fails is sent again a few times within two seconds, since every call is safe to repeat; then
//! it is `Unavailable`. A call that times out is not sent again: the server may be busy with it.
//!
//! A server that answers and does not serve (see `refusal`) may be one that a failover has left behind: the address leads to
//! another by now, while the connections that are kept lead to it still. So then all of them are left: those of calls, of the
//! pool, and of pushes. A small write every second finds that out where nothing else is written.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use deadpool_redis::{Manager, Pool, Runtime, Timeouts};
use futures_util::future::try_join_all;
use redis::aio::ConnectionLike;
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, Pipeline, RedisError, ServerErrorKind, TlsCertificates, Value, cmd,
};
use tokio::sync::watch;
use tokio::time::Instant;

use super::RedisConfig;
use super::kept::Kept;
use super::refusal::{Refusal, Refused};
use crate::store::Error;

/// How often a call is sent at most.
const TRIES: u32 = 4;
/// After how long a call is not sent again.
const PATIENCE: Duration = Duration::from_secs(2);
/// The pause before the second try; it doubles.
const PAUSE: Duration = Duration::from_millis(50);
/// Commands that may wait to be written on one connection before their callers wait.
const BUFFERED: usize = 1_024;
/// How often all connections are left at most: a server that refuses for long must not be worn down by new ones.
const LEAVE_EVERY: Duration = Duration::from_secs(1);
/// How long what a probe writes is kept, in ms.
const PROBE_KEPT: u64 = 60_000;
/// Bytes of a server's answer that an error repeats.
const ANSWER_SHOWN: usize = 240;

/// The ways to a server.
pub(super) struct Link {
    client: Client,
    place: String,
    shared: Shared,
    turn: AtomicUsize,
    pool: Pool,
    /// How often all connections were left, and when that was last.
    left: watch::Sender<(u64, Option<Instant>)>,
    round_trips: AtomicU64,
}

enum Shared {
    Server(Vec<Kept>),
    Cluster(ClusterConnection),
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Link {
    /// Connects. Fails if the server cannot be reached at all.
    pub(super) async fn open(config: &RedisConfig) -> Result<Self, Error> {
        let place = config.place();
        let client = open_client(config)?;
        let mut shared = Vec::with_capacity(config.connections);
        for _ in 0..config.connections {
            let connecting = Kept::open(client.clone(), shared_config(config));
            shared.push(connecting.await.map_err(|error| fault_of_connecting(config, error))?);
        }
        let pool = pool(config, &client).map_err(|error| unavailable(&place, error))?;
        let shared = Shared::Server(shared);
        let left = watch::Sender::new((0, None));
        Ok(Self { client, place, shared, turn: AtomicUsize::new(0), pool, left, round_trips: AtomicU64::new(0) })
    }

    /// Goes over to the cluster that the server is part of: each call goes to the node that serves its slot.
    pub(super) async fn join_cluster(&mut self, config: &RedisConfig) -> Result<(), Error> {
        let trusted = trusted(config)?;
        let connecting = async {
            let mut client = ClusterClientBuilder::new([config.url.expose().as_str()])
                .retries(2)
                .connection_timeout(config.connect_timeout)
                .response_timeout(config.response_timeout);
            if let Some(trusted) = trusted {
                client = client.certs(trusted);
            }
            client.build()?.get_async_connection().await
        };
        let connection = connecting.await.map_err(|error| fault(&self.place, error))?;
        self.shared = Shared::Cluster(connection);
        Ok(())
    }

    /// For connections of their own, such as for pub/sub.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Which of the server's databases it is.
    pub(super) fn database(&self) -> i64 {
        self.client.get_connection_info().redis_settings().db()
    }

    /// Which server, without credentials.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// How often something was sent and an answer awaited.
    pub(super) fn round_trips(&self) -> u64 {
        self.round_trips.load(Ordering::Relaxed)
    }

    /// Sends one command over a shared connection; errors of the server itself come as they are.
    pub(super) async fn send(&self, command: &Cmd) -> Result<Value, RedisError> {
        let started = Instant::now();
        let mut pause = PAUSE;
        for attempt in 1.. {
            self.round_trips.fetch_add(1, Ordering::Relaxed);
            match self.send_once(command).await {
                Err(error) if attempt < TRIES && is_passing(&error) && started.elapsed() + pause < PATIENCE => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                answer => return answer,
            }
        }
        unreachable!("the last try returns")
    }

    /// Sends one command over a shared connection.
    pub(super) async fn call(&self, command: &Cmd) -> Result<Value, Error> {
        self.send(command).await.map_err(|error| fault(&self.place, error))
    }

    /// Sends commands at once over a connection of the pool, and gives their answers in order. A cluster has no such
    /// pool: each command goes to its own node.
    pub(super) async fn read(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, Error> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        if let Shared::Cluster(_) = self.shared {
            return try_join_all(commands.iter().map(|command| self.call(command))).await;
        }
        let count = commands.len();
        let mut pipeline = Pipeline::with_capacity(count);
        for command in commands {
            pipeline.add_command(command);
        }
        let started = Instant::now();
        let mut pause = PAUSE;
        for attempt in 1.. {
            match self.read_once(&pipeline, count).await {
                Err(Attempt::Passing(_)) if attempt < TRIES && started.elapsed() + pause < PATIENCE => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                Err(Attempt::Passing(error) | Attempt::Final(error)) => return Err(error),
                Ok(values) => return Ok(values),
            }
        }
        unreachable!("the last try returns")
    }

    /// Writes next to nothing: whether the server does what it is asked to, and is no replica that a failover has left behind.
    pub(super) async fn probe(&self, key: &str) -> Result<(), Error> {
        let mut write = cmd("SET");
        write.arg(key).arg(std::process::id()).arg("PX").arg(PROBE_KEPT);
        let mut answer = self.send_once(&write).await;
        if answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Io && !error.is_timeout()) {
            // The connection broke, which says nothing about a new one.
            answer = self.send_once(&write).await;
        }
        answer.map(drop).map_err(|error| fault(&self.place, error))
    }

    /// Changes whenever all connections are left.
    pub(super) fn leavings(&self) -> watch::Receiver<(u64, Option<Instant>)> {
        self.left.subscribe()
    }

    /// Leaves all connections if the server refuses to serve, but not again and again.
    fn leave_if_refused(&self, error: &RedisError) {
        if Refusal::of(error).is_none() {
            return;
        }
        let is_due = self.left.send_if_modified(|(times, last)| {
            let is_due = last.is_none_or(|at| at.elapsed() >= LEAVE_EVERY);
            if is_due {
                (*times, *last) = (*times + 1, Some(Instant::now()));
            }
            is_due
        });
        if is_due {
            if let Shared::Server(connections) = &self.shared {
                connections.iter().for_each(Kept::leave);
            }
            self.pool.retain(|_, _| false);
        }
    }

    async fn read_once(&self, pipeline: &Pipeline, count: usize) -> Result<Vec<Value>, Attempt> {
        let left_before = self.left.borrow().0;
        let mut connection = match self.pool.get().await {
            Ok(connection) => connection,
            Err(deadpool_redis::PoolError::Backend(error)) => {
                self.leave_if_refused(&error);
                return Err(Attempt::Passing(fault(&self.place, error)));
            }
            Err(error @ deadpool_redis::PoolError::Timeout(_)) => {
                return Err(Attempt::Passing(unavailable(&self.place, error)));
            }
            Err(error) => return Err(Attempt::Final(unavailable(&self.place, error))),
        };
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        let answer = connection.req_packed_commands(pipeline, 0, count).await.and_then(extract);
        if let Err(error) = &answer {
            self.leave_if_refused(error);
        }
        if self.left.borrow().0 != left_before {
            // It leads to where all others were left.
            drop(deadpool_redis::Connection::take(connection));
        }
        answer.map_err(|error| {
            let is_passing = is_passing(&error);
            let error = fault(&self.place, error);
            if is_passing { Attempt::Passing(error) } else { Attempt::Final(error) }
        })
    }

    async fn send_once(&self, command: &Cmd) -> Result<Value, RedisError> {
        let answer = match &self.shared {
            Shared::Server(connections) => {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed) % connections.len();
                connections[turn].call(command).await
            }
            Shared::Cluster(connection) => command.query_async(&mut connection.clone()).await,
        };
        if let Err(error) = &answer {
            self.leave_if_refused(error);
        }
        answer
    }
}

enum Attempt {
    Passing(Error),
    Final(Error),
}

fn extract(values: Vec<Value>) -> Result<Vec<Value>, RedisError> {
    values.into_iter().map(Value::extract_error).collect()
}

fn open_client(config: &RedisConfig) -> Result<Client, Error> {
    let url = config.url.expose().as_str();
    let opened = match trusted(config)? {
        Some(trusted) => Client::build_with_tls(url, trusted),
        None => Client::open(url),
    };
    opened.map_err(|error| {
        let why = if config.is_tls() && config.tls_ca.is_some() && Client::open(url).is_ok() {
            format!("the file of COX_STORE_TLS_CA has no PEM certificate that can be read: {error}")
        } else {
            super::config::FORM.to_owned()
        };
        Error::Unsuitable { place: config.place(), why }
    })
}

/// The certificates to trust in place of the system's.
fn trusted(config: &RedisConfig) -> Result<Option<TlsCertificates>, Error> {
    let Some(file) = config.tls_ca.as_ref().filter(|_| config.is_tls()) else { return Ok(None) };
    let read = std::fs::read(file).map_err(|error| Error::Unsuitable {
        place: config.place(),
        why: format!("the file of COX_STORE_TLS_CA, {}, cannot be read: {error}", file.display()),
    });
    read.map(|root_cert| Some(TlsCertificates { client_tls: None, root_cert: Some(root_cert) }))
}

/// What an error of the first connection means.
fn fault_of_connecting(config: &RedisConfig, error: RedisError) -> Error {
    let text = error.to_string();
    if text.contains("switch database") || text.contains("DB index is out of range") {
        let why = "its URL ends with a database that the server does not have, or does not let this user choose: \
                   write another number behind the last /, or raise `databases` of the server";
        return Error::Unsuitable { place: config.place(), why: why.to_owned() };
    }
    if !config.is_tls() || error.kind() != ErrorKind::Io || error.is_connection_refusal() {
        return fault(&config.place(), error);
    }
    if error.is_timeout() {
        // A server that does not speak TLS waits for the end of a line.
        return unavailable(&config.place(), format!("{error}; the URL says rediss: does the port speak TLS?"));
    }
    let why = format!(
        "no TLS session came about ({error}): the URL says rediss, so the port must speak TLS, with a certificate for this host \
         from an authority of the system or of COX_STORE_TLS_CA"
    );
    Error::Unsuitable { place: config.place(), why }
}

fn shared_config(config: &RedisConfig) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_response_timeout(Some(config.response_timeout))
        .set_connection_timeout(Some(config.connect_timeout))
        .set_pipeline_buffer_size(BUFFERED)
}

fn pool(config: &RedisConfig, client: &Client) -> Result<Pool, Box<dyn std::error::Error + Send + Sync>> {
    let timeouts = AsyncConnectionConfig::new()
        .set_response_timeout(Some(config.response_timeout))
        .set_connection_timeout(Some(config.connect_timeout));
    let manager = Manager::new_with_config(client.get_connection_info().clone(), timeouts)?;
    let pool = Pool::builder(manager)
        .max_size(config.pool_size)
        .runtime(Runtime::Tokio1)
        .timeouts(Timeouts {
            wait: Some(config.response_timeout),
            create: Some(config.connect_timeout),
            recycle: Some(config.connect_timeout),
        })
        .build()?;
    Ok(pool)
}

/// Whether the same call may succeed at once: the connection failed, or the server is starting or failing over.
fn is_passing(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Io => !error.is_timeout(),
        _ => Refusal::of(error).is_some_and(Refusal::is_brief),
    }
}

/// What an error means in the words of the port.
pub(super) fn fault(place: &str, error: RedisError) -> Error {
    let text = error.to_string();
    if let Some((key, format)) = text.split_once("COXFORMAT ").and_then(|(_, rest)| rest.split_once(' ')) {
        let format = format.split(' ').next().unwrap_or_default().parse().unwrap_or(u32::MAX);
        return Error::Format { key: key.to_owned(), format, known: super::FORMAT };
    }
    if let Some((key, why)) = text.split_once("COXCORRUPT ").and_then(|(_, rest)| rest.split_once(' ')) {
        let why = why.split(" script: ").next().unwrap_or(why);
        return Error::Corrupt { key: key.to_owned(), why: why.to_owned() };
    }
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::ResponseError) if text.contains("WRONGTYPE") => {
            Error::Corrupt { key: place.to_owned(), why: "a key has a type of another program's".to_owned() }
        }
        _ => match Refusal::of(&error) {
            Some(refusal) => {
                let words = match (error.code(), error.detail()) {
                    (Some(code), Some(detail)) => format!("{code} {detail}"),
                    _ => text,
                };
                let words = words.chars().take(ANSWER_SHOWN).collect();
                unavailable(place, Refused { refusal, words })
            }
            None => unavailable(place, error),
        },
    }
}

/// The same for a program that starts: a user that is refused is a mistake in its settings then. Later, it may be put right, and
/// is waited for.
pub(super) fn at_the_start(error: Error) -> Error {
    let Error::Unavailable { place, why } = error else { return error };
    match why.downcast::<Refused>() {
        Ok(refused) if refused.refusal.is_of_the_user() => Error::Unsuitable { place, why: refused.to_string() },
        Ok(refused) => Error::Unavailable { place, why: refused },
        Err(why) => Error::Unavailable { place, why },
    }
}

pub(super) fn unavailable(place: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Unavailable { place: place.to_owned(), why: error.into() }
}
