//! The verdict over runs that have ended: what must hold of each, whatever was done to the fleet meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use coxswain_shared::control;
use coxswain_shared::id::{RunId, Step, TaskId};
use coxswain_shared::store::Run;
use serde_json::Value;

use super::{Effect, Fleet, SOON};
use crate::wait_for;

/// Two clocks that are read to the millisecond, on one machine: each cuts off up to one.
const CLOCK_ROUNDING: Duration = Duration::from_millis(2);

/// Checkpoints that are looked at, of one run.
const HISTORY: usize = 10_000;

impl Fleet {
    /// Panics with all that is wrong: a task without exactly one outcome, an effect after a confirmed stop, a lease that
    /// is left, a write of an old fence, a message that is left.
    pub async fn verdict(&self, runs: &[RunId]) {
        let mut faults = Vec::new();
        for run in runs {
            self.judge(run, &mut faults).await;
        }
        assert!(faults.is_empty(), "{} faults:\n{}\n{}", faults.len(), faults.join("\n"), self.tails());
        wait_for("the queue to be drained", SOON, async || match self.backlog().await {
            0 => Ok(()),
            left => Err(format!("{left} messages\n{}", self.tails())),
        })
        .await;
    }

    async fn judge(&self, id: &RunId, faults: &mut Vec<String>) {
        let (run, checkpoints) =
            control::history(self.store.as_ref(), id, Step::new(0), HISTORY).await.expect("the run is there");
        if !run.status.is_final() {
            faults.push(format!("run {id} is {}", run.status));
        }
        if run.open_leases != 0 {
            faults.push(format!("run {id} has {} leases left", run.open_leases));
        }
        let mut outcomes: BTreeMap<TaskId, u32> = BTreeMap::new();
        for ran in checkpoints.iter().flat_map(|stored| &stored.checkpoint.ran) {
            *outcomes.entry(ran.task.clone()).or_default() += 1;
        }
        let doubled = outcomes.iter().filter(|(_, count)| **count != 1);
        faults.extend(doubled.map(|(task, count)| format!("task {task} of run {id} has {count} outcomes")));
        let effects = self.effects(id);
        judge_stop(&run, &effects, faults);
        if let Some(last) = checkpoints.last() {
            let values = self.store.values(&run.key, last.checkpoint.step).await.expect("the store answers");
            let done = values.and_then(|values| values.get("done").cloned()).unwrap_or_default();
            judge_fences(&run, &effects, &done, faults);
        }
    }
}

/// After a confirmed stop nothing happens.
fn judge_stop(run: &Run, effects: &[Effect], faults: &mut Vec<String>) {
    let Some(report) = run.stop.as_ref().filter(|report| report.is_confirmed()) else { return };
    let closed = report.closed_at.expect("a confirmed stop is closed").after(CLOCK_ROUNDING);
    let late = effects.iter().filter(|effect| effect.at > closed);
    faults.extend(late.map(|effect| format!("after the confirmed stop at {closed}: {effect:?}")));
}

/// What the state holds of a task was written once, under the highest fence that the task ever had. What earlier runs of
/// the thread have written is theirs to be judged by.
fn judge_fences(run: &Run, effects: &[Effect], done: &Value, faults: &mut Vec<String>) {
    let mut written: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let own = done.as_array().into_iter().flatten().filter(|entry| entry["run"] == run.key.id.as_str());
    for entry in own {
        let task = entry["task"].as_str().unwrap_or_default().to_owned();
        written.entry(task).or_default().push(entry["fence"].as_u64().unwrap_or_default());
    }
    for (task, fences) in written {
        let highest = effects.iter().filter(|effect| effect.task.to_string() == task).map(|effect| effect.fence).max();
        if fences.len() != 1 || Some(fences[0]) != highest {
            faults.push(format!(
                "task {task} of run {} was written under the fences {fences:?}; its highest was {highest:?}",
                run.key.id
            ));
        }
    }
}
