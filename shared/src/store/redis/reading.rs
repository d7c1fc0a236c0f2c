//! Reads of one thing: a graph, a run, a thread, a run's history. Longer ones go over the pool.

use redis::{Cmd, Value, cmd};

use super::decode::{self, Fields};
use super::encode::CHUNK;
use super::reply::Reply;
use super::store::RedisStore;
use crate::checkpoint::{StoredCheckpoint, Values};
use crate::id::{GraphHash, Partition, RunId, RunKey, Step, ThreadId};
use crate::limits::THREAD_QUEUE_MAX;
use crate::store::{Ends, Error, Event, Run, StoredGraph, Thread};
use crate::task::Task;
use crate::time::Timestamp;

/// Fields that one command asks for.
const FIELDS_AT_ONCE: usize = 500;
/// The parts of a task that are read: its record, outcome, payload, last failure, proof and count of hand-backs.
const TASK_PARTS: [&str; 6] = ["", "|o", "|h", "|f", "|x", "|b"];

impl RedisStore {
    pub(super) async fn keep_graph(&self, graph: &StoredGraph) -> Result<(), Error> {
        let key = self.keys.graph(&graph.hash);
        // The definition comes last: a graph that has it is whole.
        for (field, value) in [("name", graph.name.as_str()), ("json", &graph.json)] {
            self.link.call(cmd("HSETNX").arg(&key).arg(field).arg(value)).await?;
        }
        Ok(())
    }

    pub(super) async fn read_graph(&self, hash: &GraphHash) -> Result<Option<StoredGraph>, Error> {
        let key = self.keys.graph(hash);
        let value = self.link.call(cmd("HMGET").arg(&key).arg("name").arg("json")).await?;
        let mut reply = Reply::new(key, value);
        let name = reply.optional()?;
        let Some(json) = reply.optional()? else { return Ok(None) };
        let name = name.and_then(|name| name.parse().ok()).ok_or_else(|| reply.corrupt("the graph has no name"))?;
        Ok(Some(StoredGraph { hash: hash.clone(), name, json }))
    }

    pub(super) async fn find(&self, run: &RunId) -> Result<Option<Run>, Error> {
        match self.located(run).await? {
            Some(partition) => self.read_run(&RunKey { partition, id: run.clone() }).await,
            None => Ok(None),
        }
    }

    /// The partition that a run's locator names. The run itself may not be there yet, or any more.
    pub(super) async fn located(&self, run: &RunId) -> Result<Option<Partition>, Error> {
        let key = self.keys.locator(run);
        let value = self.link.call(cmd("HGET").arg(&key).arg("p")).await?;
        let mut reply = Reply::new(key, value);
        if reply.is_empty() {
            return Ok(None);
        }
        Ok(Some(Partition::new(reply.parsed()?)))
    }

    pub(super) async fn read_run(&self, key: &RunKey) -> Result<Option<Run>, Error> {
        let name = self.keys.run(key);
        let value = self.link.call(cmd("HGETALL").arg(&name)).await?;
        let fields = Fields::read(name.clone(), Reply::new(name, value))?;
        fields.map(|fields| decode::run(&fields, key.clone())).transpose()
    }

    pub(super) async fn read_thread(&self, thread: &ThreadId) -> Result<Option<Thread>, Error> {
        let partition = self.partition_of(thread.as_str());
        let (record, queue) = (self.keys.thread(partition, thread), self.keys.queue(partition, thread));
        let fields = self.link.call(cmd("HGETALL").arg(&record)).await?;
        let Some(fields) = Fields::read(record.clone(), Reply::new(&record, fields))? else { return Ok(None) };
        let waiting = self.link.call(cmd("LRANGE").arg(&queue).arg(0).arg(THREAD_QUEUE_MAX)).await?;
        let mut waiting = Reply::new(queue, waiting);
        let mut queue = Vec::with_capacity(waiting.len());
        while !waiting.is_empty() {
            queue.push(waiting.parsed()?);
        }
        let unreadable = || decode::corrupt(&record, "it names no run");
        let active = fields.text("active").map(|id| RunId::new(id).map_err(|_| unreadable())).transpose()?;
        let head = fields.text("head").map(|text| decode::run_and_step(text).ok_or_else(unreadable)).transpose()?;
        Ok(Some(Thread { id: thread.clone(), active, queue, head }))
    }

    pub(super) async fn read_checkpoints(
        &self,
        run: &RunKey,
        from: Step,
        limit: usize,
    ) -> Result<Vec<StoredCheckpoint>, Error> {
        let key = self.keys.checkpoints(run);
        let mut command = cmd("ZRANGEBYSCORE");
        command.arg(&key).arg(from.get()).arg("+inf").arg("LIMIT").arg(0).arg(limit);
        let mut reply = self.read_one(&key, command).await?;
        let mut checkpoints = Vec::with_capacity(reply.len());
        while !reply.is_empty() {
            checkpoints.push(decode::checkpoint(&key, &reply.text()?)?);
        }
        Ok(checkpoints)
    }

    pub(super) async fn read_values(&self, run: &RunKey, step: Step) -> Result<Option<Values>, Error> {
        let key = self.keys.checkpoints(run);
        let mut command = cmd("ZRANGEBYSCORE");
        command.arg(&key).arg(step.get()).arg(step.get()).arg("LIMIT").arg(0).arg(1);
        let mut reply = self.read_one(&key, command).await?;
        if reply.is_empty() {
            return Ok(None);
        }
        let checkpoint = decode::checkpoint(&key, &reply.text()?)?.checkpoint;
        let names: Vec<_> =
            checkpoint.versions.iter().map(|(channel, version)| format!("{channel}@{version}")).collect();
        let key = self.keys.values(run);
        let commands = names.chunks(FIELDS_AT_ONCE).map(|names| hmget(&key, names)).collect();
        let answers = self.link.read(commands).await?;
        let mut values = Values::new();
        for (names, answer) in names.chunks(FIELDS_AT_ONCE).zip(answers) {
            let mut answer = Reply::new(&key, answer);
            let mut pairs = Vec::with_capacity(2 * names.len());
            for name in names {
                pairs.push(Value::BulkString(name.clone().into_bytes()));
                pairs.push(Value::BulkString(answer.bytes()?.unwrap_or_default()));
            }
            values.extend(decode::values(&key, Reply::new(&key, Value::Array(pairs)))?);
        }
        Ok(Some(values))
    }

    pub(super) async fn read_tasks(
        &self,
        run: &RunKey,
        step: Step,
        skip: usize,
        limit: usize,
    ) -> Result<Vec<Task>, Error> {
        let key = self.keys.step(run, step);
        let (first, last) = (skip / CHUNK, (skip + limit).div_ceil(CHUNK));
        let mut fields = vec!["@".to_owned()];
        fields.extend((first..last).map(|chunk| format!("#{chunk}")));
        let mut reply = self.read_one(&key, hmget(&key, &fields)).await?;
        let Some(meta) = reply.optional()? else { return Ok(Vec::new()) };
        let (made, _) = decode::step_meta(&key, &meta)?;
        let mut names = Vec::new();
        while !reply.is_empty() {
            names.extend(reply.text()?.lines().map(str::to_owned));
        }
        let names: Vec<_> = names.into_iter().skip(skip - first * CHUNK).take(limit).collect();
        let pages = names.chunks(FIELDS_AT_ONCE / TASK_PARTS.len());
        let commands = pages.clone().map(|names| {
            let fields: Vec<_> =
                names.iter().flat_map(|name| TASK_PARTS.iter().map(move |part| format!("{name}{part}"))).collect();
            hmget(&key, &fields)
        });
        let answers = self.link.read(commands.collect()).await?;
        let mut tasks = Vec::with_capacity(names.len());
        for (names, answer) in pages.zip(answers) {
            let mut answer = Reply::new(&key, answer);
            for name in names {
                tasks.push(decode::task(&key, decode::task_id(&key, step, name)?, made, &mut answer)?);
            }
        }
        Ok(tasks)
    }

    pub(super) async fn read_events(&self, run: &RunKey, after: u64, limit: usize) -> Result<Vec<Event>, Error> {
        let key = self.keys.events(run);
        let mut command = cmd("ZRANGEBYSCORE");
        command.arg(&key).arg(format!("({after}")).arg("+inf").arg("LIMIT").arg(0).arg(limit);
        let mut reply = self.read_one(&key, command).await?;
        let mut events = Vec::with_capacity(reply.len());
        while !reply.is_empty() {
            let text = reply.text()?;
            let mut parts = text.splitn(3, '|');
            let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok());
            let (Some(seq), Some(at)) = (number(), number()) else {
                return Err(decode::corrupt(&key, "an event has no number or time"));
            };
            let event = decode::parse(&key, "an event", parts.next().unwrap_or_default())?;
            events.push(Event { seq, at: Timestamp::from_millis(i64::try_from(at).unwrap_or(i64::MAX)), event });
        }
        Ok(events)
    }

    pub(super) async fn read_ends(&self) -> Result<Ends, Error> {
        let keys: Vec<String> = self.all_partitions().map(|partition| self.keys.of(partition, "ends")).collect();
        let commands = keys.iter().map(|key| cmd("HGETALL").arg(key).to_owned()).collect();
        let mut ends = Ends::default();
        for (key, answer) in keys.iter().zip(self.link.read(commands).await?) {
            let mut reply = Reply::new(key, answer);
            while !reply.is_empty() {
                let (name, count): (String, u64) = (reply.text()?, reply.parsed()?);
                if let Some((status, cause)) = name.split_once('|') {
                    ends.add(status, cause, count);
                }
            }
        }
        Ok(ends)
    }

    pub(super) async fn read_time(&self) -> Result<Timestamp, Error> {
        if let Some(time) = self.told_time() {
            return Ok(time);
        }
        let mut reply = Reply::new("TIME", self.link.call(&cmd("TIME")).await?);
        let (seconds, micros): (i64, i64) = (reply.parsed()?, reply.parsed()?);
        Ok(Timestamp::from_millis(seconds * 1_000 + micros / 1_000))
    }

    async fn read_one(&self, key: &str, command: Cmd) -> Result<Reply, Error> {
        let value = self.link.read(vec![command]).await?.pop().unwrap_or(Value::Nil);
        Ok(Reply::new(key, value))
    }
}

fn hmget(key: &str, fields: &[String]) -> Cmd {
    let mut command = cmd("HMGET");
    command.arg(key).arg(fields);
    command
}
