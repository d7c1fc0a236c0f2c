//! An attempt's life in the worker: its [`State`] and the events that move it.
//!
//! | from | started | ended | told | gone | stuck | cleaned |
//! |---|---|---|---|---|---|---|
//! | claimed | running | – | ending | – | – | – |
//! | running | – | cleaning | ending | – | – | – |
//! | ending | – | cleaning | ending | cleaning | closed | – |
//! | cleaning | – | – | cleaning | – | – | closed |
//! | closed | – | – | – | – | – | – |
//!
//! `ended`: the work came to its own end. `told`: a reason to end it is known; a later reason takes the place of an
//! earlier one only if it prevails. `gone`: the work was dropped. `stuck`: it blocks, and was fenced. `cleaned`: the
//! cleanup hooks are through, or there were none to run. `every_pair_follows_the_table` walks all of it.

use coxswain_shared::stop::EndReason;

/// Where an attempt stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// The lease is held; the work has not begun.
    Claimed,
    /// The work goes on.
    Running,
    /// There is a reason to end it, and the work has not ended yet.
    Ending(EndReason),
    /// The work is over; hooks clean up.
    Cleaning(Option<EndReason>),
    /// Nothing of it goes on any more, or it was fenced; what became of it can be written.
    Closed(Option<EndReason>),
}

/// What happens to an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The work began.
    Started,
    /// The work came to its own end.
    Ended,
    /// A reason to end it is known.
    Told(EndReason),
    /// The work was dropped.
    Gone,
    /// The work blocks without awaiting, and is given up.
    Stuck,
    /// Cleanup is through.
    Cleaned,
}

/// An event that the state does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an attempt that is {from} cannot take the event `{event}`")]
pub struct IllegalTransition {
    /// The name of the state that the attempt had.
    pub from: &'static str,
    /// The name of what was to happen.
    pub event: &'static str,
}

impl State {
    /// The state after an event.
    pub fn next(self, event: Event) -> Result<Self, IllegalTransition> {
        match (self, event) {
            (Self::Claimed, Event::Started) => Ok(Self::Running),
            (Self::Claimed | Self::Running, Event::Told(reason)) => Ok(Self::Ending(reason)),
            (Self::Running, Event::Ended) => Ok(Self::Cleaning(None)),
            (Self::Ending(old), Event::Told(new)) => Ok(Self::Ending(prevailing(old, new))),
            (Self::Ending(reason), Event::Ended | Event::Gone) => Ok(Self::Cleaning(Some(reason))),
            (Self::Ending(reason), Event::Stuck) => Ok(Self::Closed(Some(reason))),
            (Self::Cleaning(None), Event::Told(new)) => Ok(Self::Cleaning(Some(new))),
            (Self::Cleaning(Some(old)), Event::Told(new)) => Ok(Self::Cleaning(Some(prevailing(old, new)))),
            (Self::Cleaning(reason), Event::Cleaned) => Ok(Self::Closed(reason)),
            (from, event) => Err(IllegalTransition { from: from.name(), event: event.name() }),
        }
    }

    /// The state's name in logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Running => "running",
            Self::Ending(_) => "ending",
            Self::Cleaning(_) => "cleaning",
            Self::Closed(_) => "closed",
        }
    }
}

impl Event {
    /// The event's name in errors.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Ended => "ended",
            Self::Told(_) => "told",
            Self::Gone => "gone",
            Self::Stuck => "stuck",
            Self::Cleaned => "cleaned",
        }
    }
}

fn prevailing(old: EndReason, new: EndReason) -> EndReason {
    if prevails(&new, &old) { new } else { old }
}

/// Whether a reason takes the place of another: it ranks higher, or it adds force to a stop order.
pub(crate) fn prevails(new: &EndReason, old: &EndReason) -> bool {
    match (new, old) {
        (EndReason::StopOrdered(new), EndReason::StopOrdered(old)) => new.order.force && !old.order.force,
        (new, old) => new.rank() > old.rank(),
    }
}

#[cfg(test)]
mod tests {
    use coxswain_shared::limits::Limit;
    use coxswain_shared::stop::{Cause, NewOrder, StopOrder};
    use coxswain_shared::time::Timestamp;

    use super::*;

    fn order(force: bool) -> EndReason {
        let order = NewOrder { cause: Cause::Cancelled, reason: None, actor: "ann".into(), grace: None, force };
        EndReason::StopOrdered(StopOrder { order, at: Timestamp::from_millis(0) })
    }

    #[test]
    fn every_pair_follows_the_table() {
        let doc = include_str!("state.rs");
        let shutdown = EndReason::Shutdown;
        let states = [
            State::Claimed,
            State::Running,
            State::Ending(shutdown.clone()),
            State::Cleaning(None),
            State::Closed(None),
        ];
        for state in states {
            let events = [
                Event::Started,
                Event::Ended,
                Event::Told(shutdown.clone()),
                Event::Gone,
                Event::Stuck,
                Event::Cleaned,
            ];
            let cells = events.map(|event| state.clone().next(event).map_or("–", |next| next.name()));
            let row = format!("//! | {} | {} |", state.name(), cells.join(" | "));
            assert!(doc.contains(&row), "the module's table lacks the row: {row}");
        }
    }

    #[test]
    fn the_reason_that_prevails_is_kept_to_the_end() {
        let deadline = EndReason::DeadlineExceeded(Limit::AttemptTimeout);
        let all = [EndReason::Shutdown, deadline, order(false), order(true), EndReason::LeaseLost];
        for (early, first) in all.iter().enumerate() {
            for (late, second) in all.iter().enumerate() {
                let told = State::Ending(first.clone()).next(Event::Told(second.clone())).unwrap();
                assert_eq!(told, State::Ending(all[early.max(late)].clone()));
                let cleaning = State::Cleaning(Some(first.clone())).next(Event::Told(second.clone())).unwrap();
                assert_eq!(cleaning, State::Cleaning(Some(all[early.max(late)].clone())));
            }
        }
    }
}
