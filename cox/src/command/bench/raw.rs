//! What the broker carries by itself: the same messages, published and confirmed, delivered and acknowledged, with
//! nobody who plans, claims or settles. It is the yardstick for steps per second on a machine.

use std::sync::Arc;
use std::time::Instant;

use coxswain_shared::broker::Broker;
use coxswain_shared::id::{Partition, RunId, RunKey, TaskId, TaskKey};
use coxswain_shared::priority::Lane;
use futures_util::future::try_join_all;

use super::report::Raw;
use crate::exit::Exit;
use crate::failure::{Failed, whole};

/// A pool that no worker serves.
const POOL: &str = "bench_raw";
/// Publishers that send side by side; two saturate a broker on one machine.
const PUBLISHERS: u32 = 4;
/// Messages that a publisher sends before it waits for their confirms.
const BATCH: u32 = 128;

/// Sends and takes this many messages, with at most `prefetch` deliveries in hand.
pub(super) async fn measure(broker: &Arc<dyn Broker>, messages: u32, prefetch: u16) -> Result<Raw, Failed> {
    let lane = Lane::normal(POOL.parse().expect("a constant name is well formed"));
    let each = messages.div_ceil(PUBLISHERS);
    let consumer = broker.consume(&lane, prefetch).await.map_err(|error| unavailable(&error))?;
    let begun_at = Instant::now();
    let publishing = try_join_all((0..PUBLISHERS).map(|_| publish(broker, &lane, each)));
    let ((), _) = tokio::try_join!(take(consumer, u64::from(each * PUBLISHERS)), publishing)?;
    Ok(Raw::new(each * PUBLISHERS, begun_at.elapsed()))
}

async fn publish(broker: &Arc<dyn Broker>, lane: &Lane, count: u32) -> Result<(), Failed> {
    let run = RunKey { id: RunId::fresh(), partition: Partition::new(0) };
    let task: TaskId = "1:work:0".parse().expect("a constant id is well formed");
    let one = (lane.clone(), TaskKey { run, task });
    let mut left = count;
    while left > 0 {
        let some = left.min(BATCH);
        let batch = vec![one.clone(); some as usize];
        for answer in broker.publish_confirmed(&batch).await {
            answer.map_err(|error| unavailable(&error))?;
        }
        left -= some;
    }
    Ok(())
}

async fn take(mut consumer: Box<dyn coxswain_shared::broker::Consumer>, count: u64) -> Result<(), Failed> {
    for _ in 0..count {
        let Some(delivery) = consumer.next().await else {
            return Err(Failed::bare(Exit::Unavailable, "the broker was shut down while it was measured"));
        };
        delivery.ack().await;
    }
    Ok(())
}

fn unavailable(error: &coxswain_shared::broker::Error) -> Failed {
    Failed::bare(Exit::Unavailable, whole(error))
}
