//! What attempts report while they run, on its way to the store: bounded, in batches, never in the way of the work.
//!
//! Each attempt has a [`Buffer`]. One flusher gathers for a moment and writes a batch a run. When a buffer is full its
//! oldest event goes, and the number of those that went is told in an event of its own, `events_dropped`. An attempt
//! that ends writes what is left itself, so that a run's events precede its end. Events carry no fence and are no
//! part of the state: what the store cannot take right now is dropped and counted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use coxswain_shared::id::{NAME_LENGTH_MAX, TaskKey};
use coxswain_shared::limits::EVENT_BYTES_MAX;
use coxswain_shared::printable;
use coxswain_shared::stop::EndReason;
use coxswain_shared::store::{NewEvent, Store};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::attempt::Switch;
use crate::handler::json_size;
use crate::metrics::Metrics;

/// Events that one attempt may have waiting.
pub(crate) const EVENTS_WAITING_MAX: usize = 256;
/// How long the flusher gathers: short for a reader who watches tokens, long enough for a batch.
const GATHER: Duration = Duration::from_millis(50);
/// How long one batch may take; events never hold up anything for longer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether a text can be the kind of an event, by which readers choose.
pub(crate) fn check_kind(kind: &str) -> Result<(), String> {
    if kind.is_empty() || kind.len() > NAME_LENGTH_MAX {
        return Err(format!("name has {} bytes, and may have from 1 to {NAME_LENGTH_MAX}", kind.len()));
    }
    match kind.chars().find(|character| printable::is_control(*character)) {
        Some(character) => Err(format!("name has the control character U+{:04X}", u32::from(character))),
        None => Ok(()),
    }
}

/// One attempt's events.
#[derive(Debug)]
pub(crate) struct Buffer {
    task: TaskKey,
    switch: Switch,
    waiting: Mutex<Waiting>,
    /// Whether it is on its way to the flusher.
    sent: AtomicBool,
    flusher: mpsc::Sender<Arc<Buffer>>,
    /// Held while a batch is being written, so that batches of one attempt keep their order.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<NewEvent>,
    dropped: u64,
}

impl Buffer {
    pub(crate) fn new(task: TaskKey, switch: Switch, flusher: mpsc::Sender<Arc<Self>>) -> Arc<Self> {
        Arc::new(Self {
            task,
            switch,
            waiting: Mutex::default(),
            sent: AtomicBool::new(false),
            flusher,
            writing: tokio::sync::Mutex::default(),
        })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("nothing panics while it holds an attempt's events")
    }

    /// Adds an event; drops the oldest if there is no room.
    pub(crate) fn push(self: &Arc<Self>, kind: &str, value: Value) {
        let bytes = json_size(&value);
        let value = if bytes > EVENT_BYTES_MAX { json!({ "too_large": bytes }) } else { value };
        if self.is_closed() {
            return;
        }
        let mut waiting = self.waiting();
        if waiting.events.len() == EVENTS_WAITING_MAX {
            waiting.events.pop_front();
            waiting.dropped += 1;
        }
        waiting.events.push_back(NewEvent { task: self.task.task.clone(), kind: kind.to_owned(), value });
        drop(waiting);
        if !self.sent.swap(true, Ordering::AcqRel) && self.flusher.try_send(Arc::clone(self)).is_err() {
            self.sent.store(false, Ordering::Release);
        }
    }

    /// Nothing of a stopped run, or of a lease that is lost, is to be written any more.
    fn is_closed(&self) -> bool {
        self.switch.notice().is_some_and(|notice| match notice.reason {
            EndReason::StopOrdered(_) | EndReason::LeaseLost => true,
            EndReason::Shutdown | EndReason::DeadlineExceeded(_) => false,
        })
    }

    fn take(&self) -> Vec<NewEvent> {
        self.sent.store(false, Ordering::Release);
        let mut waiting = self.waiting();
        let dropped = std::mem::take(&mut waiting.dropped);
        let mut events: Vec<_> = waiting.events.drain(..).collect();
        drop(waiting);
        if self.is_closed() {
            return Vec::new();
        }
        if dropped > 0 {
            let value = json!({ "count": dropped });
            events.insert(0, NewEvent { task: self.task.task.clone(), kind: "events_dropped".to_owned(), value });
        }
        events
    }

    /// Writes what waits, for a bounded time.
    pub(crate) async fn flush(&self, store: &dyn Store, metrics: &Metrics) {
        if self.waiting().events.is_empty() && self.writing.try_lock().is_ok() {
            return;
        }
        let write = async {
            let _in_order = self.writing.lock().await;
            let events = self.take();
            if events.is_empty() {
                return;
            }
            let count = events.len() as u64;
            if let Err(error) = store.emit(&self.task.run, events).await {
                metrics.events_dropped.inc_by(count);
                tracing::debug!(run.id = %self.task.run.id, %error, "events were not stored");
            }
        };
        if tokio::time::timeout(PATIENCE, write).await.is_err() {
            tracing::debug!(run.id = %self.task.run.id, "events were not stored in time");
        }
    }
}

/// Writes buffers that have something waiting, until all who could send one are gone.
pub(crate) async fn run_flusher(mut buffers: mpsc::Receiver<Arc<Buffer>>, store: Arc<dyn Store>, metrics: Metrics) {
    while let Some(first) = buffers.recv().await {
        tokio::time::sleep(GATHER).await;
        let mut batch = vec![first];
        while let Ok(next) = buffers.try_recv() {
            batch.push(next);
        }
        for buffer in batch {
            buffer.flush(store.as_ref(), &metrics).await;
        }
    }
}
