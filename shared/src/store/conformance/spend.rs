//! Cases of what attempts spend: it adds up in the run and in those above, and ends those whose budget is used up.
#![expect(missing_docs, reason = "the name of a case says what it shows")]

use std::time::Duration;

use super::fixture::Fixture;
use super::make;
use crate::id::{RunId, RunKey, Step, TaskKey};
use crate::limits::DESCENDANTS;
use crate::outcome::{FailureKind, Outcome};
use crate::plan::Then;
use crate::run::RunStatus;
use crate::spend::{Budget, Cost, Spend};
use crate::stop::{Cause, StopProof};
use crate::store::{
    Advanced, Claimed, Lease, NewRun, Release, Released, Renewal, Renewed, RunSpec, Settle, Settled, Verdict,
};
use crate::task::{HandedBack, NewTask};

fn tokens(tokens: u64) -> Spend {
    Spend { input_tokens: tokens, ..Spend::default() }
}

fn limited(id: &str, tokens: u64) -> NewRun {
    let budget = Budget { tokens: Some(tokens), ..Budget::default() };
    NewRun { spec: RunSpec { budget, ..RunSpec::default() }, ..make::run(id) }
}

async fn settle(fixture: &Fixture, task: &TaskKey, lease: &Lease, verdict: Verdict, spent: Spend) -> Settled {
    let settle = Settle { task: task.clone(), fence: lease.fence, verdict, spent };
    fixture.store().settle(settle).await.unwrap()
}

const fn done() -> Verdict {
    Verdict::Done(crate::outcome::Outcome::wrote(crate::outcome::Writes::new()))
}

pub async fn what_attempts_spend_adds_up_whatever_they_come_to(fixture: &Fixture) {
    let tasks = vec![make::task("1:a:0"), make::task("1:b:0")];
    let (key, tasks) = fixture.dispatched("r", tasks).await;
    assert_eq!(fixture.run(&key).await.spent, Spend::default());
    let one = Spend { input_tokens: 5, output_tokens: 7, cost: Cost::from_micros(250_000), tool_calls: 2 };
    let lease = fixture.lease(&tasks[0]).await;
    let retry = Verdict::Retry { failure: make::failure(), after: Duration::ZERO };
    settle(fixture, &tasks[0], &lease, retry, one).await;
    assert_eq!(fixture.run(&key).await.spent, one);
    let lease = fixture.lease(&tasks[1]).await;
    for _ in 0..2 {
        let settled = settle(fixture, &tasks[1], &lease, done(), one).await;
        assert_eq!(settled, Settled::Accepted { step_complete: false });
    }
    let two = Spend { input_tokens: 10, output_tokens: 14, cost: Cost::from_micros(500_000), tool_calls: 4 };
    assert_eq!(fixture.run(&key).await.spent, two, "a call that is repeated spends once");
    let stale = settle(fixture, &tasks[1], &Lease { fence: lease.fence.next(), ..lease }, done(), one).await;
    assert_eq!((stale, fixture.run(&key).await.spent), (Settled::Stale, two));
}

pub async fn a_run_that_spends_more_than_its_budget_is_stopped_and_keeps_the_outcome(fixture: &Fixture) {
    let key = fixture.made(limited("r", 10)).await;
    let tasks = fixture.step(&key, 1, vec![make::task("1:a:0"), make::task("1:b:0")]).await;
    let first = fixture.lease(&tasks[0]).await;
    let second = fixture.lease(&tasks[1]).await;
    settle(fixture, &tasks[0], &first, done(), tokens(10)).await;
    assert_eq!(fixture.status(&key).await, RunStatus::Running, "just the budget is not over it");
    let settled = settle(fixture, &tasks[1], &second, done(), tokens(1)).await;
    assert_eq!(settled, Settled::Accepted { step_complete: false }, "there is no next step");
    let run = fixture.run(&key).await;
    assert_eq!((run.status, run.spent, run.open_tasks), (RunStatus::Failed, tokens(11), 0));
    let report = run.stop.unwrap();
    assert_eq!((report.order.order.cause, report.closed_at), (Cause::Budget, run.ended_at));
    let why = "its budget of 10 tokens is used up: it has spent 11 tokens (11 in, 0 out)";
    assert_eq!(report.order.order.reason.as_deref(), Some(why));
    let failure = run.failure.unwrap();
    assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Exhausted, why));
    assert_eq!(failure.node.unwrap().as_str(), "b");
    assert_eq!(fixture.outcome(&tasks[1]).await, make::success());
    assert_eq!(fixture.audited(&key.id).await, [("stop".to_owned(), "accepted".to_owned())]);
    assert!(!fixture.is_ready(&key).await);
    assert_eq!(fixture.advance(&key, crate::plan::Then::Succeed).await, Advanced::Frozen);
}

pub async fn siblings_of_one_that_used_up_the_budget_are_stopped(fixture: &Fixture) {
    let budget = Budget { cost: Cost::from_units(0.5), tool_calls: Some(3), ..Budget::default() };
    let spec = RunSpec { budget, ..RunSpec::default() };
    let key = fixture.made(NewRun { spec, ..make::run("r") }).await;
    let tasks = fixture.step(&key, 1, vec![make::task("1:a:0"), make::task("1:b:0"), make::task("1:c:0")]).await;
    let (first, second) = (fixture.lease(&tasks[0]).await, fixture.lease(&tasks[1]).await);
    let spent = Spend { cost: Cost::from_units(0.625).unwrap(), tool_calls: 1, ..Spend::default() };
    settle(fixture, &tasks[0], &first, done(), spent).await;
    let report = fixture.report(&key).await;
    assert_eq!((report.leases, report.closed_at), (1, None));
    let why = "its budget of cost 0.5 is used up: it has spent 0 tokens (0 in, 0 out), cost 0.625, 1 tool calls";
    assert_eq!(report.order.order.reason.as_deref(), Some(why));
    assert_eq!(fixture.claim(make::claim(&tasks[2])).await, Claimed::Stopped);
    assert_eq!(settle(fixture, &tasks[1], &second, done(), spent).await, Settled::Frozen);
    assert_eq!(fixture.run(&key).await.spent, spent, "what is refused is not counted: the proof tells it");
    let proof = StopProof { spent, ..make::proof() };
    let released = fixture.release(&tasks[1], &second, Release::Stopped(proof.clone())).await;
    assert_eq!(released, Released::Accepted { run_ended: true });
    let run = fixture.run(&key).await;
    assert_eq!((run.spent.tool_calls, run.status), (2, RunStatus::Failed));
    assert_eq!(fixture.task(&tasks[1]).await.proof, Some(proof));
}

pub async fn what_was_spent_before_a_task_is_handed_back_counts(fixture: &Fixture) {
    let key = fixture.made(limited("r", 10)).await;
    let tasks = fixture.step(&key, 1, vec![make::task("1:a:0"), make::task("1:b:0")]).await;
    let first = fixture.lease(&tasks[0]).await;
    let back = Released::HandedBack(HandedBack { times: 1, without_order: false });
    for _ in 0..2 {
        assert_eq!(fixture.release(&tasks[0], &first, Release::HandedBack(tokens(6))).await, back);
        assert_eq!(fixture.run(&key).await.spent, tokens(6), "a call that is repeated spends once");
    }
    let again = fixture.lease(&tasks[0]).await;
    assert_eq!((again.attempt, fixture.task(&tasks[0]).await.attempts), (first.attempt, 1));
    // What it has spent stops the run: nobody is to take the task up again.
    let released = fixture.release(&tasks[0], &again, Release::HandedBack(tokens(6))).await;
    assert_eq!(released, Released::Accepted { run_ended: true });
    let run = fixture.run(&key).await;
    assert_eq!((run.status, run.spent), (RunStatus::Failed, tokens(12)));
    let proof = StopProof { confirmed: true, spent: tokens(6), ..StopProof::default() };
    assert_eq!(fixture.task(&tasks[0]).await.proof, Some(proof));
}

async fn renew(fixture: &Fixture, task: &TaskKey, lease: &Lease, spent: Spend) -> Renewed {
    let renewal = Renewal { task: task.clone(), fence: lease.fence, ttl: make::LONG, spent };
    fixture.store().renew(&[renewal]).await.unwrap().remove(0)
}

pub async fn what_renewals_tell_counts_once_and_stays_when_the_worker_dies(fixture: &Fixture) {
    let (key, tasks) = fixture.dispatched("r", vec![make::task("1:a:0"), make::task("1:b:0")]).await;
    let first = fixture.lease_for(&tasks[0], make::SHORT).await;
    // The second is an older one that comes late.
    for (told, all) in [(4, 4), (3, 4), (4, 4), (7, 7)] {
        let renewal = Renewal { task: tasks[0].clone(), fence: first.fence, ttl: make::SHORT, spent: tokens(told) };
        assert_eq!(fixture.store().renew(&[renewal]).await.unwrap(), [Renewed::Held]);
        assert_eq!(fixture.run(&key).await.spent, tokens(all), "{told}");
    }
    fixture.pass(make::SHORT).await;
    assert_eq!(fixture.sweep(&key).await.expired, 1);
    assert_eq!(fixture.run(&key).await.spent, tokens(7), "its worker has died");
    assert_eq!(renew(fixture, &tasks[0], &first, tokens(9)).await, Renewed::Lost);
    let second = fixture.lease_alone(&tasks[0], make::LONG).await;
    assert_eq!(renew(fixture, &tasks[0], &second, tokens(5)).await, Renewed::Held);
    assert_eq!(fixture.run(&key).await.spent, tokens(12), "another attempt begins anew");
    settle(fixture, &tasks[0], &second, done(), tokens(6)).await;
    assert_eq!(fixture.run(&key).await.spent, tokens(13), "what is told at the end is all that it has spent");
    let other = fixture.lease(&tasks[1]).await;
    renew(fixture, &tasks[1], &other, tokens(2)).await;
    fixture.cancel(&key).await;
    let proof = StopProof { spent: tokens(3), ..make::proof() };
    fixture.release(&tasks[1], &other, Release::Stopped(proof)).await;
    assert_eq!(fixture.run(&key).await.spent, tokens(16));
}

pub async fn a_renewal_that_tells_too_much_is_answered_with_the_order(fixture: &Fixture) {
    let key = fixture.made(limited("r", 10)).await;
    let tasks = fixture.step(&key, 1, vec![make::task("1:a:0")]).await;
    let lease = fixture.lease(&tasks[0]).await;
    assert_eq!(renew(fixture, &tasks[0], &lease, tokens(10)).await, Renewed::Held);
    let Renewed::Stop(report) = renew(fixture, &tasks[0], &lease, tokens(11)).await else { panic!("it goes on") };
    assert_eq!((report.order.order.cause, report.leases), (Cause::Budget, 1));
    let proof = StopProof { spent: tokens(12), ..make::proof() };
    let released = fixture.release(&tasks[0], &lease, Release::Stopped(proof)).await;
    assert_eq!(released, Released::Accepted { run_ended: true });
    let run = fixture.run(&key).await;
    assert_eq!((run.status, run.spent), (RunStatus::Failed, tokens(12)));
}

pub async fn a_lease_says_whether_its_run_or_one_above_it_limits_the_cost(fixture: &Fixture) {
    let priced = Budget { cost: Cost::from_units(0.5), ..Budget::default() };
    for (id, budget, expected) in [("r", priced, true), ("s", Budget { tokens: Some(9), ..Budget::default() }, false)] {
        let key = fixture.made(NewRun { spec: RunSpec { budget, ..RunSpec::default() }, ..make::run(id) }).await;
        let (child, grandchild) = (format!("{id}-child"), format!("{id}-grandchild"));
        let tasks = fixture.step(&key, 1, vec![make::task("1:a:0"), make::child(&key, "1:b:0", &child, 1)]).await;
        assert_eq!(fixture.lease(&tasks[0]).await.limits_cost, expected, "{id}");
        let child = RunKey { id: make::run_id(&child), ..key.clone() };
        fixture.step(&child, 1, vec![make::child(&child, "1:c:0", &grandchild, 2)]).await;
        let grandchild = RunKey { id: make::run_id(&grandchild), ..key };
        let work = fixture.step(&grandchild, 1, vec![make::task("1:work:0")]).await;
        let claim = make::claim(&work[0]);
        for _ in 0..2 {
            let Claimed::Leased(lease) = fixture.claim(claim.clone()).await else { panic!("it is not leased") };
            assert_eq!(lease.limits_cost, expected, "{id}");
        }
    }
}

pub async fn what_a_child_spends_counts_for_those_above_it(fixture: &Fixture) {
    let key = fixture.made(limited("r", 10)).await;
    let tasks = vec![make::child(&key, "1:a:0", "c", 1), make::task("1:b:0")];
    fixture.step(&key, 1, tasks).await;
    let child = RunKey { id: RunId::new("c").unwrap(), ..key.clone() };
    let work = fixture.step(&child, 1, vec![make::task("1:work:0"), make::task("1:more:0")]).await;
    let (first, second) = (fixture.lease(&work[0]).await, fixture.lease(&work[1]).await);
    settle(fixture, &work[0], &first, done(), tokens(8)).await;
    assert_eq!((fixture.run(&child).await.spent, fixture.run(&key).await.spent), (tokens(8), tokens(8)));
    settle(fixture, &work[1], &second, done(), tokens(8)).await;
    let (parent, child) = (fixture.run(&key).await, fixture.run(&child).await);
    assert_eq!((parent.status, parent.spent), (RunStatus::Failed, tokens(16)));
    assert_eq!(parent.stop.unwrap().order.order.cause, Cause::Budget);
    assert_eq!(
        child.stop.unwrap().order.order.cause,
        Cause::Budget,
        "the order reaches the child, which has no budget"
    );
}

fn with_descendants(id: &str, most: u64) -> NewRun {
    let budget = Budget { descendants: Some(most), ..Budget::default() };
    NewRun { spec: RunSpec { budget, ..RunSpec::default() }, ..make::run(id) }
}

fn child_key(above: &RunKey, id: &str) -> RunKey {
    RunKey { id: make::run_id(id), ..above.clone() }
}

pub async fn child_runs_at_every_depth_count_for_the_root_which_is_stopped_before_there_are_too_many(
    fixture: &Fixture,
) {
    let root = fixture.made(with_descendants("root", 3)).await;
    fixture.step(&root, 1, vec![make::child(&root, "1:sub:0", "c", 1)]).await;
    let child = child_key(&root, "c");
    let two = vec![make::child(&child, "1:a:0", "g1", 2), make::child(&child, "1:b:0", "g2", 2)];
    fixture.step(&child, 1, two).await;
    assert_eq!((fixture.run(&root).await.descendants, fixture.run(&child).await.descendants), (3, 2));
    let grandchild = child_key(&root, "g1");
    let more = vec![make::child(&grandchild, "1:deep:0", "h1", 3), make::child(&grandchild, "1:deep:1", "h2", 3)];
    let plan = fixture.plan(&grandchild, Then::Step { step: Step::new(1), tasks: more, groups: Vec::new() }).await;
    for _ in 0..2 {
        assert_eq!(fixture.store().advance(plan.clone()).await.unwrap(), Advanced::Frozen);
    }
    for id in ["h1", "h2"] {
        assert!(fixture.store().run(&make::run_id(id)).await.unwrap().is_none(), "nothing of the step is made");
    }
    let run = fixture.run(&root).await;
    assert_eq!((run.status, run.descendants), (RunStatus::Failed, 3));
    let why = "its limit of 3 child runs at every depth (`limits.descendants`) is used up: it has had 3, and the next step \
               was to start 2 more";
    let failure = run.failure.unwrap();
    assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Exhausted, why));
    assert_eq!(failure.node.unwrap().as_str(), "sub", "the node of its own that they came by");
    let order = run.stop.unwrap().order.order;
    assert_eq!((order.cause, order.actor.as_str(), order.reason.as_deref()), (Cause::Budget, "node sub", Some(why)));
    for id in ["c", "g1", "g2"] {
        assert_eq!(fixture.status(&child_key(&root, id)).await, RunStatus::Failed, "{id}");
    }
}

pub async fn a_limit_of_descendants_holds_for_the_child_that_has_it_and_its_parent_goes_on(fixture: &Fixture) {
    let root = fixture.begin("root").await;
    let child = make::child_of(&root, "1:sub:0", with_descendants("c", 0), 1);
    let task = NewTask { fails_run: false, ..child };
    let tasks = fixture.step(&root, 1, vec![task, make::human("1:ask:0")]).await;
    let child = child_key(&root, "c");
    let step =
        Then::Step { step: Step::new(1), tasks: vec![make::child(&child, "1:deep:0", "g", 2)], groups: Vec::new() };
    assert_eq!(fixture.advance(&child, step).await, Advanced::Frozen);
    let run = fixture.run(&child).await;
    assert_eq!((run.status, run.descendants), (RunStatus::Failed, 0));
    assert_eq!(run.failure.unwrap().node.unwrap().as_str(), "deep");
    assert!(matches!(fixture.outcome(&tasks[0]).await, Outcome::ChildEnded { status: RunStatus::Failed, .. }));
    let run = fixture.run(&root).await;
    assert_eq!((run.status, run.descendants), (RunStatus::Running, 1));
}

pub async fn a_run_whose_graph_says_nothing_has_room_for_a_thousand_descendants(fixture: &Fixture) {
    let root = fixture.begin("root").await;
    let child = |n: u64| make::child(&root, &format!("1:sub:{n}"), &format!("c{n}"), 1);
    let tasks = (0..=DESCENDANTS).map(child).collect();
    let step = Then::Step { step: Step::new(1), tasks, groups: Vec::new() };
    assert_eq!(fixture.advance(&root, step).await, Advanced::Frozen);
    let run = fixture.run(&root).await;
    assert_eq!((run.status, run.descendants, run.step), (RunStatus::Failed, 0, Step::new(0)));
    assert!(fixture.store().run(&make::run_id("c0")).await.unwrap().is_none());
    let message = run.failure.unwrap().message;
    assert!(message.contains("limit of 1000 child runs") && message.contains("to start 1001 more"), "{message}");
}
