//! Cases of `create_run`, for a run that is alone on its thread.
#![expect(missing_docs, reason = "the name of a case says what it shows")]

use std::time::Duration;

use serde_json::json;

use super::fixture::Fixture;
use super::make;
use crate::id::{Partition, Step};
use crate::run::RunStatus;
use crate::stop::Cause;
use crate::store::{Created, Error, NewRun, Parent, RunSpec, Start, StopAnswer};

pub async fn a_run_is_made_and_starts(fixture: &Fixture) {
    let new = make::run("r");
    let made = fixture.store().create_run(new.clone()).await.unwrap();
    let Created::Made { key, status: RunStatus::Queued } = made else { panic!("{made:?}") };
    assert_eq!(key.partition, Partition::of(&new.thread, fixture.store().partitions()));
    assert_eq!(fixture.store().locate(&new.id).await.unwrap().as_ref(), Some(&key));
    let run = fixture.run(&key).await;
    assert_eq!((run.status, run.step.get(), run.revision.get()), (RunStatus::Queued, 0, 0));
    assert_eq!((run.started_at, run.ended_at, run.base), (Some(run.created_at), None, None));
    assert_eq!(run.deadline_at, Some(run.created_at.after(new.run_timeout)));
    assert_eq!((run.open_tasks, run.open_leases), (0, 0));
    let thread = fixture.thread(&key).await;
    assert_eq!((thread.active, thread.queue, thread.head), (Some(key.id.clone()), vec![], None));
    let ready = fixture.take_ready(&key).await;
    assert_eq!(ready.len(), 1);
    assert_eq!(ready[0].run.key, key);
    assert!(ready[0].checkpoint.is_none() && ready[0].values.is_empty() && ready[0].tasks.is_empty());
    assert!(!ready[0].resumed);
}

pub async fn making_a_run_again_says_where_it_stands(fixture: &Fixture) {
    let key = fixture.begin("r").await;
    fixture.succeed(&key).await;
    let again = fixture.store().create_run(make::run("r")).await.unwrap();
    assert_eq!(again, Created::Exists { key, status: RunStatus::Succeeded });
}

pub async fn a_run_keeps_what_it_was_made_from(fixture: &Fixture) {
    let spec = RunSpec {
        budget: crate::spend::Budget { tokens: Some(5), ..Default::default() },
        input: make::values(&[("text", json!("a \"é\" \u{1F6A3} \n {}")), ("list", json!([1, -2.5, null, {"a": []}]))]),
        start: Start::Fresh,
        interrupt_before: vec!["b".parse().unwrap()],
        interrupt_after: vec!["a".parse().unwrap()],
        labels: [("team".to_owned(), "x y".to_owned())].into(),
        actor: "ann@host".to_owned(),
        reason: Some("why \"not\"".to_owned()),
        max_steps: Some(7),
        priority: crate::priority::Priority::Low,
    };
    let new = NewRun { run_timeout: Duration::from_millis(61_001), spec: spec.clone(), ..make::run("r") };
    let key = fixture.made(new.clone()).await;
    let run = fixture.run(&key).await;
    assert_eq!(run.spec, spec);
    assert_eq!((run.thread, run.graph, run.graph_hash, run.parent), (new.thread, new.graph, new.graph_hash, None));
    assert_eq!(run.deadline_at, Some(run.created_at.after(new.run_timeout)));
}

pub async fn a_run_can_start_from_a_checkpoint(fixture: &Fixture) {
    let start = Start::From { run: make::run_id("old"), step: Step::new(3), update: make::values(&[("x", json!(1))]) };
    let spec = RunSpec { start, actor: "ann".to_owned(), reason: Some("a \"try\"".to_owned()), ..RunSpec::default() };
    let new = NewRun { spec: spec.clone(), ..make::run("r") };
    let key = fixture.made(new.clone()).await;
    let run = fixture.run(&key).await;
    assert_eq!(run.base, Some((make::run_id("old"), Step::new(3))));
    assert_eq!(run.spec, spec);
    fixture.store().create_run(new).await.unwrap();
    let trail = fixture.store().audit(Some(&key.id), None, 10).await.unwrap().rows;
    let told: Vec<_> = trail.iter().map(|entry| (entry.action.as_str(), entry.result.as_str())).collect();
    assert_eq!(told, [("resume", "from run old step 3")], "{trail:?}");
    assert_eq!((&trail[0].actor, &trail[0].reason), (&spec.actor, &spec.reason));
}

pub async fn a_run_that_was_stopped_before_it_was_made_has_ended(fixture: &Fixture) {
    let id = make::run_id("r");
    assert_eq!(fixture.stop(&id, Cause::Deadline).await, StopAnswer::Early);
    assert!(fixture.store().run(&id).await.unwrap().is_none());
    let made = fixture.store().create_run(make::run("r")).await.unwrap();
    let Created::Made { key, status: RunStatus::TimedOut } = made else { panic!("{made:?}") };
    let run = fixture.run(&key).await;
    assert_eq!((run.status, run.ended_at), (RunStatus::TimedOut, Some(run.created_at)));
    assert_eq!((run.started_at, run.deadline_at, run.base), (None, None, None));
    let report = run.stop.unwrap();
    assert_eq!(report.order.order, make::order(Cause::Deadline));
    assert_eq!((report.leases, report.closed_at, report.forced_at), (0, Some(run.created_at), None));
    assert!(report.is_confirmed());
    assert!(!fixture.is_ready(&key).await);
    assert!(fixture.store().thread(&run.thread).await.unwrap().is_none(), "it touches no thread");
    let again = fixture.store().create_run(make::run("r")).await.unwrap();
    assert_eq!(again, Created::Exists { key, status: RunStatus::TimedOut });
}

pub async fn the_first_early_order_holds_and_force_may_follow(fixture: &Fixture) {
    let id = make::run_id("r");
    assert_eq!(fixture.stop(&id, Cause::Budget).await, StopAnswer::Early);
    assert_eq!(fixture.store().stop(&id, make::force()).await.unwrap(), StopAnswer::Early);
    let made = fixture.store().create_run(make::run("r")).await.unwrap();
    let Created::Made { key, status: RunStatus::Failed } = made else { panic!("{made:?}") };
    let report = fixture.report(&key).await;
    assert_eq!(report.order.order, make::order(Cause::Budget));
    assert!(report.forced_at.is_some());
    let entries = fixture.audited(&id).await;
    assert_eq!(entries, [("stop".to_owned(), "early".to_owned()), ("force".to_owned(), "early".to_owned())]);
}

pub async fn a_run_that_claims_a_parent_is_refused(fixture: &Fixture) {
    let parent = Parent { run: make::run_id("p"), task: "1:a:0".parse().unwrap(), depth: 1 };
    let refused = fixture.store().create_run(NewRun { parent: Some(parent), ..make::run("r") }).await.unwrap_err();
    assert!(matches!(refused, Error::Unsuitable { .. }), "{refused}");
    assert!(fixture.store().run(&make::run_id("r")).await.unwrap().is_none());
}

pub async fn what_nobody_made_is_absent(fixture: &Fixture) {
    let key = fixture.begin("r").await;
    let none = make::run_id("none");
    assert!(fixture.store().locate(&none).await.unwrap().is_none());
    assert!(fixture.store().run(&none).await.unwrap().is_none());
    assert!(fixture.store().thread(&"none".parse().unwrap()).await.unwrap().is_none());
    let absent = crate::id::RunKey { id: none, partition: key.partition };
    assert!(fixture.store().tasks(&absent, Step::new(1), 0, 10).await.unwrap().is_empty());
    assert!(fixture.store().checkpoints(&absent, Step::new(0), 10).await.unwrap().is_empty());
    assert!(fixture.store().events(&absent, 0, 10).await.unwrap().is_empty());
    assert!(fixture.store().values(&absent, Step::new(0)).await.unwrap().is_none());
    assert!(fixture.store().values(&key, Step::new(0)).await.unwrap().is_none());
}
