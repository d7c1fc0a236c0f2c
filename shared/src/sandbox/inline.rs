//! Evaluates only what is light and small, for a thread that serves others too.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::expr::{Error, Evaluation, Evaluator};

/// How long it evaluates.
const TIME: Duration = Duration::from_millis(5);
/// Bytes that one of its evaluations may read.
const BYTES: usize = 128 * 1024;

/// Evaluates what is light and small for a short time, and defers everything else. What was made with it is of no use if
/// anything was deferred.
#[derive(Debug)]
pub struct Inline {
    begun: Instant,
    deferred: AtomicBool,
}

impl Default for Inline {
    fn default() -> Self {
        Self { begun: Instant::now(), deferred: AtomicBool::new(false) }
    }
}

impl Inline {
    /// Whether anything was deferred.
    pub fn has_deferred(&self) -> bool {
        self.deferred.load(Ordering::Relaxed)
    }

    fn defer(&self, text: &str) -> Error {
        self.deferred.store(true, Ordering::Relaxed);
        Error::Unavailable { text: text.to_owned(), why: "it is evaluated apart".to_owned() }
    }
}

impl Evaluator for Inline {
    fn heavy(&self, evaluation: &Evaluation<'_>) -> Result<Value, Error> {
        Err(self.defer(&evaluation.text))
    }

    fn light(&self, text: &str, bytes: usize) -> Result<(), Error> {
        if bytes > BYTES || self.begun.elapsed() > TIME {
            return Err(self.defer(text));
        }
        Ok(())
    }
}
