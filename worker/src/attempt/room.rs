//! Who is under way on this worker, and how one attempt comes to be alone: a task that was under way when a worker crashed
//! is tried again with nothing beside it, so that the culprit of a second crash is known.
//!
//! ```text
//! enter ──► present ── its task is a suspect ──► in line ── nobody is present ──► alone ──► leaves
//!              ▲                                    │         and it is first
//!              └────────── it is another's ─────────┘
//! ```
//!
//! While somebody is in line or alone the room is closed: the intake starts nothing. Those who are present end by
//! themselves; who waits in line holds no lease. After a minute of lone attempts the room opens for a moment, so that
//! others are not kept out for as long as the line is.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// For how long lone attempts follow each other before others are let in.
const STREAK_MAX: Duration = Duration::from_mins(1);
/// For how long others are let in then: enough to fill the slots with what is at hand.
const OPEN_FOR: Duration = Duration::from_millis(500);
/// How often who waits looks again: a slot that was stuck may be free, or the moment for others over.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The attempts of one worker, as far as they must know of each other.
#[derive(Debug, Default)]
pub(crate) struct Room {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    present: usize,
    line: VecDeque<u64>,
    tickets: u64,
    is_alone: bool,
    streak_since: Option<Instant>,
    open_until: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Present,
    InLine(u64),
    Alone,
    Gone,
}

/// A place in the room, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Presence {
    room: Arc<Room>,
    place: Place,
}

impl State {
    fn is_open(&self) -> bool {
        !self.is_alone && (self.line.is_empty() || self.open_until.is_some_and(|until| Instant::now() < until))
    }

    fn leave(&mut self, place: Place) {
        match place {
            Place::Present => self.present -= 1,
            Place::InLine(ticket) => self.line.retain(|waiting| *waiting != ticket),
            Place::Alone => {
                self.is_alone = false;
                let now = Instant::now();
                if self.line.is_empty() {
                    self.streak_since = None;
                } else if self.streak_since.is_some_and(|since| now - since >= STREAK_MAX) {
                    self.streak_since = None;
                    self.open_until = Some(now + OPEN_FOR);
                }
            }
            Place::Gone => {}
        }
    }
}

impl Room {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the room")
    }

    /// Whether an attempt may be started now.
    pub(crate) fn is_open(&self) -> bool {
        self.lock().is_open()
    }

    /// Enters for a new attempt; none while the room is closed.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Presence> {
        let mut state = self.lock();
        if !state.is_open() {
            return None;
        }
        state.present += 1;
        drop(state);
        Some(Presence { room: Arc::clone(self), place: Place::Present })
    }

    /// Waits until the room may have opened. Cancel safe.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Presence {
    /// Leaves again: there was nothing to start.
    pub(crate) fn withdraw(mut self) {
        self.room.lock().leave(self.place);
        self.place = Place::Gone;
    }

    /// Whether nothing else is under way, and nothing will be until this goes.
    pub(crate) fn is_alone(&self) -> bool {
        self.place == Place::Alone
    }

    /// Whether others of this worker wait to be alone, and this is the last of them.
    pub(crate) fn is_last_in_line(&self) -> bool {
        matches!(self.place, Place::InLine(ticket) if self.room.lock().line.back() == Some(&ticket))
    }

    /// Becomes one of those present again: its task is another worker's.
    pub(crate) fn rejoin(&mut self) {
        if self.place == Place::Present {
            return;
        }
        let mut state = self.room.lock();
        state.leave(self.place);
        state.present += 1;
        self.place = Place::Present;
        drop(state);
        self.room.changed.notify_waiters();
    }

    /// Waits until it is alone, at most for `patience`. `stuck` counts slots whose handler still runs. Cancel safe: it
    /// keeps its place in the line.
    pub(crate) async fn wait_alone(&mut self, patience: Duration, stuck: impl Fn() -> usize) {
        self.line_up();
        let room = Arc::clone(&self.room);
        let until = Instant::now() + patience;
        loop {
            let changed = room.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.try_alone(stuck()) || Instant::now() >= until {
                return;
            }
            // Either way it looks again.
            let _is_told = timeout(LOOK_EVERY.min(until - Instant::now()), changed).await;
        }
    }

    fn line_up(&mut self) {
        if self.place != Place::Present {
            return;
        }
        let mut state = self.room.lock();
        state.present -= 1;
        state.tickets += 1;
        self.place = Place::InLine(state.tickets);
        let ticket = state.tickets;
        state.line.push_back(ticket);
        drop(state);
        self.room.changed.notify_waiters();
    }

    fn try_alone(&mut self, stuck: usize) -> bool {
        let Place::InLine(ticket) = self.place else { return self.is_alone() };
        let mut state = self.room.lock();
        let is_kept_open = state.open_until.is_some_and(|until| Instant::now() < until);
        if state.is_alone || state.present > 0 || stuck > 0 || is_kept_open || state.line.front() != Some(&ticket) {
            return false;
        }
        state.line.pop_front();
        state.is_alone = true;
        state.streak_since.get_or_insert_with(Instant::now);
        state.open_until = None;
        self.place = Place::Alone;
        true
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if self.place != Place::Gone {
            self.room.lock().leave(self.place);
            self.room.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    async fn is_alone(presence: &mut Presence, stuck: usize) -> bool {
        presence.wait_alone(NOW, || stuck).await;
        presence.is_alone()
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_to_be_alone_waits_for_the_others_and_keeps_new_ones_out() {
        let room = Arc::new(Room::default());
        let (mut suspect, other) = (room.enter().unwrap(), room.enter().unwrap());
        assert!(!is_alone(&mut suspect, 0).await, "another is present");
        assert!(room.enter().is_none(), "nothing is started while somebody waits to be alone");
        drop(other);
        assert!(!is_alone(&mut suspect, 1).await, "a handler that blocks still runs");
        assert!(is_alone(&mut suspect, 0).await);
        assert!(!room.is_open());
        drop(suspect);
        assert!(room.enter().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn those_in_line_are_alone_one_after_another_in_their_order() {
        let room = Arc::new(Room::default());
        let (mut first, mut second) = (room.enter().unwrap(), room.enter().unwrap());
        assert!(!is_alone(&mut first, 0).await);
        assert!(!is_alone(&mut second, 0).await, "the other was in line before");
        assert!(second.is_last_in_line() && !first.is_last_in_line());
        assert!(is_alone(&mut first, 0).await);
        assert!(!is_alone(&mut second, 0).await);
        first.rejoin();
        assert!(!is_alone(&mut second, 0).await, "it is present, though not alone");
        drop(first);
        assert!(is_alone(&mut second, 0).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_line_lets_others_in_after_a_minute() {
        let room = Arc::new(Room::default());
        let mut line: VecDeque<_> = (0..3).map(|_| room.enter().unwrap()).collect();
        for suspect in &mut line {
            suspect.wait_alone(NOW, || 0).await;
        }
        let mut first = line.pop_front().unwrap();
        assert!(is_alone(&mut first, 0).await);
        tokio::time::advance(STREAK_MAX).await;
        assert!(room.enter().is_none());
        drop(first);
        let other = room.enter().expect("others are let in");
        assert!(!is_alone(&mut line[0], 0).await);
        tokio::time::advance(OPEN_FOR).await;
        assert!(room.enter().is_none(), "only for a moment");
        assert!(!is_alone(&mut line[0], 0).await, "who was let in ends first");
        drop(other);
        assert!(is_alone(&mut line[0], 0).await);
        line.pop_front();
        assert!(room.enter().is_none(), "the minute counts anew");
    }
}
