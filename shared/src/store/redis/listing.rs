//! Listings over all partitions: runs and the audit trail, newest first, by cursors that say where the last page ended.

use futures_util::future::try_join_all;
use redis::{Cmd, Value, cmd};

use super::decode::{self, Fields};
use super::merge::{Merge, Source};
use super::reply::{Reply, short};
use super::store::RedisStore;
use crate::id::{Partition, RunId, RunKey};
use crate::run::RunStatus;
use crate::store::{AuditEntry, Error, Page, Run, RunFilter};
use crate::time::Timestamp;

/// Entries that are read of one list at a time.
const ENTRIES_AT_ONCE: usize = 200;
/// Runs that one page looks at, at most, to find those that its filter admits.
const RUNS_LOOKED_AT: usize = 5_000;
/// The same for the audit trail: all that two partitions keep.
const AUDIT_LOOKED_AT: usize = 20_500;
/// Runs that one pipeline reads.
const RUNS_AT_ONCE: usize = 100;

/// An index of a partition: runs by when they were made.
struct Index {
    key: String,
    partition: Partition,
    before: Option<Timestamp>,
}

/// Where a run stands in the listing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Listed {
    created: i64,
    id: RunId,
    partition: Partition,
}

impl Source for Index {
    type Entry = Listed;

    fn command(&self, last: Option<&Listed>, skip: usize, count: usize) -> Cmd {
        let newest = match (last, self.before) {
            (Some(last), Some(before)) if last.created >= before.as_millis() => format!("({}", before.as_millis()),
            (Some(last), _) => last.created.to_string(),
            (None, Some(before)) => format!("({}", before.as_millis()),
            (None, None) => "+inf".to_owned(),
        };
        let mut command = cmd("ZREVRANGEBYSCORE");
        command.arg(&self.key).arg(newest).arg("-inf").arg("WITHSCORES").arg("LIMIT").arg(skip).arg(count);
        command
    }

    fn entries(&self, answer: Value) -> Result<Vec<Listed>, Error> {
        let mut reply = Reply::new(&self.key, answer);
        let mut entries = Vec::with_capacity(reply.len() / 2);
        while !reply.is_empty() {
            let id = reply.parsed()?;
            entries.push(Listed { created: reply.parsed()?, id, partition: self.partition });
        }
        Ok(entries)
    }
}

/// The audit trail of a partition.
struct Trail {
    key: String,
    partition: Partition,
}

/// Where an entry stands in the trail: its time, and the place that the server gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct NotedAt {
    at: i64,
    ms: u64,
    seq: u64,
    partition: Partition,
}

/// An entry of the trail.
#[derive(Debug, Clone)]
struct Noted {
    place: NotedAt,
    entry: Option<AuditEntry>,
}

impl PartialEq for Noted {
    fn eq(&self, other: &Self) -> bool {
        self.place == other.place
    }
}

impl Eq for Noted {}

impl PartialOrd for Noted {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Noted {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.place.cmp(&other.place)
    }
}

impl Source for Trail {
    type Entry = Noted;

    fn command(&self, last: Option<&Noted>, skip: usize, count: usize) -> Cmd {
        // Where a page of another trail ended, an entry of this one with an earlier time may bear a slightly later place.
        let newest = match last.map(|last| last.place) {
            None => "+".to_owned(),
            Some(place) if place.partition == self.partition => format!("{}-{}", place.ms, place.seq),
            Some(place) => place.ms.saturating_add(1_000).to_string(),
        };
        let mut command = cmd("XREVRANGE");
        command.arg(&self.key).arg(newest).arg("-").arg("COUNT").arg(count + skip);
        command
    }

    fn entries(&self, answer: Value) -> Result<Vec<Noted>, Error> {
        let mut reply = Reply::new(&self.key, answer);
        let mut entries = Vec::with_capacity(reply.len());
        while !reply.is_empty() {
            let mut row = reply.list()?;
            let id = row.text()?;
            let (ms, seq) = id
                .split_once('-')
                .and_then(|(ms, seq)| Some((ms.parse().ok()?, seq.parse().ok()?)))
                .ok_or_else(|| reply.corrupt("an entry has no place"))?;
            let fields = Fields::read(self.key.clone(), row.list()?)?;
            let fields = fields.ok_or_else(|| reply.corrupt("an entry is empty"))?;
            let entry = decode::audit_entry(&fields)?;
            let place = NotedAt { at: entry.at.as_millis(), ms, seq, partition: self.partition };
            entries.push(Noted { place, entry: Some(entry) });
        }
        Ok(entries)
    }
}

impl RedisStore {
    pub(super) async fn list_runs(
        &self,
        filter: &RunFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<Run>, Error> {
        let before = cursor.map(run_cursor).transpose()?;
        let indexes = self.indexes(filter);
        let mut merge = Merge::new(indexes, before, ENTRIES_AT_ONCE.min(limit + 1));
        let mut rows = Vec::new();
        let mut looked_at = 0;
        loop {
            let mut batch = Vec::new();
            while batch.len() < limit - rows.len() {
                let Some(listed) = merge.next(&self.link).await? else { break };
                batch.push(listed);
            }
            let Some(last) = batch.last().cloned() else { return Ok(Page { rows, next: None }) };
            looked_at += batch.len();
            for run in self.read_runs(&batch).await? {
                if filter.admits(&run) {
                    rows.push(run);
                }
            }
            if rows.len() >= limit || looked_at >= RUNS_LOOKED_AT {
                let is_end = merge.next(&self.link).await?.is_none();
                let next = (!is_end).then(|| format!("{}.{}.{}", last.created, last.partition, last.id));
                return Ok(Page { rows, next });
            }
        }
    }

    /// The smallest indexes that have all runs of a filter.
    fn indexes(&self, filter: &RunFilter) -> Vec<Index> {
        let names: Vec<String> = match &filter.thread {
            Some(thread) => vec![format!("of:{thread}")],
            None if filter.status.is_empty() || filter.status.contains(&RunStatus::Succeeded) => vec!["idx".to_owned()],
            None => {
                let mut names: Vec<_> = filter.status.iter().map(|status| index_of(*status)).collect();
                names.sort();
                names.dedup();
                names
            }
        };
        let of = |partition: Partition| {
            let index = move |name: &String| Index {
                key: self.keys.of(partition, name),
                partition,
                before: filter.created_before,
            };
            names.iter().map(index).collect::<Vec<_>>()
        };
        self.all_partitions().flat_map(of).collect()
    }

    /// Reads runs, some at a time, all at once.
    async fn read_runs(&self, listed: &[Listed]) -> Result<Vec<Run>, Error> {
        let read = try_join_all(listed.chunks(RUNS_AT_ONCE).map(|some| self.read_some_runs(some))).await?;
        Ok(read.into_iter().flatten().collect())
    }

    async fn read_some_runs(&self, listed: &[Listed]) -> Result<Vec<Run>, Error> {
        let keys: Vec<_> =
            listed.iter().map(|listed| RunKey { partition: listed.partition, id: listed.id.clone() }).collect();
        let commands = keys.iter().map(|key| {
            let mut command = cmd("HGETALL");
            command.arg(self.keys.run(key));
            command
        });
        let answers = self.link.read(commands.collect()).await?;
        let mut runs = Vec::with_capacity(answers.len());
        for (key, answer) in keys.into_iter().zip(answers) {
            let name = self.keys.run(&key);
            // One that is gone was forgotten in between.
            if let Some(fields) = Fields::read(name.clone(), Reply::new(name, answer))? {
                runs.push(decode::run(&fields, key)?);
            }
        }
        Ok(runs)
    }

    pub(super) async fn list_audit(
        &self,
        run: Option<&RunId>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<AuditEntry>, Error> {
        let before = cursor.map(audit_cursor).transpose()?;
        let partitions = self.trails_of(run).await?;
        let trail = |partition| Trail { key: self.keys.of(partition, "audit"), partition };
        let mut merge = Merge::new(partitions.into_iter().map(trail), before, ENTRIES_AT_ONCE);
        let mut rows = Vec::new();
        let mut looked_at = 0;
        while let Some(noted) = merge.next(&self.link).await? {
            looked_at += 1;
            let NotedAt { at, ms, seq, partition } = noted.place;
            rows.extend(noted.entry.filter(|entry| run.is_none_or(|run| entry.run == *run)));
            if rows.len() >= limit || looked_at >= AUDIT_LOOKED_AT {
                let is_end = merge.next(&self.link).await?.is_none();
                let next = (!is_end).then(|| format!("{at}.{ms}.{seq}.{partition}"));
                return Ok(Page { rows, next });
            }
        }
        Ok(Page { rows, next: None })
    }

    /// The partitions whose trails may name a run: its own, and the one that early orders are noted in.
    async fn trails_of(&self, run: Option<&RunId>) -> Result<Vec<Partition>, Error> {
        let Some(run) = run else { return Ok(self.all_partitions().collect()) };
        let early = self.partition_of(run.as_str());
        match self.located(run).await? {
            Some(own) if own == early => Ok(vec![own]),
            Some(own) => Ok(vec![own, early]),
            None => Ok(self.all_partitions().collect()),
        }
    }
}

fn index_of(status: RunStatus) -> String {
    match status {
        RunStatus::Queued | RunStatus::Running | RunStatus::Interrupted | RunStatus::Stopping => "live".to_owned(),
        RunStatus::Failed | RunStatus::TimedOut | RunStatus::Cancelled => format!("end:{status}"),
        RunStatus::Succeeded => "idx".to_owned(),
    }
}

fn run_cursor(text: &str) -> Result<Listed, Error> {
    let read = || {
        let mut parts = text.splitn(3, '.');
        let created = parts.next()?.parse().ok()?;
        let partition = Partition::new(parts.next()?.parse().ok()?);
        Some(Listed { created, id: parts.next()?.parse().ok()?, partition })
    };
    read().ok_or_else(|| Error::Cursor { text: short(text) })
}

fn audit_cursor(text: &str) -> Result<Noted, Error> {
    let read = || {
        let mut parts = text.splitn(4, '.');
        let (at, ms, seq) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let partition = Partition::new(parts.next()?.parse().ok()?);
        Some(Noted { place: NotedAt { at, ms, seq, partition }, entry: None })
    };
    read().ok_or_else(|| Error::Cursor { text: short(text) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_others_are_refused() {
        let cursor = run_cursor("1700000000000.3.run-1.x").unwrap();
        assert_eq!(
            (cursor.created, cursor.partition, cursor.id.as_str()),
            (1_700_000_000_000, Partition::new(3), "run-1.x")
        );
        let place = NotedAt { at: 16, ms: 17, seq: 2, partition: Partition::new(3) };
        assert_eq!(audit_cursor("16.17.2.3").unwrap().place, place);
        for text in ["", "x", "1.2", "1.2.a:b", "1.99999999.a"] {
            assert!(matches!(run_cursor(text), Err(Error::Cursor { .. })), "{text}");
            assert!(matches!(audit_cursor(text), Err(Error::Cursor { .. })), "{text}");
        }
    }
}
