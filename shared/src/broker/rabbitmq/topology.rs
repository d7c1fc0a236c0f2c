//! The queues: their names, and what they are declared with.
//!
//! Everything goes through the default exchange, so there is nothing to bind: a queue that is there can be reached.

use std::time::Duration;

use lapin::Channel;
use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};

use super::RabbitConfig;
use super::failure::Failure;
use crate::priority::{Lane, Priority};
use crate::time::millis;

/// Dead letters that are kept; older ones go first. They are there to be looked at, not to be worked off.
const DEAD_LETTERS_MAX: u32 = 100_000;

#[derive(Debug, Clone)]
pub(super) struct Topology {
    prefix: String,
    delivery_limit: u32,
    length_max: u32,
    expires: Option<Duration>,
}

impl Topology {
    pub(super) fn new(config: &RabbitConfig) -> Self {
        let (delivery_limit, length_max) = (config.delivery_limit, config.queue_length_max);
        Self { prefix: config.queue_prefix.clone(), delivery_limit, length_max, expires: config.queue_expires }
    }

    /// A lane's queue. The priority is not behind the pool's name: that may have dots, and be anything.
    pub(super) fn tasks(&self, lane: &Lane) -> ShortString {
        let Lane { pool, priority } = lane;
        match priority {
            Priority::Normal => format!("{}.tasks.{pool}", self.prefix).into(),
            Priority::High | Priority::Low => format!("{}.tasks-{priority}.{pool}", self.prefix).into(),
        }
    }

    pub(super) fn dead(&self) -> ShortString {
        format!("{}.dead", self.prefix).into()
    }

    /// The name of a queue that nobody makes.
    pub(super) fn nowhere(&self) -> ShortString {
        format!("{}.probe", self.prefix).into()
    }

    /// Declares a queue of tasks, and the dead letters before it: what the one drops must have a place to go.
    pub(super) async fn declare_tasks(&self, channel: &Channel, queue: &ShortString) -> Result<(), Failure> {
        self.declare_dead(channel).await?;
        let mut arguments = quorum(self.length_max);
        arguments.insert("x-overflow".into(), text("reject-publish"));
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(i64::from(self.delivery_limit)));
        arguments.insert("x-dead-letter-exchange".into(), text(""));
        arguments.insert("x-dead-letter-routing-key".into(), text(self.dead().as_str()));
        if let Some(after) = self.expires {
            // The dead letters are nobody's to consume, and stay.
            arguments.insert("x-expires".into(), AMQPValue::LongLongInt(millis(after)));
        }
        declare(channel, queue, arguments).await
    }

    /// Declares the dead letters.
    pub(super) async fn declare_dead(&self, channel: &Channel) -> Result<(), Failure> {
        declare(channel, &self.dead(), quorum(DEAD_LETTERS_MAX)).await
    }
}

async fn declare(channel: &Channel, queue: &ShortString, arguments: FieldTable) -> Result<(), Failure> {
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let declared = channel.queue_declare(queue.clone(), options, arguments).await;
    declared.map(drop).map_err(|error| Failure::of_queue(&error, queue.as_str()))
}

fn quorum(length_max: u32) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(i64::from(length_max)));
    arguments
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(value))
}
