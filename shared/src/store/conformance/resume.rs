//! Cases of `resume`: a human's answers, and pauses between steps.
#![expect(missing_docs, reason = "the name of a case says what it shows")]

use super::fixture::Fixture;
use super::make;
use crate::id::{Nonce, RunKey, Step, TaskKey};
use crate::outcome::Outcome;
use crate::plan::Then;
use crate::run::RunStatus;
use crate::store::{Advanced, Resume, Resumed, Signal};
use crate::task::TaskState;

fn answers(run: &RunKey, answers: &[(&TaskKey, Outcome)]) -> Resume {
    Resume {
        run: run.clone(),
        nonce: Nonce::fresh(),
        answers: answers.iter().map(|(task, outcome)| (task.task.clone(), outcome.clone())).collect(),
        actor: "ann@host".to_owned(),
        reason: Some("it is fine".to_owned()),
    }
}

async fn resume(fixture: &Fixture, resume: Resume) -> Resumed {
    fixture.store().resume(resume).await.unwrap()
}

/// A run that waits for two humans.
async fn interrupted(fixture: &Fixture) -> (RunKey, Vec<TaskKey>) {
    let tasks = vec![make::human("1:ask:0"), make::human("1:ask:1"), make::task("1:work:0")];
    let (key, tasks) = fixture.dispatched("r", tasks).await;
    fixture.done(&tasks[2]).await;
    assert!(fixture.is_ready(&key).await);
    assert_eq!(fixture.advance(&key, Then::Pause { step: Step::new(1) }).await, Advanced::Ok);
    (key, tasks)
}

pub async fn answers_settle_their_tasks_and_the_run_goes_on(fixture: &Fixture) {
    let (key, tasks) = interrupted(fixture).await;
    let revision = fixture.run(&key).await.revision;
    let mut signals = fixture.store().signals();
    let yes = Outcome::wrote(make::values(&[("x", true.into())]));
    let answer = answers(&key, &[(&tasks[0], yes.clone()), (&tasks[1], make::failed())]);
    assert_eq!(resume(fixture, answer.clone()).await, Resumed::Ok);
    while signals.recv().await.unwrap() != Signal::Ready(key.partition) {}
    let run = fixture.run(&key).await;
    assert_eq!((run.status, run.revision, run.open_tasks), (RunStatus::Running, revision.next(), 0));
    assert_eq!(run.stop, None, "a bad answer is for the plan, since nothing else is open");
    let ready = fixture.take_ready(&key).await;
    assert!(!ready[0].resumed);
    let outcomes: Vec<_> = ready[0].tasks.iter().map(|task| task.outcome.clone().unwrap()).collect();
    assert_eq!(outcomes, [yes, make::failed(), make::success()]);
    assert!(ready[0].tasks.iter().all(|task| task.settled_at.is_some()));
}

pub async fn the_same_answer_twice_is_taken_once(fixture: &Fixture) {
    let (key, tasks) = interrupted(fixture).await;
    let answer = answers(&key, &[(&tasks[0], make::success()), (&tasks[1], make::success())]);
    assert_eq!(resume(fixture, answer.clone()).await, Resumed::Ok);
    let revision = fixture.run(&key).await.revision;
    assert_eq!(resume(fixture, answer).await, Resumed::Ok);
    assert_eq!(fixture.run(&key).await.revision, revision);
    assert_eq!(fixture.audited(&key.id).await, [("resume".to_owned(), "ok".to_owned())]);
}

pub async fn a_pause_between_steps_goes_on_without_answers(fixture: &Fixture) {
    let key = fixture.begin("r").await;
    fixture.advance(&key, Then::Pause { step: Step::new(1) }).await;
    assert_eq!(resume(fixture, answers(&key, &[])).await, Resumed::Ok);
    let ready = fixture.take_ready(&key).await;
    assert_eq!((ready[0].resumed, ready[0].run.status), (true, RunStatus::Running));
    fixture.step(&key, 1, vec![make::settled("1:a:0", make::success())]).await;
    assert!(!fixture.take_ready(&key).await[0].resumed, "only until the next advance");
}

pub async fn questions_are_answered_one_by_one_and_the_run_goes_on_when_none_is_open(fixture: &Fixture) {
    let (key, tasks) = interrupted(fixture).await;
    let before = fixture.run(&key).await;
    let first = answers(&key, &[(&tasks[1], make::failed())]);
    assert_eq!(resume(fixture, first.clone()).await, Resumed::StillOpen(1));
    assert_eq!(resume(fixture, first).await, Resumed::StillOpen(1), "the same call again");
    assert_eq!(fixture.run(&key).await, before, "it waits on, and nothing follows from a bad answer before the plan");
    assert!(!fixture.is_ready(&key).await);
    assert_eq!(fixture.task(&tasks[1]).await.outcome, Some(make::failed()));
    assert_eq!(fixture.task(&tasks[0]).await.state, TaskState::Human);
    let again = answers(&key, &[(&tasks[1], make::success())]);
    assert_eq!(resume(fixture, again).await, Resumed::UnknownTask, "it is answered already");
    assert_eq!(resume(fixture, answers(&key, &[])).await, Resumed::MissingAnswer);
    let last = answers(&key, &[(&tasks[0], make::success())]);
    assert_eq!(resume(fixture, last.clone()).await, Resumed::Ok);
    assert_eq!(resume(fixture, last).await, Resumed::Ok, "the same call again");
    let run = fixture.run(&key).await;
    assert_eq!((run.status, run.revision), (RunStatus::Running, before.revision.next()));
    let outcomes: Vec<_> = fixture.take_ready(&key).await[0].tasks.iter().map(|task| task.outcome.clone()).collect();
    assert_eq!(outcomes, [make::success(), make::failed(), make::success()].map(Some));
    let results: Vec<_> = fixture.audited(&key.id).await.into_iter().map(|(_, result)| result).collect();
    assert_eq!(results, ["ok", "unknown_task", "missing_answer", "ok"]);
}

pub async fn what_does_not_fit_is_refused_and_changes_nothing(fixture: &Fixture) {
    let (key, tasks) = interrupted(fixture).await;
    let before = fixture.run(&key).await;
    assert_eq!(resume(fixture, answers(&key, &[])).await, Resumed::MissingAnswer);
    let both = [(&tasks[0], make::success()), (&tasks[1], make::success())];
    let unknown = answers(&key, &[both[0].clone(), both[1].clone(), (&tasks[2], make::success())]);
    assert_eq!(resume(fixture, unknown).await, Resumed::UnknownTask, "that one is done already");
    let nobody = RunKey { id: make::run_id("none"), ..key.clone() };
    assert_eq!(resume(fixture, answers(&nobody, &both)).await, Resumed::NotFound);
    assert_eq!(fixture.run(&key).await, before);
    assert_eq!(fixture.task(&tasks[0]).await.state, TaskState::Human);
    let results: Vec<_> = fixture.audited(&key.id).await.into_iter().map(|(_, result)| result).collect();
    assert_eq!(results, ["missing_answer", "unknown_task"]);
    assert_eq!(fixture.audited(&nobody.id).await, [("resume".to_owned(), "not_found".to_owned())]);
}

pub async fn a_run_that_is_not_interrupted_says_where_it_stands(fixture: &Fixture) {
    let key = fixture.begin("r").await;
    assert_eq!(resume(fixture, answers(&key, &[])).await, Resumed::NotInterrupted(RunStatus::Queued));
    fixture.succeed(&key).await;
    assert_eq!(resume(fixture, answers(&key, &[])).await, Resumed::NotInterrupted(RunStatus::Succeeded));
    let entries = fixture.audit(&key.id).await;
    assert_eq!(entries[0].result, "not_interrupted");
    assert_eq!((entries[0].actor.as_str(), entries[0].reason.as_deref()), ("ann@host", Some("it is fine")));
}
