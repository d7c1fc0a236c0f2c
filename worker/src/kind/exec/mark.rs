//! Finds what a worker that was killed together with its supervisors has left on this machine: by a mark in the
//! environment, which a command hands down to all that it starts. One that clears its environment is not found.
//!
//! A mark names the worker's process: its id, when it began, and the namespace that its id is of. Where the ids of another
//! namespace are seen, as those of a container are from its host, its marks say nothing.

use std::fs::{read, read_dir, read_link, read_to_string};
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};

/// The variable that bears the mark.
const VARIABLE: &str = "COX_PROCESS_MARK";
/// How long it is tried to end what is left.
const ENDING_MAX: Duration = Duration::from_secs(2);
/// Between two tries.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Who has started a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    namespace: String,
    worker: i32,
    began: String,
}

impl Mark {
    /// That of this process; none where there is no `/proc`.
    pub(super) fn own() -> Option<Self> {
        Self::of(getpid())
    }

    fn of(worker: Pid) -> Option<Self> {
        Some(Self { namespace: namespace()?, worker: worker.as_raw(), began: began(worker)? })
    }

    /// The variable to be set.
    pub(super) fn variable(mark: Option<&Self>) -> (String, String) {
        let text = mark.map(|mark| format!("{} {} {}", mark.namespace, mark.worker, mark.began));
        (VARIABLE.to_owned(), text.unwrap_or_default())
    }

    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        let (namespace, worker, began) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { namespace: namespace.to_owned(), worker: worker.parse().ok()?, began: began.to_owned() })
    }

    /// The mark that a process bears. One that has ended bears none, reaped or not.
    fn on(process: Pid) -> Option<Self> {
        let environment = read(format!("/proc/{process}/environ")).ok()?;
        let mark = environment
            .split(|byte| *byte == 0)
            .find_map(|variable| variable.strip_prefix(VARIABLE.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")))?;
        Self::read(std::str::from_utf8(mark).ok()?)
    }

    /// Whether its worker is known to be gone.
    fn is_orphaned(&self) -> bool {
        namespace().as_ref() == Some(&self.namespace) && Self::of(Pid::from_raw(self.worker)).as_ref() != Some(self)
    }
}

/// Ends all that workers have left on this machine which are gone. Says how many processes that were, and whether all
/// of them have ended. Reads what `/proc` has of all processes, which takes some milliseconds.
pub(super) fn end_left_behind() -> (usize, bool) {
    let (begun, mut ended) = (Instant::now(), 0);
    loop {
        let left = left_behind();
        if left.is_empty() || begun.elapsed() > ENDING_MAX {
            return (ended, left.is_empty());
        }
        for process in left {
            // One that has ended meanwhile needs no signal.
            ended += usize::from(kill(process, Signal::SIGKILL).is_ok());
        }
        park_timeout(LOOK_EVERY);
    }
}

fn left_behind() -> Vec<Pid> {
    let Ok(processes) = read_dir("/proc") else { return Vec::new() };
    let ids = processes.flatten().filter_map(|process| process.file_name().to_str()?.parse().ok());
    ids.map(Pid::from_raw).filter(|process| Mark::on(*process).is_some_and(|mark| mark.is_orphaned())).collect()
}

/// The namespace of this process's id, without blanks: `pid:[4026531836]`.
fn namespace() -> Option<String> {
    read_link("/proc/self/ns/pid").ok()?.to_str().map(str::to_owned)
}

/// When a process began, in the kernel's ticks since the start of the machine; none of one that has ended.
fn began(process: Pid) -> Option<String> {
    let stat = read_to_string(format!("/proc/{process}/stat")).ok()?;
    // `pid (name) state …`: the name may have spaces and brackets in it. The time is the 20th field behind it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let is_dead = matches!(fields.next(), Some("Z" | "X"));
    fields.nth(18).filter(|_| !is_dead).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn marked(mark: &Mark) -> Child {
        let (name, value) = Mark::variable(Some(mark));
        Command::new("sleep").arg("1000").env(name, value).spawn().unwrap()
    }

    #[test]
    fn what_a_dead_worker_has_left_is_ended_and_what_belongs_to_a_live_or_foreign_one_is_not() {
        let mut dead = Command::new("sleep").arg("1000").spawn().unwrap();
        let worker = Mark::of(Pid::from_raw(dead.id().cast_signed())).unwrap();
        dead.kill().unwrap();
        dead.wait().unwrap();
        let own = Mark::own().unwrap();
        let foreign = Mark { namespace: "pid:[1]".to_owned(), ..worker.clone() };
        let (mut left, mut kept, mut elsewhere) = (marked(&worker), marked(&own), marked(&foreign));
        // Until it has become what it is to be, it has the environment of this test. Other tests look for it too.
        while left.try_wait().unwrap().is_none() {
            assert!(end_left_behind().1, "it does not end");
        }
        assert!(kept.try_wait().unwrap().is_none() && elsewhere.try_wait().unwrap().is_none());
        for child in [&mut kept, &mut elsewhere] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    #[test]
    fn a_mark_reads_as_it_was_written() {
        let own = Mark::own().unwrap();
        assert_eq!(Mark::read(&Mark::variable(Some(&own)).1), Some(own));
        assert_eq!(Mark::read("nonsense"), None);
    }
}
