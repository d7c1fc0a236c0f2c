//! What docs/operations.md says of failures, where no other test holds it: schedulers, queues, memory and nudges that are
//! gone.

use std::time::Duration;

use coxswain_shared::control::{self, Submission};
use coxswain_shared::run::RunStatus;
use coxswain_tests::fleet::{ACTOR, Fleet, SOON};
use coxswain_tests::{Signal, wait_for};

use crate::rig::{self, TICKING};

/// A script that ends when the test opens `go`.
const GATED: &str = "note start; until [ -e \"$EFFECTS.go\" ]; do sleep 0.05; done; finish";

#[tokio::test]
async fn with_every_scheduler_down_attempts_end_stops_hold_and_the_next_scheduler_goes_on() {
    let mut fleet = Fleet::start(1, 1).await;
    let working = fleet.submit(&fleet.chain([fleet.script(GATED), fleet.script("note start; finish")])).await;
    let endless = fleet.submit(&fleet.chain([fleet.script(TICKING)])).await;
    fleet.noted(&working, "start", 1, SOON).await;
    let group = fleet.noted(&endless, "tick", 1, SOON).await[0].pid;
    fleet.schedulers[0].kill(Signal::SIGKILL);
    fleet.schedulers[0].wait_exit(SOON).await;

    fleet.open("go");
    wait_for("the attempt to be settled", SOON, async || fleet.run(&working).await.open_tasks == 0).await;
    fleet.cancel(&endless).await;
    let ended = fleet.ended(&endless, SOON).await;
    let report = ended.stop.as_ref().expect("a stopped run has a report");
    assert!(ended.status == RunStatus::Cancelled && report.is_confirmed(), "{ended:?}");
    rig::is_gone(group).await;
    let submitted = fleet.submit(&fleet.chain([fleet.script("note start; finish")])).await;
    for waiting in [&working, &submitted] {
        assert!(!fleet.run(waiting).await.status.is_final(), "nobody plans");
    }

    fleet.add_scheduler(&[]).await;
    for run in [&working, &submitted] {
        fleet.succeeded(run, SOON).await;
    }
    assert_eq!(fleet.effects(&working).len(), 4, "two tasks, each once: {:?}", fleet.effects(&working));
    fleet.verdict(&[working, endless, submitted]).await;
}

#[tokio::test]
async fn a_queue_that_is_deleted_is_made_again_and_its_tasks_are_sent_again() {
    let mut fleet = Fleet::start(0, 0).await;
    fleet.add_scheduler(&[("COX_RESEND_AFTER", "1s")]).await;
    let run =
        fleet.submit(&fleet.chain([fleet.script("note start; finish"), fleet.script("note start; finish")])).await;
    wait_for("the task to be on the queue", SOON, async || fleet.backlog().await == 1).await;
    fleet.rabbit().ctl(&["delete_queue", &fleet.queue()]).await;
    wait_for("the task to be on the queue again", SOON, async || fleet.backlog().await == 1).await;
    fleet.add_worker(&[]).await;
    fleet.rabbit().ctl(&["delete_queue", &fleet.queue()]).await;
    fleet.succeeded(&run, SOON).await;
    assert_eq!(fleet.effects(&run).len(), 4, "two tasks, each once: {:?}", fleet.effects(&run));
    fleet.verdict(&[run]).await;
}

/// As when the workers of a pool are scaled to zero for longer than its queue lives.
#[tokio::test]
async fn a_queue_that_nobody_serves_expires_with_its_messages_and_their_tasks_are_sent_again() {
    const EXPIRES: (&str, &str) = ("COX_BROKER_QUEUE_EXPIRES", "3s");
    let mut fleet = Fleet::start(0, 0).await;
    fleet.add_scheduler(&[("COX_RESEND_AFTER", "1s"), EXPIRES]).await;
    let run = fleet.submit(&fleet.chain([fleet.script("note start; finish")])).await;
    let queue = fleet.queue();
    let is_there = async |fleet: &Fleet| {
        let listed = fleet.rabbit().ctl(&["list_queues", "name"]).await;
        listed.lines().any(|line| line.trim() == queue)
    };
    for _ in 0..2 {
        wait_for("the task to be on the queue", SOON, async || fleet.backlog().await == 1).await;
        wait_for("the queue to expire", SOON, async || !is_there(&fleet).await).await;
    }
    wait_for("the task to be on the queue again", SOON, async || fleet.backlog().await == 1).await;
    fleet.add_worker(&[EXPIRES]).await;
    fleet.succeeded(&run, SOON).await;
    let served = tokio::time::Instant::now();
    wait_for("the queue to be there for longer than it lives unserved", SOON, async || {
        assert!(is_there(&fleet).await, "a queue with a worker does not expire");
        served.elapsed() > Duration::from_secs(6)
    })
    .await;
    fleet.verdict(&[run]).await;
}

#[tokio::test]
async fn a_redis_without_memory_refuses_writes_and_loses_nothing() {
    let fleet = Fleet::start(1, 1).await;
    let graph = fleet.chain([fleet.script(GATED), fleet.script("note start; finish")]);
    let run = fleet.submit(&graph).await;
    fleet.noted(&run, "start", 1, SOON).await;
    let mut redis = fleet.redis.connection().await;
    let mut limit = async |bytes: &str| {
        redis::cmd("CONFIG").arg(&["SET", "maxmemory", bytes]).exec_async(&mut redis).await.unwrap();
    };
    limit("1").await;
    let refused = control::submit(fleet.store.as_ref(), Submission::new(graph.clone(), ACTOR)).await.unwrap_err();
    assert_eq!(refused.kind(), control::ErrorKind::Unavailable, "{refused}");
    assert_eq!(fleet.run(&run).await.status, RunStatus::Running, "what is there can be read");
    fleet.open("go");
    fleet.noted(&run, "done", 1, SOON).await;
    limit("0").await;
    fleet.succeeded(&run, SOON).await;
    assert_eq!(fleet.effects(&run).len(), 4, "two tasks, each once: {:?}", fleet.effects(&run));
    fleet.verdict(&[run]).await;
}

/// The scheduler's subscription is cut, and it may not subscribe again.
#[tokio::test]
async fn a_scheduler_that_no_nudge_reaches_looks_by_itself() {
    let mut fleet = Fleet::start(0, 1).await;
    let deaf = rig::Deaf::prepare(&fleet).await;
    fleet.add_scheduler(&[("COX_STORE", deaf.url())]).await;
    deaf.deafen(&fleet).await;
    let run =
        fleet.submit(&fleet.chain([fleet.script("note start; finish"), fleet.script("note start; finish")])).await;
    fleet.succeeded(&run, SOON).await;
    fleet.verdict(&[run]).await;
}
