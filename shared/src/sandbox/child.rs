//! A process of the sandbox: takes its limits upon itself, then answers what it is asked until its input ends.

use std::io;
use std::process::ExitCode;

use nix::sys::resource::{Resource, UsageWho, getrusage, rlim_t, setrlimit};

use super::request::{Reply, Request};
use super::{BYTES_MAX, TIME_MAX, frame, schema};

/// Bytes of the stack that is evaluated on.
const STACK_BYTES: usize = 16 * 1024 * 1024;
/// Processor time, in seconds, that one evaluation may take. The program that asks ends it earlier, unless that is gone.
const PROCESSOR_SECONDS_MAX: rlim_t = TIME_MAX.as_secs() * 2;

/// Serves until the input ends.
pub(super) fn serve() -> ExitCode {
    let serving = || match limit_memory().and_then(|()| answer_all()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    };
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(serving);
    thread.map_or(ExitCode::FAILURE, |thread| thread.join().unwrap_or(ExitCode::FAILURE))
}

/// Limits what may be allocated from now on. Where memory runs out on the whole machine, this process goes first.
fn limit_memory() -> io::Result<()> {
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    // What it has mapped already, such as its own program, does not count.
    let mapped = mapped_bytes();
    setrlimit(Resource::RLIMIT_AS, mapped + BYTES_MAX, mapped + BYTES_MAX)?;
    Ok(())
}

/// Bytes of the address space that are in use; none where the system does not say, which limits it all the more.
fn mapped_bytes() -> rlim_t {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<rlim_t>().ok());
    kilobytes.unwrap_or_default() * 1024
}

fn answer_all() -> io::Result<()> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    while let Some(message) = frame::read(&mut input)? {
        limit_time()?;
        let reply = answer(&message)?;
        frame::write(&mut output, &serde_json::to_vec(&reply)?)?;
    }
    Ok(())
}

/// Limits the processor time of the evaluation to come, for the case that nobody is there any more who would end it.
fn limit_time() -> io::Result<()> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let used = usage.user_time().tv_sec() + usage.system_time().tv_sec();
    let until = rlim_t::try_from(used).unwrap_or_default() + 1 + PROCESSOR_SECONDS_MAX;
    setrlimit(Resource::RLIMIT_CPU, until, rlim_t::MAX)?;
    Ok(())
}

/// Answers one message.
pub(super) fn answer(message: &[u8]) -> io::Result<Reply> {
    Ok(match serde_json::from_slice(message)? {
        Request::Evaluate(evaluation) => evaluation.run().map_or_else(Reply::Failed, Reply::Value),
        Request::Check { schema, value } => schema::check(&schema, value.as_ref()),
    })
}
