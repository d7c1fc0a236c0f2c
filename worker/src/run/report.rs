//! What a worker says of itself: its record in the store, its gauges, its readiness; and the store's clock, read anew
//! on the way.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use coxswain_shared::limits::REPORT_EVERY;
use coxswain_shared::store::{Error, Role, WorkerRecord};
use coxswain_shared::telemetry::Health;
use coxswain_shared::time::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::attempt::Shared;
use crate::config::Config;

/// How long one report may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How old the store's last answer may be while the worker counts as ready, and takes tasks. Less than a lease lives: by
/// the time that its tasks are sent again, a worker that is cut off must not be the one who gets them.
const ANSWER_AGE_MAX: Duration = Duration::from_secs(6);

/// What readiness is judged by. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct Report(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    is_subscribed: bool,
    store_answered: Option<Instant>,
    /// What the store said when it last failed, since it answered.
    store_error: Option<String>,
}

impl Report {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().expect("nothing panics while it holds the report")
    }

    pub(super) fn subscribed(&self, is_subscribed: bool) {
        self.seen().is_subscribed = is_subscribed;
    }

    pub(super) fn store_answered(&self) {
        let mut seen = self.seen();
        seen.store_answered = Some(Instant::now());
        seen.store_error = None;
    }

    pub(super) fn store_failed(&self, error: &Error) {
        self.seen().store_error = Some(error.to_string());
    }

    /// Whether the store has not answered for too long. Not before it has answered at all.
    pub(super) fn is_cut_off(&self) -> bool {
        self.seen().store_answered.is_some_and(|at| at.elapsed() > ANSWER_AGE_MAX)
    }

    pub(super) fn health(&self) -> Health {
        let (for_broker, for_store) = (self.clone(), self.clone());
        Health::default()
            .with(
                "broker",
                Arc::new(move || {
                    for_broker
                        .seen()
                        .is_subscribed
                        .then_some(())
                        .ok_or_else(|| "not subscribed to its pools".to_owned())
                }),
            )
            .with(
                "store",
                Arc::new(move || {
                    let seen = for_store.seen();
                    let why = || seen.store_error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
                    match seen.store_answered {
                        Some(at) if at.elapsed() <= ANSWER_AGE_MAX => Ok(()),
                        Some(at) => Err(format!("no answer for {} s{}", at.elapsed().as_secs(), why())),
                        None => Err(format!("no answer yet{}", why())),
                    }
                }),
            )
    }
}

/// Reports for as long as it lives.
pub(super) async fn run_report(shared: Arc<Shared>, config: Config, report: Report, started_at: Timestamp) {
    let mut ticks = interval(REPORT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (busy, stuck) = (shared.leases.len(), shared.stuck.count());
        shared.metrics.slots(usize::from(config.slots), busy, stuck);
        // While one attempt is alone, or is to be, the other slots are nobody's.
        let taken = if shared.room.is_open() { busy } else { usize::from(config.slots) };
        let record = WorkerRecord {
            id: shared.id.clone(),
            role: Role::Worker,
            pools: config.pools.clone(),
            slots: u32::from(config.slots),
            busy: u32::try_from(taken).unwrap_or(u32::MAX),
            stuck: u32::try_from(stuck).unwrap_or(u32::MAX),
            waited: shared.waits.take(),
            draining: shared.drain.is_cancelled(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at,
            seen_at: shared.clock.at(Instant::now()),
        };
        match tokio::time::timeout(PATIENCE, tell(&shared, record)).await {
            Ok(Ok(())) => report.store_answered(),
            Ok(Err(error)) => {
                report.store_failed(&error);
                tracing::debug!(%error, "a report was not taken");
            }
            Err(_) => tracing::debug!("a report was not taken in time"),
        }
    }
}

async fn tell(shared: &Shared, record: WorkerRecord) -> Result<(), Error> {
    let sent = Instant::now();
    let now = shared.store.now().await?;
    shared.clock.observe(sent, Instant::now(), now);
    shared.store.report_worker(record).await
}
