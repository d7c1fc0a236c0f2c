//! One run through its whole life, call by call.

use std::time::Duration;

use coxswain_shared::outcome::Outcome;
use coxswain_shared::plan::Then;
use coxswain_shared::run::RunStatus;
use coxswain_shared::spend::Spend;
use coxswain_shared::store::{Advanced, Claimed, Settle, Settled, Signal, StopAnswer, Store, SweepLimits, Verdict};
use serde_json::json;

use crate::rig::*;

#[tokio::test]
async fn a_run_goes_from_its_making_to_its_end() {
    let store = store().await;
    let mut signals = store.signals();
    let key = made(&store, new_run("r1")).await;
    assert_eq!(signals.recv().await.unwrap(), Signal::Ready(key.partition));

    let ready = store.take_ready(key.partition, 10, Duration::from_secs(5)).await.unwrap();
    assert_eq!((ready.len(), &ready[0].run.key), (1, &key));
    assert!(store.take_ready(key.partition, 10, Duration::from_secs(5)).await.unwrap().is_empty(), "it is hidden");

    let input = values(&[("question", json!("why?")), ("n", json!(1))]);
    let mut plan = advance(&key, 0, step(1, vec![queued("1:work:0")]));
    plan.checkpoint = Some(checkpoint(0, &input));
    plan.changed = input.clone();
    assert_eq!(store.advance(plan.clone()).await.unwrap(), Advanced::Ok);
    assert_eq!(store.advance(plan.clone()).await.unwrap(), Advanced::Ok, "repeated");

    let task = task(&key, "1:work:0");
    let Claimed::Leased(lease) = store.claim(claim(&task)).await.unwrap() else { panic!("not leased") };
    assert_eq!((&lease.values, lease.attempt.get(), &lease.task), (&input, 1, &queued("1:work:0")));
    let done = Verdict::Done(Outcome::wrote(values(&[("n", json!(2))])));
    let settle = Settle { task: task.clone(), fence: lease.fence, verdict: done.clone(), spent: Spend::default() };
    for _ in 0..2 {
        assert_eq!(store.settle(settle.clone()).await.unwrap(), Settled::Accepted { step_complete: true });
    }

    let ready = store.take_ready(key.partition, 10, Duration::from_secs(5)).await.unwrap();
    assert_eq!(ready[0].tasks[0].outcome, Some(Outcome::wrote(values(&[("n", json!(2))]))));
    assert_eq!(ready[0].values, input);
    let mut end = advance(&key, 1, Then::Succeed);
    let n = values(&[("n", json!(2))]);
    let mut last = checkpoint(1, &n);
    last.versions.insert("question".parse().unwrap(), coxswain_shared::id::Step::new(0));
    (end.checkpoint, end.changed) = (Some(last), n);
    assert_eq!(store.advance(end).await.unwrap(), Advanced::Ok);

    let run = store.run(&key.id).await.unwrap().unwrap();
    assert_eq!((run.status, run.step.get()), (RunStatus::Succeeded, 1));
    let state = store.values(&key, coxswain_shared::id::Step::new(1)).await.unwrap().unwrap();
    assert_eq!(state, values(&[("question", json!("why?")), ("n", json!(2))]));
    let thread = store.thread(&run.thread).await.unwrap().unwrap();
    assert_eq!(thread.head.unwrap().0, key.id);
}

#[tokio::test]
async fn a_stop_order_freezes_a_run_and_its_sweep_closes_it() {
    let store = store().await;
    let task = dispatched(&store, "r1").await;
    let Claimed::Leased(lease) = store.claim(claim(&task)).await.unwrap() else { panic!("not leased") };
    let mut signals = store.signals();
    let StopAnswer::Accepted(report) = store.stop(&task.run.id, order()).await.unwrap() else { panic!("refused") };
    assert_eq!((report.leases, report.closed_at), (1, None));
    assert!(matches!(signals.recv().await.unwrap(), Signal::Stop { run, .. } if run == task.run.id));
    let verdict = Verdict::Done(Outcome::wrote(values(&[])));
    let settle = Settle { task: task.clone(), fence: lease.fence, verdict, spent: Spend::default() };
    assert_eq!(store.settle(settle).await.unwrap(), Settled::Frozen);
    assert_eq!(store.claim(claim(&task)).await.unwrap(), Claimed::Stopped);
    let audit = store.audit(Some(&task.run.id), None, 10).await.unwrap();
    assert_eq!(audit.rows[0].result, "accepted");
    let limits = SweepLimits { tasks: 10, runs: 10, resend_after: Duration::from_secs(1), ahead: Duration::ZERO };
    assert!(store.sweep(task.run.partition, limits).await.unwrap().send.is_empty());
}
