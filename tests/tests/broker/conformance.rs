//! The suite that every adapter passes, on RabbitMQ.

use std::sync::Arc;

use async_trait::async_trait;
use coxswain_shared::broker::conformance::Subject;
use coxswain_shared::broker::{Broker, RabbitBroker};
use coxswain_shared::broker_conformance;
use coxswain_shared::priority::Lane;
use coxswain_tests::RabbitServer;
use lapin::BasicProperties;
use lapin::options::BasicPublishOptions;
use tokio::sync::OnceCell;

use crate::rig;

broker_conformance!(subject);

static SERVER: OnceCell<RabbitServer> = OnceCell::const_new();

struct Rabbit {
    broker: RabbitBroker,
    url: String,
    prefix: String,
}

async fn subject() -> Rabbit {
    let url = SERVER.get_or_init(RabbitServer::start).await.url();
    let config = rig::config(&url);
    let prefix = config.queue_prefix.clone();
    Rabbit { broker: rig::connected(config).await, url, prefix }
}

#[async_trait]
impl Subject for Rabbit {
    fn broker(&self) -> Arc<dyn Broker> {
        Arc::new(self.broker.clone())
    }

    async fn publish_raw(&self, lane: &Lane, payload: &[u8]) {
        let (queue, options) = (format!("{}.tasks.{lane}", self.prefix), BasicPublishOptions::default());
        let channel = rig::channel(&self.url).await;
        let sent = channel.basic_publish("".into(), queue.into(), options, payload, BasicProperties::default()).await;
        assert!(sent.unwrap().await.unwrap().is_ack());
    }

    async fn dead_letters(&self) -> Vec<(Vec<u8>, String)> {
        rig::dead_letters(&self.url, &self.prefix).await
    }
}
