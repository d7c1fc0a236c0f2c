//! Fleets that share a Redis, and orders that a worker has heard and that its own store does not have.

use std::sync::Arc;

use coxswain_shared::control::{self, Submission};
use coxswain_shared::id::RunId;
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::run::RunStatus;
use coxswain_shared::store::Store;
use coxswain_shared::store::redis::{RedisConfig, RedisStore};
use coxswain_tests::fleet::{ACTOR, Fleet, SOON};
use coxswain_tests::{Cox, wait_for};

/// A script that says that it has begun, and ends once the file `$EFFECTS.go` is there.
const UNTIL_GO: &str = "note start; while [ ! -e \"$EFFECTS.go\" ]; do sleep 0.02; done; finish";

fn starts(fleet: &Fleet, run: &RunId) -> usize {
    fleet.effects(run).into_iter().filter(|effect| effect.word == "start").count()
}

#[tokio::test]
async fn a_stop_in_one_database_ends_nothing_of_a_run_of_the_same_id_in_another() {
    let fleet = Fleet::start(1, 1).await;
    let url = format!("{}3", fleet.redis.url());
    let of_theirs = |name: &str, id: &str| {
        let launch = Cox::program(name).env("COX_STORE", &url).env("COX_BROKER", fleet.rabbit().url());
        let launch = launch.env("COX_BROKER_QUEUE_PREFIX", format!("{}x", fleet.queue().replace(".tasks.default", "")));
        let launch = launch.env("COX_HTTP", "127.0.0.1:0");
        if id.is_empty() { launch.start() } else { launch.env("COX_WORKER_ID", id).start() }
    };
    let (_scheduler, worker) = (of_theirs("cox-scheduler", ""), of_theirs("cox-worker", "theirs"));
    let tasks = Tasks::new();
    let theirs: Arc<dyn Store> = Arc::new(RedisStore::connect(RedisConfig::new(url.clone()), &tasks).await.unwrap());

    let graph = fleet.chain([fleet.script(UNTIL_GO)]);
    let same = RunId::new("same").unwrap();
    let submission = || Submission { id: Some(same.clone()), ..Submission::new(graph.clone(), ACTOR) };
    fleet.submit_as(submission()).await;
    control::submit(theirs.as_ref(), submission()).await.unwrap();
    fleet.noted(&same, "start", 2, SOON).await;
    fleet.cancel(&same).await;
    assert_eq!(fleet.ended(&same, SOON).await.status, RunStatus::Cancelled);
    // Theirs hears of its own orders still.
    let own = RunId::new("own").unwrap();
    control::submit(theirs.as_ref(), Submission { id: Some(own.clone()), ..submission() }).await.unwrap();
    fleet.noted(&own, "start", 1, SOON).await;
    fleet.open("go");
    for run in [&same, &own] {
        wait_for("their run to succeed", SOON, async || {
            let run = theirs.run(run).await.unwrap().unwrap();
            if run.status == RunStatus::Succeeded { Ok(()) } else { Err(format!("{run:?}\n{}", worker.tails())) }
        })
        .await;
    }
    assert_eq!(starts(&fleet, &same), 2, "an attempt of theirs was ended and made again");
    tasks.abort();
}

/// As a Redis that has lost the last second leaves it: the order was pushed, and is not there.
#[tokio::test]
async fn an_order_that_the_store_does_not_have_ends_one_attempt_and_is_told_of() {
    let fleet = Fleet::start(1, 1).await;
    let run = fleet.submit(&fleet.chain([fleet.script(UNTIL_GO)])).await;
    fleet.noted(&run, "start", 1, SOON).await;
    let made_at = fleet.run(&run).await.created_at.as_millis();
    let mut redis = fleet.redis.connection().await;
    let report = r#"{"order":{"cause":"cancelled","actor":"nobody","force":false,"at":5},"leases":1,"released":0,"unconfirmed":0}"#;
    // First one to an earlier run of this id, which must change nothing.
    for at in [made_at - 1, made_at] {
        let heard: u64 = redis::cmd("PUBLISH")
            .arg("cox:0:stop")
            .arg(format!("{run} {at} {report}"))
            .query_async(&mut redis)
            .await
            .unwrap();
        assert!(heard >= 2, "the worker, the scheduler and this test listen");
    }
    fleet.noted(&run, "start", 2, SOON).await;
    let found = fleet.run(&run).await;
    let task = fleet.store.tasks(&found.key, found.step, 0, 1).await.unwrap().remove(0);
    assert_eq!(task.attempts, 1, "what was ended so was no try: {task:?}");
    let back = task.handed_back.expect("it was handed back");
    assert_eq!((back.times, back.without_order), (1, true));
    wait_for("the event of the run", SOON, async || {
        let events = fleet.store.events(&found.key, 0, 100).await.map_err(|error| error.to_string())?;
        let told =
            events.iter().any(|event| event.event.kind == "handed_back" && event.event.value["without_order"] == true);
        if told { Ok(()) } else { Err(format!("{events:?}")) }
    })
    .await;
    let log = fleet.workers[0].stderr() + &fleet.workers[0].stdout();
    assert!(log.contains("a stop order that the store does not have") && log.contains("by nobody"), "{log}");
    fleet.open("go");
    fleet.succeeded(&run, SOON).await;
    assert_eq!(starts(&fleet, &run), 2);
}
