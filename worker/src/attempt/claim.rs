//! The claim: it alone decides whether a message is worked on. A lease that is busy is watched until it was renewed,
//! and the message is a duplicate, or until it was silent for two heartbeats, and is taken over.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use coxswain_shared::id::{Fence, Nonce, TaskKey};
use coxswain_shared::priority::Lane;
use coxswain_shared::spend::Spend;
use coxswain_shared::store::{Claim, Claimed, Lease, Renewal};
use coxswain_shared::task::crashed_message;
use tokio::time::Instant;

use super::{Presence, Shared, Switch};
use crate::leases::{Claiming, Hold};
use crate::metrics::DeliveryEnd;
use crate::pause::Pause;

/// Claims of one watch; a lease that is still undecided then is left to the sweep.
const WATCHES_MAX: u32 = 4;
/// Added to a wait for silence, so that it is over when the store looks.
const MARGIN: Duration = Duration::from_millis(5);

/// How long a task waits to be alone before the store is asked what has become of it meanwhile.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What a claim came to.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The task is this worker's.
    Granted(Box<Granted>),
    /// There is nothing to do: the message is done with.
    Nothing(DeliveryEnd),
    /// It cannot be worked on, for this reason: to the dead letters.
    Bury(DeliveryEnd, String),
    /// The worker drains, or is cut off from the store: back to the queue.
    GiveBack,
    /// It has to run alone, and another worker can do that now.
    PassOn,
}

/// A lease in hand, renewed by the heartbeat for as long as this lives.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) task: TaskKey,
    pub(crate) lease: Lease,
    pub(crate) switch: Switch,
    pub(crate) hold: Hold,
}

/// Claims a task; repeats the call, with the same nonce, while the store is unavailable, but not for so long that others
/// might have had it.
pub(crate) async fn claim(shared: &Arc<Shared>, task: &TaskKey, lane: &Lane, presence: &mut Presence) -> Answer {
    let nonce = Nonce::fresh();
    let mut pause = Pause::new();
    let mut watch = Watch::new(shared.terms.takeover_after());
    let (mut repeated, mut was_silent) = (false, false);
    // Between calls only: a call that is dropped may leave a lease behind that nobody knows of.
    while !shared.drain.is_cancelled() {
        let claim = Claim {
            task: task.clone(),
            worker: shared.id.clone(),
            nonce: nonce.clone(),
            ttl: shared.terms.ttl,
            takeover_after: Some(shared.terms.takeover_after()),
            alone: presence.is_alone(),
        };
        // What was pushed before a claim was sent is in the store by now: this claim is answered accordingly.
        let claiming = shared.leases.begin_claim(task.clone());
        match shared.store.claim(claim).await {
            Ok(Claimed::Leased(lease)) => {
                if !repeated {
                    shared.clock.observe(claiming.sent, Instant::now(), lease.now);
                }
                let granted = grant(shared, &claiming, task, *lease);
                if presence.is_alone() {
                    begin_alone(shared, &granted).await;
                }
                return Answer::Granted(Box::new(granted));
            }
            Ok(Claimed::Busy { worker, fence, .. }) if worker == shared.id && shared.leases.holds(task, fence) => {
                return Answer::Nothing(DeliveryEnd::Duplicate);
            }
            Ok(Claimed::Busy { fence, silent, .. }) => {
                let Some(wait) = watch.next(fence, silent) else { return Answer::Nothing(DeliveryEnd::Duplicate) };
                presence.rejoin();
                was_silent = true;
                pause_unless_drained(shared, tokio::time::sleep(wait)).await;
            }
            Ok(Claimed::Suspect) => {
                if std::mem::take(&mut was_silent) {
                    shared.metrics.leases_taken_over.inc();
                }
                let stuck = || shared.stuck.count();
                pause_unless_drained(shared, presence.wait_alone(ASK_AGAIN, stuck)).await;
                if !presence.is_alone() && presence.is_last_in_line() && is_wanted_alone(shared, lane).await {
                    return Answer::PassOn;
                }
            }
            Ok(Claimed::Stopped) => return Answer::Nothing(DeliveryEnd::Stopped),
            Ok(Claimed::Stale) => return Answer::Nothing(DeliveryEnd::Stale),
            Ok(Claimed::Poisoned { crashes, uncounted }) => {
                let why = format!("the task ended as crashed: {}", crashed_message(crashes, uncounted));
                return Answer::Bury(DeliveryEnd::Poisoned, why);
            }
            Err(error) if error.is_retryable() => {
                if shared.is_cut_off.load(Ordering::SeqCst) {
                    return Answer::GiveBack;
                }
                tracing::debug!(run.id = %task.run.id, task = %task.task, %error, "a claim is repeated");
                repeated = true;
                pause_unless_drained(shared, pause.wait()).await;
            }
            Err(error) => return Answer::Bury(DeliveryEnd::Unreadable, format!("it cannot be claimed: {error}")),
        }
    }
    Answer::GiveBack
}

fn grant(shared: &Arc<Shared>, claiming: &Claiming, task: &TaskKey, lease: Lease) -> Granted {
    let switch = Switch::new();
    shared.waits.note(&lease);
    let hold = shared.leases.hold(claiming, &lease, switch.clone());
    if lease.taken_over {
        shared.metrics.leases_taken_over.inc();
    }
    Granted { task: task.clone(), lease, switch, hold }
}

/// Tells the store that the lease of an attempt that runs alone has arrived: from now on a crash is laid to its task. What
/// the store does not hear now, it hears by the next heartbeat.
async fn begin_alone(shared: &Shared, granted: &Granted) {
    let (run, task) = (&granted.task.run.id, &granted.task.task);
    tracing::info!(run.id = %run, task = %task, "a task that was under way when a worker crashed is run alone");
    shared.metrics.attempts_alone.inc();
    let renewal = Renewal {
        task: granted.task.clone(),
        fence: granted.lease.fence,
        ttl: shared.terms.ttl,
        spent: Spend::default(),
    };
    let mut pause = Pause::new();
    loop {
        let sent = Instant::now();
        match shared.store.renew(std::slice::from_ref(&renewal)).await {
            Ok(answers) => {
                let tally = shared.leases.answer(vec![renewal], answers, sent);
                return tally.lost.iter().for_each(|lost| shared.note_lost(lost));
            }
            Err(error) if error.is_retryable() && granted.switch.notice().is_none() => pause.wait().await,
            Err(_) => return,
        }
    }
}

/// Whether another worker of the lane's pool has nothing under way, as it last reported.
async fn is_wanted_alone(shared: &Shared, lane: &Lane) -> bool {
    let Ok(workers) = shared.store.workers().await else { return false };
    workers.iter().any(|worker| {
        worker.id != shared.id && !worker.draining && worker.busy == 0 && worker.pools.contains(&lane.pool)
    })
}

async fn pause_unless_drained(shared: &Shared, pause: impl Future<Output = ()>) {
    tokio::select! {
        () = shared.drain.cancelled() => {}
        () = pause => {}
    }
}

/// The watch over a lease that another attempt holds.
#[derive(Debug)]
struct Watch {
    takeover_after: Duration,
    seen: Option<(Fence, Duration)>,
    left: u32,
}

impl Watch {
    const fn new(takeover_after: Duration) -> Self {
        Self { takeover_after, seen: None, left: WATCHES_MAX }
    }

    /// How long to wait before the next claim; none if the lease is alive, so that the message is a duplicate.
    fn next(&mut self, fence: Fence, silent: Duration) -> Option<Duration> {
        let renewed = self.seen.is_some_and(|(before, silence)| before != fence || silent <= silence);
        self.seen = Some((fence, silent));
        self.left = self.left.saturating_sub(1);
        if renewed || self.left == 0 {
            return None;
        }
        Some(self.takeover_after.saturating_sub(silent) + MARGIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_lease_that_was_renewed_makes_the_message_a_duplicate() {
        let mut watch = Watch::new(ms(2_000));
        assert_eq!(watch.next(Fence::new(1), ms(800)), Some(ms(1_205)));
        assert_eq!(watch.next(Fence::new(1), ms(300)), None);
    }

    #[test]
    fn a_new_fence_makes_the_message_a_duplicate() {
        let mut watch = Watch::new(ms(2_000));
        assert!(watch.next(Fence::new(1), ms(800)).is_some());
        assert_eq!(watch.next(Fence::new(2), ms(1_900)), None);
    }

    #[test]
    fn a_watch_is_bounded() {
        let mut watch = Watch::new(ms(2_000));
        let silences = [ms(100), ms(200), ms(300), ms(400)];
        let waits: Vec<_> = silences.into_iter().map(|silent| watch.next(Fence::new(1), silent)).collect();
        assert_eq!(waits.iter().filter(|wait| wait.is_some()).count(), 3);
        assert_eq!(waits[3], None);
    }
}
