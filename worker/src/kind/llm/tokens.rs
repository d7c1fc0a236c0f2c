//! The text of an answer while it comes: told in events, some tokens at a time, and kept as partial output.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::handler::{Context, PARTIAL_BYTES_MAX, json_size};
use crate::outside::Secrets;

/// How long tokens are gathered: a reader sees them flow, and a fast model does not flood the run's events.
const GATHER: Duration = Duration::from_millis(50);
/// Bytes that are told at once, well within an event.
const EVENT_BYTES: usize = 8 * 1024;

/// What is told of a text that grows.
#[derive(Debug)]
pub(super) struct Tokens<'a> {
    ctx: &'a Context,
    secrets: &'a Secrets,
    /// Bytes of the text that were taken.
    taken: usize,
    /// What was taken, and is not told.
    waiting: String,
    due: Option<Instant>,
    /// What was told, without secrets.
    told: String,
    /// Whether what was told still fits a partial output.
    fits: bool,
}

impl<'a> Tokens<'a> {
    pub(super) const fn new(ctx: &'a Context, secrets: &'a Secrets) -> Self {
        Self { ctx, secrets, taken: 0, waiting: String::new(), due: None, told: String::new(), fits: true }
    }

    /// When what waits is to be told.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Takes what has come of a text, of which this is the whole.
    pub(super) fn take(&mut self, text: &str) {
        if text.len() > self.taken {
            self.waiting.push_str(&text[self.taken..]);
            self.taken = text.len();
            self.due.get_or_insert_with(|| Instant::now() + GATHER);
        }
        if self.waiting.len() >= EVENT_BYTES || self.due.is_some_and(|due| due <= Instant::now()) {
            self.tell();
        }
    }

    /// Tells what waits, but for what may be the beginning of a secret.
    pub(super) fn tell(&mut self) {
        let held = self.waiting.len() - self.secrets.begun_in(&self.waiting);
        let held = self.waiting.split_off(held);
        self.tell_waiting();
        self.waiting = held;
    }

    /// Tells the rest.
    pub(super) fn finish(mut self) {
        self.tell_waiting();
    }

    fn tell_waiting(&mut self) {
        self.due = None;
        let text = self.secrets.redact(&std::mem::take(&mut self.waiting));
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rest.floor_char_boundary(EVENT_BYTES));
            self.ctx.emit("token", json!({"text": piece}));
            rest = behind;
        }
        if text.is_empty() || !self.fits {
            return;
        }
        self.told.push_str(&text);
        let partial = Value::from(self.told.as_str());
        // A longer text is kept up to here.
        self.fits = json_size(&partial) <= PARTIAL_BYTES_MAX;
        if self.fits {
            self.ctx.partial(partial);
        }
    }
}
