//! Large steps and backlogs: nothing is read whole, and a claim costs the same whatever waits.

use std::time::{Duration, Instant};

use coxswain_shared::id::TaskKey;
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::limits::FAN_OUT_MAX;
use coxswain_shared::outcome::Outcome;
use coxswain_shared::plan::Then;
use coxswain_shared::spend::Spend;
use coxswain_shared::store::redis::{RedisConfig, RedisStore};
use coxswain_shared::store::{Advanced, Claimed, Renewal, Renewed, Settle, Store, SweepLimits, Verdict};
use coxswain_shared::task::{Dispatch, NewTask, TaskState};
use serde_json::json;

use crate::rig::*;

async fn single_partition() -> (RedisStore, String) {
    let config = RedisConfig { partitions: 1, ..config(shared_server().await.url()) };
    let prefix = format!("{}:{{0}}:", config.key_prefix);
    (RedisStore::connect(config, &Tasks::new()).await.unwrap(), prefix)
}

fn fan(count: usize) -> Vec<NewTask> {
    (0..count).map(|item| queued(&format!("1:work:{item}"))).collect()
}

#[tokio::test]
async fn a_step_of_ten_thousand_tasks_is_made_read_and_taken_whole() {
    let (store, prefix) = single_partition().await;
    let key = made(&store, new_run("r1")).await;
    let settled = |item: usize| NewTask {
        dispatch: Dispatch::Settled { outcome: Outcome::wrote(values(&[("n", json!(item))])) },
        ..queued(&format!("1:work:{item}"))
    };
    let tasks: Vec<_> = (0..FAN_OUT_MAX).map(settled).collect();
    let plan = advance(&key, 0, step(1, tasks));
    assert_eq!(store.advance(plan.clone()).await.unwrap(), Advanced::Ok);
    assert_eq!(store.advance(plan).await.unwrap(), Advanced::Ok, "repeated");

    let ready = store.take_ready(key.partition, 10, Duration::from_secs(5)).await.unwrap();
    assert_eq!((ready.len(), ready[0].tasks.len()), (1, FAN_OUT_MAX));
    let items: Vec<_> = ready[0].tasks.iter().map(|task| task.id.item).collect();
    assert!(items.is_sorted(), "by item, as numbers");
    let page = store.tasks(&key, ready[0].run.step, 9_990, 1_000).await.unwrap();
    assert_eq!((page.len(), page[0].id.item, page[0].state), (10, 9_990, TaskState::Settled));

    // What was staged for a change that is refused is dropped.
    let late = advance(&key, 0, step(1, fan(1_000)));
    assert_eq!(store.advance(late).await.unwrap(), Advanced::Conflict);
    let mut raw = shared_server().await.connection().await;
    let staged: Vec<String> = redis::cmd("KEYS").arg(format!("{prefix}stage:*")).query_async(&mut raw).await.unwrap();
    assert_eq!(staged, Vec::<String>::new());
}

async fn claims_take(store: &RedisStore, tasks: &[TaskKey]) -> Duration {
    let mut times = Vec::new();
    for task in tasks {
        let started = Instant::now();
        assert!(matches!(store.claim(claim(task)).await.unwrap(), Claimed::Leased(_)));
        times.push(started.elapsed());
    }
    times.sort();
    times[times.len() / 2]
}

#[tokio::test]
async fn a_backlog_of_a_hundred_thousand_slows_no_claim_and_breaks_no_script() {
    let (store, prefix) = single_partition().await;
    let mine = made(&store, new_run("mine")).await;
    assert_eq!(store.advance(advance(&mine, 0, step(1, fan(100)))).await.unwrap(), Advanced::Ok);
    let tasks: Vec<_> = (0..100).map(|item| task(&mine, &format!("1:work:{item}"))).collect();
    let alone = claims_take(&store, &tasks[..50]).await;

    // Ten steps of ten thousand tasks on the agenda, and a hundred thousand copies of a run that waits for its plan.
    for run in 0..10 {
        let key = made(&store, new_run(&format!("big{run}"))).await;
        let plan = advance(&key, 0, step(1, fan(FAN_OUT_MAX)));
        assert_eq!(store.advance(plan).await.unwrap(), Advanced::Ok);
    }
    made(&store, new_run("one")).await;
    let copies = "for i = 1, 10000 do local id = ARGV[1] .. i; redis.call('COPY', KEYS[1] .. 'run:one', KEYS[1] .. 'run:' .. id);
        redis.call('ZADD', KEYS[1] .. 'ready', i, id) end";
    let mut raw = shared_server().await.connection().await;
    for batch in 0..10 {
        let mut command = redis::cmd("EVAL");
        command.arg(copies).arg(1).arg(&prefix).arg(format!("copy{batch}-"));
        command.query_async::<()>(&mut raw).await.unwrap();
    }

    let crowded = claims_take(&store, &tasks[50..]).await;
    assert!(crowded < alone * 10 + Duration::from_millis(5), "{alone:?} alone, {crowded:?} with the backlog");
    let ready = store.take_ready(mine.partition, 500, Duration::from_mins(5)).await.unwrap();
    assert_eq!(ready.len(), 500);
    let limits =
        SweepLimits { tasks: 500, runs: 100, resend_after: Duration::from_mins(5), ahead: Duration::from_hours(1) };
    let swept = store.sweep(mine.partition, limits).await.unwrap();
    assert_eq!((swept.send.len(), swept.more), (500, true));
    let stopped = store.stop(&run_id("big0"), order()).await.unwrap();
    assert!(matches!(stopped, coxswain_shared::store::StopAnswer::Accepted(report) if report.closed_at.is_some()));
}

#[tokio::test]
async fn each_call_is_one_round_trip_and_each_batch_too() {
    let (store, _) = single_partition().await;
    let mut spent = 0;
    // The first round also sends the scripts.
    for id in ["warm", "counted"] {
        let task = dispatched(&store, id).await;
        let before = store.round_trips();
        let Claimed::Leased(lease) = store.claim(claim(&task)).await.unwrap() else { panic!("not leased") };
        let renewals = vec![
            Renewal {
                task: task.clone(),
                fence: lease.fence,
                ttl: Duration::from_secs(10),
                spent: Spend::default()
            };
            100
        ];
        assert_eq!(store.renew(&renewals).await.unwrap(), vec![Renewed::Held; 100]);
        store.mark_sent(&vec![task.clone(); 100], Duration::from_mins(1)).await.unwrap();
        let verdict = Verdict::Done(Outcome::wrote(values(&[])));
        store
            .settle(Settle { task: task.clone(), fence: lease.fence, verdict, spent: Spend::default() })
            .await
            .unwrap();
        assert_eq!(store.take_ready(task.run.partition, 10, Duration::from_secs(5)).await.unwrap().len(), 1);
        let end = advance(&task.run, 1, Then::Succeed);
        assert_eq!(store.advance(end).await.unwrap(), Advanced::Ok);
        spent = store.round_trips() - before;
    }
    assert_eq!(spent, 6, "claim, renew, mark_sent, settle, take_ready, advance");
}
