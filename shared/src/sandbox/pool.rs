//! The sandbox: a few warm processes, handed to one caller each, replaced when they pass a limit.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::request::{Reply, Request};
use super::warm::{Lost, Process};
use super::{BYTES_MAX, PROCESSES_MAX, QUEUE_TIME_MAX, TIME_MAX, entry};

/// How often one that waits for a process looks whether its answer is still wanted.
const GLANCE: Duration = Duration::from_millis(20);
/// Bytes that one process is sent before it is replaced: what was freed in it may lie in pieces.
const SERVED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It took more time or memory than any evaluation may.
    #[error("{0}")]
    Exceeded(String),
    /// Nobody wants it any more.
    #[error("the attempt has ended")]
    Unwanted,
    /// It is not to be had now.
    #[error("{0}")]
    Unavailable(String),
}

/// Evaluates in processes that can be killed. Cheap to clone; all clones are the same.
///
/// No process is started before one is needed, and all end with the last clone.
#[derive(Debug, Clone)]
pub struct Sandbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    place: Place,
    state: Mutex<State>,
    returned: Condvar,
}

/// Where it is evaluated.
#[derive(Debug)]
enum Place {
    /// In processes of this program.
    Program(PathBuf),
    /// Nowhere: the program's `main` does not serve.
    #[cfg(not(any(test, feature = "testing")))]
    Nowhere,
    /// In the thread that asks: in tests, whose `main` is not ours.
    #[cfg(any(test, feature = "testing"))]
    Thread,
}

#[derive(Debug, Default)]
struct State {
    idle: Vec<Process>,
    in_use: usize,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Sandbox {
    /// A sandbox of this program's own processes.
    pub fn new() -> Self {
        if entry::serves() {
            // The link leads to what runs, also where the file was replaced since.
            return Self::with(Place::Program(PathBuf::from("/proc/self/exe")));
        }
        #[cfg(any(test, feature = "testing"))]
        return Self::with(Place::Thread);
        #[cfg(not(any(test, feature = "testing")))]
        Self::with(Place::Nowhere)
    }

    /// A sandbox of another program's processes, one whose `main` begins with [`super::serve_if_asked`].
    pub fn of(program: &Path) -> Self {
        Self::with(Place::Program(program.to_owned()))
    }

    fn with(place: Place) -> Self {
        Self(Arc::new(Inner { place, state: Mutex::default(), returned: Condvar::new() }))
    }

    /// Asks a process, and waits for its answer; no longer than it is wanted. Gives also the time that it took, without what
    /// was waited for a process.
    pub fn ask(
        &self,
        request: &Request<'_>,
        limit: Duration,
        is_wanted: &dyn Fn() -> bool,
    ) -> (Result<Reply, Refusal>, Duration) {
        let message: Arc<[u8]> = match serde_json::to_vec(request) {
            Ok(message) => message.into(),
            Err(error) => return (Err(Refusal::Unavailable(error.to_string())), Duration::ZERO),
        };
        #[cfg(any(test, feature = "testing"))]
        if matches!(self.0.place, Place::Thread) {
            let answer = super::child::answer(&message);
            return (answer.map_err(|error| Refusal::Unavailable(error.to_string())), Duration::ZERO);
        }
        if let Err(refusal) = self.wait_for_room(is_wanted) {
            return (Err(refusal), Duration::ZERO);
        }
        let begun = Instant::now();
        let answer = self.exchange(&message, limit.min(TIME_MAX), is_wanted);
        self.leave();
        (answer, begun.elapsed())
    }

    fn exchange(&self, message: &Arc<[u8]>, limit: Duration, is_wanted: &dyn Fn() -> bool) -> Result<Reply, Refusal> {
        loop {
            let idle = self.lock().idle.pop();
            let was_idle = idle.is_some();
            let mut process = match idle {
                Some(process) => process,
                None => self.start()?,
            };
            match process.ask(Arc::clone(message), limit, is_wanted) {
                Ok(reply) => {
                    if process.served < SERVED_BYTES_MAX {
                        self.lock().idle.push(process);
                    }
                    return serde_json::from_slice(&reply).map_err(|error| Refusal::Unavailable(error.to_string()));
                }
                // It may have been killed while it was idle, or have no room left but in pieces: a fresh one will tell.
                Err(Lost::Died(_)) if was_idle => {}
                Err(Lost::Died(words)) => return Err(died(&words)),
                Err(Lost::TimedOut) => return Err(Refusal::Exceeded(format!("longer than {limit:?}"))),
                Err(Lost::Unwanted) => return Err(Refusal::Unwanted),
            }
        }
    }

    fn start(&self) -> Result<Process, Refusal> {
        match &self.0.place {
            Place::Program(program) => Process::start(program)
                .map_err(|error| Refusal::Unavailable(format!("no process could be started for it: {error}"))),
            #[cfg(not(any(test, feature = "testing")))]
            Place::Nowhere => {
                let why = "this program's `main` has to begin with `serve_if_asked()`";
                Err(Refusal::Unavailable(why.to_owned()))
            }
            #[cfg(any(test, feature = "testing"))]
            Place::Thread => unreachable!("what is evaluated in the thread that asks needs no process"),
        }
    }

    fn wait_for_room(&self, is_wanted: &dyn Fn() -> bool) -> Result<(), Refusal> {
        let until = Instant::now() + QUEUE_TIME_MAX;
        let mut state = self.lock();
        while state.in_use >= PROCESSES_MAX {
            if !is_wanted() {
                return Err(Refusal::Unwanted);
            }
            if Instant::now() >= until {
                let why = format!("other evaluations had all {PROCESSES_MAX} processes for {QUEUE_TIME_MAX:?}");
                return Err(Refusal::Unavailable(why));
            }
            state = self.0.returned.wait_timeout(state, GLANCE).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.in_use += 1;
        Ok(())
    }

    fn leave(&self) {
        self.lock().in_use -= 1;
        self.0.returned.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a process died of, by its last words.
fn died(words: &str) -> Refusal {
    if words.contains("memory allocation of") || words.contains("capacity overflow") {
        return Refusal::Exceeded(format!("more than {} MiB of memory", BYTES_MAX / (1024 * 1024)));
    }
    if words.contains("overflowed its stack") {
        return Refusal::Exceeded("more than its stack".to_owned());
    }
    Refusal::Exceeded(format!("its process with it ({words})"))
}
