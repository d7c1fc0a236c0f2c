//! Hands out runs that wait for their plan, and changes their plans.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::create::{LOCATED_HOLDS, Place};
use super::decode::{self, Fields};
use super::encode::{self, Child, Children, Chunk, flag, json, ms};
use super::reply::Reply;
use super::script::Call;
use super::store::RedisStore;
use crate::id::{Partition, Revision, RunId, RunKey};
use crate::limits::PAGE_MAX;
use crate::plan::Then;
use crate::store::{Advance, Advanced, Error, Held, Ready, Taken};
use crate::task::Task;

/// After so many bytes of values and outcomes, `take_ready` takes no further run in one call.
const TAKEN_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Runs with more tasks than this have them read afterwards, in pages.
const TAKEN_TASKS_MAX: usize = 100;
/// Steps with up to so many fields (four or so a task) and bytes are made by one script; others are staged before.
const INLINE_FIELDS_MAX: usize = 1_000;
const INLINE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of one call that stages tasks.
const STAGED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Locators of children that are asked for at a time.
const LOCATORS_AT_ONCE: usize = 64;
/// How often a change is sent anew if what was staged or located had gone.
const TRIES: usize = 3;

/// A change as it is sent.
struct Plan {
    children: Children,
    chunks: Vec<Chunk>,
    is_staged: bool,
}

impl Plan {
    fn new(advance: &Advance, children: Children) -> Self {
        let chunks = match &advance.then {
            Then::Step { tasks, .. } => encode::chunks(tasks, &children),
            Then::Pause { .. } | Then::Succeed | Then::Fail { .. } => Vec::new(),
        };
        let bytes: usize = chunks.iter().map(|chunk| chunk.bytes).sum();
        let fields: usize = chunks.iter().map(|chunk| chunk.fields.len()).sum();
        let is_staged = chunks.len() > 1 || bytes > INLINE_BYTES_MAX || fields > INLINE_FIELDS_MAX;
        Self { children, chunks, is_staged }
    }
}

/// `lost` of a run's record: a revision, and how many plans were lost at it.
fn lost_plans(fields: &Fields, revision: Revision) -> u32 {
    let lost = fields.text("lost").and_then(|lost| lost.split_once('|'));
    lost.filter(|(at, _)| *at == revision.to_string()).and_then(|(_, count)| count.parse().ok()).unwrap_or_default()
}

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
        let lost_plans = lost_plans(&fields, run.revision);
        let checkpoint = checkpoint.map(|stored| stored.checkpoint);
        Ok(Ready { run, checkpoint, values, tasks, resumed, lost_plans })
    }

    pub(super) async fn hold(
        &self,
        partition: Partition,
        runs: &[Taken],
        hold: Duration,
        state: Held,
    ) -> Result<(), Error> {
        let mut call = self.on(&self.scripts.hold_ready, partition);
        call.arg(ms(hold)).arg(flag(state == Held::GivenBack));
        for taken in runs {
            call.arg(taken.run.as_str()).arg(taken.revision.get());
        }
        self.send(&mut call).await.map(drop)
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
        for _ in 0..TRIES {
            let children = self.locate_children(advance).await?;
            let plan = Plan::new(advance, children);
            if plan.is_staged {
                self.stage(advance, &plan.chunks).await?;
            }
            let mut call = self.advance_call(advance, &plan);
            let mut reply = self.send(&mut call).await?;
            let refused = match reply.text()?.as_str() {
                "ok" => return Ok(Advanced::Ok),
                "conflict" => Advanced::Conflict,
                "frozen" => Advanced::Frozen,
                "unstaged" | "late" => continue,
                other => return Err(reply.corrupt(&format!("the answer `{other}` is unknown"))),
            };
            self.take_back_children(advance, &plan.children).await?;
            return Ok(refused);
        }
        Err(super::link::unavailable(self.link.place(), "what was staged or located did not hold until it was used"))
    }

    /// Writes the locators of the children that are to be made, so that an order to one of them finds it from the
    /// moment that it exists.
    async fn locate_children(&self, advance: &Advance) -> Result<Children, Error> {
        let Then::Step { tasks, .. } = &advance.then else { return Ok(Children::new()) };
        let mut wanted = Vec::new();
        for task in tasks {
            if let Some(run) = task.dispatch.child() {
                wanted.push((task.id.clone(), run.id.clone(), run.thread.clone()));
            }
        }
        let asked = stream::iter(wanted).map(|(task, run, thread)| async move {
            let (asked, early) = match self.place(&run, advance.run.partition).await? {
                Place::Here { early, at } => (Some(at), early),
                Place::Taken(_) => (None, String::new()),
            };
            Ok::<_, Error>((task, Child { run, thread, asked, early }))
        });
        asked.buffer_unordered(LOCATORS_AT_ONCE).try_collect().await
    }

    /// Takes back the locators of children that a refused change would have made, unless somebody else has made them.
    async fn take_back_children(&self, advance: &Advance, children: &Children) -> Result<(), Error> {
        let asked: Vec<_> = children.values().filter_map(|child| Some((child, child.asked?))).collect();
        for asked in asked.chunks(LOCATORS_AT_ONCE) {
            let mut call = self.on(&self.scripts.refuse, advance.run.partition);
            call.arg(ms(LOCATED_HOLDS));
            for (child, at) in asked {
                call.arg(child.run.as_str()).arg(child.thread.as_str()).arg(at.as_millis());
            }
            let mut reply = self.send(&mut call).await?;
            for (child, at) in asked {
                if reply.text()? == "1" {
                    let run = RunKey { partition: advance.run.partition, id: child.run.clone() };
                    self.take_back(&run, *at).await?;
                }
            }
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

    fn advance_call(&self, advance: &Advance, plan: &Plan) -> Call<'_> {
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
            Then::Step { step, tasks, groups } => {
                call.arg("step").arg(step.get()).arg(plan.chunks.len()).arg(flag(plan.is_staged)).arg(tasks.len());
                let asked: Vec<_> =
                    plan.children.values().filter_map(|child| Some((child.run.as_str(), child.asked?))).collect();
                call.arg(ms(LOCATED_HOLDS)).arg(asked.len());
                for (run, at) in asked {
                    call.arg(run).arg(at.as_millis());
                }
                let groups = encode::groups(groups, tasks);
                call.arg(groups.len()).arg(groups);
                let inline = if plan.is_staged { &[] } else { plan.chunks.as_slice() };
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
