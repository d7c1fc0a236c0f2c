//! The size limits of the store's calls: pure checks that every adapter makes before it does anything.
//!
//! Absent: limits of what a graph may ask for (the graph's validation) and of messages (`wire`).

use serde::Serialize;

use super::{
    Advance, BreakerCall, Error, NewEvent, NewRun, PolicyChange, Release, Resume, Settle, Start, StopTasks,
    StoredGraph, Verdict,
};
use crate::limits::{
    EVENT_BYTES_MAX, FAN_OUT_MAX, GRAPH_BYTES_MAX, GROUPS_MAX, LABELS_MAX, OUTCOME_BYTES_MAX, PAGE_MAX,
    POLICY_BYTES_MAX, STATE_BYTES_MAX, TEXT_BYTES_MAX,
};
use crate::plan::Then;
use crate::stop::NewOrder;
use crate::task::Dispatch;

/// A limit of rows as it is carried out: at least 1, at most [`PAGE_MAX`].
pub fn page(limit: usize) -> usize {
    limit.clamp(1, PAGE_MAX)
}

/// Checks a graph.
pub fn graph(graph: &StoredGraph) -> Result<(), Error> {
    within("the graph", graph.json.len(), GRAPH_BYTES_MAX)
}

/// Checks a run to be made: its input, hand-set values, labels and actor.
pub fn new_run(run: &NewRun) -> Result<(), Error> {
    within("the run's input", json_bytes(&run.spec.input), STATE_BYTES_MAX)?;
    if let Start::From { update, .. } = &run.spec.start {
        within("the run's update of the state", json_bytes(update), STATE_BYTES_MAX)?;
    }
    within("the run's list of labels", run.spec.labels.len(), LABELS_MAX)?;
    for (name, value) in &run.spec.labels {
        within("the name of a label", name.len(), TEXT_BYTES_MAX)?;
        within("the value of a label", value.len(), TEXT_BYTES_MAX)?;
    }
    within("the run's actor", run.spec.actor.len(), TEXT_BYTES_MAX)?;
    within("the run's reason", run.spec.reason.as_ref().map_or(0, String::len), TEXT_BYTES_MAX)
}

/// Checks who orders a stop, and why.
pub fn order(order: &NewOrder) -> Result<(), Error> {
    within("the order's actor", order.actor.len(), TEXT_BYTES_MAX)?;
    within("the order's reason", order.reason.as_ref().map_or(0, String::len), TEXT_BYTES_MAX)
}

/// Checks an order to tasks.
pub fn stop_tasks(stop: &StopTasks) -> Result<(), Error> {
    within("the order's list of items", stop.items.len(), FAN_OUT_MAX)?;
    order(&stop.order)
}

/// Checks a change of the policies.
pub fn policy(change: &PolicyChange) -> Result<(), Error> {
    let bytes = change.policy.as_ref().map_or(0, json_bytes);
    within("the policy", bytes, POLICY_BYTES_MAX)?;
    within("the actor of the change", change.actor.len(), TEXT_BYTES_MAX)?;
    within("the reason of the change", change.reason.as_ref().map_or(0, String::len), TEXT_BYTES_MAX)
}

/// Checks what is told of an upstream.
pub fn breaker(call: &BreakerCall) -> Result<(), Error> {
    within("the last failure", call.last.as_ref().map_or(0, String::len), TEXT_BYTES_MAX)
}

/// Checks a change of a plan: the state, the number of tasks, what each is handed, and its child runs.
pub fn advance(advance: &Advance) -> Result<(), Error> {
    within("the state", json_bytes(&advance.changed), STATE_BYTES_MAX)?;
    let Then::Step { tasks, groups, .. } = &advance.then else { return Ok(()) };
    within("the step's list of tasks", tasks.len(), FAN_OUT_MAX)?;
    within("the step's list of groups", groups.len(), GROUPS_MAX)?;
    for task in tasks {
        within("the item of a task", task.item.as_ref().map_or(0, json_bytes), STATE_BYTES_MAX)?;
        match &task.dispatch {
            Dispatch::Child { run } | Dispatch::PendingChild { run } => new_run(run)?,
            Dispatch::Human { payload } => {
                within("what a human is shown", json_bytes(payload), OUTCOME_BYTES_MAX)?;
            }
            Dispatch::Settled { outcome } => {
                within("a task's outcome", json_bytes(outcome), OUTCOME_BYTES_MAX)?;
            }
            Dispatch::Queue { .. } | Dispatch::Pending { .. } | Dispatch::Wait { .. } => {}
        }
    }
    Ok(())
}

/// Checks what a worker says of an attempt that has ended.
pub fn settle(settle: &Settle) -> Result<(), Error> {
    match &settle.verdict {
        Verdict::Done(outcome) => within("the task's outcome", json_bytes(outcome), OUTCOME_BYTES_MAX),
        Verdict::Retry { failure, .. } | Verdict::PutOff { failure, .. } => {
            within("the task's failure", json_bytes(failure), OUTCOME_BYTES_MAX)
        }
    }
}

/// Checks what a stopped attempt had written.
pub fn release(release: &Release) -> Result<(), Error> {
    match release {
        Release::Stopped(proof) => {
            within("the partial result", proof.partial.as_ref().map_or(0, json_bytes), OUTCOME_BYTES_MAX)
        }
        Release::HandedBack(_) => Ok(()),
    }
}

/// Checks a human's answers.
pub fn resume(resume: &Resume) -> Result<(), Error> {
    for outcome in resume.answers.values() {
        within("an answer", json_bytes(outcome), OUTCOME_BYTES_MAX)?;
    }
    within("the actor", resume.actor.len(), TEXT_BYTES_MAX)?;
    within("the reason", resume.reason.as_ref().map_or(0, String::len), TEXT_BYTES_MAX)
}

/// Checks events.
pub fn events(events: &[NewEvent]) -> Result<(), Error> {
    for event in events {
        within("an event's kind", event.kind.len(), TEXT_BYTES_MAX)?;
        within("an event's value", json_bytes(&event.value), EVENT_BYTES_MAX)?;
    }
    Ok(())
}

fn within(what: &str, size: usize, max: usize) -> Result<(), Error> {
    if size > max {
        return Err(Error::TooLarge { what: what.to_owned(), size, max });
    }
    Ok(())
}

/// The length of a value as JSON, counted without keeping the text.
fn json_bytes<T: Serialize + ?Sized>(value: &T) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    serde_json::to_writer(&mut count, value).expect("values with text keys are always JSON, and counting never fails");
    count.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_measured_as_it_is_written() {
        let value = serde_json::json!({"a": [1, 2.5, "é\n"], "b": null});
        assert_eq!(json_bytes(&value), serde_json::to_string(&value).unwrap().len());
    }

    #[test]
    fn an_event_over_the_limit_is_refused_with_its_size() {
        let task = "1:work:0".parse().unwrap();
        let event = NewEvent { task, kind: "progress".into(), value: "x".repeat(EVENT_BYTES_MAX).into() };
        let refused = events(std::slice::from_ref(&event)).unwrap_err();
        assert!(matches!(refused, Error::TooLarge { size, max, .. } if size == max + 2), "{refused}");
    }
}
