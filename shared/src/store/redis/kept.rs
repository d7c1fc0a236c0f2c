//! One connection that many calls share, made anew as soon as one of them finds that it is of no use.
//!
//! Of no use is a connection that broke, one that leaves a call without an answer, and one that could not be made: it is not
//! kept, whatever the reason, so that the next call tries again. Whether a server's *refusal* makes it one, says `Link`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, RedisError, RedisResult, Value};

/// A connection in the making, or made.
type Connecting = Shared<BoxFuture<'static, RedisResult<MultiplexedConnection>>>;

/// The connection, and how to make it.
pub(super) struct Kept {
    client: Client,
    config: AsyncConnectionConfig,
    current: Mutex<Current>,
}

struct Current {
    /// Counts the connections, so that one that is dropped twice takes none of its followers along.
    number: u64,
    connecting: Connecting,
}

impl Kept {
    /// Connects; fails if that does not work at once.
    pub(super) async fn open(client: Client, config: AsyncConnectionConfig) -> RedisResult<Self> {
        let connecting = connect(&client, &config);
        connecting.clone().await?;
        Ok(Self { client, config, current: Mutex::new(Current { number: 0, connecting }) })
    }

    /// Sends one command.
    pub(super) async fn call(&self, command: &Cmd) -> RedisResult<Value> {
        let (number, connecting) = {
            let current = self.current();
            (current.number, current.connecting.clone())
        };
        let connection = connecting.await;
        let is_made = connection.is_ok();
        let answer = match connection {
            Ok(mut connection) => command.query_async(&mut connection).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &answer
            && (!is_made || is_broken(error))
        {
            self.replace(number);
        }
        answer
    }

    /// Drops the connection: the next call makes another one. What is under way on it goes on.
    pub(super) fn leave(&self) {
        let number = self.current().number;
        self.replace(number);
    }

    fn replace(&self, number: u64) {
        let mut current = self.current();
        if current.number == number {
            *current = Current { number: number + 1, connecting: connect(&self.client, &self.config) };
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects at the first call that waits for it.
fn connect(client: &Client, config: &AsyncConnectionConfig) -> Connecting {
    let (client, config) = (client.clone(), config.clone());
    async move { client.get_multiplexed_async_connection_with_config(&config).await }.boxed().shared()
}

/// Whether nothing more is to be hoped for from the connection: it broke, or its server does not answer.
fn is_broken(error: &RedisError) -> bool {
    error.is_unrecoverable_error() || error.is_timeout()
}
