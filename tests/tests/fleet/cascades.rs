//! Stops that spread, and stops that nobody gave: child runs, siblings, loops, budgets, threads; and G12, the audit trail.

use std::time::Duration;

use coxswain_shared::control::{self, Answers, Error, ResumedAs, Resumption, Submission};
use coxswain_shared::graph::{Channel, Graph, Node};
use coxswain_shared::id::{Nonce, RunId, ThreadId};
use coxswain_shared::run::RunStatus;
use coxswain_shared::stop::Cause;
use coxswain_shared::store::{OnConflict, Resume, Resumed, Run, RunFilter, StopAnswer};
use coxswain_tests::fleet::{ACTOR, Fleet, SOON, builder};
use coxswain_tests::wait_for;
use serde_json::json;

use crate::rig::{self, TICKING, meanwhile};

fn cause(run: &Run) -> Option<Cause> {
    run.stop.as_ref().map(|report| report.order.order.cause)
}

fn one(name: &str, node: coxswain_shared::graph::NodeBuilder) -> Graph {
    builder(name).node("n", node).edge("START", "n").edge("n", "END").build().unwrap()
}

#[tokio::test]
async fn a_stop_order_reaches_child_runs_and_their_processes() {
    let fleet = Fleet::start(1, 2).await;
    let child = one("child", fleet.script(TICKING));
    let parent = fleet.submit(&one("parent", Node::graph(child))).await;
    let child = wait_for("the child run", SOON, async || {
        let filter = RunFilter { graph: Some("child".parse().unwrap()), ..RunFilter::default() };
        fleet.store.runs(&filter, None, 10).await.unwrap().rows.pop()
    })
    .await;
    let child = child.key.id;
    let group = fleet.noted(&child, "tick", 1, SOON).await[0].pid;
    fleet.cancel(&parent).await;
    for run in [&child, &parent] {
        let ended = fleet.ended(run, SOON).await;
        assert_eq!(ended.status, RunStatus::Cancelled, "{ended:?}");
    }
    rig::is_gone(group).await;
    meanwhile(&fleet).await;
    fleet.verdict(&[child, parent]).await;
}

#[tokio::test]
async fn a_failing_node_stops_the_process_of_its_sibling() {
    let fleet = Fleet::start(1, 2).await;
    let fail = fleet.script("until [ -e \"$EFFECTS.go\" ]; do sleep 0.05; done; note fail; exit 3");
    let graph = builder("siblings").node("fail", fail).node("tick", fleet.script(TICKING));
    let graph = graph.edge("START", "fail").edge("START", "tick").edge("fail", "END").edge("tick", "END");
    let run = fleet.submit(&graph.build().unwrap()).await;
    let group = fleet.noted(&run, "tick", 1, SOON).await[0].pid;
    fleet.open("go");
    let ended = fleet.ended(&run, SOON).await;
    assert_eq!((ended.status, cause(&ended)), (RunStatus::Failed, Some(Cause::SiblingFailed)), "{ended:?}");
    let failure = ended.failure.expect("a failed run says why").to_string();
    assert!(failure.contains("exited with code 3"), "{failure}");
    rig::is_gone(group).await;
    fleet.verdict(&[run]).await;
}

#[tokio::test]
async fn a_loop_without_end_and_a_spent_budget_fail_their_runs_and_say_so() {
    let fleet = Fleet::start(1, 1).await;
    let looping = || {
        let node = Node::set([("count", "1")]);
        builder("loop").channel("count", Channel::add(0)).node("n", node).edge("START", "n").edge("n", "n")
    };
    let stuck = builder("stuck").channel("x", Channel::last()).node("n", Node::set([("x", "1")])).max_repeats(4);
    let stuck = stuck.edge("START", "n").edge("n", "n");
    for (graph, expected) in
        [(looping().max_steps(7), Cause::Loop), (stuck, Cause::Loop), (looping().node_runs(5), Cause::Budget)]
    {
        let run = fleet.submit(&graph.build().unwrap()).await;
        let ended = fleet.ended(&run, SOON).await;
        assert_eq!((ended.status, cause(&ended)), (RunStatus::Failed, Some(expected)), "{ended:?}");
        fleet.verdict(&[run]).await;
    }
}

async fn on_thread(fleet: &Fleet, graph: &Graph, on_conflict: OnConflict) -> Result<RunId, Error> {
    let thread = Some(ThreadId::new("talk").unwrap());
    let submission = Submission { thread, on_conflict, ..Submission::new(graph.clone(), ACTOR) };
    Ok(control::submit(fleet.store.as_ref(), submission).await?.key.id)
}

#[tokio::test]
async fn a_run_in_flight_on_a_thread_is_waited_for_refused_or_superseded() {
    let fleet = Fleet::start(1, 2).await;
    let (long, short) = (fleet.chain([fleet.script(TICKING)]), fleet.chain([fleet.script("note start; finish")]));
    let first = on_thread(&fleet, &long, OnConflict::Reject).await.unwrap();
    let group = fleet.noted(&first, "tick", 1, SOON).await[0].pid;
    let refused = on_thread(&fleet, &short, OnConflict::Reject).await.unwrap_err();
    assert!(matches!(&refused, Error::ThreadBusy { active, .. } if *active == first), "{refused}");
    let waiting = on_thread(&fleet, &short, OnConflict::Enqueue).await.unwrap();
    meanwhile(&fleet).await;
    assert_eq!(fleet.run(&waiting).await.status, RunStatus::Queued);
    let last = on_thread(&fleet, &short, OnConflict::Interrupt).await.unwrap();
    for run in [&first, &waiting] {
        let ended = fleet.ended(run, SOON).await;
        assert_eq!((ended.status, cause(&ended)), (RunStatus::Cancelled, Some(Cause::Superseded)), "{ended:?}");
    }
    fleet.succeeded(&last, SOON).await;
    rig::is_gone(group).await;
    assert_eq!(fleet.effects(&waiting), []);
    fleet.verdict(&[first, waiting, last]).await;
}

/// The run in flight takes its time to stop; the one that took its place waits for it, and a third one waits behind.
#[tokio::test]
async fn a_rollback_takes_back_the_run_in_flight_and_starts_when_it_has_stopped() {
    const SLOW_TO_STOP: &str = "trap 'until [ -e \"$EFFECTS.go\" ]; do sleep 0.05; done; note gone; exit 1' TERM
        note start; while :; do sleep 0.05; done";
    let fleet = Fleet::start(1, 2).await;
    let short = fleet.chain([fleet.script("note start; finish")]);
    let slow = fleet.script(SLOW_TO_STOP).grace(Duration::from_mins(5));
    let long = fleet.chain([fleet.script("note first; finish"), slow]);
    let kept = on_thread(&fleet, &short, OnConflict::Reject).await.unwrap();
    fleet.succeeded(&kept, SOON).await;
    let taken_back = on_thread(&fleet, &long, OnConflict::Reject).await.unwrap();
    let group = fleet.noted(&taken_back, "start", 1, SOON).await[0].pid;
    assert_eq!(fleet.written_by(&taken_back).await, [kept.clone(), taken_back.clone()]);

    let in_its_place = on_thread(&fleet, &short, OnConflict::Rollback).await.unwrap();
    let behind = on_thread(&fleet, &short, OnConflict::Enqueue).await.unwrap();
    meanwhile(&fleet).await;
    assert_eq!(fleet.run(&taken_back).await.status, RunStatus::Stopping);
    for waiting in [&in_its_place, &behind] {
        assert_eq!((fleet.run(waiting).await.status, fleet.effects(waiting).len()), (RunStatus::Queued, 0));
    }
    fleet.open("go");
    let ended = fleet.ended(&taken_back, SOON).await;
    assert_eq!((ended.status, cause(&ended)), (RunStatus::Cancelled, Some(Cause::Superseded)), "{ended:?}");
    assert!(ended.stop.as_ref().is_some_and(coxswain_shared::stop::StopReport::is_confirmed), "{ended:?}");
    fleet.succeeded(&behind, SOON).await;
    let gone = fleet.noted(&taken_back, "gone", 1, SOON).await[0].at;
    let begun = fleet.noted(&in_its_place, "start", 1, SOON).await[0].at;
    assert!(begun >= gone, "it began at {begun}, before the one in flight was gone at {gone}");
    assert_eq!(fleet.written_by(&behind).await, [kept.clone(), in_its_place.clone(), behind.clone()]);
    rig::is_gone(group).await;
    fleet.verdict(&[kept, taken_back, in_its_place, behind]).await;
}

#[tokio::test]
async fn every_resume_is_in_the_audit_trail_with_actor_reason_and_result() {
    let fleet = Fleet::start(1, 1).await;
    let graph = builder("approval").channel("verdict", Channel::last());
    let graph = graph.node("ask", Node::interrupt("'May it?'").into("verdict")).node("n", fleet.script("finish"));
    let graph = graph.edge("START", "ask").edge("ask", "n").edge("n", "END").build().unwrap();
    let run = fleet.submit(&graph).await;
    wait_for("the run to wait for a human", SOON, async || {
        let run = fleet.run(&run).await;
        if run.status == RunStatus::Interrupted { Ok(()) } else { Err(format!("{run:?}")) }
    })
    .await;
    let wish = Resumption::new(run.clone(), "bob@test");
    let wish = Resumption { answers: Answers::One(json!("yes")), reason: Some("it may".to_owned()), ..wish };
    let resumed = control::resume(fleet.store.as_ref(), wish).await.unwrap();
    assert_eq!(resumed, ResumedAs::Itself { run: run.clone() });
    let key = fleet.succeeded(&run, SOON).await.key;
    let late = Resume {
        run: key,
        nonce: Nonce::fresh(),
        answers: [].into(),
        actor: "eve@test".to_owned(),
        reason: Some("me too".to_owned()),
    };
    assert_eq!(fleet.store.resume(late).await.unwrap(), Resumed::NotInterrupted(RunStatus::Succeeded));
    let trail = fleet.store.audit(Some(&run), None, 100).await.unwrap().rows;
    let entries = trail.iter().rev().filter(|entry| entry.action == "resume");
    let told: Vec<_> =
        entries.map(|entry| (entry.actor.as_str(), entry.reason.as_deref(), entry.result.as_str())).collect();
    let answered = "it may; answered ask = \"yes\"";
    let expected = [("bob@test", Some(answered), "ok"), ("eve@test", Some("me too"), "not_interrupted")];
    assert_eq!(told, expected, "{trail:?}");
    let wish = Resumption { reason: Some("once more".to_owned()), ..Resumption::new(run.clone(), "bob@test") };
    let resumed = control::resume(fleet.store.as_ref(), wish).await.unwrap();
    let trail = fleet.store.audit(Some(resumed.run()), None, 100).await.unwrap().rows;
    let [entry] = trail.as_slice() else { panic!("{trail:?}") };
    assert_eq!((entry.action.as_str(), entry.actor.as_str()), ("resume", "bob@test"));
    assert_eq!(entry.reason.as_deref(), Some("once more"));
    assert!(entry.result.starts_with(&format!("from run {run} step ")), "{entry:?}");
    fleet.succeeded(resumed.run(), SOON).await;
    fleet.verdict(&[run, resumed.run().clone()]).await;
}

#[tokio::test]
async fn every_stop_order_is_in_the_audit_trail_with_actor_reason_and_result() {
    let fleet = Fleet::start(1, 1).await;
    let run = fleet.submit(&fleet.chain([fleet.script(TICKING)])).await;
    fleet.noted(&run, "tick", 1, SOON).await;
    assert!(matches!(fleet.cancel(&run).await, StopAnswer::Accepted(_)));
    fleet.ended(&run, SOON).await;
    fleet.cancel(&run).await;
    let trail = fleet.store.audit(Some(&run), None, 100).await.unwrap().rows;
    let stops: Vec<_> = trail.iter().rev().filter(|entry| entry.action == "stop").collect();
    assert_eq!(stops.len(), 2, "{trail:?}");
    assert!(stops.iter().all(|entry| entry.actor == ACTOR && entry.reason.as_deref() == Some("a test")), "{trail:?}");
    assert_eq!(stops[0].result, "accepted", "{trail:?}");
    assert_ne!(stops[1].result, "accepted", "{trail:?}");
    fleet.verdict(&[run]).await;
}
