//! The exit codes: a closed set, each with its meaning for the help and the docs.

use coxswain_shared::run::RunStatus;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what it was asked; a run that was waited for has succeeded.
    Ok,
    /// The run failed.
    RunFailed,
    /// The run timed out.
    RunTimedOut,
    /// The run was cancelled.
    RunCancelled,
    /// There is no such run, checkpoint, thread or policy.
    NotFound,
    /// It cannot be done as things stand.
    Conflict,
    /// The run waits for a human.
    Interrupted,
    /// Runs have not stopped within the time that was given.
    StillStopping,
    /// The flags, the input, the graph or the configuration is mistaken.
    Usage,
    /// There is too much to do for what was asked.
    Overloaded,
    /// The store or the broker cannot be reached.
    Unavailable,
    /// Something is damaged, or too new for this version.
    Internal,
    /// The user left; the run goes on, or goes on stopping, without being watched.
    Left,
}

impl Exit {
    /// All of them, by code.
    pub(crate) const ALL: [Self; 13] = [
        Self::Ok,
        Self::RunFailed,
        Self::RunTimedOut,
        Self::RunCancelled,
        Self::NotFound,
        Self::Conflict,
        Self::Interrupted,
        Self::StillStopping,
        Self::Usage,
        Self::Unavailable,
        Self::Internal,
        Self::Overloaded,
        Self::Left,
    ];

    /// Its code.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::RunFailed => 1,
            Self::RunTimedOut => 2,
            Self::RunCancelled => 3,
            Self::NotFound => 4,
            Self::Conflict => 5,
            Self::Interrupted => 6,
            Self::StillStopping => 7,
            Self::Usage => coxswain_shared::config::EXIT_USAGE,
            Self::Unavailable => 69,
            Self::Internal => 70,
            Self::Overloaded => 75,
            Self::Left => 130,
        }
    }

    /// Its meaning, as the help and the docs have it.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "done; a run that was waited for has succeeded",
            Self::RunFailed => "the run failed",
            Self::RunTimedOut => "the run timed out",
            Self::RunCancelled => "the run was cancelled",
            Self::NotFound => "there is no such run, checkpoint or policy",
            Self::Conflict => {
                "it cannot be done as things stand: a busy thread, a policy without room, a run that is not interrupted"
            }
            Self::Interrupted => "the run waits for a human: see `cox resume`",
            Self::StillStopping => "runs have not stopped within the time given to `--wait`",
            Self::Usage => "flags, input, graph or configuration are mistaken",
            Self::Unavailable => "the store or the broker cannot be reached, or does not do its work",
            Self::Internal => "something is damaged, or too new for this version",
            Self::Overloaded => "the fleet has too much to do, and takes no runs of low priority now",
            Self::Left => "left by Ctrl-C; what was asked for goes on",
        }
    }

    /// How to end after a run that has ended like this, or waits.
    pub(crate) const fn of(status: RunStatus) -> Self {
        match status {
            RunStatus::Succeeded => Self::Ok,
            RunStatus::Failed => Self::RunFailed,
            RunStatus::TimedOut => Self::RunTimedOut,
            RunStatus::Cancelled => Self::RunCancelled,
            RunStatus::Interrupted => Self::Interrupted,
            RunStatus::Queued | RunStatus::Running | RunStatus::Stopping => Self::Left,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_ends_have_the_same_code() {
        let codes: std::collections::BTreeSet<_> = Exit::ALL.map(Exit::code).into();
        assert_eq!(codes.len(), Exit::ALL.len());
    }
}
