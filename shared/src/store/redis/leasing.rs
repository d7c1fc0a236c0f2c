//! The worker's calls: claim, renew, settle, release; and the note that a message was sent.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::try_join_all;

use super::create::report;
use super::decode;
use super::encode::{self, flag, json, ms};
use super::reply::Reply;
use super::store::RedisStore;
use super::words;
use crate::id::{AttemptNumber, Fence, Partition, TaskKey};
use crate::outcome::Outcome;
use crate::store::{Claim, Claimed, Error, Lease, Release, Released, Renewal, Renewed, Settle, Settled, Verdict};
use crate::task::HandedBack;

/// Leases or tasks of one call.
const BATCH: usize = 250;

impl RedisStore {
    pub(super) async fn lease(&self, claim: &Claim) -> Result<Claimed, Error> {
        let TaskKey { run, task } = &claim.task;
        let mut call = self.on(&self.scripts.claim, run.partition);
        call.arg(run.id.as_str()).arg(task.to_string()).arg(claim.worker.as_str()).arg(claim.nonce.as_str());
        call.arg(ms(claim.ttl)).arg(claim.takeover_after.map_or_else(String::new, |after| ms(after).to_string()));
        call.arg(flag(claim.alone));
        let mut reply = self.send(&mut call).await?;
        match reply.text()?.as_str() {
            "leased" => Ok(Claimed::Leased(Box::new(self.read_lease(&claim.task, &mut reply)?))),
            "busy" => Ok(Claimed::Busy {
                worker: reply.parsed()?,
                fence: Fence::new(reply.parsed()?),
                silent: Duration::from_millis(reply.parsed()?),
            }),
            "stopped" => Ok(Claimed::Stopped),
            "stale" => Ok(Claimed::Stale),
            "suspect" => Ok(Claimed::Suspect),
            "poisoned" => Ok(Claimed::Poisoned { crashes: reply.parsed()?, uncounted: reply.parsed()? }),
            other => Err(reply.corrupt(&format!("the answer `{other}` is unknown"))),
        }
    }

    fn read_lease(&self, task: &TaskKey, reply: &mut Reply) -> Result<Lease, Error> {
        let step = self.keys.step(&task.run, task.task.step);
        Ok(Lease {
            fence: Fence::new(reply.parsed()?),
            attempt: AttemptNumber::new(reply.parsed()?),
            crashes: reply.parsed()?,
            task: decode::parse(&step, "a task", &reply.text()?)?,
            graph_hash: reply.parsed()?,
            thread: reply.parsed()?,
            now: reply.time()?,
            task_deadline: reply.time()?,
            run_deadline: reply.time()?,
            taken_over: reply.text()? == "1",
            queued_at: reply.time()?,
            limits_cost: reply.text()? == "1",
            run_made_at: reply.time()?,
            values: decode::values(&self.keys.values(&task.run), reply.list()?)?,
        })
    }

    pub(super) async fn renew_all(&self, renewals: &[Renewal]) -> Result<Vec<Renewed>, Error> {
        let batches = batches(renewals.iter().map(|renewal| renewal.task.run.partition));
        let calls = batches.iter().map(|(partition, places)| async move {
            let mut call = self.on(&self.scripts.renew, *partition);
            for place in places {
                let Renewal { task, fence, ttl, spent } = &renewals[*place];
                call.arg(task.run.id.as_str()).arg(task.task.to_string()).arg(fence.get()).arg(ms(*ttl));
                call.arg(encode::spent(spent));
            }
            let mut reply = self.send(&mut call).await?;
            let mut answers = Vec::with_capacity(places.len());
            for place in places {
                answers.push((*place, renewed(&renewals[*place], &reply.text()?)?));
            }
            Ok::<_, Error>(answers)
        });
        let mut answers = vec![Renewed::Lost; renewals.len()];
        for (place, answer) in try_join_all(calls).await?.into_iter().flatten() {
            answers[place] = answer;
        }
        Ok(answers)
    }

    pub(super) async fn end_attempt(&self, settle: &Settle) -> Result<Settled, Error> {
        let TaskKey { run, task } = &settle.task;
        let mut call = self.on(&self.scripts.settle, run.partition);
        call.arg(run.id.as_str()).arg(task.to_string()).arg(settle.fence.get());
        call.arg(encode::spent(&settle.spent));
        match &settle.verdict {
            Verdict::Done(outcome) => {
                call.arg("done").arg(json(outcome)).arg(flag(outcome.is_bad()));
                if outcome.is_bad() {
                    let failure = words::failure_of(outcome, &task.node);
                    call.arg(json(&failure)).arg(&failure.message);
                }
            }
            Verdict::Retry { failure, after } => {
                call.arg("retry").arg(json(failure)).arg(ms(*after));
            }
            Verdict::PutOff { failure, after } => {
                call.arg("putoff").arg(json(failure)).arg(ms(*after));
            }
        }
        let mut reply = self.send(&mut call).await?;
        match reply.text()?.as_str() {
            "accepted" => Ok(Settled::Accepted { step_complete: reply.text()? == "1" }),
            "stale" => Ok(Settled::Stale),
            "frozen" => Ok(Settled::Frozen),
            other => Err(reply.corrupt(&format!("the answer `{other}` is unknown"))),
        }
    }

    pub(super) async fn close_lease(&self, task: &TaskKey, fence: Fence, release: &Release) -> Result<Released, Error> {
        let mut call = self.on(&self.scripts.release, task.run.partition);
        call.arg(task.run.id.as_str()).arg(task.task.to_string()).arg(fence.get());
        let proof = release.clone().into_proof();
        let outcome = Outcome::stopped(proof.partial.clone());
        call.arg(encode::spent(&proof.spent)).arg(json(&outcome)).arg(json(&proof)).arg(flag(proof.confirmed));
        call.arg(flag(matches!(release, Release::Stopped(_))));
        let mut reply = self.send(&mut call).await?;
        match reply.text()?.as_str() {
            "accepted" => Ok(Released::Accepted { run_ended: reply.text()? == "1" }),
            "back" => {
                let (times, without_order) = (reply.parsed()?, reply.text()? == "1");
                Ok(Released::HandedBack(HandedBack { times, without_order }))
            }
            "stale" => Ok(Released::Stale),
            other => Err(reply.corrupt(&format!("the answer `{other}` is unknown"))),
        }
    }

    pub(super) async fn note_sent(&self, tasks: &[TaskKey], resend_after: Duration) -> Result<(), Error> {
        let batches = batches(tasks.iter().map(|task| task.run.partition));
        let calls = batches.iter().map(|(partition, places)| async move {
            let mut call = self.on(&self.scripts.mark_sent, *partition);
            call.arg(ms(resend_after));
            for TaskKey { run, task } in places.iter().map(|place| &tasks[*place]) {
                call.arg(run.id.as_str()).arg(task.to_string());
            }
            self.send(&mut call).await
        });
        try_join_all(calls).await.map(drop)
    }
}

fn renewed(renewal: &Renewal, text: &str) -> Result<Renewed, Error> {
    match text {
        "held" => Ok(Renewed::Held),
        "lost" => Ok(Renewed::Lost),
        text => Ok(Renewed::Stop(Box::new(report(&renewal.task.run.id, text)?))),
    }
}

/// Places in a list by partition, at most [`BATCH`] together.
fn batches(partitions: impl Iterator<Item = Partition>) -> Vec<(Partition, Vec<usize>)> {
    let mut by_partition: BTreeMap<Partition, Vec<usize>> = BTreeMap::new();
    for (place, partition) in partitions.enumerate() {
        by_partition.entry(partition).or_default().push(place);
    }
    let split = |(partition, places): (Partition, Vec<usize>)| {
        places.chunks(BATCH).map(|part| (partition, part.to_vec())).collect::<Vec<_>>()
    };
    by_partition.into_iter().flat_map(split).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_keep_partitions_apart_and_are_bounded() {
        let partitions = (0..1_000_u16).map(|n| Partition::new(n % 3));
        let batches = batches(partitions);
        assert!(batches.iter().all(|(_, places)| places.len() <= BATCH));
        assert!(batches.iter().all(|(partition, places)| places.iter().all(|n| n % 3 == usize::from(partition.get()))));
        assert_eq!(batches.iter().map(|(_, places)| places.len()).sum::<usize>(), 1_000);
    }
}
