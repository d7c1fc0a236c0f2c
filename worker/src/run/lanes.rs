//! The lanes that a worker takes from, each with the delivery of it that is at hand.
//!
//! All that has come is looked at before one is chosen, so that what is more urgent goes first though it came later. What
//! is at hand counts as a delivery of its consumer: no more is fetched for it than the consumer's prefetch. So a lane
//! that has as much under way as it may has nothing at hand when an attempt of it ends; its turn is kept for a moment,
//! or what is less urgent would get every second slot.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use coxswain_shared::broker::{Consumer, Delivery};
use coxswain_shared::priority::Lane;
use futures_util::FutureExt;
use futures_util::future::select_all;
use tokio::time::Instant;

use super::turns::{Turns, weight};

/// How long a lane that had as much under way as it may keeps its turn for the next delivery: some round trips.
const REFILL: Duration = Duration::from_millis(50);

/// A subscription to a lane, with the prefetch that it was made with.
#[derive(Debug)]
pub(super) struct Subscribed {
    pub(super) lane: Lane,
    pub(super) consumer: Box<dyn Consumer>,
    pub(super) prefetch: u16,
}

/// The lanes of one worker.
#[derive(Debug)]
pub(super) struct Lanes {
    sources: Vec<Source>,
    turns: Turns,
}

#[derive(Debug)]
struct Source {
    lane: Lane,
    consumer: Box<dyn Consumer>,
    at_hand: Option<AtHand>,
    under_way: Arc<UnderWay>,
}

#[derive(Debug)]
struct AtHand {
    delivery: Box<dyn Delivery>,
    since: Instant,
}

/// What a lane has under way.
#[derive(Debug)]
struct UnderWay {
    prefetch: u16,
    now: Mutex<Now>,
}

#[derive(Debug, Default)]
struct Now {
    count: u16,
    /// When there was room again, after there had been none: until then the broker could not send.
    room_since: Option<Instant>,
}

/// Counts a delivery as under way for as long as this lives: until it is acknowledged or given back.
#[derive(Debug)]
pub(super) struct Counted(Arc<UnderWay>);

/// The broker was shut down by its owner: there is nothing more to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closed;

/// What there is to be taken.
#[derive(Debug)]
pub(super) enum Taken {
    /// This, of this lane.
    Delivery(Lane, Box<dyn Delivery>, Counted),
    /// It is the turn of a lane that may have something at any moment: look again then.
    NotBefore(Instant),
    /// Nothing.
    Nothing,
}

impl UnderWay {
    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().expect("nothing panics while it holds the count")
    }

    fn begin(self: &Arc<Self>) -> Counted {
        self.lock().count += 1;
        Counted(Arc::clone(self))
    }

    /// Until when its turn is kept, if it is.
    fn kept_until(&self) -> Option<Instant> {
        self.lock().room_since.map(|since| since + REFILL).filter(|until| *until > Instant::now())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut now = self.0.lock();
        if now.count >= self.0.prefetch {
            now.room_since = Some(Instant::now());
        }
        now.count -= 1;
    }
}

impl Source {
    /// Waits for a delivery, and has it at hand. Cancel safe.
    async fn fill(&mut self) -> Result<(), Closed> {
        let delivery = self.consumer.next().await.ok_or(Closed)?;
        self.at_hand = Some(AtHand { delivery, since: Instant::now() });
        self.under_way.lock().room_since = None;
        Ok(())
    }

    fn has_held_for(&self, length: Duration) -> bool {
        self.at_hand.as_ref().is_some_and(|at_hand| at_hand.since.elapsed() >= length)
    }
}

impl Lanes {
    /// Lanes with the consumers of their queues.
    pub(super) fn new(subscribed: Vec<Subscribed>) -> Self {
        let turns = Turns::new(subscribed.iter().map(|subscribed| weight(subscribed.lane.priority)));
        let source = |Subscribed { lane, consumer, prefetch }| {
            let under_way = Arc::new(UnderWay { prefetch, now: Mutex::default() });
            Source { lane, consumer, at_hand: None, under_way }
        };
        Self { sources: subscribed.into_iter().map(source).collect(), turns }
    }

    /// Whether all subscriptions are alive now.
    pub(super) fn are_subscribed(&self) -> bool {
        self.sources.iter().all(|source| source.consumer.is_subscribed())
    }

    /// Puts at hand what has come already.
    pub(super) fn gather(&mut self) -> Result<(), Closed> {
        let empty = self.sources.iter_mut().filter(|source| source.at_hand.is_none());
        empty.filter_map(|source| source.fill().now_or_never()).collect()
    }

    /// Waits until a lane that has nothing at hand has something. Cancel safe.
    pub(super) async fn arrival(&mut self) -> Result<(), Closed> {
        let empty = self.sources.iter_mut().filter(|source| source.at_hand.is_none());
        let waits: Vec<_> = empty.map(|source| Box::pin(source.fill())).collect();
        if waits.is_empty() {
            return std::future::pending().await;
        }
        select_all(waits).await.0
    }

    /// Takes what is at hand in the lane whose turn it is.
    pub(super) fn take(&mut self) -> Taken {
        let has = |source: &Source| source.at_hand.is_some();
        if !self.sources.iter().any(has) {
            return Taken::Nothing;
        }
        let kept: Vec<_> = self.sources.iter().map(|source| source.under_way.kept_until()).collect();
        let next = self.turns.next(|place| has(&self.sources[place]) || kept[place].is_some());
        let place = next.expect("some lane has something");
        if let (false, Some(until)) = (has(&self.sources[place]), kept[place]) {
            return Taken::NotBefore(until);
        }
        self.turns.taken(place, |place| has(&self.sources[place]));
        let source = &mut self.sources[place];
        let at_hand = source.at_hand.take().expect("a lane whose turn it is has something, or is kept its turn");
        Taken::Delivery(source.lane.clone(), at_hand.delivery, source.under_way.begin())
    }

    /// Whether something has been at hand for so long.
    pub(super) fn have_held_for(&self, length: Duration) -> bool {
        self.sources.iter().any(|source| source.has_held_for(length))
    }

    /// Takes all that has come out of the lanes that are wanted, where something has been at hand for so long.
    pub(super) fn let_go(&mut self, length: Duration, is_wanted: impl Fn(&Lane) -> bool) -> Vec<LetGo> {
        let held = self.sources.iter_mut().filter(|source| source.has_held_for(length) && is_wanted(&source.lane));
        let empty = |source: &mut Source| {
            let mut deliveries = Vec::new();
            while let Some(at_hand) = source.at_hand.take() {
                deliveries.push(at_hand.delivery);
                // If the broker is closed, that is found again by the next look.
                let _ = source.fill().now_or_never();
            }
            (source.lane.clone(), deliveries)
        };
        held.map(empty).collect()
    }
}

/// Deliveries of a lane that are let go.
pub(super) type LetGo = (Lane, Vec<Box<dyn Delivery>>);

#[cfg(test)]
mod tests {
    use coxswain_shared::broker::conformance::{lane, publish};
    use coxswain_shared::broker::{Broker, LocalBroker};

    use super::*;

    async fn lanes(broker: &LocalBroker, texts: &[&str]) -> Lanes {
        let mut subscribed = Vec::new();
        for lane in texts.iter().map(|text| lane(text)) {
            let consumer = broker.consume(&lane, 1).await.unwrap();
            subscribed.push(Subscribed { lane, consumer, prefetch: 1 });
        }
        Lanes::new(subscribed)
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_that_was_full_keeps_its_turn_for_a_moment_and_no_longer() {
        let broker = LocalBroker::new();
        let mut lanes = lanes(&broker, &["high:a", "low:a"]).await;
        publish(&broker, &lane("high:a"), 1).await;
        publish(&broker, &lane("low:a"), 1).await;
        lanes.gather().unwrap();
        let Taken::Delivery(_, high, counted) = lanes.take() else { panic!("it is at hand") };
        assert!(high.ack().await);
        drop(counted);
        lanes.gather().unwrap();
        let Taken::NotBefore(until) = lanes.take() else { panic!("the turn is kept") };
        publish(&broker, &lane("high:a"), 1).await;
        lanes.gather().unwrap();
        let Taken::Delivery(_, high, counted) = lanes.take() else { panic!("the next one has come in time") };
        assert!(high.ack().await);
        drop(counted);
        tokio::time::sleep_until(until + REFILL).await;
        lanes.gather().unwrap();
        assert!(matches!(lanes.take(), Taken::Delivery(..)), "none has come, and low waits no longer");
        assert!(matches!(lanes.take(), Taken::Nothing));
    }
}
