//! The way into a process of the sandbox: the program's own `main`.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use super::child;

/// What a program is started with to be a process of the sandbox.
pub const ARGUMENT: &str = "__evaluate";

/// Whether this program's `main` has called [`serve_if_asked`].
static SERVES: AtomicBool = AtomicBool::new(false);

/// Serves as a process of the sandbox if the program was started as one; gives its exit code then. The first line of every
/// `main`, before threads are started or anything is read.
#[must_use]
pub fn serve_if_asked() -> Option<ExitCode> {
    SERVES.store(true, Ordering::Relaxed);
    let mut arguments = std::env::args_os().skip(1);
    let is_asked = arguments.next().is_some_and(|argument| argument == ARGUMENT) && arguments.next().is_none();
    is_asked.then(child::serve)
}

/// Whether this program can be started as a process of the sandbox. One that cannot would start to do its own work.
pub(super) fn serves() -> bool {
    SERVES.load(Ordering::Relaxed)
}
