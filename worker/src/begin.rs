//! The first thing that a program with a worker does.

use std::process::ExitCode;

use coxswain_shared::{process, sandbox};

use crate::kind;

/// Prepares this process for a worker. To be called first in `main`, before any thread and runtime:
///
/// ```no_run
/// use std::process::ExitCode;
///
/// fn main() -> ExitCode {
///     if let Some(code) = coxswain_worker::begin() {
///         return code;
///     }
///     // Read the settings, build a worker, run it.
///     ExitCode::SUCCESS
/// }
/// ```
///
/// - The process hides its memory and its environment from others ([`process::harden`]).
/// - It may be the supervisor of a command of an `exec` node: the worker starts its own program again for that. Then this
///   returns the exit code, and there is nothing else to do.
/// - It may be a process of the sandbox that evaluates heavy expressions: so it is done with too.
/// - It adopts what a killed supervisor leaves, and ends it: all of its children but supervisors and processes of the
///   sandbox. A handler that starts processes of its own had better do that in an `exec` node.
///
/// A worker whose program does not begin so runs no `exec` nodes.
pub fn begin() -> Option<ExitCode> {
    if let Some(code) = sandbox::serve_if_asked() {
        return Some(code);
    }
    if std::env::args_os().nth(1).is_some_and(|argument| argument == kind::ARGUMENT) {
        return Some(kind::serve());
    }
    process::harden();
    kind::claim_children();
    None
}
