//! Leases that are claimed, renewed, stopped and lost.

use coxswain_shared::checkpoint::Values;
use coxswain_shared::id::{AttemptNumber, GraphHash, Partition, RunKey, ThreadId};
use coxswain_shared::stop::{Cause, NewOrder, StopOrder};
use coxswain_shared::store::conformance::make;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn task(run: &str) -> TaskKey {
    let run = RunKey { partition: Partition::new(0), id: RunId::new(run).unwrap() };
    TaskKey { run, task: "1:work:0".parse().unwrap() }
}

fn report() -> StopReport {
    let order = NewOrder { cause: Cause::Cancelled, reason: None, actor: "ann".into(), grace: None, force: false };
    let order = StopOrder { order, at: Timestamp::from_millis(0) };
    StopReport::new(order, 1)
}

/// When the runs of these tests were made.
const MADE_AT: Timestamp = Timestamp::from_millis(77);

fn lease(task: &TaskKey, fence: u64) -> Lease {
    let planned = make::task(&task.task.to_string());
    let at = Timestamp::from_millis(80);
    Lease {
        fence: Fence::new(fence),
        attempt: AttemptNumber::new(1),
        crashes: 0,
        task: planned,
        run_made_at: MADE_AT,
        graph_hash: GraphHash::new("00ff").unwrap(),
        thread: ThreadId::new("t").unwrap(),
        values: Values::new(),
        now: at,
        queued_at: at,
        task_deadline: at,
        run_deadline: at,
        taken_over: false,
        limits_cost: false,
    }
}

fn hold(leases: &Arc<Leases>, task: TaskKey, fence: u64, switch: &Switch) -> Hold {
    let lease = lease(&task, fence);
    leases.hold(&leases.begin_claim(task), &lease, switch.clone())
}

fn order(run: &str, tasks: Option<Vec<TaskId>>) -> Order {
    Order { run: RunId::new(run).unwrap(), made_at: MADE_AT, tasks, report: Box::new(report()) }
}

fn reason(switch: &Switch) -> Option<&'static str> {
    switch.notice().map(|notice| notice.reason.name())
}

#[tokio::test(start_paused = true)]
async fn a_stop_reaches_all_attempts_of_its_run_and_no_other() {
    let leases = Arc::new(Leases::default());
    let (mine, other) = (Switch::new(), Switch::new());
    let _a = hold(&leases, task("r1"), 1, &mine);
    let _b = hold(&leases, task("r2"), 1, &other);
    leases.carry_out(&order("r1", None));
    assert_eq!((reason(&mine), reason(&other)), (Some("stop_ordered"), None));
}

#[tokio::test(start_paused = true)]
async fn an_order_to_one_task_leaves_the_others_of_its_run_alone() {
    let leases = Arc::new(Leases::default());
    let other = |item| TaskKey { task: format!("1:work:{item}").parse().unwrap(), ..task("r1") };
    let (mine, sibling, later) = (Switch::new(), Switch::new(), Switch::new());
    let _a = hold(&leases, other(0), 1, &mine);
    let _b = hold(&leases, other(1), 2, &sibling);
    let claim = leases.begin_claim(other(2));
    leases.carry_out(&order("r1", Some(vec![other(0).task, other(2).task])));
    let _c = leases.hold(&claim, &lease(&other(2), 3), later.clone());
    assert_eq!((reason(&mine), reason(&sibling)), (Some("stop_ordered"), None));
    assert_eq!(reason(&later), Some("stop_ordered"), "its claim was under way");
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_was_pushed_while_a_claim_was_under_way_is_not_missed() {
    let leases = Arc::new(Leases::default());
    let claim = leases.begin_claim(task("r1"));
    leases.carry_out(&order("r1", None));
    let switch = Switch::new();
    let _hold = leases.hold(&claim, &lease(&task("r1"), 1), switch.clone());
    assert_eq!(reason(&switch), Some("stop_ordered"));
}

#[tokio::test(start_paused = true)]
async fn an_order_to_another_run_of_the_same_id_ends_nothing() {
    let leases = Arc::new(Leases::default());
    let (held, claimed) = (Switch::new(), Switch::new());
    let _a = hold(&leases, task("r1"), 1, &held);
    let claim = leases.begin_claim(task("r1"));
    leases.carry_out(&Order { made_at: Timestamp::from_millis(76), ..order("r1", None) });
    let _b = leases.hold(&claim, &lease(&task("r1"), 2), claimed.clone());
    assert_eq!((reason(&held), reason(&claimed)), (None, None));
}

#[tokio::test(start_paused = true)]
async fn an_order_is_forgotten_with_the_claim_that_it_came_in_between() {
    let leases = Arc::new(Leases::default());
    drop(leases.begin_claim(task("r1")));
    leases.carry_out(&order("r1", None));
    let claim = leases.begin_claim(task("r1"));
    leases.carry_out(&order("r1", None));
    drop(claim);
    let switch = Switch::new();
    let _hold = hold(&leases, task("r1"), 1, &switch);
    assert_eq!(reason(&switch), None, "the store has answered this claim after that order, or has lost it");
    assert!(leases.table().claims.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_lost_once_however_often_that_is_found() {
    let leases = Arc::new(Leases::default());
    let (hung, stopped) = (Switch::new(), Switch::new());
    let _a = hold(&leases, task("r1"), 1, &hung);
    let _b = hold(&leases, task("r2"), 1, &stopped);
    leases.carry_out(&order("r2", None));
    let sent = Instant::now();
    tokio::time::advance(5 * SECOND).await;
    assert_eq!(leases.expire(Instant::now(), 4 * SECOND).len(), 2);
    assert_eq!((reason(&hung), reason(&stopped)), (Some("lease_lost"), Some("lease_lost")));
    let beat = leases.renewals(5 * SECOND);
    assert_eq!(leases.answer(beat, vec![Renewed::Lost; 2], sent).lost, [], "its worker had noticed it before");
    assert_eq!(leases.expire(Instant::now(), 4 * SECOND), []);

    let lost = Switch::new();
    let _c = hold(&leases, task("r3"), 1, &lost);
    for expected in [1, 0] {
        let beat = leases.renewals(5 * SECOND);
        assert_eq!(leases.answer(beat, vec![Renewed::Lost; 3], sent).lost.len(), expected);
    }
    assert!(!lost.lose(), "the attempt's own end finds it too");
}

#[tokio::test(start_paused = true)]
async fn a_lease_whose_end_is_being_written_is_not_lost_by_the_heartbeat_that_crosses_it() {
    let leases = Arc::new(Leases::default());
    let (closing, running) = (Switch::new(), Switch::new());
    let held = hold(&leases, task("r1"), 1, &closing);
    let _other = hold(&leases, task("r2"), 1, &running);
    let beat = leases.renewals(SECOND);
    held.is_closing();
    let lost = leases.answer(beat, vec![Renewed::Lost; 2], Instant::now()).lost;
    assert_eq!(lost, [Lost { task: task("r2"), fence: Fence::new(1), cause: LossCause::Refused }]);
    assert_eq!((reason(&closing), reason(&running)), (None, Some("lease_lost")));
    tokio::time::advance(9 * SECOND).await;
    assert_eq!(leases.expire(Instant::now(), 9 * SECOND).len(), 1, "its end was not answered for too long");
}

#[tokio::test(start_paused = true)]
async fn an_order_that_a_heartbeat_brings_a_moment_before_its_push_is_pushed_all_the_same() {
    let leases = Arc::new(Leases::default());
    let _a = hold(&leases, task("r1"), 1, &Switch::new());
    let _b = hold(&leases, task("r2"), 1, &Switch::new());
    let stops = || vec![Renewed::Stop(Box::new(report())); 2];
    let beat = || drop(leases.answer(leases.renewals(SECOND), stops(), Instant::now()));
    beat();
    assert_eq!(leases.never_pushed(SECOND), 0, "the pushes may be on their way");
    leases.carry_out(&order("r1", None));
    tokio::time::advance(SECOND).await;
    beat();
    assert_eq!(leases.never_pushed(SECOND), 1, "that of the other run is lost");
    tokio::time::advance(SECOND).await;
    assert_eq!(leases.never_pushed(SECOND), 0);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_tells_what_was_spent_until_the_store_has_heard_it() {
    let leases = Arc::new(Leases::default());
    let hold = hold(&leases, task("r1"), 1, &Switch::new());
    let tokens = |input_tokens| Spend { input_tokens, ..Spend::default() };
    let spent = || leases.renewals(SECOND)[0].spent;
    assert_eq!(spent(), Spend::default());
    hold.meter().add(tokens(3));
    assert_eq!((spent(), spent()), (tokens(3), tokens(3)), "nobody has answered");
    leases.answer(leases.renewals(SECOND), vec![Renewed::Held], Instant::now());
    assert_eq!(spent(), Spend::default());
    hold.meter().add(tokens(2));
    assert_eq!(spent(), tokens(5), "all in all");
    leases.answer(leases.renewals(SECOND), vec![Renewed::Lost], Instant::now());
    assert_eq!(spent(), tokens(5));
}

#[tokio::test(start_paused = true)]
async fn heartbeats_renew_stop_and_lose_and_a_silent_store_loses_too() {
    let leases = Arc::new(Leases::default());
    let start = Instant::now();
    let switches: Vec<_> = (0..3).map(|_| Switch::new()).collect();
    let holds: Vec<_> =
        switches.iter().enumerate().map(|(n, switch)| hold(&leases, task(&format!("r{n}")), 1, switch)).collect();
    let mut renewals = leases.renewals(SECOND * 10);
    renewals.sort_by(|a, b| a.task.cmp(&b.task));
    let answers = vec![Renewed::Held, Renewed::Stop(Box::new(report())), Renewed::Lost];
    let tally = leases.answer(renewals, answers, start + SECOND);
    let refused = Lost { task: task("r2"), fence: Fence::new(1), cause: LossCause::Refused };
    assert_eq!(tally, Tally { lost: vec![refused] });
    let reasons: Vec<_> = switches.iter().map(reason).collect();
    assert_eq!(reasons, [None, Some("stop_ordered"), Some("lease_lost")]);

    assert_eq!(leases.expire(start + SECOND * 9, SECOND * 9), [], "both were renewed a second after the start");
    assert_eq!(leases.expire(start + SECOND * 10, SECOND * 9).len(), 2);
    assert_eq!(reason(&switches[0]), Some("lease_lost"));
    drop(holds);
    assert_eq!(leases.len(), 0);
}
