//! The connections of a store: shared ones for short calls, a pool for long reads; each call is bounded in time. With a
//! cluster, one connection that knows which node serves which slot.
//!
//! A call whose connection fails is sent again a few times within two seconds, since every call is safe to repeat; then
//! it is `Unavailable`. A call that times out is not sent again: the server may be busy with it.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use deadpool_redis::{Manager, Pool, Runtime, Timeouts};
use futures_util::future::try_join_all;
use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, Pipeline, RedisError, ServerErrorKind, TlsCertificates, Value,
};
use tokio::time::Instant;

use super::RedisConfig;
use super::reply::short;
use crate::store::Error;

/// How often a call is sent at most.
const TRIES: u32 = 4;
/// After how long a call is not sent again.
const PATIENCE: Duration = Duration::from_secs(2);
/// The pause before the second try; it doubles.
const PAUSE: Duration = Duration::from_millis(50);
/// Commands that may wait to be written on one connection before their callers wait.
const BUFFERED: usize = 1_024;

/// The ways to a server.
pub(super) struct Link {
    client: Client,
    place: String,
    shared: Shared,
    turn: AtomicUsize,
    pool: Pool,
    round_trips: AtomicU64,
}

enum Shared {
    Server(Vec<ConnectionManager>),
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
            let connecting = ConnectionManager::new_with_config(client.clone(), shared_config(config));
            shared.push(connecting.await.map_err(|error| fault_of_connecting(config, error))?);
        }
        let pool = pool(config, &client).map_err(|error| unavailable(&place, error))?;
        let shared = Shared::Server(shared);
        Ok(Self { client, place, shared, turn: AtomicUsize::new(0), pool, round_trips: AtomicU64::new(0) })
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

    async fn read_once(&self, pipeline: &Pipeline, count: usize) -> Result<Vec<Value>, Attempt> {
        let mut connection = match self.pool.get().await {
            Ok(connection) => connection,
            Err(error @ (deadpool_redis::PoolError::Backend(_) | deadpool_redis::PoolError::Timeout(_))) => {
                return Err(Attempt::Passing(unavailable(&self.place, error)));
            }
            Err(error) => return Err(Attempt::Final(unavailable(&self.place, error))),
        };
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        let answer = connection.req_packed_commands(pipeline, 0, count).await.and_then(extract);
        answer.map_err(|error| {
            let is_passing = is_passing(&error);
            let error = fault(&self.place, error);
            if is_passing { Attempt::Passing(error) } else { Attempt::Final(error) }
        })
    }

    async fn send_once(&self, command: &Cmd) -> Result<Value, RedisError> {
        match &self.shared {
            Shared::Server(connections) => {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed) % connections.len();
                command.query_async(&mut connections[turn].clone()).await
            }
            Shared::Cluster(connection) => command.query_async(&mut connection.clone()).await,
        }
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
            "its URL cannot be read: write redis://[user:password@]host[:port][/database], or rediss:// for TLS"
                .to_owned()
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

fn shared_config(config: &RedisConfig) -> ConnectionManagerConfig {
    ConnectionManagerConfig::new()
        .set_response_timeout(Some(config.response_timeout))
        .set_connection_timeout(Some(config.connect_timeout))
        .set_number_of_retries(2)
        .set_min_delay(PAUSE)
        .set_max_delay(Duration::from_millis(500))
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
        ErrorKind::Server(kind) => matches!(
            kind,
            ServerErrorKind::BusyLoading
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
        ),
        _ => false,
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
        ErrorKind::Server(ServerErrorKind::NoPerm) | ErrorKind::AuthenticationFailed => {
            let why = format!("it refuses the user: {}; give the URL a user who may run scripts", short(&text));
            Error::Unsuitable { place: place.to_owned(), why }
        }
        _ => unavailable(place, error),
    }
}

pub(super) fn unavailable(place: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Unavailable { place: place.to_owned(), source: error.into() }
}
