//! A call of the port with all its arguments, made alike on a store and on the model.

use std::time::Duration;

use super::plain::Plain;
use super::state::Model;
use crate::id::{Fence, Partition, RunId, RunKey, TaskKey};
use crate::stop::NewOrder;
use crate::store::{
    Advance, Advanced, Claim, Claimed, Created, Error, Held, NewEvent, NewRun, Ready, Release, Released, Renewal,
    Renewed, Resume, Resumed, Settle, Settled, Shed, StopAnswer, StopTasks, Store, SweepLimits, Swept, Taken,
    TasksStopped,
};

/// A call.
#[derive(Debug, Clone)]
pub(super) enum Call {
    Create(NewRun),
    Stop(RunId, NewOrder),
    StopTasks(StopTasks),
    Shed(RunKey, NewOrder),
    TakeReady(Partition, usize, Duration),
    HoldReady(Partition, Vec<Taken>, Duration, Held),
    Advance(Advance),
    Claim(Claim),
    Renew(Vec<Renewal>),
    Settle(Settle),
    Release(TaskKey, Fence, Release),
    MarkSent(Vec<TaskKey>, Duration),
    Sweep(Partition, SweepLimits),
    Resume(Resume),
    Emit(RunKey, Vec<NewEvent>),
}

/// What it was answered.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    Create(Created),
    Stop(StopAnswer),
    StopTasks(TasksStopped),
    Shed(Shed),
    TakeReady(Vec<Ready>),
    Advance(Advanced),
    Claim(Claimed),
    Renew(Vec<Renewed>),
    Settle(Settled),
    Release(Released),
    Done,
    Sweep(Swept),
    Resume(Resumed),
}

impl Call {
    /// Asks a store.
    pub(super) async fn ask(self, store: &dyn Store) -> Result<Answer, Error> {
        Ok(match self {
            Self::Create(new) => Answer::Create(store.create_run(new).await?),
            Self::Stop(run, order) => Answer::Stop(store.stop(&run, order).await?.plain()),
            Self::Shed(run, order) => Answer::Shed(store.shed(&run, order).await?),
            Self::StopTasks(stop) => Answer::StopTasks(store.stop_tasks(stop).await?),
            Self::TakeReady(partition, limit, hold) => {
                Answer::TakeReady(store.take_ready(partition, limit, hold).await?.plain())
            }
            Self::HoldReady(partition, runs, hold, state) => {
                store.hold_ready(partition, &runs, hold, state).await?;
                Answer::Done
            }
            Self::Advance(advance) => Answer::Advance(store.advance(advance).await?),
            Self::Claim(claim) => Answer::Claim(store.claim(claim).await?),
            Self::Renew(renewals) => Answer::Renew(store.renew(&renewals).await?.plain()),
            Self::Settle(settle) => Answer::Settle(store.settle(settle).await?),
            Self::Release(task, fence, release) => Answer::Release(store.release(&task, fence, release).await?),
            Self::MarkSent(tasks, after) => {
                store.mark_sent(&tasks, after).await?;
                Answer::Done
            }
            Self::Sweep(partition, limits) => {
                let mut swept = store.sweep(partition, limits).await?;
                swept.send.sort_by(|a, b| a.task.cmp(&b.task));
                swept.poisoned.sort();
                Answer::Sweep(swept)
            }
            Self::Resume(resume) => Answer::Resume(store.resume(resume).await?),
            Self::Emit(run, events) => {
                store.emit(&run, events).await?;
                Answer::Done
            }
        })
    }

    /// Asks the model.
    pub(super) fn expect(self, model: &mut Model) -> Answer {
        match self {
            Self::Create(new) => Answer::Create(model.create_run(new)),
            Self::Stop(run, order) => Answer::Stop(model.stop(&run, &order).plain()),
            Self::Shed(run, order) => Answer::Shed(model.shed(&run, &order)),
            Self::StopTasks(stop) => Answer::StopTasks(model.stop_tasks(&stop)),
            Self::TakeReady(partition, limit, hold) => {
                Answer::TakeReady(model.take_ready(partition, limit, hold).plain())
            }
            Self::HoldReady(partition, runs, hold, state) => {
                model.hold_ready(partition, &runs, hold, state);
                Answer::Done
            }
            Self::Advance(advance) => Answer::Advance(model.advance(advance)),
            Self::Claim(claim) => Answer::Claim(model.claim(&claim)),
            Self::Renew(renewals) => Answer::Renew(model.renew(&renewals).plain()),
            Self::Settle(settle) => Answer::Settle(model.settle(settle)),
            Self::Release(task, fence, release) => Answer::Release(model.release(&task, fence, release)),
            Self::MarkSent(tasks, after) => {
                model.mark_sent(&tasks, after);
                Answer::Done
            }
            Self::Sweep(partition, limits) => {
                let mut swept = model.sweep(partition, limits);
                swept.send.sort_by(|a, b| a.task.cmp(&b.task));
                swept.poisoned.sort();
                Answer::Sweep(swept)
            }
            Self::Resume(resume) => Answer::Resume(model.resume(&resume)),
            Self::Emit(run, events) => {
                model.emit(&run, events);
                Answer::Done
            }
        }
    }
}
