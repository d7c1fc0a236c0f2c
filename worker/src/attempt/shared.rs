//! What all attempts of a worker share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use coxswain_shared::id::WorkerId;
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::policing::Policing;
use coxswain_shared::sandbox::Sandbox;
use coxswain_shared::store::Store;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::{PutOff, Room, WorkPlace};
use crate::clock::StoreClock;
use crate::events::Buffer;
use crate::graphs::Graphs;
use crate::kind::Kinds;
use crate::leases::{Leases, Lost};
use crate::metrics::Metrics;
use crate::waits::Waits;

/// The terms on which a worker holds leases.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// How long a lease lives without a heartbeat.
    pub(crate) ttl: Duration,
    /// How often leases are renewed.
    pub(crate) heartbeat: Duration,
    /// Slots that may be stuck before the worker drains itself.
    pub(crate) stuck_max: usize,
}

impl Terms {
    /// How long after the last heartbeat that got through a lease is treated as lost: a heartbeat before it expires.
    pub(crate) fn patience(&self) -> Duration {
        self.ttl.saturating_sub(self.heartbeat)
    }

    /// How long a lease of another worker must have been silent to be taken over.
    pub(crate) fn takeover_after(&self) -> Duration {
        self.heartbeat * 2
    }
}

/// What all attempts of a worker share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: WorkerId,
    pub(crate) terms: Terms,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) metrics: Metrics,
    pub(crate) kinds: Kinds,
    pub(crate) place: WorkPlace,
    pub(crate) sandbox: Sandbox,
    pub(crate) leases: Arc<Leases>,
    pub(crate) graphs: Graphs,
    pub(crate) policing: Arc<Policing>,
    pub(crate) put_off: PutOff,
    pub(crate) clock: StoreClock,
    pub(crate) flusher: mpsc::Sender<Arc<Buffer>>,
    /// No new work is begun.
    pub(crate) drain: CancellationToken,
    /// A heartbeat is due now: pushes may have been lost.
    pub(crate) renew_now: Notify,
    pub(crate) stuck: Stuck,
    pub(crate) waits: Waits,
    pub(crate) room: Arc<Room>,
    /// The store is silent: what is not claimed yet is for others.
    pub(crate) is_cut_off: AtomicBool,
}

impl Shared {
    /// Counts and logs a lease that was lost while its attempt ran. Its holder has made sure that it is told once.
    pub(crate) fn note_lost(&self, lost: &Lost) {
        self.metrics.leases_lost.inc();
        let Lost { task, fence, cause } = lost;
        tracing::warn!(
            run.id = %task.run.id, node.name = %task.task.node, task = %task.task, fence = %fence, cause = cause.text(),
            "a lease was lost: the attempt is dropped, and the task runs again"
        );
    }
}

/// Slots whose handler blocks.
#[derive(Debug)]
pub(crate) struct Stuck {
    count: Arc<AtomicUsize>,
    watchers: Tasks,
    /// As many slots are stuck as are allowed.
    pub(crate) too_many: CancellationToken,
}

impl Stuck {
    pub(crate) fn new() -> Self {
        Self { count: Arc::default(), watchers: Tasks::new(), too_many: CancellationToken::new() }
    }

    /// How many there are now.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Counts one in, until `freed` tells that the handler does not block any more.
    pub(crate) fn add(&self, freed: impl Future<Output = ()> + Send + 'static, max: usize) {
        let count = Arc::clone(&self.count);
        if count.fetch_add(1, Ordering::SeqCst) + 1 >= max {
            self.too_many.cancel();
        }
        drop(self.watchers.spawn(async move {
            freed.await;
            count.fetch_sub(1, Ordering::SeqCst);
        }));
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        self.watchers.abort();
    }
}
