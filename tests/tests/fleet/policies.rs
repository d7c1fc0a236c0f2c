//! The operators' policies on a whole fleet: budgets of a label over a window, and runs that wait for room.

use std::collections::BTreeMap;
use std::time::Duration;

use coxswain_shared::control::Submission;
use coxswain_shared::control::policies::{By, apply};
use coxswain_shared::policy;
use coxswain_shared::run::RunStatus;
use coxswain_shared::stop::Cause;
use coxswain_tests::fleet::{ACTOR, Fleet, SOON};

use crate::rig::tell;

async fn set(fleet: &Fleet, policies: &str) {
    let by = By { actor: ACTOR.to_owned(), reason: None };
    apply(fleet.store.as_ref(), policy::read(policies).unwrap(), true, &by).await.unwrap();
    // A change holds everywhere after a second.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
}

fn of_team(team: &str) -> BTreeMap<String, String> {
    [("team".to_owned(), team.to_owned())].into()
}

#[tokio::test]
async fn a_label_that_has_used_up_its_budget_stops_with_at_most_one_call_too_many_for_each_run() {
    let fleet = Fleet::start(2, 2).await;
    set(&fleet, "{dear: {per: {label: team}, window: 1h, limits: {tokens: 300}, then: stop}}").await;
    let call = r#"note call; echo '{"spend": {"output_tokens": 10}}'; sleep 0.02; finish"#;
    let graph = |nodes| fleet.chain((0..nodes).map(|_| fleet.script(call)));
    let (long, short) = (graph(40), graph(10));
    let mut search = Vec::new();
    for _ in 0..6 {
        let submission = Submission { labels: of_team("search"), ..Submission::new(long.clone(), ACTOR) };
        search.push(fleet.submit_as(submission).await);
    }
    let ads = fleet.submit_as(Submission { labels: of_team("ads"), ..Submission::new(short, ACTOR) }).await;
    let mut calls = 0;
    for run in &search {
        let ended = fleet.ended(run, SOON).await;
        let order = ended.stop.expect("it was stopped").order.order;
        assert_eq!(
            (ended.status, order.cause, order.actor.as_str()),
            (RunStatus::Failed, Cause::Budget, "policy dear")
        );
        calls += fleet.effects(run).iter().filter(|effect| effect.word == "call").count();
    }
    tell(format_args!("300 tokens at 10 a call, 6 runs: {calls} calls"));
    assert!((30..=36).contains(&calls), "{calls} calls where 30 were paid for and each of 6 runs may have one more");
    fleet.succeeded(&ads, SOON).await;
    let refused = Submission { labels: of_team("search"), ..Submission::new(long, ACTOR) };
    let refused = coxswain_shared::control::submit(fleet.store.as_ref(), refused).await.unwrap_err();
    assert!(refused.to_string().contains("policy `dear` allows 300 tokens in 1h for team=search"), "{refused}");
    search.push(ads);
    fleet.verdict(&search).await;
}

#[tokio::test]
async fn so_many_runs_start_in_a_window_and_the_others_wait_for_theirs() {
    let fleet = Fleet::start(2, 1).await;
    set(&fleet, "{calm: {window: 4s, limits: {runs: 2}, then: pause}}").await;
    let graph = fleet.chain([fleet.script("note start; finish")]);
    let mut runs = Vec::new();
    for _ in 0..6 {
        runs.push(fleet.submit(&graph).await);
    }
    let mut starts = Vec::new();
    for run in &runs {
        fleet.succeeded(run, SOON).await;
        starts.extend(fleet.effects(run).iter().filter(|effect| effect.word == "start").map(|effect| effect.at));
    }
    starts.sort_unstable();
    assert_eq!(starts.len(), 6);
    let spans: Vec<_> = starts.windows(3).map(|three| three[2].since(three[0])).collect();
    tell(format_args!("three starts of which two fit into 4 s are apart: {spans:?}"));
    // It takes a moment from the count to the start, and not always the same.
    assert!(spans.iter().all(|span| *span >= Duration::from_secs(2)), "{spans:?}");
    fleet.verdict(&runs).await;
}
