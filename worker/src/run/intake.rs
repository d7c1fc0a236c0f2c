//! Takes deliveries, each with a free slot in hand, and starts their attempts.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use coxswain_shared::broker::{Consumer, Delivery};
use coxswain_shared::lifecycle::Tasks;
use futures_util::future::select_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{MissedTickBehavior, interval};

use super::servers::Servers;
use super::worker::Ended;
use crate::attempt::{Shared, attend};

/// How often it looks whether it is still subscribed.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The intake of one worker.
#[derive(Debug)]
pub(super) struct Intake {
    shared: Arc<Shared>,
    consumers: Vec<Box<dyn Consumer>>,
    slots: Arc<Semaphore>,
    attempts: Tasks,
    /// A free slot, for the next delivery.
    slot: Option<OwnedSemaphorePermit>,
}

enum Event {
    Draining,
    TooManyStuck,
    CutOff,
    Look,
    Slot(OwnedSemaphorePermit),
    Delivery(Option<Box<dyn Delivery>>),
}

impl Intake {
    pub(super) fn new(shared: Arc<Shared>, consumers: Vec<Box<dyn Consumer>>, slots: u16, attempts: Tasks) -> Self {
        let slots = Arc::new(Semaphore::new(usize::from(slots)));
        Self { shared, consumers, slots, attempts, slot: None }
    }

    /// Takes deliveries until there is a reason to take no more; none while the store is silent.
    pub(super) async fn run(&mut self, tasks: &Tasks, servers: &Servers) -> Ended {
        loop {
            if let Some(ended) = self.take_deliveries(tasks, servers).await {
                return ended;
            }
            tracing::warn!("the store is silent: the worker leaves its queues to others until it answers");
            self.shared.is_cut_off.store(true, Ordering::SeqCst);
            self.consumers.clear();
            servers.report.subscribed(false);
            match servers.connect_again(tasks).await {
                Some(consumers) => self.consumers = consumers,
                None => return Ended::Drained,
            }
            self.shared.is_cut_off.store(false, Ordering::SeqCst);
            tracing::info!("the store answers again: the worker takes tasks");
        }
    }

    /// Takes deliveries until there is a reason to take no more; none if that is the silence of the store.
    async fn take_deliveries(&mut self, tasks: &Tasks, servers: &Servers) -> Option<Ended> {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let too_many = self.shared.stuck.too_many.clone();
        loop {
            let event = tokio::select! {
                biased;
                () = tasks.draining() => Event::Draining,
                () = too_many.cancelled() => Event::TooManyStuck,
                _ = looks.tick() => if servers.report.is_cut_off() { Event::CutOff } else { Event::Look },
                event = next(&mut self.consumers, &self.slots, self.slot.is_some()) => event,
            };
            match event {
                Event::Draining => return Some(Ended::Drained),
                Event::TooManyStuck => {
                    tracing::error!(
                        "as many slots are stuck as are allowed: the worker drains itself, to be restarted"
                    );
                    return Some(Ended::Stuck);
                }
                Event::CutOff => return None,
                Event::Look => self.look(servers),
                Event::Slot(slot) => self.slot = Some(slot),
                Event::Delivery(Some(delivery)) => self.start(delivery),
                Event::Delivery(None) => return Some(Ended::BrokerClosed),
            }
        }
    }

    fn look(&self, servers: &Servers) {
        servers.report.subscribed(self.consumers.iter().all(|consumer| consumer.is_subscribed()));
        let reconnects = i64::try_from(servers.broker.reconnects()).unwrap_or(i64::MAX);
        self.shared.metrics.broker_reconnects.set(reconnects);
    }

    fn start(&mut self, delivery: Box<dyn Delivery>) {
        let slot = self.slot.take().expect("a delivery is taken only with a slot in hand");
        let shared = Arc::clone(&self.shared);
        drop(self.attempts.spawn(async move {
            attend(shared, delivery).await;
            drop(slot);
        }));
        // The pool that was served goes to the end, so that a busy one does not starve the others.
        self.consumers.rotate_left(1);
    }
}

/// The next slot, or, with one in hand, the next delivery of any pool. Cancel safe.
async fn next(consumers: &mut [Box<dyn Consumer>], slots: &Arc<Semaphore>, has_slot: bool) -> Event {
    if has_slot {
        let (delivery, ..) = select_all(consumers.iter_mut().map(|consumer| consumer.next())).await;
        Event::Delivery(delivery)
    } else {
        Event::Slot(Arc::clone(slots).acquire_owned().await.expect("the slots are never closed"))
    }
}
