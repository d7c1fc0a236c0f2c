//! Finds the processes that have left their group: by a mark in the environment, which a child hands down to all that it
//! starts. One that clears its environment, or runs as another user, is not found.

use coxswain_shared::id::Nonce;
use nix::unistd::{Pid, getpgid};

/// The variable that bears the mark.
const VARIABLE: &str = "COX_PROCESS_MARK";

/// What all descendants of one child have in their environment, and nobody else.
#[derive(Debug, Clone)]
pub(super) struct Mark(String);

impl Mark {
    pub(super) fn fresh() -> Self {
        Self(Nonce::fresh().to_string())
    }

    /// The variable to be set.
    pub(super) fn variable(&self) -> (&'static str, &str) {
        (VARIABLE, &self.0)
    }

    /// The live processes that bear the mark. Reads what `/proc` has of all processes, which takes some milliseconds;
    /// finds none where there is no `/proc`.
    pub(super) fn bearers(&self) -> Vec<Pid> {
        let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
        let numbers = processes.flatten().filter_map(|process| process.file_name().to_str()?.parse().ok());
        numbers.map(Pid::from_raw).filter(|process| self.is_on(*process)).collect()
    }

    /// Whether a process bears the mark. One that has ended bears nothing, reaped or not.
    pub(super) fn is_on(&self, process: Pid) -> bool {
        let Ok(environment) = std::fs::read(format!("/proc/{process}/environ")) else { return false };
        environment.split(|byte| *byte == 0).any(|variable| self.is_in(variable))
    }

    fn is_in(&self, variable: &[u8]) -> bool {
        let rest = variable.strip_prefix(VARIABLE.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
        rest == Some(self.0.as_bytes())
    }

    /// The bearers that are not in this group.
    pub(super) fn strays_of(&self, group: Pid) -> Vec<Pid> {
        self.bearers().into_iter().filter(|bearer| getpgid(Some(*bearer)) != Ok(group)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use nix::unistd::getpgrp;

    use super::*;

    #[test]
    fn a_mark_finds_those_who_bear_it_until_they_end() {
        let (mark, other) = (Mark::fresh(), Mark::fresh());
        let (name, value) = mark.variable();
        let mut child = Command::new("sleep").arg("1000").env(name, value).spawn().unwrap();
        let id = Pid::from_raw(child.id().cast_signed());
        assert_eq!((mark.bearers(), other.bearers()), (vec![id], vec![]));
        assert_eq!((mark.strays_of(getpgrp()), mark.strays_of(id)), (vec![], vec![id]));
        child.kill().unwrap();
        let waited = nix::sys::wait::waitid(
            nix::sys::wait::Id::Pid(id),
            nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT,
        );
        assert!(waited.is_ok() && mark.bearers().is_empty(), "it has ended, and was not reaped yet");
        child.wait().unwrap();
    }
}
