//! Workers that are parted from one of their two servers, and not from the other: G3, G4 and G6.
//!
//! The proxy stands before one server, for one worker. The machine's network is not touched.

use std::time::Duration;

use coxswain_tests::fleet::{Fleet, SOON};
use coxswain_tests::{Mode, Proxy, wait_for};

use crate::rig::{self, TICKING, within};

/// The hard limit of the design for a worker that is silent: lease and sweep.
const RERUN_WITHIN: Duration = Duration::from_secs(12);

/// The time a shared machine may add: an attempt is seen by the process it starts.
const MARGIN: Duration = Duration::from_secs(3);

/// Waits until the fleet's first worker reports itself again, and works on nothing.
async fn is_back(fleet: &Fleet) {
    let healed = rig::now();
    wait_for("the worker to be back", SOON, async || {
        let seen = fleet.store.workers().await.unwrap();
        seen.iter().any(|worker| worker.id == fleet.worker_id(0) && worker.seen_at > healed && worker.busy == 0)
    })
    .await;
}

/// What the worker sends meanwhile is kept, and comes to Redis late: its process has ended well, and it wants to settle.
#[tokio::test]
async fn a_worker_that_is_parted_from_redis_loses_its_lease_and_its_late_write_is_refused() {
    const SCRIPT: &str = "note start
        if [ \"$COX_FENCE\" = 1 ]; then sleep 1; else until [ -e \"$EFFECTS.go\" ]; do sleep 0.05; done; fi
        finish";
    let mut fleet = Fleet::start(1, 0).await;
    let proxy = Proxy::start(fleet.redis.port()).await;
    let through = fleet.redis_through(&proxy);
    fleet.add_worker(&[("COX_STORE", &through)]).await;
    let run = fleet.submit(&fleet.chain([fleet.script(SCRIPT)])).await;
    fleet.noted(&run, "start", 1, SOON).await;
    fleet.add_worker(&[]).await;
    let parted = rig::now();
    proxy.set(Mode::Stall);
    let starts = fleet.noted(&run, "start", 2, SOON).await;
    within("worker parted from Redis → re-run", starts[1].at.since(parted), RERUN_WITHIN + MARGIN);
    let zombie = fleet.noted(&run, "done", 1, SOON).await;
    assert_eq!(zombie[0].fence, starts[0].fence, "the first process ends while its worker is parted");
    proxy.set(Mode::Pass);
    is_back(&fleet).await;
    assert!(!fleet.run(&run).await.status.is_final(), "the late write was taken for the outcome");
    fleet.open("go");
    fleet.succeeded(&run, SOON).await;
    fleet.verdict(&[run]).await;
}

/// The worker counts the time itself: it drops the work a heartbeat before the store gives it to another.
#[tokio::test]
async fn a_worker_that_is_parted_from_redis_has_ended_the_work_before_another_begins_it() {
    let script = format!("if [ \"$COX_FENCE\" = 1 ]; then {TICKING}; fi; note again; finish");
    let mut fleet = Fleet::start(1, 0).await;
    let proxy = Proxy::start(fleet.redis.port()).await;
    let through = fleet.redis_through(&proxy);
    fleet.add_worker(&[("COX_STORE", &through)]).await;
    let run = fleet.submit(&fleet.chain([fleet.script(&script)])).await;
    let group = fleet.noted(&run, "tick", 1, SOON).await[0].pid;
    fleet.add_worker(&[]).await;
    let parted = rig::now();
    proxy.set(Mode::Blackhole);
    let again = fleet.noted(&run, "again", 1, SOON).await.remove(0);
    within("worker parted from Redis → re-run", again.at.since(parted), RERUN_WITHIN + MARGIN);
    rig::is_gone(group).await;
    let last = fleet.effects(&run).into_iter().rfind(|effect| effect.word == "tick").expect("it ticked");
    assert!(last.at < again.at, "both ran at once: {last:?} {again:?}");
    fleet.succeeded(&run, SOON).await;
    proxy.set(Mode::Pass);
    is_back(&fleet).await;
    fleet.verdict(&[run]).await;
}

/// The broker takes the worker for dead, and hands its message to the other one, which finds the lease renewed.
#[tokio::test]
async fn a_worker_that_is_parted_from_rabbitmq_keeps_its_lease_and_nobody_else_begins() {
    const SCRIPT: &str = "note start; until [ -e \"$EFFECTS.go\" ]; do sleep 0.05; done; finish";
    let mut fleet = Fleet::start(1, 0).await;
    let proxy = Proxy::start(fleet.rabbit().port()).await;
    let through = fleet.rabbit_through(&proxy);
    fleet.add_worker(&[("COX_BROKER", &through)]).await;
    let run = fleet.submit(&fleet.chain([fleet.script(SCRIPT), fleet.script("note start; finish")])).await;
    let first = fleet.noted(&run, "start", 1, SOON).await.remove(0);
    fleet.add_worker(&[]).await;
    wait_for("the broker to tell of the message in hand", SOON, async || fleet.messages().await == (0, 1)).await;
    proxy.set(Mode::Blackhole);
    wait_for("the message to be given to another and dropped as a duplicate", SOON, async || {
        match fleet.messages().await {
            (0, 0) => Ok(()),
            left => Err(format!("{left:?} messages wait and are in hand")),
        }
    })
    .await;
    let open = fleet.run(&run).await;
    assert_eq!((open.open_leases, fleet.effects(&run).len()), (1, 1), "{open:?}");
    fleet.open("go");
    fleet.succeeded(&run, SOON).await;
    let effects = fleet.effects(&run);
    assert_eq!(effects.len(), 4, "two tasks, each once: {effects:?}");
    let done = effects.iter().find(|effect| effect.word == "done").expect("it is done");
    assert_eq!((done.fence, &done.task), (first.fence, &first.task), "under the lease that it had");
    proxy.set(Mode::Pass);
    rig::meanwhile(&fleet).await;
    fleet.verdict(&[run]).await;
}
