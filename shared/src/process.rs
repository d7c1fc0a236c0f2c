//! What every program does with its own process before anything else: it hides itself, and makes room for files.

use std::sync::OnceLock;

use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::take_environment;

/// The files that this process could have open before its limit was raised.
static FILES_BEFORE: OnceLock<u64> = OnceLock::new();

/// Hides this process from others of the same user, and raises its limit of open files to the highest that it may have.
/// To be called first in `main`, before any thread and runtime.
///
/// - Its variables are taken out of its environment, but for the harmless ones: this may start the program again.
/// - It is *undumpable*: the kernel shows its memory, its environment and its files to nobody but a process that may
///   trace all others (`CAP_SYS_PTRACE`), and writes no core of it.
///
/// What fails here is left as it was: each is a guard of its own, and a program without one of them still does its work.
pub fn harden() {
    let _ = take_environment();
    let _ = set_dumpable(false);
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = FILES_BEFORE.set(soft);
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// The files that this process could have open before [`harden`] raised its limit.
pub fn files_before() -> Option<u64> {
    FILES_BEFORE.get().copied()
}
