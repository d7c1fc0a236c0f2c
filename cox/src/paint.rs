//! Colours, where they are wanted.

use std::sync::LazyLock;

use coxswain_shared::id::Nonce;
use coxswain_shared::outcome::OutcomeKind;
use coxswain_shared::run::RunStatus;

/// Stands for the beginning of a colour until the text is written: nobody else can know it, so that no text of others has one.
static MARK: LazyLock<String> = LazyLock::new(|| format!("\u{1b}{}", Nonce::fresh()));

/// Makes texts of others fit to be shown, and leaves the colours in.
pub(crate) fn between_colours(text: &str, clean: impl Fn(&str) -> String) -> String {
    text.split(MARK.as_str()).map(clean).collect::<Vec<_>>().join(MARK.as_str())
}

/// Puts the colours in, last of all.
pub(crate) fn apply(text: &str) -> String {
    text.replace(MARK.as_str(), "\u{1b}[")
}

/// Colours texts, or leaves them as they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint(bool);

impl Paint {
    /// A painter.
    pub(crate) const fn new(colour: bool) -> Self {
        Self(colour)
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    pub(crate) fn odd(self, text: &str) -> String {
        self.with("33", text)
    }

    pub(crate) fn faint(self, text: &str) -> String {
        self.with("2", text)
    }

    pub(crate) fn strong(self, text: &str) -> String {
        self.with("1", text)
    }

    /// A run's status.
    pub(crate) fn status(self, status: RunStatus) -> String {
        match status {
            RunStatus::Succeeded => self.good(status.name()),
            RunStatus::Failed | RunStatus::TimedOut => self.bad(status.name()),
            RunStatus::Interrupted | RunStatus::Stopping | RunStatus::Cancelled => self.odd(status.name()),
            RunStatus::Queued | RunStatus::Running => self.strong(status.name()),
        }
    }

    /// A task's outcome.
    pub(crate) fn outcome(self, outcome: OutcomeKind) -> String {
        match outcome {
            OutcomeKind::Succeeded => self.good(outcome.name()),
            OutcomeKind::Failed | OutcomeKind::TimedOut | OutcomeKind::Crashed => self.bad(outcome.name()),
            OutcomeKind::Stopped => self.odd(outcome.name()),
        }
    }

    fn with(self, code: &str, text: &str) -> String {
        let mark = MARK.as_str();
        if self.0 { format!("{mark}{code}m{text}{mark}0m") } else { text.to_owned() }
    }
}
