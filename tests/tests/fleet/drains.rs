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

#[tokio::test]
async fn a_drained_worker_hands_its_task_back_and_the_attempt_is_not_counted() {
    let mut fleet = Fleet::start(1, 0).await;
    fleet.add_worker(&[("COX_DRAIN_GRACE", "300ms")]).await;
    let run = fleet.submit(&fleet.chain([fleet.script("note start; sleep 3; finish")])).await;
    let first = fleet.noted(&run, "start", 1, SOON).await;
    fleet.add_worker(&[]).await;
    let told = rig::now();
    fleet.workers[0].kill(Signal::SIGTERM);
    let starts = fleet.noted(&run, "start", 2, SOON).await;
    within("SIGTERM → re-run, grace 300 ms", starts[1].at.since(told), Duration::from_secs(12));
    assert!(fleet.workers[0].wait_exit(SOON).await.success());
    rig::is_gone(first[0].pid).await;
    fleet.succeeded(&run, SOON).await;
    assert_eq!(attempts(&fleet, &run).await, (1, 0));
    fleet.verdict(&[run]).await;
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
