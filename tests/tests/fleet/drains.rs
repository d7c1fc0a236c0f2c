//! Workers that are told to end: they finish or hand back, and what they hand back was no try.

use std::time::Duration;

use coxswain_shared::control;
use coxswain_shared::id::{RunId, Step};
use coxswain_tests::Signal;
use coxswain_tests::fleet::{Fleet, SOON};

use crate::rig::{self, within};

/// The tries that history counts for a run's only task.
async fn attempts(fleet: &Fleet, run: &RunId) -> (u32, u32) {
    let (_, checkpoints) = control::history(fleet.store.as_ref(), run, Step::new(0), 100).await.unwrap();
    let ran: Vec<_> = checkpoints.iter().flat_map(|stored| &stored.checkpoint.ran).collect();
    assert_eq!(ran.len(), 1, "{ran:?}");
    (ran[0].attempts, ran[0].crashes)
}

/// Ends at once when it is told to, and leaves the remains of a child for process 1 to reap; done again, it finishes.
const TOLD: &str = "note start
    if [ \"$COX_FENCE\" -gt 1 ]; then finish; exit; fi
    trap 'note told; exit 1' TERM
    sleep 60 & wait";

/// From the end of a handed-back attempt to its next one, process start included. Two heartbeats, which a silent lease
/// takes, are more than that, and so is a sweep: nothing of the kind may be needed.
const HANDED_OVER: Duration = Duration::from_secs(1);

/// The scheduler hangs meanwhile, so that it is the message given back that does it, and no sweep.
#[tokio::test]
async fn a_drained_workers_tasks_begin_at_once_elsewhere_and_the_attempt_is_not_counted() {
    let mut fleet = Fleet::start(1, 0).await;
    fleet.add_worker(&[("COX_DRAIN_GRACE", "300ms")]).await;
    let mut runs = Vec::new();
    for _ in 0..4 {
        runs.push(fleet.submit(&fleet.chain([fleet.script(TOLD)])).await);
    }
    for run in &runs {
        fleet.noted(run, "start", 1, SOON).await;
    }
    fleet.add_worker(&[]).await;
    fleet.schedulers[0].kill(Signal::SIGSTOP);
    fleet.workers[0].kill(Signal::SIGTERM);
    assert!(fleet.workers[0].wait_exit(SOON).await.success());
    for run in &runs {
        let told = fleet.noted(run, "told", 1, SOON).await.remove(0);
        let again = fleet.noted(run, "start", 2, SOON).await.remove(1);
        within("attempt handed back → begun elsewhere", again.at.since(told.at), HANDED_OVER);
        assert_eq!((told.fence, again.fence, again.attempt), (1, 2, 1), "{told:?} {again:?}");
        rig::is_gone(told.pid).await;
    }
    fleet.schedulers[0].kill(Signal::SIGCONT);
    for run in &runs {
        fleet.succeeded(run, SOON).await;
        assert_eq!(attempts(&fleet, run).await, (1, 0));
    }
    fleet.verdict(&runs).await;
}

#[tokio::test]
async fn a_drained_worker_finishes_what_ends_within_its_grace() {
    let mut fleet = Fleet::start(1, 1).await;
    let run = fleet.submit(&fleet.chain([fleet.script("note start; sleep 2; finish")])).await;
    fleet.noted(&run, "start", 1, SOON).await;
    fleet.add_worker(&[]).await;
    fleet.workers[0].kill(Signal::SIGTERM);
    assert!(fleet.workers[0].wait_exit(SOON).await.success());
    fleet.succeeded(&run, SOON).await;
    assert_eq!(fleet.effects(&run).len(), 2, "it ran once: {:?}", fleet.effects(&run));
    assert_eq!(attempts(&fleet, &run).await, (1, 0));
    fleet.verdict(&[run]).await;
}

#[tokio::test]
async fn a_second_sigterm_ends_a_draining_worker_at_once() {
    let mut fleet = Fleet::start(1, 0).await;
    fleet.add_worker(&[("COX_DRAIN_GRACE", "10m")]).await;
    let run = fleet.submit(&fleet.chain([fleet.script("note start; sleep 4; finish")])).await;
    let first = fleet.noted(&run, "start", 1, SOON).await;
    fleet.add_worker(&[]).await;
    fleet.workers[0].kill(Signal::SIGTERM);
    coxswain_tests::wait_for("the worker to say that it drains", SOON, async || {
        let seen = fleet.store.workers().await.unwrap();
        seen.iter().any(|worker| worker.id == fleet.worker_id(0) && worker.draining)
    })
    .await;
    let told = rig::now();
    fleet.workers[0].kill(Signal::SIGTERM);
    fleet.workers[0].wait_exit(Duration::from_secs(10)).await;
    within("second SIGTERM → gone", rig::now().since(told), Duration::from_secs(5));
    rig::is_gone(first[0].pid).await;
    fleet.succeeded(&run, SOON).await;
    fleet.verdict(&[run]).await;
}
