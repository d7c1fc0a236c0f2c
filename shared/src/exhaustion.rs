//! What the machine runs out of: files, processes, memory. Such an error says nothing about the input that it came with, so
//! it is no failure of it: the work comes back later, and the process is not ready meanwhile.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use prometheus::{IntCounterVec, Opts};

/// For how long after such an error a process counts as not ready: longer than it takes until the work comes back.
const NOT_READY_FOR: Duration = Duration::from_secs(10);
/// After this, work comes back that found no resources.
pub const BACK_AFTER: Duration = Duration::from_secs(2);
/// The longest chain of causes that is looked through.
const CHAIN_MAX: usize = 16;

/// What there is no more of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Open files: of the process (`EMFILE`) or of the machine (`ENFILE`).
    Files,
    /// Processes and threads (`EAGAIN` where one is started).
    Processes,
    /// Memory, or buffers of the kernel (`ENOMEM`, `ENOBUFS`).
    Memory,
}

/// The last such error of this process.
static LAST: Mutex<Option<(Resource, Instant)>> = Mutex::new(None);
/// All of this process.
static COUNT: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts =
        Opts::new("cox_resources_exhausted_total", "Errors of the system for want of files, processes or memory.");
    IntCounterVec::new(opts, &["resource"]).expect("the name and the label are constants that are well formed")
});

impl Resource {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Files, Self::Processes, Self::Memory];

    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Processes => "processes",
            Self::Memory => "memory",
        }
    }

    /// What an error comes of, or one that lies under it, if it is that. It is noted then.
    pub fn behind(error: &(dyn Error + 'static)) -> Option<Self> {
        let (mut next, mut seen) = (Some(error), 0);
        while let Some(error) = next.filter(|_| seen < CHAIN_MAX) {
            let inner = error.downcast_ref::<io::Error>();
            if let Some(found) = inner.and_then(Self::of) {
                found.note();
                return Some(found);
            }
            // An error of input and output may hold another one, and gives what lies under that as its source.
            let held = inner.and_then(io::Error::get_ref).map(|held| held as &(dyn Error + 'static));
            next = held.or_else(|| error.source());
            seen += 1;
        }
        None
    }

    /// The same of an error in starting a process or a thread.
    pub fn behind_start(error: &io::Error) -> Option<Self> {
        if error.raw_os_error() == Some(Errno::EAGAIN as i32) {
            Self::Processes.note();
            return Some(Self::Processes);
        }
        Self::behind(error)
    }

    /// Whether this process can open no more files: for errors that do not say why something was not opened.
    pub fn is_out_of_files() -> bool {
        File::open("/dev/null").is_err_and(|error| Self::behind(&error) == Some(Self::Files))
    }

    fn of(error: &io::Error) -> Option<Self> {
        match Errno::from_raw(error.raw_os_error()?) {
            Errno::EMFILE | Errno::ENFILE => Some(Self::Files),
            Errno::ENOMEM | Errno::ENOBUFS => Some(Self::Memory),
            _ => None,
        }
    }

    fn note(self) {
        COUNT.with_label_values(&[self.name()]).inc();
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = last.is_none_or(|(_, at)| at.elapsed() > NOT_READY_FOR);
        *last = Some((self, Instant::now()));
        if is_news {
            tracing::error!(resource = %self, "the system has no more of it: work is put off, and this process is not ready");
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Files => "open files (raise `ulimit -n`)",
            Self::Processes => "processes (raise `ulimit -u`, COX_EXEC_PROCESSES or the limit of the container)",
            Self::Memory => "memory",
        })
    }
}

/// Says whether there was enough of everything lately: a probe of readiness.
pub fn probe() -> Result<(), String> {
    match *LAST.lock().unwrap_or_else(PoisonError::into_inner) {
        Some((resource, at)) if at.elapsed() <= NOT_READY_FOR => {
            Err(format!("there were no more {resource}, {} s ago", at.elapsed().as_secs()))
        }
        Some(_) | None => Ok(()),
    }
}

/// The counter of this process, for its registry.
pub(crate) fn counter() -> IntCounterVec {
    for resource in Resource::ALL {
        COUNT.with_label_values(&[resource.name()]);
    }
    COUNT.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the call broke off")]
    struct Outer(#[source] io::Error);

    fn error(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno as i32)
    }

    #[test]
    fn what_is_exhausted_is_found_under_other_errors_and_makes_the_process_not_ready() {
        assert_eq!(Resource::behind(&Outer(error(Errno::ECONNREFUSED))), None);
        assert_eq!(Resource::behind(&error(Errno::EAGAIN)), None, "a socket that would block is no such thing");
        assert_eq!(Resource::behind_start(&error(Errno::EAGAIN)), Some(Resource::Processes));
        assert_eq!(Resource::behind(&Outer(error(Errno::ENOMEM))), Some(Resource::Memory));
        let held = Outer(io::Error::other(Outer(error(Errno::EMFILE))));
        assert_eq!(Resource::behind(&held), Some(Resource::Files));
        let told = probe().unwrap_err();
        assert!(told.contains("no more open files"), "{told}");
    }
}
