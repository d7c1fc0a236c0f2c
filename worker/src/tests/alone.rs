//! What was under way when a worker crashed is run alone: after those beside it, before those behind it, or elsewhere.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use coxswain_shared::id::{Nonce, RunId, RunKey, WorkerId};
use coxswain_shared::outcome::OutcomeKind;
use coxswain_shared::store::{Claim, Claimed};
use coxswain_shared::task::TaskState;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::bench::{Bench, rust, task_of, wait_for};
use crate::{Builder, Config, Context, NodeError, Worker};

/// A handler that notes the run it works for, and ends when that run is told to.
#[derive(Clone, Default)]
struct Doors {
    begun: Arc<Mutex<Vec<RunId>>>,
    doors: Arc<Mutex<HashMap<RunId, Arc<Semaphore>>>>,
}

impl Doors {
    fn of(&self, run: &RunId) -> Arc<Semaphore> {
        let closed = || Arc::new(Semaphore::new(0));
        Arc::clone(self.doors.lock().unwrap().entry(run.clone()).or_insert_with(closed))
    }

    fn open(&self, run: &RunKey) {
        self.of(&run.id).add_permits(1);
    }

    fn begun(&self) -> Vec<RunId> {
        self.begun.lock().unwrap().clone()
    }

    async fn has_begun(&self, run: &RunKey) {
        wait_for(|| async {
            let begun = self.begun();
            if begun.contains(&run.id) { Ok(()) } else { Err(format!("{begun:?}, not {}", run.id)) }
        })
        .await;
    }

    fn handler(&self) -> impl FnOnce(Builder) -> Builder + use<> {
        let doors = self.clone();
        move |builder| {
            builder.handler("work", move |ctx: Context, _input: Value| {
                let (door, doors) = (doors.of(ctx.run()), doors.clone());
                async move {
                    doors.begun.lock().unwrap().push(ctx.run().clone());
                    drop(door.acquire().await);
                    Ok::<_, NodeError>(json!({"text": "done"}))
                }
            })
        }
    }
}

/// A run whose task was under way at a worker that has died.
async fn orphan(bench: &Bench) -> RunKey {
    let run = bench.prepare(rust(json!({})), std::collections::BTreeMap::new(), None).await;
    let claim = Claim {
        task: task_of(&run),
        worker: WorkerId::new("gone").unwrap(),
        nonce: Nonce::fresh(),
        ttl: Duration::from_mins(10),
        takeover_after: None,
        alone: false,
    };
    assert!(matches!(bench.store.claim(claim).await.unwrap(), Claimed::Leased(_)));
    run
}

fn builder() -> Builder {
    Worker::builder(Config { slots: 3, ..Bench::config() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_was_under_way_in_a_crash_waits_until_it_is_alone_and_nothing_is_begun_beside_it() {
    let (bench, doors) = (Bench::new(), Doors::default());
    let running = bench.start(doors.handler()(builder()));
    let neighbour = bench.begin(rust(json!({}))).await;
    doors.has_begun(&neighbour).await;
    let suspect = orphan(&bench).await;
    bench.publish(&suspect).await;
    let waiting = bench.task_when(&suspect, |task| task.crashes_uncounted == 1).await;
    assert_eq!(waiting.state, TaskState::Queued, "it is nobody's while it waits");
    let later = bench.begin(rust(json!({}))).await;
    wait_for(|| async {
        let workers = bench.store.workers().await.unwrap();
        if workers.iter().any(|worker| worker.busy == 3) { Ok(()) } else { Err(format!("{workers:?}")) }
    })
    .await;
    assert_eq!(doors.begun(), std::slice::from_ref(&neighbour.id));

    doors.open(&neighbour);
    doors.has_begun(&suspect).await;
    assert_eq!(bench.settled(&neighbour).await.outcome.unwrap().kind(), OutcomeKind::Succeeded);
    assert_eq!(bench.metric("cox_attempts_alone_total"), 1);
    assert_eq!(bench.task(&later).await.state, TaskState::Queued, "nothing is begun beside it");
    doors.open(&suspect);
    let task = bench.settled(&suspect).await;
    assert_eq!((task.crashes, task.crashes_uncounted), (0, 1));
    doors.has_begun(&later).await;
    doors.open(&later);
    bench.settled(&later).await;
    assert_eq!(doors.begun(), [neighbour.id, suspect.id, later.id]);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_has_to_run_alone_goes_to_a_worker_that_has_nothing_to_do() {
    let (bench, doors) = (Bench::new(), Doors::default());
    let busy = bench.start(doors.handler()(builder()));
    let neighbour = bench.begin(rust(json!({}))).await;
    doors.has_begun(&neighbour).await;
    let suspect = orphan(&bench).await;
    bench.publish(&suspect).await;
    bench.task_when(&suspect, |task| task.crashes_uncounted == 1).await;
    let elsewhere = bench.sharing();
    let idle = elsewhere.start(doors.handler()(builder()));
    doors.has_begun(&suspect).await;
    assert_eq!(bench.task(&neighbour).await.state, TaskState::Leased);
    assert_eq!(elsewhere.metric("cox_attempts_alone_total"), 1);
    doors.open(&suspect);
    bench.settled(&suspect).await;
    doors.open(&neighbour);
    bench.settled(&neighbour).await;
    idle.drain().await;
    busy.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_reaches_a_task_that_waits_to_be_alone_and_a_drain_gives_it_back() {
    let (bench, doors) = (Bench::new(), Doors::default());
    let running = bench.start(doors.handler()(builder()));
    let neighbour = bench.begin(rust(json!({}))).await;
    doors.has_begun(&neighbour).await;
    let (stopped, kept) = (orphan(&bench).await, orphan(&bench).await);
    bench.publish(&stopped).await;
    bench.task_when(&stopped, |task| task.crashes_uncounted == 1).await;
    bench.stop(&stopped, None, false).await;
    bench.run_ended(&stopped).await;
    bench.metric_reaches(r#"cox_deliveries_total{end="stopped"}"#, 1).await;
    bench.publish(&kept).await;
    bench.task_when(&kept, |task| task.crashes_uncounted == 1).await;
    running.drain().await;
    assert_eq!(bench.metric(r#"cox_deliveries_total{end="given_back"}"#), 2, "the one that waits, and its neighbour");
    let task = bench.task(&kept).await;
    assert_eq!((task.state, task.crashes, task.crashes_uncounted), (TaskState::Queued, 0, 1));
    assert_eq!(bench.task(&neighbour).await.crashes_uncounted, 0, "what a drain hands back has not crashed");
}
