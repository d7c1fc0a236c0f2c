//! What a supervisor is told: the command, and the limits that it runs under.

use std::io;

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use serde::{Deserialize, Serialize};

use crate::exec_limits::ExecLimits;

/// The command of a supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::kind::exec) struct Job {
    /// The program, as its node names it.
    pub(in crate::kind::exec) program: String,
    /// Its arguments.
    pub(in crate::kind::exec) arguments: Vec<String>,
    /// A variable that only the command has: its mark.
    pub(in crate::kind::exec) mark: (String, String),
    /// Its limits.
    pub(in crate::kind::exec) limits: ExecLimits,
}

/// Sets limits for this process and those that it starts. None of them writes a core.
pub(super) fn limit(limits: &ExecLimits) -> io::Result<()> {
    lower(Resource::RLIMIT_CORE, Some(0))?;
    lower(Resource::RLIMIT_NOFILE, limits.files)?;
    lower(Resource::RLIMIT_FSIZE, limits.file_size)?;
    lower(Resource::RLIMIT_CPU, limits.cpu_seconds)?;
    lower(Resource::RLIMIT_NPROC, limits.processes)?;
    // The last one: there may be no memory for anything more.
    lower(Resource::RLIMIT_AS, limits.memory)
}

/// Lowers a limit, so that it cannot be raised again. One that is lower already stays.
fn lower(resource: Resource, to: Option<rlim_t>) -> io::Result<()> {
    let Some(to) = to else { return Ok(()) };
    let (_, hard) = getrlimit(resource)?;
    let lowered = to.min(hard);
    Ok(setrlimit(resource, lowered, lowered)?)
}
