//! More work than a fleet can do: what is refused, what is shed, and what goes on.

use coxswain_shared::control::{self, ErrorKind, Submission};
use coxswain_shared::graph::Graph;
use coxswain_shared::id::RunId;
use coxswain_shared::priority::Priority;
use coxswain_shared::run::RunStatus;
use coxswain_shared::stop::Cause;
use coxswain_tests::fleet::{ACTOR, Fleet, SOON};
use coxswain_tests::wait_for;

use crate::rig::tell;

/// Tasks that may wait.
const BOUND: usize = 10;

async fn try_to_submit(fleet: &Fleet, graph: &Graph, id: &str, priority: Priority) -> Result<RunId, control::Error> {
    let id = RunId::new(id).expect("the id of a test is a name");
    let submission = Submission { id: Some(id), priority, ..Submission::new(graph.clone(), ACTOR) };
    Ok(control::submit(fleet.store.as_ref(), submission).await?.key.id)
}

/// Submits low runs until one is refused; returns those that were not, and the id and the error of the one that was.
async fn submit_until_refused(fleet: &Fleet, graph: &Graph) -> (Vec<RunId>, RunId, control::Error) {
    let mut taken = Vec::new();
    loop {
        let id = format!("low-{}", taken.len());
        match try_to_submit(fleet, graph, &id, Priority::Low).await {
            Ok(run) => taken.push(run),
            Err(error) => return (taken, RunId::new(id).expect("a name"), error),
        }
        if taken.len() > BOUND {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn an_overload_refuses_and_sheds_what_can_wait_and_the_rest_runs_when_a_worker_comes() {
    let mut fleet = Fleet::start(0, 0).await;
    let bound = BOUND.to_string();
    let settings = [("COX_OVERLOAD_BACKLOG", bound.as_str()), ("COX_OVERLOAD_SHED_AFTER", "3s")];
    for _ in 0..2 {
        fleet.add_scheduler(&settings).await;
    }
    let graph = fleet.chain([fleet.script("note start; finish")]);
    let mut urgent = Vec::new();
    for n in 0..3 {
        urgent.push(try_to_submit(&fleet, &graph, &format!("high-{n}"), Priority::High).await.unwrap());
    }
    let (low, refused, error) = submit_until_refused(&fleet, &graph).await;
    let told = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Overloaded, "{told}");
    assert!(told.contains("pool `default` is overloaded since") && told.contains("more than 10"), "{told}");
    assert!(error.remedy().is_some_and(|remedy| remedy.contains("later")));
    assert_eq!(fleet.store.locate(&refused).await.unwrap(), None, "nothing was stored");
    urgent.push(try_to_submit(&fleet, &graph, "normal", Priority::Normal).await.expect("others are taken"));
    assert_eq!(try_to_submit(&fleet, &graph, "low-0", Priority::Low).await.unwrap(), low[0], "it is there already");

    let excess = low.len() + urgent.len() - BOUND;
    let (kept, shed) = low.split_at(low.len() - excess);
    for run in shed {
        let ended = fleet.ended(run, SOON).await;
        let order = ended.stop.expect("it was stopped").order.order;
        assert_eq!((ended.status, order.cause), (RunStatus::Cancelled, Cause::Overload));
        assert!(order.actor.starts_with("scheduler "), "{order:?}");
        assert!(order.reason.as_ref().is_some_and(|reason| reason.contains("pool default is overloaded")), "{order:?}");
    }
    tell(format_args!("{} low runs were taken, {excess} of them shed", low.len()));
    fleet.add_worker(&[]).await;
    for run in kept.iter().chain(&urgent) {
        fleet.succeeded(run, SOON).await;
    }
    assert!(shed.iter().all(|run| fleet.effects(run).is_empty()), "nothing of what was shed ran");
    let after = wait_for("low runs to be taken again", SOON, async || {
        try_to_submit(&fleet, &graph, "low-after", Priority::Low).await.map_err(|error| error.to_string())
    })
    .await;
    fleet.succeeded(&after, SOON).await;
    fleet.verdict(&[low, urgent, vec![after]].concat()).await;
}
