//! Hands out runs that wait for their plan, and changes their plans.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::REFUSED_KEPT;
use super::create::Place;
use super::decode::{self, Fields};
use super::encode::{self, Chunk, Early, flag, json, ms};
use super::reply::Reply;
use super::script::Call;
use super::store::RedisStore;
use crate::id::{Partition, RunId, RunKey};
use crate::limits::PAGE_MAX;
use crate::plan::Then;
use crate::store::{Advance, Advanced, Error, Ready};
use crate::task::{Dispatch, NewTask, Task};

/// After so many bytes of values and outcomes, `take_ready` takes no further run in one call.
const TAKEN_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Runs with more tasks than this have them read afterwards, in pages.
const TAKEN_TASKS_MAX: usize = 100;
/// Steps with up to so many tasks and bytes are made by one script; others are staged before.
const INLINE_TASKS_MAX: usize = 250;
const INLINE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of one call that stages tasks.
const STAGED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Locators of children that are asked for at a time.
const LOCATORS_AT_ONCE: usize = 64;
/// How often a step is staged anew if what was staged had gone.
const TRIES: usize = 3;

impl RedisStore {
    pub(super) async fn take(&self, partition: Partition, limit: usize, hold: Duration) -> Result<Vec<Ready>, Error> {
        let mut call = self.on(&self.scripts.take_ready, partition);
        call.arg(limit).arg(ms(hold)).arg(TAKEN_BYTES_MAX).arg(TAKEN_TASKS_MAX);
        let mut reply = self.send(&mut call).await?;
        let mut taken = Vec::with_capacity(reply.len());
        while !reply.is_empty() {
            let mut row = reply.list()?;
            let id: RunId = row.parsed()?;
            let key = RunKey { partition, id };
            match self.ready(key.clone(), &mut row).await {
                Ok(ready) => taken.push(ready),
                Err(error @ Error::Unavailable { .. }) => return Err(error),
                Err(error) => {
                    tracing::error!(run.id = %key.id, error = %error, "a run is left out: its records cannot be read");
                }
            }
        }
        Ok(taken)
    }

    async fn ready(&self, key: RunKey, row: &mut Reply) -> Result<Ready, Error> {
        let name = self.keys.run(&key);
        let fields = Fields::read(name.clone(), row.list()?)?.ok_or_else(|| decode::corrupt(&name, "it is empty"))?;
        let run = decode::run(&fields, key.clone())?;
        let checkpoint = row.optional()?;
        let checkpoint = checkpoint.map(|text| decode::checkpoint(&self.keys.checkpoints(&key), &text)).transpose()?;
        let values = decode::values(&self.keys.values(&key), row.list()?)?;
        let meta = row.optional()?;
        let rows = row.list()?;
        let tasks = match meta {
            Some(meta) => self.tasks_of(&key, &run, &meta, rows).await?,
            None => Vec::new(),
        };
        let resumed = fields.text("resumed").is_some();
        Ok(Ready { run, checkpoint: checkpoint.map(|stored| stored.checkpoint), values, tasks, resumed })
    }

    async fn tasks_of(
        &self,
        key: &RunKey,
        run: &crate::store::Run,
        meta: &str,
        mut rows: Reply,
    ) -> Result<Vec<Task>, Error> {
        let name = self.keys.step(key, run.step);
        let (made, count) = decode::step_meta(&name, meta)?;
        let mut tasks = Vec::with_capacity(count);
        while !rows.is_empty() {
            let id = decode::task_id(&name, run.step, &rows.text()?)?;
            tasks.push(decode::task(&name, id, made, &mut rows)?);
        }
        while tasks.len() < count {
            let page = self.read_tasks(key, run.step, tasks.len(), PAGE_MAX).await?;
            if page.is_empty() {
                return Err(decode::corrupt(&name, format_args!("it lacks tasks: {} of {count}", tasks.len())));
            }
            tasks.extend(page);
        }
        Ok(tasks)
    }

    pub(super) async fn change_plan(&self, advance: &Advance) -> Result<Advanced, Error> {
        let chunks = match &advance.then {
            Then::Step { tasks, .. } => {
                let early = self.locate_children(advance.run.partition, tasks).await?;
                encode::chunks(tasks, &early)
            }
            Then::Pause { .. } | Then::Succeed | Then::Fail { .. } => Vec::new(),
        };
        let tasks: usize = chunks.iter().map(|chunk| chunk.fields.len()).sum();
        let bytes: usize = chunks.iter().map(|chunk| chunk.bytes).sum();
        let is_staged = chunks.len() > 1 || bytes > INLINE_BYTES_MAX || tasks > 4 * INLINE_TASKS_MAX;
        for _ in 0..TRIES {
            if is_staged {
                self.stage(advance, &chunks).await?;
            }
            let mut call = self.advance_call(advance, &chunks, is_staged);
            let mut reply = self.send(&mut call).await?;
            let refused = match reply.text()?.as_str() {
                "ok" => return Ok(Advanced::Ok),
                "conflict" => Advanced::Conflict,
                "frozen" => Advanced::Frozen,
                "unstaged" => continue,
                other => return Err(reply.corrupt(&format!("the answer `{other}` is unknown"))),
            };
            self.forget_children(advance).await?;
            return Ok(refused);
        }
        Err(super::link::unavailable(self.link.place(), "what was staged is gone each time before it is taken over"))
    }

    /// Writes the locators of the children that are to be made, so that an order to one of them finds it from the
    /// moment that it exists. Those of children that are not made after all are harmless, and taken back in time.
    async fn locate_children(&self, partition: Partition, tasks: &[NewTask]) -> Result<Early, Error> {
        let mut children = Vec::new();
        for task in tasks {
            if let Dispatch::Child { run } = &task.dispatch {
                children.push((task.id.clone(), run.id.clone()));
            }
        }
        let asked = stream::iter(children).map(|(task, child)| async move {
            Ok::<_, Error>((
                task,
                match self.place(&child, partition).await? {
                    Place::Here { early, .. } => early,
                    Place::Taken(_) => "taken".to_owned(),
                },
            ))
        });
        let answers: Vec<_> = asked.buffer_unordered(LOCATORS_AT_ONCE).try_collect().await?;
        Ok(answers.into_iter().filter(|(_, early)| !early.is_empty()).collect())
    }

    /// The children of a refused change may never be made: a sweep looks after a while, and takes back the locators of
    /// those that were not.
    async fn forget_children(&self, advance: &Advance) -> Result<(), Error> {
        let Then::Step { tasks, .. } = &advance.then else { return Ok(()) };
        let mut command = redis::cmd("ZADD");
        command.arg(self.keys.of(advance.run.partition, "forget")).arg("NX");
        let after = Duration::from_millis(REFUSED_KEPT.unsigned_abs());
        let due = self.read_time().await?.after(after).as_millis();
        let mut has_children = false;
        for task in tasks {
            if let Dispatch::Child { run } = &task.dispatch {
                command.arg(due).arg(format!("{} {}", run.id, run.thread));
                has_children = true;
            }
        }
        if has_children {
            self.link.call(&command).await?;
        }
        Ok(())
    }

    async fn stage(&self, advance: &Advance, chunks: &[Chunk]) -> Result<(), Error> {
        for chunk in chunks {
            let mut fields = chunk.fields.as_slice();
            while !fields.is_empty() {
                let mut bytes = 0;
                let fits = fields.iter().take_while(|(field, value)| {
                    bytes += field.len() + value.len();
                    bytes <= STAGED_BYTES_MAX
                });
                let (part, rest) = fields.split_at(fits.count().max(1));
                let mut call = self.on(&self.scripts.stage, advance.run.partition);
                call.arg(advance.run.id.as_str()).arg(advance.nonce.as_str());
                for (field, value) in part {
                    call.arg(field).arg(value);
                }
                self.send(&mut call).await?;
                fields = rest;
            }
        }
        Ok(())
    }

    fn advance_call(&self, advance: &Advance, chunks: &[Chunk], is_staged: bool) -> Call<'_> {
        let mut call = self.on(&self.scripts.advance, advance.run.partition);
        call.arg(advance.run.id.as_str()).arg(advance.expected.get()).arg(advance.nonce.as_str());
        match &advance.checkpoint {
            Some(checkpoint) => {
                let versions: Vec<_> =
                    checkpoint.versions.iter().map(|(name, version)| format!("{name}@{version}")).collect();
                call.arg(checkpoint.step.get()).arg(json(checkpoint)).arg(versions.join(" "));
                call.arg(advance.changed.len());
                for (name, value) in &advance.changed {
                    call.arg(format!("{name}@{}", checkpoint.step)).arg(json(value));
                }
            }
            None => {
                call.arg("").arg("").arg("").arg(0);
            }
        }
        match &advance.then {
            Then::Step { step, tasks } => {
                call.arg("step").arg(step.get()).arg(chunks.len()).arg(flag(is_staged)).arg(tasks.len());
                let inline = if is_staged { &[] } else { chunks };
                for (field, value) in inline.iter().flat_map(|chunk| &chunk.fields) {
                    call.arg(field).arg(value);
                }
            }
            Then::Pause { step } => {
                call.arg("pause").arg(step.get());
            }
            Then::Succeed => {
                call.arg("succeed");
            }
            Then::Fail { failure, order } => {
                call.arg("fail").arg(json(failure));
                match order {
                    Some(order) => encode::order(order).iter().for_each(|part| {
                        call.arg(part);
                    }),
                    None => {
                        call.arg("");
                    }
                }
            }
        }
        call
    }
}
