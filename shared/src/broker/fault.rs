//! A broker that fails on purpose, around any other.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Broker, Complaint, Consumer, Delivery, Error};
use crate::fault::{Fault, Faults};
use crate::id::TaskKey;
use crate::priority::Lane;
use crate::wire;

/// What can fail: `publish_confirmed` message by message; `next` by losing a delivery, which comes again; `ack` by losing
/// the delivery before or the answer after.
pub const METHODS: &[&str] = &["publish_confirmed", "consume", "backlog", "bury", "next", "ack"];

/// A broker with faults.
#[derive(Debug, Clone)]
pub struct FaultyBroker {
    inner: Arc<dyn Broker>,
    faults: Faults,
}

impl FaultyBroker {
    /// Puts faults around a broker.
    pub fn new(inner: Arc<dyn Broker>, faults: Faults) -> Self {
        Self { inner, faults }
    }

    async fn through<T>(&self, method: &'static str, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        match self.faults.decide(method) {
            None => call.await,
            Some(Fault::Refused) => Err(failed(method, Fault::Refused)),
            Some(Fault::ReplyLost) => {
                // What came of it is what gets lost.
                let _ = call.await;
                Err(failed(method, Fault::ReplyLost))
            }
        }
    }
}

#[async_trait]
impl Broker for FaultyBroker {
    async fn publish_confirmed(&self, tasks: &[(Lane, TaskKey)]) -> Vec<Result<(), Error>> {
        let faults: Vec<_> = tasks.iter().map(|_| self.faults.decide("publish_confirmed")).collect();
        let sent = tasks.iter().zip(&faults).filter(|(_, fault)| **fault != Some(Fault::Refused));
        let sent: Vec<_> = sent.map(|(task, _)| task.clone()).collect();
        let mut answers = self.inner.publish_confirmed(&sent).await.into_iter();
        let mut answer = |fault: Option<Fault>| {
            let real =
                (fault != Some(Fault::Refused)).then(|| answers.next().expect("a broker gives one answer a message"));
            match (fault, real) {
                (Some(fault), _) => Err(failed("publish_confirmed", fault)),
                (None, real) => real.expect("what was not refused was sent"),
            }
        };
        faults.into_iter().map(&mut answer).collect()
    }

    async fn consume(&self, lane: &Lane, prefetch: u16) -> Result<Box<dyn Consumer>, Error> {
        let inner = self.through("consume", self.inner.consume(lane, prefetch)).await?;
        Ok(Box::new(FaultyConsumer { inner, faults: self.faults.clone() }))
    }

    async fn backlog(&self, lane: &Lane) -> Result<Option<u64>, Error> {
        self.through("backlog", self.inner.backlog(lane)).await
    }

    async fn bury(&self, payload: &[u8], reason: &str) -> Result<(), Error> {
        self.through("bury", self.inner.bury(payload, reason)).await
    }

    fn complaint(&self) -> Option<Complaint> {
        self.inner.complaint()
    }

    fn reconnects(&self) -> u64 {
        self.inner.reconnects()
    }
}

#[derive(Debug)]
struct FaultyConsumer {
    inner: Box<dyn Consumer>,
    faults: Faults,
}

#[async_trait]
impl Consumer for FaultyConsumer {
    async fn next(&mut self) -> Option<Box<dyn Delivery>> {
        loop {
            let inner = self.inner.next().await?;
            if self.faults.decide("next").is_none() {
                return Some(Box::new(FaultyDelivery { inner, faults: self.faults.clone() }));
            }
            drop(inner);
        }
    }

    fn is_subscribed(&self) -> bool {
        self.inner.is_subscribed()
    }
}

#[derive(Debug)]
struct FaultyDelivery {
    inner: Box<dyn Delivery>,
    faults: Faults,
}

#[async_trait]
impl Delivery for FaultyDelivery {
    fn task(&self) -> Result<TaskKey, wire::Error> {
        self.inner.task()
    }

    fn payload(&self) -> &[u8] {
        self.inner.payload()
    }

    fn is_redelivered(&self) -> bool {
        self.inner.is_redelivered()
    }

    async fn ack(self: Box<Self>) -> bool {
        match self.faults.decide("ack") {
            None => self.inner.ack().await,
            Some(Fault::Refused) => false,
            Some(Fault::ReplyLost) => {
                self.inner.ack().await;
                false
            }
        }
    }

    async fn give_back(self: Box<Self>) {
        self.inner.give_back().await;
    }

    async fn bury(self: Box<Self>, reason: &str) {
        self.inner.bury(reason).await;
    }
}

fn failed(method: &str, fault: Fault) -> Error {
    Error::Unavailable { place: "a faulty broker".to_owned(), why: format!("{method}, on purpose: {fault:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::LocalBroker;
    use crate::broker::conformance::{Subject, lane, next, publish, task};
    use crate::fault::{Counts, Rates};

    // Without faults the shim is invisible.
    crate::broker_conformance!(subject);

    async fn subject() -> Shimmed {
        Shimmed { local: LocalBroker::new(), faults: Faults::seeded(0) }
    }

    struct Shimmed {
        local: LocalBroker,
        faults: Faults,
    }

    #[async_trait]
    impl Subject for Shimmed {
        fn broker(&self) -> Arc<dyn Broker> {
            Arc::new(FaultyBroker::new(Arc::new(self.local.clone()), self.faults.clone()))
        }

        async fn publish_raw(&self, lane: &Lane, payload: &[u8]) {
            Subject::publish_raw(&self.local, lane, payload).await;
        }

        async fn dead_letters(&self) -> Vec<(Vec<u8>, String)> {
            Subject::dead_letters(&self.local).await
        }
    }

    #[tokio::test]
    async fn a_refused_publish_sends_nothing_and_a_lost_reply_hides_one_that_was_sent() {
        let subject = subject().await;
        let (broker, lane) = (subject.broker(), lane("a"));
        subject.faults.next("publish_confirmed", Fault::Refused);
        subject.faults.next("publish_confirmed", Fault::ReplyLost);
        let batch: Vec<_> = (0..3).map(|n| (lane.clone(), task(n))).collect();
        let answers = broker.publish_confirmed(&batch).await;
        assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, false, true]);
        let mut consumer = broker.consume(&lane, 9).await.unwrap();
        for n in [1, 2] {
            let delivery = next(&mut *consumer).await;
            assert_eq!(delivery.task().unwrap(), task(n), "the first was never sent");
            assert!(delivery.ack().await);
        }
        let counts = Counts { passed: 1, refused: 1, replies_lost: 1 };
        assert_eq!(subject.faults.counts("publish_confirmed"), counts);
    }

    #[tokio::test]
    async fn a_lost_delivery_comes_again_and_a_lost_ack_is_said() {
        let subject = subject().await;
        let (broker, lane) = (subject.broker(), lane("a"));
        publish(&*broker, &lane, 1).await;
        let mut consumer = broker.consume(&lane, 1).await.unwrap();
        subject.faults.next("next", Fault::Refused);
        subject.faults.next("ack", Fault::Refused);
        let delivery = next(&mut *consumer).await;
        assert!(delivery.is_redelivered(), "it was lost once");
        assert!(!delivery.ack().await);
        assert_eq!(subject.local.backlog(&lane).await.unwrap(), Some(1), "the ack did not happen");
        subject.faults.next("ack", Fault::ReplyLost);
        assert!(!next(&mut *consumer).await.ack().await);
        assert_eq!(subject.local.backlog(&lane).await.unwrap(), Some(0), "the ack happened, and was not heard of");
    }

    #[tokio::test]
    async fn at_a_rate_of_one_nothing_works_until_it_is_switched_off() {
        let subject = subject().await;
        let (broker, lane) = (subject.broker(), lane("a"));
        subject.faults.everywhere(Rates { refused: 1.0, reply_lost: 0.0 });
        assert!(broker.consume(&lane, 1).await.is_err());
        assert!(broker.backlog(&lane).await.is_err());
        assert!(broker.bury(b"x", "y").await.is_err());
        assert!(Subject::dead_letters(&subject.local).await.is_empty());
        subject.faults.switch(false);
        assert_eq!(broker.backlog(&lane).await.unwrap(), None);
        assert_eq!(subject.faults.total(), 3);
    }
}
