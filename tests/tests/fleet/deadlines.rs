//! Time limits of processes that do not care: G7, and what a deadline does to a run.

use std::time::Duration;

use coxswain_shared::control;
use coxswain_shared::graph::Retry;
use coxswain_shared::id::Step;
use coxswain_shared::outcome::OutcomeKind;
use coxswain_shared::run::RunStatus;
use coxswain_shared::stop::Cause;
use coxswain_tests::fleet::{Fleet, SOON, builder};

use crate::rig::{self, TICKING, within};

/// Beyond deadline and grace; the design says 100 ms, and a shared machine with processes as handlers needs more.
const LATE: Duration = Duration::from_secs(1);

const GRACE: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_run_past_its_deadline_is_timed_out_and_its_stubborn_process_is_killed() {
    let fleet = Fleet::start(1, 1).await;
    let stubborn = fleet.script(&format!("trap '' TERM; {TICKING}")).grace(GRACE);
    let graph = builder("late").run_timeout(Duration::from_secs(2)).node("n", stubborn);
    let run = fleet.submit(&graph.edge("START", "n").edge("n", "END").build().unwrap()).await;
    let group = fleet.noted(&run, "start", 1, SOON).await[0].pid;
    let ended = fleet.ended(&run, SOON).await;
    assert_eq!(ended.status, RunStatus::TimedOut, "{ended:?}");
    assert_eq!(ended.stop.as_ref().map(|report| report.order.order.cause), Some(Cause::Deadline));
    rig::is_gone(group).await;
    let last = fleet.effects(&run).last().expect("it ticked").at;
    let deadline = ended.deadline_at.expect("a run that started has a deadline");
    within("run deadline → last effect, SIGTERM ignored", last.since(deadline), GRACE + LATE);
    fleet.verdict(&[run]).await;
}

#[tokio::test]
async fn an_attempt_past_its_timeout_is_killed_and_tried_again() {
    const SCRIPT: &str = "note start
        if mkdir \"$EFFECTS.first\" 2>/dev/null; then trap '' TERM; while :; do note tick; sleep 0.05; done; fi
        finish";
    let fleet = Fleet::start(1, 1).await;
    let timeout = Duration::from_secs(1);
    let node = fleet.script(SCRIPT).attempt_timeout(timeout).grace(GRACE).retry(Retry::attempts(2));
    let run = fleet.submit(&fleet.chain([node])).await;
    let first = fleet.noted(&run, "start", 1, SOON).await[0].clone();
    fleet.succeeded(&run, SOON).await;
    rig::is_gone(first.pid).await;
    let ticks: Vec<_> = fleet.effects(&run).into_iter().filter(|effect| effect.word == "tick").collect();
    let lived = ticks.last().expect("it ticked").at.since(first.at);
    within("start → last effect, timeout 1 s, SIGTERM ignored", lived, timeout + GRACE + LATE);
    let (_, checkpoints) = control::history(fleet.store.as_ref(), &run, Step::new(0), 10).await.unwrap();
    let ran: Vec<_> = checkpoints.iter().flat_map(|stored| &stored.checkpoint.ran).collect();
    assert_eq!((ran.len(), ran[0].attempts, ran[0].outcome), (1, 2, OutcomeKind::Succeeded), "{ran:?}");
    fleet.verdict(&[run]).await;
}

#[tokio::test]
async fn a_task_that_no_worker_takes_in_time_fails_its_run() {
    let fleet = Fleet::start(1, 0).await;
    let node = fleet.script("note start; finish").queue_timeout(Duration::from_secs(1));
    let run = fleet.submit(&fleet.chain([node])).await;
    let ended = fleet.ended(&run, SOON).await;
    assert_eq!(ended.status, RunStatus::Failed, "{ended:?}");
    let failure = ended.failure.expect("a failed run says why").to_string();
    assert!(failure.contains("queue_timeout"), "{failure}");
}
