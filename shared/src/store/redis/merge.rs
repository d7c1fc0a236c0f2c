//! Merges lists that are ordered newest first into one, reading each only as far as it is needed.

use std::collections::VecDeque;

use redis::{Cmd, Value};

use super::link::Link;
use crate::store::Error;

/// One list, such as a partition's index.
pub(super) trait Source {
    /// An entry; the largest is the newest.
    type Entry: Ord + Clone;

    /// The command that reads up to `count` entries from place `skip` on among those not newer than `last`, or all.
    fn command(&self, last: Option<&Self::Entry>, skip: usize, count: usize) -> Cmd;

    /// Reads the command's answer, newest first.
    fn entries(&self, answer: Value) -> Result<Vec<Self::Entry>, Error>;
}

/// The merged list.
pub(super) struct Merge<S: Source> {
    parts: Vec<Part<S>>,
    count: usize,
    /// Everything that is given out is older than this.
    before: Option<S::Entry>,
}

struct Part<S: Source> {
    source: S,
    buffer: VecDeque<S::Entry>,
    is_exhausted: bool,
    /// The oldest entry that was read, and how often a read has brought nothing older.
    last: Option<S::Entry>,
    skip: usize,
}

impl<S: Source> Merge<S> {
    /// Merges these, from what is older than `before` on, `count` entries of each at a time.
    pub(super) fn new(sources: impl IntoIterator<Item = S>, before: Option<S::Entry>, count: usize) -> Self {
        let part =
            |source| Part { source, buffer: VecDeque::new(), is_exhausted: false, last: before.clone(), skip: 0 };
        Self { parts: sources.into_iter().map(part).collect(), count, before }
    }

    /// The newest entry that was not given out; absent at the end. An entry that several lists have is given once.
    pub(super) async fn next(&mut self, link: &Link) -> Result<Option<S::Entry>, Error> {
        self.fill(link).await?;
        let newest = self.parts.iter().filter_map(|part| part.buffer.front()).max().cloned();
        if let Some(newest) = &newest {
            for part in &mut self.parts {
                while part.buffer.front() == Some(newest) {
                    part.buffer.pop_front();
                }
            }
            self.before = Some(newest.clone());
        }
        Ok(newest)
    }

    /// Reads on wherever nothing is left of what was read.
    async fn fill(&mut self, link: &Link) -> Result<(), Error> {
        loop {
            let empty: Vec<usize> = (0..self.parts.len())
                .filter(|place| self.parts[*place].buffer.is_empty() && !self.parts[*place].is_exhausted)
                .collect();
            if empty.is_empty() {
                return Ok(());
            }
            let commands = empty.iter().map(|place| {
                let part = &self.parts[*place];
                part.source.command(part.last.as_ref(), part.skip, self.count)
            });
            let answers = link.read(commands.collect()).await?;
            for (place, answer) in empty.into_iter().zip(answers) {
                let part = &mut self.parts[place];
                let entries = part.source.entries(answer)?;
                part.take(entries, self.count, self.before.as_ref());
            }
        }
    }
}

impl<S: Source> Part<S> {
    fn take(&mut self, entries: Vec<S::Entry>, count: usize, before: Option<&S::Entry>) {
        self.is_exhausted = entries.len() < count;
        let read = entries.len();
        let last = self.last.clone();
        self.buffer.extend(entries.into_iter().filter(|entry| before.is_none_or(|before| entry < before)));
        match self.buffer.back() {
            Some(oldest) if Some(oldest) != last.as_ref() => {
                self.last = Some(oldest.clone());
                self.skip = 0;
            }
            // All that was read lies at the same place as the last entry, such as many runs of one millisecond.
            _ => self.skip += read,
        }
    }
}
