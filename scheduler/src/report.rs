//! What a scheduler says of itself in the store, so that it is listed beside the workers.

use std::sync::Arc;
use std::time::Duration;

use coxswain_shared::config::Source;
use coxswain_shared::id::WorkerId;
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::limits::REPORT_EVERY;
use coxswain_shared::store::{Role, Store, WorkerRecord};
use coxswain_shared::time::Timestamp;
use tokio::time::MissedTickBehavior;

/// Where Linux tells the host's name.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";
/// How long one call may take.
const WITHIN: Duration = Duration::from_secs(2);

/// Reports until the tasks drain; then the record is taken out.
pub(crate) async fn run(store: Arc<dyn Store>, tasks: Tasks) {
    let told = || std::fs::read_to_string(HOST_NAME).ok();
    let host = Source::foreign("HOSTNAME").or_else(told).unwrap_or_else(|| "host".to_owned());
    let id = WorkerId::fresh_of_scheduler(host.trim());
    let mut started = None;
    let mut ticks = tokio::time::interval(REPORT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = tasks.draining() => break,
            _ = ticks.tick() => {}
        }
        let reported = tokio::time::timeout(WITHIN, report(store.as_ref(), &id, &mut started)).await;
        if !matches!(reported, Ok(Ok(()))) {
            tracing::debug!(?reported, "a report was not taken");
        }
    }
    let _ = tokio::time::timeout(WITHIN, store.forget_worker(&id)).await;
}

async fn report(
    store: &dyn Store,
    id: &WorkerId,
    started: &mut Option<Timestamp>,
) -> Result<(), coxswain_shared::store::Error> {
    let now = store.now().await?;
    let record = WorkerRecord {
        id: id.clone(),
        role: Role::Scheduler,
        pools: Vec::new(),
        slots: 0,
        busy: 0,
        stuck: 0,
        waited: Vec::new(),
        draining: false,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: *started.get_or_insert(now),
        seen_at: now,
    };
    store.report_worker(record).await
}
