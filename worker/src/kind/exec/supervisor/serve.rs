//! The supervisor's own process, from its first line of orders to the end of its last child. It blocks, and has no runtime:
//! one thread waits for children, the other one for orders.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, read_dir};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, park_timeout};
use std::time::Duration;

use caps::{CapSet, Capability};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, close};

use super::job::{Job, limit};
use super::launch::{ERRORS, INPUT, ORDERS, OUTPUT, REPORTS, Report, TERMINATE, WORK_FOR};
use super::tree::{descendants, own_children};
use crate::kind::exec::trace;

/// What no command is given, whoever it runs as: the rights to look into the memory of other processes, or of the kernel.
const WITHHELD: [Capability; 6] = [
    Capability::CAP_SYS_PTRACE,
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_SYS_MODULE,
    Capability::CAP_SYS_RAWIO,
    Capability::CAP_PERFMON,
    Capability::CAP_BPF,
];
/// Between two rounds of killing: what was killed has ended by then, and its children have come to us.
const KILL_EVERY: Duration = Duration::from_millis(1);
/// Rounds after which it is only tried now and then: what is left cannot be interrupted.
const QUICK_ROUNDS: u32 = 2_000;
/// Between two rounds then.
const KILL_SELDOM: Duration = Duration::from_millis(100);
/// The stack of the thread that waits for orders: small, since it counts as the command's memory.
const STACK_BYTES: usize = 128 * 1024;

/// Runs a command as its worker orders, until nothing is left of it.
pub(crate) fn serve() -> ExitCode {
    match supervise() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn supervise() -> io::Result<()> {
    let mut orders = BufReader::with_capacity(1024, taken(ORDERS, false)?);
    let mut reports = taken(REPORTS, true)?;
    let standard = [taken(INPUT, false)?, taken(OUTPUT, true)?, taken(ERRORS, true)?];
    let kept = [orders.get_ref(), &reports].into_iter().chain(&standard).map(AsRawFd::as_raw_fd);
    close_all_but(&kept.collect())?;
    let mut line = String::new();
    orders.read_line(&mut line)?;
    let job: Job = serde_json::from_str(&line)?;
    prepare()?;
    // Before the limits are set: a thread takes memory.
    let (line, name) = (orders.get_ref().try_clone()?, Arc::new(Mutex::new(String::new())));
    let shared = Arc::clone(&name);
    Builder::new().stack_size(STACK_BYTES).spawn(move || obey(orders, &shared))?;
    let command = match start(&job, standard) {
        Ok(command) => command,
        Err(error) => {
            let number = error.raw_os_error().unwrap_or(Errno::EINVAL as i32);
            return writeln!(reports, "{}", Report::Failed(number));
        }
    };
    // What is meant for the worker and all of its processes, such as a SIGTERM from an init, is the worker's to pass on.
    SigSet::all().thread_block()?;
    // A worker that is gone reads nothing; its orders have ended too.
    let _ = writeln!(reports, "{}", Report::Started);
    while let Some((child, status)) = next_end() {
        if child == command {
            let _ = writeln!(reports, "{}", Report::Exited(status));
        }
    }
    let name = name.lock().unwrap_or_else(PoisonError::into_inner);
    if !name.is_empty() && is_closed(&line) {
        trace::leave(&name);
    }
    Ok(())
}

/// Whether nobody can write into a pipe any more: the worker is gone.
fn is_closed(pipe: &File) -> bool {
    let mut looked_at = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
    let _ = poll(&mut looked_at, PollTimeout::ZERO);
    looked_at[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP))
}

/// Opens an inherited pipe anew, and gives up the inherited descriptor, which a command would inherit too.
fn taken(number: RawFd, is_written: bool) -> io::Result<File> {
    let file = OpenOptions::new().read(!is_written).write(is_written).open(format!("/proc/self/fd/{number}"))?;
    close(number)?;
    Ok(file)
}

/// Closes what else was inherited, by whatever mistake of whom: a command inherits nothing but its standard files.
fn close_all_but(kept: &BTreeSet<RawFd>) -> io::Result<()> {
    let open: Vec<RawFd> =
        read_dir("/proc/self/fd")?.flatten().filter_map(|file| file.file_name().to_str()?.parse().ok()).collect();
    for number in open.into_iter().filter(|number| *number > 2 && !kept.contains(number)) {
        // That of the listing itself is closed already.
        let _ = close(number);
    }
    Ok(())
}

/// Makes this process what a supervisor is.
fn prepare() -> io::Result<()> {
    let _ = prctl::set_name(c"cox-supervise");
    prctl::set_child_subreaper(true)?;
    let _ = prctl::set_dumpable(false);
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    for capability in WITHHELD {
        for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Bounding] {
            // Whoever may not drop it is a plain user, whose command has none.
            let _ = caps::drop(None, set, capability);
        }
    }
    Ok(())
}

fn start(job: &Job, standard: [File; 3]) -> io::Result<Pid> {
    let [input, output, errors] = standard.map(Stdio::from);
    let mut command = Command::new(&job.program);
    command.args(&job.arguments).env(&job.mark.0, &job.mark.1);
    command.stdin(input).stdout(output).stderr(errors);
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    limit(&job.limits)?;
    let child = command.spawn()?;
    Ok(Pid::from_raw(child.id().cast_signed()))
}

/// Waits for the end of a child, or of what has become one; none if there is none.
fn next_end() -> Option<(Pid, i32)> {
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(child, code)) => return Some((child, code << 8)),
            Ok(WaitStatus::Signaled(child, signal, _)) => return Some((child, signal as i32)),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
}

/// Carries out orders until the last one, which is to kill: given by the worker, or by its end. Ends with the process.
fn obey(orders: BufReader<File>, name: &Mutex<String>) {
    let _ = SigSet::all().thread_block();
    for order in orders.lines() {
        match order {
            Ok(order) if order == TERMINATE => signal(&descendants(), Signal::SIGTERM),
            Ok(order) => match order.strip_prefix(WORK_FOR) {
                Some(attempt) => attempt.clone_into(&mut name.lock().unwrap_or_else(PoisonError::into_inner)),
                None => break,
            },
            Err(_) => break,
        }
    }
    // The children alone: what they have started becomes ours when they end, and so on, until there is no place to go.
    for round in 0.. {
        signal(&own_children(), Signal::SIGKILL);
        park_timeout(if round < QUICK_ROUNDS { KILL_EVERY } else { KILL_SELDOM });
    }
}

fn signal(processes: &[Pid], signal: Signal) {
    for process in processes {
        // One that has ended meanwhile needs no signal.
        let _ = kill(*process, signal);
    }
}

/// How this crate's tests start themselves as a supervisor.
#[cfg(test)]
pub(super) const AS_TEST: [&str; 4] = [
    "kind::exec::supervisor::serve::tests::the_tests_can_be_a_supervisor",
    "--exact",
    "--nocapture",
    "--test-threads=1",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tests_can_be_a_supervisor() {
        let is_inherited = |number| std::path::Path::new(&format!("/proc/self/fd/{number}")).exists();
        let is_started_so = std::env::args().skip(1).eq(AS_TEST);
        if is_started_so && [ORDERS, REPORTS, INPUT, OUTPUT, ERRORS].into_iter().all(is_inherited) {
            let _ = serve();
            #[expect(clippy::disallowed_methods, reason = "the harness would go on with the descriptors it has lost")]
            std::process::exit(0);
        }
    }
}
