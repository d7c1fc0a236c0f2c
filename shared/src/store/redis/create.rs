//! Makes runs and orders them to stop: the two calls that need a run's locator first. The races are in the module's doc.

use std::time::Duration;

use super::encode::{self, flag, grace, json, ms};
use super::store::RedisStore;
use crate::id::{Partition, RunId, RunKey};
use crate::run::RunStatus;
use crate::stop::{NewOrder, StopReport};
use crate::store::{Created, Error, NewRun, StopAnswer, StopTasks, TaskTally, TasksStopped};
use crate::time::Timestamp;

/// How long after its locator was written a run may be made.
pub(super) const LOCATED_HOLDS: Duration = Duration::from_secs(30);
/// How long a locator must stand without a run before another partition may take it: well over [`LOCATED_HOLDS`].
const LOCATED_LOST: Duration = Duration::from_secs(90);
/// How often a run is located anew if it was made too late.
const TRIES: usize = 3;

/// What the locator says of a run that is to be made.
pub(super) enum Place {
    /// It may be made in the partition that was asked for.
    Here {
        /// An order that came before it; empty if none did.
        early: String,
        /// The locator's time.
        at: Timestamp,
    },
    /// There is a run of this id in another partition.
    Taken(RunKey),
}

impl RedisStore {
    pub(super) async fn make_run(&self, run: &NewRun) -> Result<Created, Error> {
        if run.parent.is_some() {
            let why = format!("the run {} names a parent: child runs are made by advance alone", run.id);
            return Err(Error::Unsuitable { place: self.link.place().to_owned(), why });
        }
        let partition = self.partition_of(run.thread.as_str());
        for _ in 0..TRIES {
            let (early, at) = match self.place(&run.id, partition).await? {
                Place::Here { early, at } => (early, at),
                Place::Taken(key) => return self.exists(key).await,
            };
            let mut call = self.on(&self.scripts.create, partition);
            call.arg(encode::new_run(run)).arg(run.on_conflict.name()).arg(early);
            call.arg(at.as_millis()).arg(ms(LOCATED_HOLDS));
            let mut reply = self.send(&mut call).await?;
            let key = RunKey { partition, id: run.id.clone() };
            return match reply.text()?.as_str() {
                "made" => Ok(Created::Made { key, status: status(&reply.text()?, &reply)? }),
                "exists" => Ok(Created::Exists { key, status: status(&reply.text()?, &reply)? }),
                "busy" => {
                    self.take_back(&key, at).await?;
                    Ok(Created::Busy { active: reply.parsed()? })
                }
                "full" => {
                    self.take_back(&key, at).await?;
                    Ok(Created::QueueFull { max: crate::limits::THREAD_QUEUE_MAX })
                }
                "late" => continue,
                other => Err(reply.corrupt(&format!("the answer `{other}` is unknown"))),
            };
        }
        Err(self.unsettled(&run.id))
    }

    /// Takes back the locator of a run that was refused, if nobody has asked for it since.
    pub(super) async fn take_back(&self, run: &RunKey, asked: Timestamp) -> Result<(), Error> {
        let mut call = self.scripts.unlocate.on(&self.keys.locator(&run.id));
        call.arg(run.partition.get()).arg("free").arg(asked.as_millis());
        self.send(&mut call).await.map(drop)
    }

    async fn exists(&self, key: RunKey) -> Result<Created, Error> {
        match self.read_run(&key).await? {
            Some(run) => Ok(Created::Exists { key, status: run.status }),
            None => Err(self.unsettled(&key.id)),
        }
    }

    /// Asks the locator, and writes it if it says nothing yet.
    pub(super) async fn place(&self, run: &RunId, partition: Partition) -> Result<Place, Error> {
        let (found, early, at) = self.ask_locator(run, partition, None).await?;
        if found == partition {
            return Ok(Place::Here { early, at });
        }
        let elsewhere = RunKey { partition: found, id: run.clone() };
        if self.read_run(&elsewhere).await?.is_some() || self.is_reserved(&elsewhere).await? {
            return Ok(Place::Taken(elsewhere));
        }
        let (found, early, at) = self.ask_locator(run, partition, Some(found)).await?;
        if found == partition { Ok(Place::Here { early, at }) } else { Err(self.unsettled(run)) }
    }

    /// Whether a child run of this id waits for its turn to be made there.
    async fn is_reserved(&self, run: &RunKey) -> Result<bool, Error> {
        let mut command = redis::cmd("EXISTS");
        command.arg(self.keys.of(run.partition, format_args!("reserved:{}", run.id)));
        Ok(self.link.call(&command).await? == redis::Value::Int(1))
    }

    async fn ask_locator(
        &self,
        run: &RunId,
        partition: Partition,
        not_in: Option<Partition>,
    ) -> Result<(Partition, String, Timestamp), Error> {
        let mut call = self.scripts.locate.on(&self.keys.locator(run));
        let not_in = not_in.map_or_else(String::new, |partition| partition.to_string());
        call.arg(partition.get()).arg(not_in).arg(ms(LOCATED_LOST));
        let mut reply = self.send(&mut call).await?;
        Ok((Partition::new(reply.parsed()?), reply.text()?, reply.time()?))
    }

    /// Somebody else is making a run of this id on another thread, and has not finished; or has died over it.
    fn unsettled(&self, run: &RunId) -> Error {
        let why = format!("a run {run} is being made on another thread: try again in {} s", LOCATED_LOST.as_secs());
        super::link::unavailable(self.link.place(), why)
    }

    pub(super) async fn order_stop(&self, run: &RunId, order: &NewOrder) -> Result<StopAnswer, Error> {
        let mut find = self.scripts.find.on(&self.keys.locator(run));
        find.arg(order.cause.name()).arg(flag(order.force)).arg(grace(order)).arg(json(order));
        let mut reply = self.send(&mut find).await?;
        let Some(partition) = reply.optional()? else {
            self.audit_early(run, order).await?;
            return Ok(StopAnswer::Early);
        };
        let partition = partition.parse().map_err(|_| reply.corrupt("the partition is no number"))?;
        let mut call = self.on(&self.scripts.stop, Partition::new(partition));
        call.arg(run.as_str());
        for part in encode::order(order) {
            call.arg(part);
        }
        let mut reply = self.send(&mut call).await?;
        match reply.text()?.as_str() {
            "accepted" => Ok(StopAnswer::Accepted(report(run, &reply.text()?)?)),
            "already" => Ok(StopAnswer::Already { report: report(run, &reply.text()?)?, forced: false }),
            "forced" => Ok(StopAnswer::Already { report: report(run, &reply.text()?)?, forced: true }),
            "finished" => Ok(StopAnswer::Finished(status(&reply.text()?, &reply)?)),
            "early" => Ok(StopAnswer::Early),
            other => Err(reply.corrupt(&format!("the answer `{other}` is unknown"))),
        }
    }

    pub(super) async fn order_tasks(&self, stop: &StopTasks) -> Result<TasksStopped, Error> {
        let Some(run) = self.find(&stop.run).await? else { return Ok(TasksStopped::NotFound) };
        let items: Vec<_> = stop.items.iter().map(u32::to_string).collect();
        let mut call = self.on(&self.scripts.stop_tasks, run.key.partition);
        call.arg(stop.run.as_str()).arg(stop.node.as_str()).arg(items.join(" ")).arg(flag(stop.skip));
        for part in encode::order(&stop.order) {
            call.arg(part);
        }
        call.arg(encode::ending(stop));
        let mut reply = self.send(&mut call).await?;
        match reply.text()?.as_str() {
            "not_found" => Ok(TasksStopped::NotFound),
            "frozen" => Ok(TasksStopped::Frozen(status(&reply.text()?, &reply)?)),
            "done" => Ok(TasksStopped::Done(TaskTally {
                settled: reply.parsed()?,
                stopping: reply.parsed()?,
                already: reply.parsed()?,
            })),
            other => Err(reply.corrupt(&format!("the answer `{other}` is unknown"))),
        }
    }

    /// The run has no partition yet: the entry goes to the one of a thread of its name. The order itself is kept first,
    /// so that a crash in between loses an entry and never an order.
    async fn audit_early(&self, run: &RunId, order: &NewOrder) -> Result<(), Error> {
        let key = self.keys.of(self.partition_of(run.as_str()), "audit");
        let at = self.read_time().await?.as_millis();
        let mut command = redis::cmd("XADD");
        command.arg(key).arg("MAXLEN").arg("~").arg(crate::limits::AUDIT_PER_PARTITION_MAX).arg("*");
        command.arg("at").arg(at).arg("action").arg(if order.force { "force" } else { "stop" });
        command.arg("run").arg(run.as_str()).arg("actor").arg(&order.actor).arg("result").arg("early");
        if let Some(reason) = &order.reason {
            command.arg("reason").arg(reason);
        }
        self.link.call(&command).await.map(drop)
    }
}

/// A status by its name.
pub(super) fn status(name: &str, reply: &super::reply::Reply) -> Result<RunStatus, Error> {
    RunStatus::from_name(name).ok_or_else(|| reply.corrupt(&format!("the status `{name}` is unknown")))
}

/// A stop report as a script writes it.
pub(super) fn report(run: &RunId, text: &str) -> Result<StopReport, Error> {
    super::decode::parse(run.as_str(), "its stop report", text)
}
