//! One connection that is kept up: a task connects, watches, and connects again.
//!
//! A link says what the connection is at this moment; a call waits for it, for a bounded time, and then says why there
//! is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use lapin::tcp::OwnedTLSConfig;
use lapin::{Connection, ConnectionProperties, Event};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::RabbitConfig;
use super::backoff::Backoff;
use super::failure::Failure;
use crate::broker::Complaint;
use crate::lifecycle::Tasks;

/// How long one try to connect may take. It doubles while tries come to nothing: the library cannot call a try off, so
/// each that is given up on holds a thread until the system gives up too.
const CONNECT_MIN: Duration = Duration::from_secs(10);
const CONNECT_MAX: Duration = Duration::from_mins(1);

/// Silence after which a peer is taken for dead, in seconds; the library notices within twice that, the broker within
/// three times. That must be less than a lease lives: a hung worker has a place for messages, and while the broker
/// takes it for alive, it may be handed the very task that its own lease was taken from.
const HEARTBEAT_SECONDS: u16 = 3;

/// How often the connection is looked at besides its events: a safety net, for they are said to be complete.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long a polite close may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// What the connection is at this moment.
#[derive(Debug, Clone)]
enum State {
    Down(Failure),
    Up { connection: Arc<Connection>, is_blocked: bool },
    Closed,
}

/// A connection that is kept up until its tasks drain.
#[derive(Debug)]
pub(super) struct Link {
    state: watch::Receiver<State>,
}

impl Link {
    /// Starts to connect. `role` tells the links of one process apart in the broker's lists and in the log.
    pub(super) fn start(
        config: Arc<RabbitConfig>,
        role: &'static str,
        tasks: &Tasks,
        reconnects: Arc<AtomicU64>,
    ) -> Self {
        let (sender, state) = watch::channel(State::Down(Failure::apart("it is connecting for the first time")));
        let supervisor = Supervisor { config, role, tasks: tasks.clone(), reconnects, state: sender };
        tasks.spawn(supervisor.run());
        Self { state }
    }

    /// Why there is no connection that is not blocked, if there is none.
    pub(super) fn complaint(&self) -> Option<Complaint> {
        let failure = match &*self.state.borrow() {
            State::Up { connection, .. } if !connection.status().connected() => {
                Failure::apart("the connection has just been lost")
            }
            State::Up { connection, is_blocked } if *is_blocked || connection.status().blocked() => Failure::blocked(),
            State::Up { .. } => return None,
            State::Down(failure) => failure.clone(),
            State::Closed => Failure::apart("it has been closed"),
        };
        Some(failure.into_complaint())
    }

    /// The connection; waits for it until the deadline.
    pub(super) async fn connection(&self, deadline: Instant) -> Result<Arc<Connection>, Failure> {
        self.wait_until(deadline, |_| true).await
    }

    /// The connection, once no alarm blocks it: a publish on a blocked one would be neither sent nor refused, and stay in memory.
    pub(super) async fn unblocked(&self, deadline: Instant) -> Result<Arc<Connection>, Failure> {
        self.wait_until(deadline, |is_blocked| !is_blocked).await
    }

    async fn wait_until(
        &self,
        deadline: Instant,
        is_wanted: impl Fn(bool) -> bool,
    ) -> Result<Arc<Connection>, Failure> {
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| match state {
            State::Down(failure) => failure.is_lasting,
            State::Up { connection, is_blocked } => connection.status().connected() && is_wanted(*is_blocked),
            State::Closed => true,
        });
        let settled = match timeout_at(deadline, settled).await {
            Ok(Ok(state)) => state.clone(),
            Ok(Err(_)) => State::Closed,
            Err(_) => self.state.borrow().clone(),
        };
        match settled {
            State::Up { connection, is_blocked } if is_wanted(is_blocked) && connection.status().connected() => {
                Ok(connection)
            }
            State::Up { is_blocked: true, .. } => Err(Failure::blocked()),
            State::Up { .. } => Err(Failure::apart("the connection has just been lost")),
            State::Down(failure) => Err(failure),
            State::Closed => Err(Failure::apart("it has been closed")),
        }
    }
}

struct Supervisor {
    config: Arc<RabbitConfig>,
    role: &'static str,
    tasks: Tasks,
    reconnects: Arc<AtomicU64>,
    state: watch::Sender<State>,
}

impl Supervisor {
    async fn run(self) {
        let mut backoff = Backoff::new(self.config.backoff_min, self.config.backoff_max);
        let mut patience = CONNECT_MIN;
        let mut connects = 0_u64;
        loop {
            let connected = tokio::select! {
                () = self.tasks.draining() => break,
                connected = self.connect(patience) => connected,
            };
            match connected {
                Ok(connection) => {
                    self.note_connected(connects);
                    (connects, patience) = (connects + 1, CONNECT_MIN);
                    backoff.reset();
                    let Some(failure) = self.watch(connection).await else { break };
                    self.note_down(failure);
                }
                Err(failure) => {
                    patience = (patience * 2).min(CONNECT_MAX);
                    self.note_down(failure);
                }
            }
            tokio::select! {
                () = self.tasks.draining() => break,
                () = sleep(backoff.pause()) => {}
            }
        }
        self.state.send_replace(State::Closed);
    }

    async fn connect(&self, patience: Duration) -> Result<Connection, Failure> {
        let config = &self.config;
        let name = format!("{}: {}", config.connection_name, self.role);
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let mut uri = config.url.uri().clone();
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        let cert_chain = match &config.tls_ca {
            Some(path) => Some(tokio::fs::read_to_string(path).await.map_err(|error| {
                Failure::passing(format!("the file of COX_BROKER_TLS_CA, {}, cannot be read: {error}", path.display()))
            })?),
            None => None,
        };
        let tls = OwnedTLSConfig { identity: None, cert_chain };
        let runtime = lapin::runtime::default_runtime().map_err(|error| Failure::of(&error))?;
        match timeout(patience, Connection::connect_uri_with_config(uri, properties, tls, runtime)).await {
            Ok(connected) => connected.map_err(|error| Failure::of_connecting(&error, config.url.is_tls())),
            Err(_) => Err(Failure::apart(format!("no connection came about within {patience:?}"))),
        }
    }

    /// Watches a connection until it is lost, and says why; or, when the tasks drain, closes it.
    async fn watch(&self, connection: Connection) -> Option<Failure> {
        let mut events = Box::pin(connection.events_listener().fuse());
        let connection = Arc::new(connection);
        self.state.send_replace(State::Up { connection: Arc::clone(&connection), is_blocked: false });
        let mut last_error = None;
        loop {
            tokio::select! {
                () = self.tasks.draining() => {
                    // An error only says that it was closed already.
                    let _ = timeout(CLOSE_WITHIN, connection.close(200, "the client shuts down".into())).await;
                    return None;
                }
                Some(event) = events.next() => {
                    if let Event::Error(error) = event {
                        last_error = why_lost(&error).or(last_error);
                    }
                }
                () = sleep(LOOK_EVERY) => {}
            }
            let status = connection.status();
            if !status.connected() {
                return Some(last_error.unwrap_or_else(|| Failure::apart("the connection was closed")));
            }
            self.note_blocked(status.blocked());
        }
    }

    fn note_connected(&self, connects: u64) {
        if connects > 0 {
            self.reconnects.fetch_add(1, Ordering::Relaxed);
        }
        tracing::info!(broker = %self.config.url, link = self.role, reconnects = connects, "connected to the broker");
    }

    fn note_down(&self, failure: Failure) {
        let is_news = match &*self.state.borrow() {
            State::Down(known) => *known != failure,
            State::Up { .. } | State::Closed => true,
        };
        if is_news {
            let why = failure.why.as_str();
            tracing::warn!(broker = %self.config.url, link = self.role, why, "the broker is out of reach, trying again");
        }
        self.state.send_replace(State::Down(failure));
    }

    fn note_blocked(&self, now: bool) {
        let is_news = self.state.send_if_modified(|state| match state {
            State::Up { is_blocked, .. } if *is_blocked != now => {
                *is_blocked = now;
                true
            }
            State::Up { .. } | State::Down(_) | State::Closed => false,
        });
        if is_news && now {
            tracing::warn!(broker = %self.config.url, link = self.role, "an alarm of the broker blocks this connection");
        } else if is_news {
            tracing::info!(broker = %self.config.url, link = self.role, "the broker's alarm is over");
        }
    }
}

/// What an error says of the end of a connection. One of a channel says nothing: asking about a queue that nobody has
/// made is such an error, and would be told as the reason long afterwards.
fn why_lost(error: &lapin::Error) -> Option<Failure> {
    (!error.is_amqp_soft_error()).then(|| Failure::apart(error.to_string()))
}

#[cfg(test)]
mod tests {
    use lapin::ErrorKind;
    use lapin::protocol::{AMQPError, AMQPHardError, AMQPSoftError};

    use super::*;

    #[test]
    fn a_channels_error_is_no_reason_for_the_end_of_a_connection() {
        let told = |kind| why_lost(&ErrorKind::ProtocolError(AMQPError::new(kind, "told".into())).into());
        assert_eq!(told(AMQPSoftError::NOTFOUND.into()), None);
        assert!(told(AMQPHardError::CONNECTIONFORCED.into()).unwrap().why.contains("told"));
    }
}
