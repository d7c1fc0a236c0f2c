//! Listens to what the server pushes, on a connection of its own that is made anew whenever it breaks.
//!
//! A connection that breaks loses pushes, so each reconnect sends [`Signal::Lost`]. One that is silently dead is found
//! out by a ping every few seconds.

use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::{PubSub, PubSubSink, PubSubStream};
use redis::{Client, Msg};
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::RedisConfig;
use super::keys::Keys;
use super::link::{Link, fault, unavailable};
use crate::id::{Partition, RunId};
use crate::lifecycle::Tasks;
use crate::store::{Error, Signal};
use crate::time::Timestamp;

/// How often the connection is tried.
const PING_EVERY: Duration = Duration::from_secs(5);
/// The pause before reconnecting; it doubles up to the larger one.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

struct Listener {
    client: Client,
    place: String,
    channels: Vec<String>,
    stop_channel: String,
    connect_timeout: Duration,
    signals: broadcast::Sender<Signal>,
    /// Tells that all connections are left, this one too.
    leavings: watch::Receiver<(u64, Option<Instant>)>,
}

/// Subscribes, and goes on listening in the background.
pub(super) async fn listen(
    link: &Link,
    config: &RedisConfig,
    keys: &Keys,
    signals: broadcast::Sender<Signal>,
    tasks: &Tasks,
) -> Result<(), Error> {
    let mut channels = vec![keys.stop_channel()];
    if config.ready_signals {
        channels.push(keys.ready_channel());
    }
    let listener = Listener {
        client: link.client().clone(),
        place: link.place().to_owned(),
        channels,
        stop_channel: keys.stop_channel(),
        connect_timeout: config.connect_timeout,
        signals,
        leavings: link.leavings(),
    };
    let subscribed = listener.subscribe().await?;
    tasks.spawn(listener.run(subscribed));
    Ok(())
}

impl Listener {
    async fn subscribe(&self) -> Result<PubSub, Error> {
        let connecting = async {
            let mut connection = self.client.get_async_pubsub().await?;
            connection.subscribe(&self.channels).await?;
            Ok(connection)
        };
        match timeout(self.connect_timeout, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(fault(&self.place, error)),
            Err(elapsed) => Err(unavailable(&self.place, elapsed)),
        }
    }

    async fn run(mut self, mut subscribed: PubSub) {
        loop {
            let (sink, stream) = subscribed.split();
            self.forward(sink, stream).await;
            subscribed = self.subscribe_again().await;
            // An error means that nobody listens, which is nobody's loss.
            let _ = self.signals.send(Signal::Lost);
        }
    }

    /// Passes on what comes, until the connection breaks or is left.
    async fn forward(&mut self, mut sink: PubSubSink, mut stream: PubSubStream) {
        let mut next_ping = Instant::now() + PING_EVERY;
        let mut leavings = self.leavings.clone();
        loop {
            tokio::select! {
                left = leavings.changed() => {
                    self.leavings = leavings;
                    // Without the link nobody needs the pushes: the store ends.
                    return if left.is_err() { std::future::pending().await } else { sleep(PAUSE).await };
                },
                message = stream.next() => match message {
                    Some(message) => self.pass_on(&message),
                    None => return,
                },
                () = sleep_until(next_ping) => {
                    match timeout(self.connect_timeout, sink.ping::<redis::Value>()).await {
                        Ok(Ok(_)) => next_ping = Instant::now() + PING_EVERY,
                        Ok(Err(_)) | Err(_) => return,
                    }
                }
            }
        }
    }

    async fn subscribe_again(&self) -> PubSub {
        let mut pause = PAUSE;
        let mut is_told = false;
        loop {
            match self.subscribe().await {
                Ok(subscribed) => {
                    tracing::info!(store = %self.place, "listening to the store's pushes again");
                    return subscribed;
                }
                Err(error) if !is_told => {
                    tracing::warn!(store = %self.place, error = %error, "the store's pushes are cut off; reconnecting");
                    is_told = true;
                }
                Err(_) => {}
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn pass_on(&self, message: &Msg) {
        let payload = message.get_payload_bytes();
        let signal = if message.get_channel_name() == self.stop_channel { stop(payload) } else { ready(payload) };
        let Some(signal) = signal else {
            tracing::warn!(channel = message.get_channel_name(), "a push that cannot be read was dropped");
            return;
        };
        let _ = self.signals.send(signal);
    }
}

/// `RUN MADE-AT REPORT`, or `RUN MADE-AT TASK,TASK,… REPORT` where only these tasks of the run were ordered to stop.
fn stop(payload: &[u8]) -> Option<Signal> {
    let (run, rest) = std::str::from_utf8(payload).ok()?.split_once(' ')?;
    let (made_at, rest) = rest.split_once(' ')?;
    let (run, made_at) = (RunId::new(run).ok()?, Timestamp::from_millis(made_at.parse().ok()?));
    if rest.starts_with('{') {
        return Some(Signal::Stop { run, made_at, report: Box::new(serde_json::from_str(rest).ok()?) });
    }
    let (tasks, report) = rest.split_once(' ')?;
    let tasks = tasks.split(',').map(|task| task.parse().ok()).collect::<Option<_>>()?;
    Some(Signal::StopTasks { run, made_at, tasks, report: Box::new(serde_json::from_str(report).ok()?) })
}

/// `PARTITION`, or `PARTITION due`.
fn ready(payload: &[u8]) -> Option<Signal> {
    let text = std::str::from_utf8(payload).ok()?;
    match text.strip_suffix(" due") {
        Some(partition) => Some(Signal::Due(Partition::new(partition.parse().ok()?))),
        None => Some(Signal::Ready(Partition::new(text.parse().ok()?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pushes_read_as_they_are_written_and_garbage_is_dropped() {
        assert_eq!(ready(b"7"), Some(Signal::Ready(Partition::new(7))));
        assert_eq!(ready(b"7 due"), Some(Signal::Due(Partition::new(7))));
        let report = br#"r1 77 {"order":{"cause":"cancelled","actor":"a","force":false,"at":5},"leases":1,"released":0,"unconfirmed":0}"#;
        assert!(
            matches!(stop(report), Some(Signal::Stop { run, made_at, report }) if run.as_str() == "r1" && made_at.as_millis() == 77 && report.leases == 1)
        );
        let some = [&b"r1 77 3:ask:0,3:ask:7"[..], &report[5..]].concat();
        assert!(matches!(stop(&some), Some(Signal::StopTasks { tasks, .. }) if tasks[1].item == 7 && tasks.len() == 2));
        for garbage in [&b""[..], b"x", b"r1 {}", b"r1 77 {}", b"r1 77 x {}", b"r1 x {}", b" due", b"\xff"] {
            assert!(stop(garbage).is_none() && ready(garbage).is_none());
        }
    }
}
