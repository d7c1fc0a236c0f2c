//! What is read: records as the scripts wrote them. What cannot be read is an error that names the key.

use std::collections::HashMap;
use std::fmt::Display;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::FORMAT;
use super::reply::Reply;
use crate::checkpoint::{CHECKPOINT_FORMAT, Checkpoint, StoredCheckpoint, Values};
use crate::id::{ChannelName, Fence, Revision, RunId, RunKey, Step, TaskId};
use crate::run::RunStatus;
use crate::spend::{Cost, Spend};
use crate::stop::StopReport;
use crate::store::{AuditEntry, Error, Parent, Run};
use crate::task::{HandedBack, Task, TaskState};
use crate::time::Timestamp;

/// A record that is a hash, with its key for errors.
pub(super) struct Fields {
    key: String,
    fields: HashMap<String, String>,
}

impl Fields {
    /// Reads field, value, …; absent if there is no such record.
    pub(super) fn read(key: String, mut reply: Reply) -> Result<Option<Self>, Error> {
        let mut fields = HashMap::with_capacity(reply.len() / 2);
        while !reply.is_empty() {
            fields.insert(reply.text()?, reply.text()?);
        }
        Ok(if fields.is_empty() { None } else { Some(Self { key, fields }) })
    }

    /// A field's text; an empty one counts as absent.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    fn optional<T: FromStr>(&self, name: &str) -> Result<Option<T>, Error> {
        let parse =
            |text: &str| text.parse().map_err(|_| corrupt(&self.key, format_args!("its field {name} is `{text}`")));
        self.text(name).map(parse).transpose()
    }

    fn required<T: FromStr>(&self, name: &str) -> Result<T, Error> {
        self.optional(name)?.ok_or_else(|| corrupt(&self.key, format_args!("it has no field {name}")))
    }

    fn number(&self, name: &str) -> Result<u64, Error> {
        Ok(self.optional(name)?.unwrap_or(0))
    }

    fn count(&self, name: &str) -> Result<u32, Error> {
        Ok(self.optional(name)?.unwrap_or(0))
    }

    /// A time; 0 counts as absent.
    fn time(&self, name: &str) -> Result<Option<Timestamp>, Error> {
        Ok(self.optional::<i64>(name)?.filter(|millis| *millis != 0).map(Timestamp::from_millis))
    }

    fn json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        self.text(name).map(|text| parse(&self.key, name, text)).transpose()
    }

    fn pair(&self, name: &str) -> Result<Option<(RunId, Step)>, Error> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let pair =
            run_and_step(text).ok_or_else(|| corrupt(&self.key, format_args!("its field {name} is `{text}`")))?;
        Ok(Some(pair))
    }
}

/// `RUN|STEP`, as bases and heads are written.
pub(super) fn run_and_step(text: &str) -> Option<(RunId, Step)> {
    let (run, step) = text.split_once('|')?;
    Some((RunId::new(run).ok()?, Step::new(step.parse().ok()?)))
}

/// A run's record.
pub(super) fn run(fields: &Fields, key: RunKey) -> Result<Run, Error> {
    let format: u32 = fields.required("v")?;
    if format > FORMAT {
        return Err(Error::Format { key: fields.key.clone(), format, known: FORMAT });
    }
    let status: String = fields.required("status")?;
    let status =
        RunStatus::from_name(&status).ok_or_else(|| corrupt(&fields.key, format_args!("its status is `{status}`")))?;
    Ok(Run {
        key,
        thread: fields.required("thread")?,
        graph: fields.required("graph")?,
        graph_hash: fields.required("hash")?,
        status,
        step: Step::new(fields.number("step")?),
        revision: Revision::new(fields.number("rev")?),
        created_at: Timestamp::from_millis(fields.required("created")?),
        started_at: fields.time("started")?,
        ended_at: fields.time("ended")?,
        deadline_at: fields.time("deadline")?,
        open_tasks: fields.count("open")?,
        open_leases: fields.count("leases")?,
        base: fields.pair("base")?,
        parent: parent(fields)?,
        stop: report(fields)?,
        failure: fields.json("failure")?,
        spent: spent(fields)?,
        descendants: fields.number("kin")?,
        spec: fields.json("spec")?.ok_or_else(|| corrupt(&fields.key, "it has no field spec"))?,
    })
}

fn spent(fields: &Fields) -> Result<Spend, Error> {
    let Some(text) = fields.text("spent") else { return Ok(Spend::default()) };
    let mut parts = text.split('|').map(str::parse);
    let mut read = || {
        Some(Spend {
            input_tokens: parts.next()?.ok()?,
            output_tokens: parts.next()?.ok()?,
            cost: Cost::from_micros(parts.next()?.ok()?),
            tool_calls: parts.next()?.ok()?,
        })
    };
    read().ok_or_else(|| corrupt(&fields.key, format_args!("its field spent is `{text}`")))
}

fn parent(fields: &Fields) -> Result<Option<Parent>, Error> {
    let Some(text) = fields.text("parent") else { return Ok(None) };
    let mut parts = text.split('|');
    let mut read = || {
        let run = RunId::new(parts.next()?).ok()?;
        let task = parts.next()?.parse().ok()?;
        Some(Parent { run, task, depth: parts.next()?.parse().ok()? })
    };
    Ok(Some(read().ok_or_else(|| corrupt(&fields.key, format_args!("its field parent is `{text}`")))?))
}

fn report(fields: &Fields) -> Result<Option<StopReport>, Error> {
    let Some(order) = fields.json("order")? else { return Ok(None) };
    Ok(Some(StopReport {
        order,
        forced_at: fields.time("forced")?,
        leases: fields.count("sleases")?,
        released: fields.count("released")?,
        unconfirmed: fields.count("unconfirmed")?,
        closed_at: fields.time("closed")?,
    }))
}

/// An entry of the audit trail.
pub(super) fn audit_entry(fields: &Fields) -> Result<AuditEntry, Error> {
    let text = |name: &str| fields.fields.get(name).cloned().unwrap_or_default();
    Ok(AuditEntry {
        at: Timestamp::from_millis(fields.required("at")?),
        action: text("action"),
        run: fields.required("run")?,
        actor: text("actor"),
        reason: fields.fields.get("reason").cloned(),
        result: text("result"),
    })
}

/// When a step was made and how many tasks it has: its field `@`.
pub(super) fn step_meta(key: &str, text: &str) -> Result<(Timestamp, usize), Error> {
    let read = || {
        let (made, count) = text.split_once('|')?;
        Some((Timestamp::from_millis(made.parse().ok()?), count.parse().ok()?))
    };
    read().ok_or_else(|| corrupt(key, format_args!("its field @ is `{text}`")))
}

/// One task: its record, outcome, payload, last failure, proof and count of hand-backs come next in the reply.
pub(super) fn task(key: &str, id: TaskId, made: Timestamp, reply: &mut Reply) -> Result<Task, Error> {
    let record = reply.text()?;
    let unreadable = || corrupt(key, format_args!("the task {id} is `{record}`"));
    let parts: Vec<&str> = record.split('|').collect();
    let [state, attempts, crashes, fence, _, worker, _, _, started, settled, _, _, uncounted, ..] = parts[..] else {
        return Err(unreadable());
    };
    let state = TaskState::from_name(state).ok_or_else(unreadable)?;
    let time = |text: &str| text.parse::<i64>().map_err(|_| unreadable()).map(Timestamp::from_millis);
    let is_set = |time: &Timestamp| time.as_millis() != 0;
    // A task that was settled from the start was settled when it was made.
    let settled_at = time(settled)?;
    let settled_at = if is_set(&settled_at) { settled_at } else { made };
    let mut part = |name: &str| -> Result<Option<String>, Error> {
        reply.optional().map_err(|_| corrupt(key, format_args!("the task {id} has no {name}")))
    };
    let (outcome, payload) = (part("outcome")?, part("payload")?);
    let (failure, proof) = (part("failure")?, part("proof")?);
    let handed_back = part("count of hand-backs")?;
    Ok(Task {
        state,
        attempts: attempts.parse().map_err(|_| unreadable())?,
        crashes: crashes.parse().map_err(|_| unreadable())?,
        crashes_uncounted: uncounted.parse().map_err(|_| unreadable())?,
        fence: Fence::new(fence.parse().map_err(|_| unreadable())?),
        worker: if worker.is_empty() { None } else { Some(worker.parse().map_err(|_| unreadable())?) },
        started_at: Some(time(started)?).filter(is_set),
        settled_at: (state == TaskState::Settled).then_some(settled_at),
        outcome: outcome.map(|text| parse(key, "outcome", &text)).transpose()?,
        payload: payload.map(|text| parse(key, "payload", &text)).transpose()?,
        last_failure: failure.map(|text| parse(key, "failure", &text)).transpose()?,
        proof: proof.map(|text| parse(key, "proof", &text)).transpose()?,
        handed_back: handed_back.map(|text| handed_back_of(&text).ok_or_else(unreadable)).transpose()?,
        id,
    })
}

/// `TIMES|1`, or `TIMES|0`: how often in a row a task was handed back, and whether without an order the last time.
fn handed_back_of(text: &str) -> Option<HandedBack> {
    let (times, without_order) = text.split_once('|')?;
    Some(HandedBack { times: times.parse().ok()?, without_order: without_order == "1" })
}

/// The task NODE:ITEM of a step.
pub(super) fn task_id(key: &str, step: Step, name: &str) -> Result<TaskId, Error> {
    format!("{step}:{name}").parse().map_err(|_| corrupt(key, format_args!("it names a task `{name}`")))
}

/// A checkpoint, `AT|JSON`. One of a later format is refused by its format, whatever else it has.
pub(super) fn checkpoint(key: &str, text: &str) -> Result<StoredCheckpoint, Error> {
    #[derive(serde::Deserialize)]
    struct FormatOnly {
        format: u32,
    }
    let (at, json) = text.split_once('|').ok_or_else(|| corrupt(key, "a checkpoint has no time"))?;
    let at = at.parse().map_err(|_| corrupt(key, "a checkpoint's time is no number"))?;
    let read = serde_json::from_str::<Checkpoint>(json);
    let format = match &read {
        Ok(checkpoint) => checkpoint.format,
        Err(_) => serde_json::from_str::<FormatOnly>(json).map_or(CHECKPOINT_FORMAT, |only| only.format),
    };
    if format > CHECKPOINT_FORMAT {
        return Err(Error::Format { key: key.to_owned(), format, known: CHECKPOINT_FORMAT });
    }
    let checkpoint = read.map_err(|error| corrupt(key, format_args!("a checkpoint: {error}")))?;
    Ok(StoredCheckpoint { checkpoint, at: Timestamp::from_millis(at) })
}

/// Values as channel@version, value, …
pub(super) fn values(key: &str, mut reply: Reply) -> Result<Values, Error> {
    let mut values = Values::new();
    while !reply.is_empty() {
        let (name, json) = (reply.text()?, reply.text()?);
        let channel = name.split('@').next().unwrap_or_default();
        let channel = ChannelName::new(channel).map_err(|_| corrupt(key, format_args!("it has a value `{name}`")))?;
        if json.is_empty() {
            return Err(corrupt(key, format_args!("the value {name} is missing")));
        }
        values.insert(channel, parse::<Value>(key, &name, &json)?);
    }
    Ok(values)
}

/// Reads JSON; the error names the key and the part.
pub(super) fn parse<T: DeserializeOwned>(key: &str, part: &str, text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| corrupt(key, format_args!("{part}: {error}")))
}

/// An error that names the key.
pub(super) fn corrupt(key: &str, why: impl Display) -> Error {
    Error::Corrupt { key: key.to_owned(), why: why.to_string() }
}
