//! What is told of a task that is put off.

use std::time::Duration;

use super::fleet::{Fleet, id, looping};
use crate::control::{Follow, Progress, TaskChange};
use crate::outcome::{Failure, FailureKind};
use crate::store::{Settle, Verdict};

#[tokio::test]
async fn a_task_that_was_put_off_is_not_told_as_a_try_that_failed() {
    let fleet = Fleet::new();
    fleet.submit(looping(), "a").await;
    fleet.plan().await;
    let (task, fence) = fleet.claim("a").await;
    let failure = Failure::new(FailureKind::PutOff, "no place");
    let verdict = Verdict::PutOff { failure, after: Duration::from_mins(1) };
    fleet.store.settle(Settle { task, fence, verdict, spent: crate::spend::Spend::default() }).await.unwrap();
    let mut follow = Follow::new(fleet.store.clone(), id("a"));
    loop {
        if let Progress::Task { change, task } = follow.next().await.unwrap().expect("it goes on") {
            assert_eq!((change, task.attempts), (TaskChange::PutOff, 0));
            return;
        }
    }
}
