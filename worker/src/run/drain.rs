//! The drain: attempts may end for a while; then they are ended, and their tasks handed back as if never tried.

use std::sync::Arc;
use std::time::Duration;

use coxswain_shared::duration::DURATION_MAX;
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::limits::Limit;

use crate::attempt::Shared;

/// Beyond all graces: time for the last calls to the store.
const LAST_CALLS: Duration = Duration::from_secs(3);

/// Waits until all attempts have ended; after `patience` they are handed back, and at once if `tasks` aborts.
pub(super) async fn drain(shared: &Arc<Shared>, attempts: &Tasks, tasks: &Tasks, patience: Duration) {
    tokio::select! {
        biased;
        _ = attempts.join(DURATION_MAX) => return,
        () = tasks.aborting() => {}
        () = tokio::time::sleep(patience) => {
            shared.leases.shut_down(false);
            tracing::info!(attempts = shared.leases.len(), "attempts are ended, and handed back");
            tokio::select! {
                biased;
                _ = attempts.join(Limit::Grace.ceiling() + shared.terms.ttl) => return,
                () = tasks.aborting() => {}
            }
        }
    }
    shared.leases.shut_down(true);
    if !attempts.join(LAST_CALLS).await {
        tracing::warn!("attempts were left behind: their leases expire by themselves");
    }
}
