//! Named points of an attempt and of an advance at which a test can make the process crash or pause.
//!
//! Inert unless `COX_CRASH_POINT` is set: reaching a point then costs one load of a pointer. With
//! `COX_CRASH_POINT=claimed=abort` the process dies the first time that it reaches the point, without running any
//! destructor; with `claimed=pause:5s` it says on standard error that it is there, and waits, so that somebody outside
//! can stop or kill it at just this place. Not for production.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::config::{Mistake, Mistakes, Source, Variable};
use crate::duration;

/// A named point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CrashPoint {
    /// A worker has a message in hand.
    Received,
    /// A worker has the lease, and has not begun.
    Claimed,
    /// The handler has ended, and nothing is written.
    Ran,
    /// The outcome is written, and the message not acknowledged.
    Settled,
    /// The message is acknowledged.
    Acked,
    /// A scheduler has taken a run that is ready.
    Taken,
    /// The plan is made, and not written.
    Planned,
    /// The plan is written, and its tasks are not sent.
    Advanced,
    /// The tasks are sent and confirmed, and not struck off.
    Sent,
    /// The tasks are struck off.
    StruckOff,
}

impl CrashPoint {
    /// The points of an attempt, in order.
    pub const ATTEMPT: [Self; 5] = [Self::Received, Self::Claimed, Self::Ran, Self::Settled, Self::Acked];
    /// The points of an advance, in order.
    pub const ADVANCE: [Self; 5] = [Self::Taken, Self::Planned, Self::Advanced, Self::Sent, Self::StruckOff];

    /// The point's name in the variable.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Claimed => "claimed",
            Self::Ran => "ran",
            Self::Settled => "settled",
            Self::Acked => "acked",
            Self::Taken => "taken",
            Self::Planned => "planned",
            Self::Advanced => "advanced",
            Self::Sent => "sent",
            Self::StruckOff => "struck_off",
        }
    }

    /// Passes the point; crashes or pauses here the first time if a test has armed it.
    pub async fn reach(self) {
        let Some(armed) = ARMED.get() else { return };
        if armed.point != self || armed.sprung.swap(true, Ordering::SeqCst) {
            return;
        }
        tracing::error!(point = self.name(), "the crash point is reached");
        match armed.action {
            Action::Abort => std::process::abort(),
            Action::Pause(length) => tokio::time::sleep(length).await,
        }
    }
}

#[derive(Debug)]
struct Armed {
    point: CrashPoint,
    action: Action,
    sprung: AtomicBool,
}

#[derive(Debug, PartialEq, Eq)]
enum Action {
    Abort,
    Pause(Duration),
}

static ARMED: OnceLock<Armed> = OnceLock::new();

/// The variable that arms a point.
pub const VARIABLES: [Variable; 1] = [Variable {
    name: "COX_CRASH_POINT",
    default: "",
    meaning: "for tests only: POINT=abort or POINT=pause:5s makes the process die or wait when it first reaches the point",
}];

/// Arms the point that the settings name, if they name one; for the life of the process.
pub fn arm(source: &Source) -> Result<(), Mistakes> {
    let Some(text) = source.get(VARIABLES[0].name) else { return Ok(()) };
    let armed = parse(text).ok_or_else(|| {
        let names: Vec<_> = CrashPoint::ATTEMPT.iter().chain(&CrashPoint::ADVANCE).map(|point| point.name()).collect();
        Mistakes(vec![Mistake::new(
            VARIABLES[0].name,
            format!("write POINT=abort or POINT=pause:5s; points: {}", names.join(", ")),
        )])
    })?;
    tracing::warn!(point = armed.point.name(), "a crash point is armed: this is a test");
    // A second arming in one process is a test's mistake without consequence: the first one holds.
    let _ = ARMED.set(armed);
    Ok(())
}

fn parse(text: &str) -> Option<Armed> {
    let (name, action) = text.split_once('=')?;
    let point = CrashPoint::ATTEMPT.into_iter().chain(CrashPoint::ADVANCE).find(|point| point.name() == name)?;
    let action = match action.split_once(':') {
        None if action == "abort" => Action::Abort,
        Some(("pause", length)) => Action::Pause(duration::parse(length).ok()?),
        None | Some(_) => return None,
    };
    Some(Armed { point, action, sprung: AtomicBool::new(false) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_can_be_armed_by_its_name() {
        for point in CrashPoint::ATTEMPT.into_iter().chain(CrashPoint::ADVANCE) {
            let armed = parse(&format!("{}=pause:5s", point.name())).expect("a known point");
            assert_eq!((armed.point, armed.action), (point, Action::Pause(Duration::from_secs(5))));
        }
        assert!(parse("nowhere=abort").is_none() && parse("claimed=explode").is_none() && parse("claimed").is_none());
    }

    #[tokio::test]
    async fn a_point_that_is_not_armed_is_passed() {
        CrashPoint::Claimed.reach().await;
    }
}
