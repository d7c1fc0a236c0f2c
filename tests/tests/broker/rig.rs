//! What the tests share: settings for a private broker, a second pair of hands on it, and waiting.

use std::time::Duration;

use coxswain_shared::broker::{Broker, BrokerUrl, RabbitBroker, RabbitConfig};
use coxswain_tests::wait_for;
use lapin::options::{BasicAckOptions, BasicGetOptions, ConfirmSelectOptions};
use lapin::types::AMQPValue;
use lapin::{Channel, Connection, ConnectionProperties};

/// Enough for a broker that is up, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_mins(1);

/// Enough for a broker that comes back after a crash, with its queues.
pub(crate) const RECOVERED: Duration = Duration::from_mins(2);

/// Settings of a fleet of its own on this broker.
pub(crate) fn config(url: &str) -> RabbitConfig {
    let mut config = RabbitConfig::new(BrokerUrl::new(url).unwrap());
    config.queue_prefix = format!("t{:08x}", rand::random::<u32>());
    config
}

/// An adapter that is connected.
pub(crate) async fn connected(config: RabbitConfig) -> RabbitBroker {
    let broker = RabbitBroker::start(config).unwrap();
    broker.connected(SOON).await.unwrap();
    assert!(broker.is_ready());
    broker
}

/// Waits until the adapter is ready again.
pub(crate) async fn becomes_ready(broker: &RabbitBroker) {
    wait_for("the adapter to be ready again", RECOVERED, async || broker.is_ready()).await;
}

/// A channel of the test's own, past the adapter.
pub(crate) async fn channel(url: &str) -> Channel {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    channel
}

/// Takes what is on the dead letters: payload and reason. Ours is in a header of our own, the broker's in its `x-death`.
pub(crate) async fn dead_letters(url: &str, prefix: &str) -> Vec<(Vec<u8>, String)> {
    let channel = channel(url).await;
    let mut letters = Vec::new();
    while let Some(letter) =
        channel.basic_get(format!("{prefix}.dead").into(), BasicGetOptions::default()).await.unwrap()
    {
        let headers = letter.delivery.properties.headers().clone().unwrap_or_default();
        let reason =
            ["x-cox-reason", "x-first-death-reason"].iter().find_map(|name| match headers.inner().get(*name) {
                Some(AMQPValue::LongString(text)) => Some(text.to_string()),
                _ => None,
            });
        letters.push((letter.delivery.data.clone(), reason.unwrap_or_default()));
        letter.delivery.ack(BasicAckOptions::default()).await.unwrap();
    }
    letters
}
