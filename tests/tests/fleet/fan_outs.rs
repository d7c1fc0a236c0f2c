//! Fan-outs whose items are dealt with together, with real processes: turns, races, and a branch that is stopped by hand.

use std::time::Duration;

use coxswain_shared::control::{Submission, scope};
use coxswain_shared::graph::{Channel, FanOut, FanOutPolicy, Graph, Node, NodeBuilder};
use coxswain_shared::id::RunId;
use coxswain_shared::run::RunStatus;
use coxswain_shared::stop::{Cause, NewOrder};
use coxswain_shared::store::StopTasks;
use coxswain_tests::fleet::{ACTOR, Effect, Fleet, SOON, builder};
use serde_json::json;

use crate::rig::{self, TICKING, is_alive, meanwhile};

/// `work` for each of so many items.
fn each(items: usize, work: NodeBuilder, fan_out: FanOut) -> Submission {
    let graph: Graph = builder("each")
        .channel("items", Channel::last())
        .node("work", work)
        .for_each_with("START", "work", "items", fan_out)
        .edge("work", "END")
        .build()
        .unwrap();
    let items: Vec<usize> = (0..items).collect();
    let input = [("items".parse().unwrap(), json!(items))].into_iter().collect();
    Submission { input, ..Submission::new(graph, ACTOR) }
}

/// The most items that were between `start` and `done` at one time.
fn most_at_once(effects: &[Effect]) -> usize {
    let mut moves: Vec<_> = effects.iter().filter(|effect| effect.word == "start" || effect.word == "done").collect();
    // What ends and begins in one millisecond does not overlap.
    moves.sort_by_key(|effect| (effect.at, effect.word == "start"));
    let mut now = 0_usize;
    let counts = moves.iter().map(|effect| {
        now = if effect.word == "start" { now + 1 } else { now.saturating_sub(1) };
        now
    });
    counts.max().unwrap_or(0)
}

#[tokio::test]
async fn items_take_turns_and_no_more_run_at_once_than_may() {
    let fleet = Fleet::start(2, 2).await;
    let fan_out = FanOut { concurrency: Some(3), ..FanOut::default() };
    let begun = rig::now();
    let run = fleet.submit_as(each(15, fleet.script("note start; sleep 0.1; finish"), fan_out)).await;
    fleet.succeeded(&run, SOON).await;
    rig::tell(format_args!("15 items of 0.1 s, 3 at once: {:?}", rig::now().since(begun)));
    let effects = fleet.effects(&run);
    assert_eq!(effects.iter().filter(|effect| effect.word == "done").count(), 15);
    let most = most_at_once(&effects);
    assert!((2..=3).contains(&most), "{most} at once");
    fleet.verdict(&[run]).await;
}

#[tokio::test]
async fn the_first_success_of_a_race_stops_the_losers_processes() {
    let fleet = Fleet::start(1, 2).await;
    let fan_out = FanOut { policy: FanOutPolicy::Race, concurrency: Some(3), ..FanOut::default() };
    let script = format!(r#"if [ "$COX_ITEM" = 1 ]; then sleep 0.6; finish; else {TICKING}; fi"#);
    let run = fleet.submit_as(each(5, fleet.script(&script), fan_out)).await;
    let ended = fleet.succeeded(&run, SOON).await;
    let effects = fleet.effects(&run);
    let losers: Vec<_> = effects.iter().filter(|effect| effect.word == "start").map(|effect| effect.pid).collect();
    assert_eq!(losers.len(), 2, "the others never had their turn: {effects:?}");
    assert!(losers.iter().all(|group| !is_alive(*group)), "a loser's process lives");
    let last = effects.iter().map(|effect| effect.at).max().unwrap();
    assert!(last <= ended.ended_at.unwrap(), "a loser did something after the end");
    assert_eq!(fleet.written_by(&run).await.len(), 1, "the winner alone has written");
    meanwhile(&fleet).await;
    assert_eq!(fleet.effects(&run).len(), effects.len());
    fleet.verdict(&[run]).await;
}

#[tokio::test]
async fn a_branch_that_is_stopped_by_hand_ends_its_process_and_the_others_go_on() {
    let fleet = Fleet::start(1, 1).await;
    let script = format!(r#"if [ "$COX_ITEM" = 0 ]; then {TICKING}; else sleep 1; finish; fi"#);
    let script = fleet.script(&script).or_continue([("done", serde_json::Value::Array(Vec::new()))]);
    let run = fleet.submit_as(each(2, script, FanOut::default())).await;
    let group = fleet.noted(&run, "tick", 2, SOON).await[0].pid;
    let halted = scope::tasks(fleet.store.as_ref(), &stop(&run), Some(SOON)).await.unwrap();
    assert_eq!((halted.stopping, halted.stopped, halted.confirmed), (1, 1, 1), "{halted:?}");
    assert!(!is_alive(group), "the stop is confirmed, and the process lives");
    rig::tell(format_args!("order → branch stopped, confirmed: {:?}", halted.took));
    assert_eq!(fleet.run(&run).await.status, RunStatus::Running);
    let ticks = fleet.effects(&run).iter().filter(|effect| effect.word == "tick").count();
    fleet.succeeded(&run, SOON).await;
    let after = fleet.effects(&run).iter().filter(|effect| effect.word == "tick").count();
    assert_eq!(ticks, after, "it ticked on");
    fleet.verdict(&[run]).await;
}

fn stop(run: &RunId) -> StopTasks {
    let reason = Some("a test".to_owned());
    let order = NewOrder { cause: Cause::Cancelled, reason, actor: ACTOR.to_owned(), grace: None, force: false };
    let node = "work".parse().unwrap();
    StopTasks { run: run.clone(), node, items: vec![0], skip: false, order }
}

/// The time that a fan-out may take longer than the turns of its items need: a second for the machine.
const SLACK: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_turn_is_given_at_once_and_not_at_the_next_sweep() {
    let fleet = Fleet::start(1, 1).await;
    let fan_out = FanOut { concurrency: Some(1), ..FanOut::default() };
    let run = fleet.submit_as(each(20, fleet.script("note start; finish"), fan_out)).await;
    fleet.succeeded(&run, SOON).await;
    let mut effects = fleet.effects(&run);
    effects.sort_by_key(|effect| effect.at);
    let done: Vec<_> = effects.iter().filter(|effect| effect.word == "done").map(|effect| effect.at).collect();
    let starts: Vec<_> = effects.iter().filter(|effect| effect.word == "start").map(|effect| effect.at).collect();
    let mut gaps: Vec<_> = done.iter().zip(&starts[1..]).map(|(done, start)| start.since(*done)).collect();
    gaps.sort();
    rig::tell(format_args!("one item's end → the next one's start: median {:?}, most {:?}", gaps[9], gaps[18]));
    assert!(gaps[9] < SLACK / 2, "{gaps:?}");
    fleet.verdict(&[run]).await;
}

/// The child runs of a run's node `work`, as far as they were made.
async fn children(fleet: &Fleet, run: &RunId, items: usize) -> Vec<RunId> {
    let mut made = Vec::new();
    for item in 0..items {
        let child = RunId::new(format!("{run}.1.work.{item}")).unwrap();
        made.extend(fleet.store.run(&child).await.unwrap().map(|_| child));
    }
    made
}

/// A child graph whose one node runs this script; nothing of it is written to its parent.
fn child(fleet: &Fleet, script: &str) -> NodeBuilder {
    let graph = builder("child").node("inner", fleet.script(script)).edge("START", "inner").edge("inner", "END");
    Node::graph(graph.build().unwrap()).output(std::collections::BTreeMap::<String, String>::new())
}

#[tokio::test]
async fn child_runs_take_turns_and_one_whose_turn_never_comes_is_never_made() {
    let fleet = Fleet::start(2, 2).await;
    let fan_out = FanOut { concurrency: Some(2), ..FanOut::default() };
    let run = fleet.submit_as(each(7, child(&fleet, "note start; sleep 0.2; finish"), fan_out.clone())).await;
    fleet.succeeded(&run, SOON).await;
    let made = children(&fleet, &run, 7).await;
    let effects: Vec<_> = made.iter().flat_map(|child| fleet.effects(child)).collect();
    assert_eq!(effects.iter().filter(|effect| effect.word == "done").count(), 7);
    let most = most_at_once(&effects);
    assert!(most <= 2, "{most} at once");
    fleet.verdict(&made).await;

    let race = FanOut { policy: FanOutPolicy::Race, ..fan_out };
    // The script of a child knows its run by its name, which ends with the number of its item.
    let script = format!(r#"case "$COX_RUN" in *.0) sleep 0.6; finish;; *) {TICKING};; esac"#);
    let run = fleet.submit_as(each(5, child(&fleet, &script), race)).await;
    let ended = fleet.succeeded(&run, SOON).await;
    let made = children(&fleet, &run, 5).await;
    assert_eq!(made.len(), 2, "the others are not needed, and were never made: {made:?}");
    let loser = fleet.ended(&made[1], SOON).await;
    assert!(loser.status == RunStatus::Cancelled && loser.stop.as_ref().unwrap().is_confirmed(), "{loser:?}");
    let ticked = fleet.effects(&made[1]);
    assert!(ticked.iter().all(|effect| !is_alive(effect.pid) && effect.at <= ended.ended_at.unwrap()), "{ticked:?}");
    fleet.verdict(&made).await;
    fleet.verdict(&[run]).await;
}

#[tokio::test]
async fn a_cancel_stops_the_child_runs_that_are_there_and_makes_none_of_those_that_wait() {
    let fleet = Fleet::start(1, 1).await;
    let fan_out = FanOut { concurrency: Some(2), ..FanOut::default() };
    let run = fleet.submit_as(each(6, child(&fleet, TICKING), fan_out)).await;
    let made = waited_for(&fleet, &run, 2).await;
    for child in &made {
        fleet.noted(child, "tick", 1, SOON).await;
    }
    fleet.cancel(&run).await;
    let ended = fleet.ended(&run, SOON).await;
    let report = ended.stop.unwrap();
    assert_eq!((ended.status, report.is_confirmed(), report.leases), (RunStatus::Cancelled, true, 2), "{report:?}");
    meanwhile(&fleet).await;
    assert_eq!(children(&fleet, &run, 6).await, made);
    fleet.verdict(&made).await;
    fleet.verdict(&[run]).await;
}

/// Waits until so many child runs were made.
async fn waited_for(fleet: &Fleet, run: &RunId, count: usize) -> Vec<RunId> {
    coxswain_tests::wait_for("child runs", SOON, async || {
        let made = children(fleet, run, 6).await;
        if made.len() == count { Ok(made) } else { Err(format!("{made:?}")) }
    })
    .await
}
