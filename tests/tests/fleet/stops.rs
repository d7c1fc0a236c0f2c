//! Stop orders: G1 and G2, with the push, without it, and before any worker has seen the run.

use std::time::Duration;

use coxswain_shared::id::RunId;
use coxswain_shared::run::RunStatus;
use coxswain_shared::store::{Run, StopAnswer};
use coxswain_tests::fleet::{Fleet, SOON};

use crate::rig::{self, TICKING, is_alive, meanwhile, within};

/// Cancels a run whose process ticks, and holds it to the stop: confirmed, process gone, silent, never started again.
async fn stops_for_good(fleet: &Fleet, run: &RunId) -> Run {
    let group = fleet.noted(run, "tick", 1, SOON).await[0].pid;
    let answer = fleet.cancel(run).await;
    assert!(matches!(answer, StopAnswer::Accepted(_)), "{answer:?}");
    let ended = fleet.ended(run, SOON).await;
    let report = ended.stop.clone().expect("a stopped run has a report");
    assert_eq!(ended.status, RunStatus::Cancelled);
    assert!(report.is_confirmed() && report.leases == 1 && report.released == 1, "{report:?}");
    assert!(!is_alive(group), "the stop is confirmed, and the process lives");
    meanwhile(fleet).await;
    let starts = fleet.effects(run).into_iter().filter(|effect| effect.word == "start").count();
    assert_eq!(starts, 1, "something was claimed after the stop");
    fleet.verdict(std::slice::from_ref(run)).await;
    ended
}

fn silence_of(fleet: &Fleet, run: &Run) -> Duration {
    let last = fleet.effects(&run.key.id).last().expect("it ticked").at;
    last.since(run.stop.as_ref().expect("it was stopped").order.at)
}

#[tokio::test]
async fn a_stop_order_ends_a_process_and_nothing_of_the_run_happens_afterwards() {
    let fleet = Fleet::start(1, 2).await;
    let run = fleet.submit(&fleet.chain([fleet.script(TICKING), fleet.script("note start; finish")])).await;
    let ended = stops_for_good(&fleet, &run).await;
    within("stop order → last effect", silence_of(&fleet, &ended), Duration::from_secs(2));
}

/// The worker's subscription is cut, and its user may do everything but subscribe: no push reaches it any more.
#[tokio::test]
async fn a_stop_order_whose_push_is_lost_is_carried_out_at_the_next_heartbeat() {
    let mut fleet = Fleet::start(1, 0).await;
    let deaf = rig::Deaf::prepare(&fleet).await;
    fleet.add_worker(&[("COX_STORE", deaf.url())]).await;
    deaf.deafen(&fleet).await;
    let run = fleet.submit(&fleet.chain([fleet.script(TICKING)])).await;
    let ended = stops_for_good(&fleet, &run).await;
    // A heartbeat or two, and a second for the machine.
    within("stop order → last effect, push lost", silence_of(&fleet, &ended), Duration::from_secs(3));
}

#[tokio::test]
async fn a_run_that_is_stopped_on_the_queue_is_never_claimed() {
    let mut fleet = Fleet::start(1, 0).await;
    let run = fleet.submit(&fleet.chain([fleet.script("note start; finish")])).await;
    coxswain_tests::wait_for("the task to be on the queue", SOON, async || fleet.backlog().await == 1).await;
    fleet.cancel(&run).await;
    let ended = fleet.ended(&run, SOON).await;
    assert_eq!(ended.status, RunStatus::Cancelled);
    fleet.add_worker(&[]).await;
    meanwhile(&fleet).await;
    assert_eq!(fleet.effects(&run), []);
    fleet.verdict(&[run]).await;
}

#[tokio::test]
async fn a_stop_order_that_comes_while_its_worker_is_hung_is_closed_unconfirmed() {
    let mut fleet = Fleet::start(1, 1).await;
    let run = fleet.submit(&fleet.chain([fleet.script("note start; sleep 1; finish")])).await;
    fleet.noted(&run, "start", 1, SOON).await;
    fleet.workers[0].kill(coxswain_tests::Signal::SIGSTOP);
    let ordered = rig::now();
    fleet.cancel(&run).await;
    let ended = fleet.ended(&run, SOON).await;
    let report = ended.stop.clone().expect("a stopped run has a report");
    assert_eq!(ended.status, RunStatus::Cancelled);
    assert!(!report.is_confirmed() && report.unconfirmed == 1, "{report:?}");
    within("stop order → closed, worker hung", rig::now().since(ordered), Duration::from_secs(20));
    fleet.workers[0].kill(coxswain_tests::Signal::SIGCONT);
    meanwhile(&fleet).await;
    assert_eq!(fleet.run(&run).await.status, RunStatus::Cancelled, "a write came after the end");
    fleet.verdict(&[run]).await;
}
