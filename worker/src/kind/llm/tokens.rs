//! The text of an answer while it comes: told in events, some tokens at a time, and kept as partial output.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::gathered::Gathered;
use crate::handler::{Context, PARTIAL_BYTES_MAX, json_size};
use crate::outside::Secrets;

/// How long tokens are gathered: a reader sees them flow, and a fast model does not flood the run's events.
const GATHER: Duration = Duration::from_millis(50);
/// The kind of the events of what is kept as partial output.
const KEPT: &str = "token";
/// Bytes that are told at once, well within an event.
const EVENT_BYTES: usize = 8 * 1024;

/// What is told of an answer while it comes.
#[derive(Debug)]
pub(super) struct Telling<'a> {
    /// Its text, which is also kept as partial output.
    text: Tokens<'a>,
    /// What the model thinks before, where its provider shows that.
    thought: Tokens<'a>,
}

impl<'a> Telling<'a> {
    pub(super) const fn new(ctx: &'a Context, secrets: &'a Secrets) -> Self {
        Self { text: Tokens::new(ctx, secrets, KEPT), thought: Tokens::new(ctx, secrets, "thought") }
    }

    /// When what waits is to be told.
    pub(super) fn due(&self) -> Option<Instant> {
        self.text.due.into_iter().chain(self.thought.due).min()
    }

    /// Takes what has come, of which this is the whole.
    pub(super) fn take(&mut self, gathered: &Gathered) {
        self.thought.take(&gathered.thought);
        self.text.take(&gathered.text);
    }

    /// Tells what waits, but for what may be the beginning of a secret.
    pub(super) fn tell(&mut self) {
        self.thought.tell();
        self.text.tell();
    }

    /// Tells the rest.
    pub(super) fn finish(self) {
        self.thought.finish();
        self.text.finish();
    }
}

/// What is told of a text that grows.
#[derive(Debug)]
struct Tokens<'a> {
    ctx: &'a Context,
    /// The kind of its events.
    kind: &'static str,
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
    const fn new(ctx: &'a Context, secrets: &'a Secrets, kind: &'static str) -> Self {
        Self { ctx, kind, secrets, taken: 0, waiting: String::new(), due: None, told: String::new(), fits: true }
    }

    /// Takes what has come of a text, of which this is the whole.
    fn take(&mut self, text: &str) {
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
    fn tell(&mut self) {
        let held = self.waiting.len() - self.secrets.begun_in(&self.waiting);
        let held = self.waiting.split_off(held);
        self.tell_waiting();
        self.waiting = held;
    }

    /// Tells the rest.
    fn finish(mut self) {
        self.tell_waiting();
    }

    fn tell_waiting(&mut self) {
        self.due = None;
        let text = self.secrets.redact(&std::mem::take(&mut self.waiting));
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rest.floor_char_boundary(EVENT_BYTES));
            self.ctx.emit(self.kind, json!({"text": piece}));
            rest = behind;
        }
        if text.is_empty() || !self.fits || self.kind != KEPT {
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
