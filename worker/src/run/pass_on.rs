//! Passes on what a worker holds and has no slot for, while others have.
//!
//! It happens because the lanes of a pool share a worker's slots, and each may fetch as many deliveries as there are: a
//! broker that hands a message to a worker does not know that all its slots are taken by other lanes. Where everybody is
//! busy it is as well to wait here as on the queue, and nothing is done.
//!
//! It is not given back: before version 4.3, RabbitMQ counts that as a failed delivery, and a message that is handed round
//! for long enough would end among the dead letters. A copy is published, and the message acknowledged when the copy is safe.
//! If that is cut short there are two messages, and a claim decides.

use std::sync::Arc;

use coxswain_shared::broker::{Broker, Delivery};
use coxswain_shared::id::WorkerId;
use coxswain_shared::priority::Lane;
use coxswain_shared::store::WorkerRecord;

use super::lanes::LetGo;
use crate::metrics::{DeliveryEnd, Metrics};

/// Whether another worker has a free slot for a lane, as it last reported.
pub(super) fn is_wanted(lane: &Lane, own: &WorkerId, workers: &[WorkerRecord]) -> bool {
    workers.iter().any(|worker| {
        worker.id != *own && !worker.draining && worker.busy < worker.slots && worker.pools.contains(&lane.pool)
    })
}

/// Passes deliveries on.
pub(super) async fn pass_on(broker: Arc<dyn Broker>, metrics: Metrics, (lane, deliveries): LetGo) {
    tracing::debug!(%lane, deliveries = deliveries.len(), "all slots are taken, and others have some: passed on");
    let mut batch = Vec::with_capacity(deliveries.len());
    let mut known: Vec<Box<dyn Delivery>> = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        match delivery.task() {
            Ok(task) => {
                batch.push((lane.clone(), task));
                known.push(delivery);
            }
            // Whoever has a slot for it buries it.
            Err(_) => delivery.give_back().await,
        }
    }
    let answers = broker.publish_confirmed(&batch).await;
    for (delivery, answer) in known.into_iter().zip(answers) {
        match answer {
            Ok(()) => {
                metrics.delivery(DeliveryEnd::PassedOn);
                // `false` means that it is delivered again as well.
                let _is_known = delivery.ack().await;
            }
            Err(error) => {
                tracing::debug!(%error, %lane, "a message could not be passed on, and is given back");
                delivery.give_back().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use coxswain_shared::id::PoolName;
    use coxswain_shared::time::Timestamp;

    use coxswain_shared::store::Role;

    use super::*;

    fn worker(id: &str, pool: &str, busy: u32) -> WorkerRecord {
        WorkerRecord {
            id: WorkerId::new(id).unwrap(),
            role: Role::Worker,
            pools: vec![PoolName::new(pool).unwrap()],
            slots: 2,
            busy,
            stuck: 0,
            waited: Vec::new(),
            draining: false,
            version: String::new(),
            started_at: Timestamp::default(),
            seen_at: Timestamp::default(),
        }
    }

    #[test]
    fn a_lane_is_wanted_where_another_worker_of_its_pool_has_a_free_slot() {
        let (own, lane) = (WorkerId::new("own").unwrap(), Lane::normal(PoolName::new("gpu").unwrap()));
        let wanted = |others: &[WorkerRecord]| is_wanted(&lane, &own, others);
        assert!(wanted(&[worker("busy", "gpu", 2), worker("idle", "gpu", 1)]));
        assert!(!wanted(&[worker("own", "gpu", 0), worker("busy", "gpu", 2), worker("other", "cpu", 0)]));
        assert!(!wanted(&[WorkerRecord { draining: true, ..worker("leaving", "gpu", 0) }]));
    }
}
