//! Stops that spread, and stops that nobody gave: child runs, siblings, loops, budgets, threads; and G12, the audit trail.

use coxswain_shared::control::{self, Error, Submission};
use coxswain_shared::graph::{Channel, Graph, Node};
use coxswain_shared::id::{RunId, ThreadId};
use coxswain_shared::run::RunStatus;
use coxswain_shared::stop::Cause;
use coxswain_shared::store::{OnConflict, Run, RunFilter, StopAnswer};
use coxswain_tests::fleet::{ACTOR, Fleet, SOON, builder};
use coxswain_tests::wait_for;

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
    for (graph, expected) in [(looping().max_steps(7), Cause::Loop), (looping().node_runs(5), Cause::Budget)] {
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
