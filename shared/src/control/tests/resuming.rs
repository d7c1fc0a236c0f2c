//! Answering interrupted runs, and going on from checkpoints.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::fleet::{Fleet, approval, id, looping, order, review, survey, values};
use crate::control::cancel;
use crate::control::{self, Answers, Error, ErrorKind, ResumedAs, Resumption};
use crate::id::Step;
use crate::run::RunStatus;
use crate::store::Start;

fn wish(run: &str) -> Resumption {
    Resumption::new(id(run), "ann@host")
}

fn by_name(answers: &[(&str, Value)]) -> Answers {
    let named = answers.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    Answers::ByName(named.collect::<BTreeMap<_, _>>())
}

async fn refusal(fleet: &Fleet, wish: Resumption) -> Error {
    control::resume(fleet.store.as_ref(), wish).await.unwrap_err()
}

#[tokio::test]
async fn the_answer_of_a_human_is_written_to_the_channel_of_the_node() {
    let fleet = Fleet::new();
    fleet.submit(approval(), "a").await;
    fleet.plan().await;
    assert_eq!(fleet.run("a").await.status, RunStatus::Interrupted);
    let answers = Answers::One(json!({"ok": true}));
    let resumed = control::resume(fleet.store.as_ref(), Resumption { answers, ..wish("a") }).await.unwrap();
    assert_eq!(resumed, ResumedAs::Itself { run: id("a") });
    fleet.plan().await;
    assert_eq!(fleet.run("a").await.status, RunStatus::Succeeded);
    let state = control::state(fleet.store.as_ref(), &id("a"), None).await.unwrap();
    assert_eq!(state.values, values(json!({"verdict": {"ok": true}})));
}

#[tokio::test]
async fn several_nodes_are_answered_by_their_names() {
    let fleet = Fleet::new();
    fleet.submit(review(), "a").await;
    fleet.plan().await;
    let answers = by_name(&[("legal", json!("fine")), ("tone", json!({"tone": "harsh", "notes": 2}))]);
    control::resume(fleet.store.as_ref(), Resumption { answers, ..wish("a") }).await.unwrap();
    fleet.plan().await;
    let state = control::state(fleet.store.as_ref(), &id("a"), None).await.unwrap();
    assert_eq!(state.values, values(json!({"legal": "fine", "tone": "harsh", "notes": 2})));
}

#[tokio::test]
async fn answers_that_do_not_fit_are_refused_and_the_run_goes_on_waiting() {
    let fleet = Fleet::new();
    fleet.submit(review(), "a").await;
    fleet.plan().await;
    for (answers, told) in [
        (Answers::None, "`legal`, `tone`"),
        (Answers::One(json!(1)), "2 answers"),
        (by_name(&[("legal", json!(1)), ("tnoe", json!({}))]), "`tnoe`"),
        (by_name(&[("legal", json!(1)), ("tone", json!("harsh"))]), "object of values by channel"),
        (by_name(&[("legal", json!(1)), ("tone", json!({"nots": 1}))]), "`nots`"),
    ] {
        let refused = refusal(&fleet, Resumption { answers, ..wish("a") }).await;
        assert!(refused.to_string().contains(told) && refused.kind() == ErrorKind::Usage, "{refused}");
    }
    let refused = refusal(&fleet, Resumption { from: Some(Step::new(0)), ..wish("a") }).await;
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
    assert_eq!(fleet.run("a").await.status, RunStatus::Interrupted);
}

#[tokio::test]
async fn questions_are_answered_one_by_one_in_any_order() {
    let fleet = Fleet::new();
    fleet.submit(review(), "a").await;
    fleet.plan().await;
    let first = Resumption { answers: by_name(&[("tone", json!({"tone": "harsh"}))]), ..wish("a") };
    let resumed = control::resume(fleet.store.as_ref(), first.clone()).await.unwrap();
    assert_eq!(resumed, ResumedAs::Waiting { run: id("a"), open: vec!["legal".to_owned()] });
    assert_eq!(fleet.run("a").await.status, RunStatus::Interrupted);
    let again = refusal(&fleet, first).await;
    assert!(again.to_string().contains("`tone`") && again.remedy().unwrap().contains("`legal`"), "{again}");
    let last = Resumption { answers: Answers::One(json!("fine")), ..wish("a") };
    assert_eq!(control::resume(fleet.store.as_ref(), last).await.unwrap(), ResumedAs::Itself { run: id("a") });
    fleet.plan().await;
    let state = control::state(fleet.store.as_ref(), &id("a"), None).await.unwrap();
    assert_eq!(state.values, values(json!({"legal": "fine", "tone": "harsh"})));
}

#[tokio::test]
async fn each_item_of_a_fan_out_asks_its_own_question() {
    let fleet = Fleet::new();
    fleet.submit(survey(), "a").await;
    fleet.plan().await;
    let described = control::describe(fleet.store.as_ref(), &id("a")).await.unwrap();
    let asked: Vec<_> =
        described.questions.iter().map(|question| (question.name.as_str(), question.id.to_string())).collect();
    let (zero, one, two) = ("1:ask:0".to_owned(), "1:ask:1".to_owned(), "1:ask:2".to_owned());
    assert_eq!(asked, [("ask[0]", zero), ("ask[1]", one), ("ask[2]", two)]);
    for (answers, told) in [
        (Answers::One(json!(["x", "y", "z"])), "3 answers: `ask[0]`, `ask[1]`, `ask[2]`"),
        (by_name(&[("ask", json!(["x", "y", "z"]))]), "3 answers: `ask[0]`, `ask[1]`, `ask[2]`"),
        (by_name(&[("ask[1]", json!("x")), ("1:ask:1", json!("y"))]), "`ask[1]` of run `a` was given two answers"),
        (by_name(&[("ask[3]", json!("x"))]), "`ask[3]`"),
        (by_name(&[("2:ask:0", json!("x"))]), "`2:ask:0`"),
    ] {
        let refused = refusal(&fleet, Resumption { answers, ..wish("a") }).await;
        assert!(refused.to_string().contains(told) && refused.kind() == ErrorKind::Usage, "{refused}");
    }
    let one = Resumption { answers: by_name(&[("1:ask:2", json!("z"))]), ..wish("a") };
    control::resume(fleet.store.as_ref(), one).await.unwrap();
    let rest = Resumption { answers: by_name(&[("ask[*]", json!("all")), ("ask[0]", json!("x"))]), ..wish("a") };
    assert_eq!(control::resume(fleet.store.as_ref(), rest).await.unwrap(), ResumedAs::Itself { run: id("a") });
    fleet.plan().await;
    let state = control::state(fleet.store.as_ref(), &id("a"), None).await.unwrap();
    assert_eq!(state.values, values(json!({"items": ["a", "b", "c"], "ans": ["x", "all", "z"]})));
}

#[tokio::test]
async fn a_run_that_has_ended_goes_on_from_any_checkpoint_as_a_run_that_knows_its_origin() {
    let fleet = Fleet::new();
    fleet.finished("a").await;
    let update = values(json!({"limit": 4}));
    let new = Resumption { from: Some(Step::new(1)), update: update.clone(), id: Some(id("b")), ..wish("a") };
    let resumed = control::resume(fleet.store.as_ref(), new).await.unwrap();
    assert_eq!(resumed.run(), &id("b"));
    let run = fleet.run("b").await;
    assert_eq!(run.spec.start, Start::From { run: id("a"), step: Step::new(1), update });
    assert_eq!(run.thread, fleet.run("a").await.thread);
    for round in 2..=4 {
        fleet.plan().await;
        fleet.work("b", json!({"count": 1, "log": [round]})).await;
    }
    fleet.plan().await;
    let state = control::state(fleet.store.as_ref(), &id("b"), None).await.unwrap();
    assert_eq!(state.values, values(json!({"count": 4, "limit": 4, "log": [1, 2, 3, 4]})));
    assert_eq!(fleet.run("b").await.status, RunStatus::Succeeded);
}

#[tokio::test]
async fn a_cancelled_run_goes_on_from_its_last_checkpoint() {
    let fleet = Fleet::new();
    fleet.submit(looping(), "a").await;
    fleet.plan().await;
    fleet.work("a", json!({"count": 1})).await;
    fleet.plan().await;
    cancel::one(fleet.store.as_ref(), &id("a"), &order()).await.unwrap();
    let resumed = control::resume(fleet.store.as_ref(), wish("a")).await.unwrap();
    assert!(matches!(resumed, ResumedAs::New { step, .. } if step == Step::new(1)), "{resumed:?}");
    fleet.plan().await;
    let state = control::state(fleet.store.as_ref(), resumed.run(), None).await.unwrap();
    assert_eq!(state.values[&super::fleet::channel("count")], json!(1));
}

#[tokio::test]
async fn what_cannot_go_on_says_why() {
    let fleet = Fleet::new();
    fleet.submit(looping(), "running").await;
    let refused = refusal(&fleet, wish("running")).await;
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");

    fleet.submit(looping(), "never").await;
    cancel::one(fleet.store.as_ref(), &id("never"), &order()).await.unwrap();
    let refused = refusal(&fleet, wish("never")).await;
    assert!(refused.remedy().unwrap().contains("submit its graph again"), "{refused}");

    fleet.plan().await;
    fleet.finished("done").await;
    for (wish, kind) in [
        (Resumption { answers: Answers::One(json!(1)), ..wish("done") }, ErrorKind::Conflict),
        (Resumption { from: Some(Step::new(7)), ..wish("done") }, ErrorKind::NotFound),
        (Resumption { update: values(json!({"limti": 1})), ..wish("done") }, ErrorKind::Usage),
        (Resumption { id: Some(id("running")), ..wish("done") }, ErrorKind::Conflict),
        (wish("nope"), ErrorKind::NotFound),
    ] {
        let refused = refusal(&fleet, wish).await;
        assert_eq!(refused.kind(), kind, "{refused}");
    }
}
