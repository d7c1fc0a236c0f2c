//! What keeps the fleet going: sweep and resume; and what it reports: events and workers.

use std::time::Duration;

use super::decode;
use super::encode::{flag, json, ms};
use super::reply::Reply;
use super::store::RedisStore;
use crate::id::{Partition, RunId, RunKey, TaskKey, WorkerId};
use crate::limits::PAGE_MAX;
use crate::store::{Error, NewEvent, Resume, Resumed, Sending, SweepLimits, Swept, WorkerRecord};

/// Workers that were silent for so long are not shown.
const WORKER_SILENT: Duration = Duration::from_mins(1);
/// A locator that was asked for within this time is not taken back.
const LOCATOR_ASKED: Duration = Duration::from_mins(1);
/// What one sweep of one partition may touch, whatever it is asked for: a script blocks the server.
const SWEPT_TASKS_MAX: usize = 1_000;
const SWEPT_RUNS_MAX: usize = 250;
/// Events of one call.
const EVENTS_AT_ONCE: usize = 250;
/// Workers that are shown at most.
const WORKERS_MAX: usize = 10_000;

impl RedisStore {
    pub(super) async fn sweep_partition(&self, partition: Partition, limits: &SweepLimits) -> Result<Swept, Error> {
        let mut call = self.on(&self.scripts.sweep, partition);
        call.arg(limits.tasks.min(SWEPT_TASKS_MAX)).arg(limits.runs.min(SWEPT_RUNS_MAX));
        call.arg(ms(limits.resend_after)).arg(ms(limits.ahead));
        let mut reply = self.send(&mut call).await?;
        let mut swept = Swept::default();
        let mut send = reply.list()?;
        while !send.is_empty() {
            let lane = send.parsed()?;
            let task = task_key(partition, &mut send)?;
            swept.send.push(Sending { lane, task, again: send.text()? == "1" });
        }
        swept.expired = reply.parsed()?;
        let mut poisoned = reply.list()?;
        while !poisoned.is_empty() {
            swept.poisoned.push(task_key(partition, &mut poisoned)?);
        }
        swept.queue_timeouts = reply.parsed()?;
        let mut overdue = reply.list()?;
        while !overdue.is_empty() {
            swept.overdue.push(RunKey { partition, id: overdue.parsed()? });
        }
        swept.more = reply.text()? == "1";
        self.forget(partition, reply.list()?).await?;
        Ok(swept)
    }

    /// Takes back the locators of runs that the partition has forgotten, then strikes them off its list. If that is cut
    /// short, the next sweep hands them out again.
    async fn forget(&self, partition: Partition, mut forgotten: Reply) -> Result<(), Error> {
        if forgotten.is_empty() {
            return Ok(());
        }
        let mut strike = redis::cmd("ZREM");
        strike.arg(self.keys.of(partition, "forget"));
        while !forgotten.is_empty() {
            strike.arg(forgotten.text()?);
            let run: RunId = forgotten.parsed()?;
            let mut call = self.scripts.unlocate.on(&self.keys.locator(&run));
            call.arg(partition.get()).arg("forget").arg(ms(LOCATOR_ASKED));
            self.send(&mut call).await?;
        }
        self.link.call(&strike).await.map(drop)
    }

    pub(super) async fn go_on(&self, resume: &Resume) -> Result<Resumed, Error> {
        let mut call = self.on(&self.scripts.resume, resume.run.partition);
        call.arg(resume.run.id.as_str()).arg(resume.nonce.as_str()).arg(&resume.actor);
        call.arg(flag(resume.reason.is_some())).arg(resume.reason.as_deref().unwrap_or_default());
        for (task, outcome) in &resume.answers {
            call.arg(task.to_string()).arg(json(outcome));
        }
        let mut reply = self.send(&mut call).await?;
        match reply.text()?.as_str() {
            "ok" => Ok(Resumed::Ok),
            "still_open" => Ok(Resumed::StillOpen(reply.parsed()?)),
            "not_interrupted" => Ok(Resumed::NotInterrupted(super::create::status(&reply.text()?, &reply)?)),
            "unknown_task" => Ok(Resumed::UnknownTask),
            "missing_answer" => Ok(Resumed::MissingAnswer),
            "not_found" => Ok(Resumed::NotFound),
            other => Err(reply.corrupt(&format!("the answer `{other}` is unknown"))),
        }
    }

    pub(super) async fn keep_events(&self, run: &RunKey, events: &[NewEvent]) -> Result<(), Error> {
        for events in events.chunks(EVENTS_AT_ONCE) {
            let mut call = self.on(&self.scripts.emit, run.partition);
            call.arg(run.id.as_str());
            for event in events {
                call.arg(json(event));
            }
            self.send(&mut call).await?;
        }
        Ok(())
    }

    pub(super) async fn keep_worker(&self, worker: &WorkerRecord) -> Result<(), Error> {
        let (seen, records) = (self.keys.workers_seen(), self.keys.worker_records());
        let mut call = self.scripts.report_worker.on_all(&[&seen, &records]);
        call.arg(worker.id.as_str()).arg(json(worker)).arg(ms(WORKER_SILENT));
        self.send(&mut call).await.map(drop)
    }

    pub(super) async fn drop_worker(&self, worker: &WorkerId) -> Result<(), Error> {
        let mut seen = redis::cmd("ZREM");
        self.link.call(seen.arg(self.keys.workers_seen()).arg(worker.as_str())).await?;
        let mut record = redis::cmd("HDEL");
        self.link.call(record.arg(self.keys.worker_records()).arg(worker.as_str())).await.map(drop)
    }

    pub(super) async fn read_workers(&self) -> Result<Vec<WorkerRecord>, Error> {
        let (seen, records) = (self.keys.workers_seen(), self.keys.worker_records());
        let mut workers: Vec<WorkerRecord> = Vec::new();
        loop {
            let mut call = self.scripts.workers.on_all(&[&seen, &records]);
            call.arg(ms(WORKER_SILENT)).arg(PAGE_MAX).arg(workers.len());
            let mut reply = self.send(&mut call).await?;
            let is_last = reply.len() < 2 * PAGE_MAX;
            while !reply.is_empty() {
                let seen_at = reply.time()?;
                // A record that is gone belongs to a worker that was forgotten in between.
                if let Some(text) = reply.optional()? {
                    let worker = decode::parse::<WorkerRecord>(&records, "a worker", &text)?;
                    workers.push(WorkerRecord { seen_at, ..worker });
                }
            }
            if is_last || workers.len() >= WORKERS_MAX {
                break;
            }
        }
        workers.sort_by(|a, b| a.id.cmp(&b.id));
        workers.dedup_by(|a, b| a.id == b.id);
        Ok(workers)
    }
}

fn task_key(partition: Partition, reply: &mut Reply) -> Result<TaskKey, Error> {
    Ok(TaskKey { run: RunKey { partition, id: reply.parsed()? }, task: reply.parsed()? })
}
