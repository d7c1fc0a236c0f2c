//! The worker's way to its two servers: waits for the store and the broker, at the start, and whenever the store was
//! silent.

use std::error::Error as _;
use std::sync::Arc;

use coxswain_shared::broker::{self, Broker};
use coxswain_shared::id::PoolName;
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::priority::{Lane, Priority};
use coxswain_shared::store::Store;
use tokio::time::Instant;

use super::builder::Error;
use super::lanes::Subscribed;
use super::report::Report;
use crate::clock::StoreClock;
use crate::config::Config;
use crate::pause::Pause;

/// The two servers, as one worker uses them.
#[derive(Debug)]
pub(super) struct Servers {
    pub(super) config: Config,
    pub(super) store: Arc<dyn Store>,
    pub(super) broker: Arc<dyn Broker>,
    pub(super) report: Report,
}

impl Servers {
    /// Waits until the store answers, and subscribes; none if the worker is asked to drain meanwhile.
    pub(super) async fn connect(&self, tasks: &Tasks) -> Result<Option<(StoreClock, Vec<Subscribed>)>, Error> {
        tokio::select! {
            biased;
            () = tasks.draining() => Ok(None),
            connected = async { Ok((self.read_clock().await?, self.subscribe().await?)) } => connected.map(Some),
        }
    }

    /// The same for a worker that has been at work: what is wrong may be put right, and attempts go on meanwhile.
    pub(super) async fn connect_again(&self, tasks: &Tasks) -> Option<Vec<Subscribed>> {
        let mut pause = Pause::new();
        loop {
            match self.connect(tasks).await {
                Ok(connected) => return connected.map(|(_, consumers)| consumers),
                Err(error) => {
                    let why = error.source().map(ToString::to_string);
                    tracing::error!(%error, why, "the worker takes no tasks, and tries again");
                    pause.wait().await;
                }
            }
        }
    }

    async fn read_clock(&self) -> Result<StoreClock, Error> {
        let mut pause = Pause::new();
        loop {
            let sent = Instant::now();
            match self.store.probe().await {
                Ok(now) => {
                    self.report.store_answered();
                    return Ok(StoreClock::new(sent, Instant::now(), now));
                }
                Err(error) if error.is_retryable() => {
                    self.report.store_failed(&error);
                    tracing::warn!(%error, "waiting for the store");
                    pause.wait().await;
                }
                Err(error) => return Err(Error::Store(error)),
            }
        }
    }

    async fn subscribe(&self) -> Result<Vec<Subscribed>, Error> {
        let mut subscribed = Vec::new();
        let of = |pool: &PoolName| Priority::ALL.map(|priority| Lane::new(pool.clone(), priority));
        let prefetch = self.config.prefetch();
        for lane in self.config.pools.iter().flat_map(of) {
            let mut pause = Pause::new();
            loop {
                match self.broker.consume(&lane, prefetch).await {
                    Ok(consumer) => break subscribed.push(Subscribed { lane, consumer, prefetch }),
                    Err(error @ broker::Error::Unavailable { .. }) => {
                        tracing::warn!(%error, "waiting for the broker");
                        pause.wait().await;
                    }
                    Err(error) => return Err(Error::Broker(error)),
                }
            }
        }
        Ok(subscribed)
    }
}
