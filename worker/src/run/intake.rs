//! Takes deliveries, each with a free slot in hand, and starts their attempts.

use std::sync::Arc;
use std::time::Duration;

use coxswain_shared::broker::{Broker, Consumer, Delivery};
use coxswain_shared::lifecycle::Tasks;
use futures_util::future::select_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{MissedTickBehavior, interval};

use super::report::Report;
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
    Look,
    Slot(OwnedSemaphorePermit),
    Delivery(Option<Box<dyn Delivery>>),
}

impl Intake {
    pub(super) fn new(shared: Arc<Shared>, consumers: Vec<Box<dyn Consumer>>, slots: u16, attempts: Tasks) -> Self {
        let slots = Arc::new(Semaphore::new(usize::from(slots)));
        Self { shared, consumers, slots, attempts, slot: None }
    }

    /// Takes deliveries until there is a reason to take no more.
    pub(super) async fn run(&mut self, tasks: &Tasks, report: &Report, broker: &dyn Broker) -> Ended {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let too_many = self.shared.stuck.too_many.clone();
        loop {
            let event = tokio::select! {
                biased;
                () = tasks.draining() => Event::Draining,
                () = too_many.cancelled() => Event::TooManyStuck,
                _ = looks.tick() => Event::Look,
                event = next(&mut self.consumers, &self.slots, self.slot.is_some()) => event,
            };
            match event {
                Event::Draining => return Ended::Drained,
                Event::TooManyStuck => {
                    tracing::error!(
                        "as many slots are stuck as are allowed: the worker drains itself, to be restarted"
                    );
                    return Ended::Stuck;
                }
                Event::Look => {
                    report.subscribed(self.consumers.iter().all(|consumer| consumer.is_subscribed()));
                    let reconnects = i64::try_from(broker.reconnects()).unwrap_or(i64::MAX);
                    self.shared.metrics.broker_reconnects.set(reconnects);
                }
                Event::Slot(slot) => self.slot = Some(slot),
                Event::Delivery(Some(delivery)) => self.start(delivery),
                Event::Delivery(None) => return Ended::BrokerClosed,
            }
        }
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
