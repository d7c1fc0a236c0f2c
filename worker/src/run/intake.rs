//! Takes deliveries, each with a free slot in hand, and starts their attempts: of several that wait, the one whose
//! lane's turn it is.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use coxswain_shared::broker::Delivery;
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::priority::Lane;
use coxswain_shared::store::{Error, WorkerRecord};
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::lanes::{Closed, Counted, Lanes, Subscribed, Taken};
use super::pass_on::{is_wanted, pass_on};
use super::servers::Servers;
use super::worker::Ended;
use crate::attempt::{Presence, Shared, attend};

/// How often it looks whether it is still subscribed, and whether something waits here for too long.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// For how long a delivery may wait for a slot before it is asked whether others have one. Longer than most attempts
/// take to make room, and short to those who wait.
const HELD_MAX: Duration = Duration::from_millis(500);

/// The intake of one worker.
#[derive(Debug)]
pub(super) struct Intake {
    shared: Arc<Shared>,
    lanes: Lanes,
    slots: Arc<Semaphore>,
    attempts: Tasks,
    /// A free slot, for the next delivery.
    slot: Option<OwnedSemaphorePermit>,
    /// The question to the store who else has free slots, while it is under way.
    asked: Asked,
}

struct Asked(Option<BoxFuture<'static, Result<Vec<WorkerRecord>, Error>>>);

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Asked").field(&self.0.is_some()).finish()
    }
}

/// A delivery that is started: of which lane, in whose company, and what it holds until it is dealt with.
struct Arrived {
    lane: Lane,
    delivery: Box<dyn Delivery>,
    presence: Presence,
    counted: Counted,
    slot: OwnedSemaphorePermit,
}

enum Event {
    Draining,
    TooManyStuck,
    CutOff,
    Look,
    Slot(OwnedSemaphorePermit),
    Workers(Result<Vec<WorkerRecord>, Error>),
    Arrival(Result<(), Closed>),
    TurnOver,
}

impl Intake {
    pub(super) fn new(shared: Arc<Shared>, subscribed: Vec<Subscribed>, slots: u16, attempts: Tasks) -> Self {
        let slots = Arc::new(Semaphore::new(usize::from(slots)));
        Self { shared, lanes: Lanes::new(subscribed), slots, attempts, slot: None, asked: Asked(None) }
    }

    /// Takes deliveries until there is a reason to take no more; none while the store is silent.
    pub(super) async fn run(&mut self, tasks: &Tasks, servers: &Servers) -> Ended {
        loop {
            if let Some(ended) = self.take_deliveries(tasks, servers).await {
                return ended;
            }
            tracing::warn!("the store is silent: the worker leaves its queues to others until it answers");
            self.shared.is_cut_off.store(true, Ordering::SeqCst);
            self.lanes = Lanes::new(Vec::new());
            servers.report.subscribed(false);
            match servers.connect_again(tasks).await {
                Some(subscribed) => self.lanes = Lanes::new(subscribed),
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
            if self.lanes.gather() == Err(Closed) {
                return Some(Ended::BrokerClosed);
            }
            let look_again = self.start_one(servers);
            let slots = Arc::clone(&self.slots);
            let event = tokio::select! {
                biased;
                () = tasks.draining() => Event::Draining,
                () = too_many.cancelled() => Event::TooManyStuck,
                _ = looks.tick() => if servers.report.is_cut_off() { Event::CutOff } else { Event::Look },
                slot = slots.acquire_owned(), if self.slot.is_none() => {
                    Event::Slot(slot.expect("the slots are never closed"))
                }
                answer = answer_of(&mut self.asked) => Event::Workers(answer),
                arrival = self.lanes.arrival() => Event::Arrival(arrival),
                () = self.shared.room.changed(), if self.slot.is_some() => Event::TurnOver,
                () = until(look_again) => Event::TurnOver,
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
                Event::Workers(answer) => self.let_go(answer, servers),
                Event::Arrival(Ok(())) | Event::TurnOver => {}
                Event::Arrival(Err(Closed)) => return Some(Ended::BrokerClosed),
            }
        }
    }

    fn look(&mut self, servers: &Servers) {
        servers.report.subscribed(self.lanes.are_subscribed());
        let reconnects = i64::try_from(servers.broker.reconnects()).unwrap_or(i64::MAX);
        self.shared.metrics.broker_reconnects.set(reconnects);
        if self.asked.0.is_none() && self.is_full() && self.lanes.have_held_for(HELD_MAX) {
            let store = Arc::clone(&self.shared.store);
            self.asked = Asked(Some(Box::pin(async move { store.workers().await })));
        }
    }

    fn is_full(&self) -> bool {
        !self.shared.room.is_open() || (self.slot.is_none() && self.slots.available_permits() == 0)
    }

    /// Passes on what waits here in vain, if others have slots for it.
    fn let_go(&mut self, workers: Result<Vec<WorkerRecord>, Error>, servers: &Servers) {
        self.asked = Asked(None);
        let Ok(workers) = workers else { return };
        if !self.is_full() {
            return;
        }
        let own = &self.shared.id;
        for let_go in self.lanes.let_go(HELD_MAX, |lane| is_wanted(lane, own, &workers)) {
            drop(self.attempts.spawn(pass_on(Arc::clone(&servers.broker), self.shared.metrics.clone(), let_go)));
        }
    }

    /// Starts an attempt, if there is a slot for it, something at hand, and nobody alone; says when to look again if that
    /// is not now.
    fn start_one(&mut self, servers: &Servers) -> Option<Instant> {
        self.slot.as_ref()?;
        let presence = self.shared.room.enter()?;
        let again = match self.lanes.take() {
            Taken::Delivery(lane, delivery, counted) => {
                let slot = self.slot.take().expect("it was there");
                self.start(Arrived { lane, delivery, presence, counted, slot }, servers);
                return None;
            }
            Taken::NotBefore(at) => Some(at),
            Taken::Nothing => None,
        };
        presence.withdraw();
        again
    }

    fn start(&self, arrived: Arrived, servers: &Servers) {
        let Arrived { lane, delivery, presence, counted, slot } = arrived;
        let (shared, broker) = (Arc::clone(&self.shared), Arc::clone(&servers.broker));
        drop(self.attempts.spawn(async move {
            if let Some(delivery) = attend(Arc::clone(&shared), delivery, &lane, presence).await {
                pass_on(broker, shared.metrics.clone(), (lane, vec![delivery])).await;
            }
            // In this order: who gets the slot looks what its lane may have.
            drop(counted);
            drop(slot);
        }));
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

async fn answer_of(asked: &mut Asked) -> Result<Vec<WorkerRecord>, Error> {
    match &mut asked.0 {
        Some(answer) => answer.await,
        None => std::future::pending().await,
    }
}
