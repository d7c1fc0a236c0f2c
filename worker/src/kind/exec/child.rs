//! Runs a child to its end, whatever ends it.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use coxswain_shared::outcome::{Failure, FailureKind};
use coxswain_shared::stop::EndReason;
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::ChildStdin;
use tokio_util::sync::CancellationToken;

use super::command::Prepared;
use super::group::Group;
use super::output::Output;
use super::tail::Tail;
use crate::handler::{Context, NodeError, Reply};
use crate::metrics::Metrics;

/// How long it may take until all is gone that was killed, and its pipes are read to their end.
pub(super) const PIPES_AFTER_END: Duration = Duration::from_millis(500);

/// Runs a child: feeds it, reads it, ends it when the attempt is to end, and says what came of it.
pub(super) async fn run(ctx: Context, prepared: Prepared, metrics: Metrics) -> Result<Reply, NodeError> {
    let Prepared { start, input } = prepared;
    let (mut group, pipes) = Group::spawn(&start, ctx.clone(), metrics).await.map_err(|error| start.failed(&error))?;
    let program = &start.job.program;
    let (mut output, mut tail, bad) = (Output::default(), Tail::default(), CancellationToken::new());
    let end = {
        let pumps = async {
            tokio::join!(feed(pipes.stdin, &input), output.read(pipes.stdout, &ctx, &bad), tail.read(pipes.stderr))
        };
        tokio::pin!(pumps);
        let (end, is_pumped) = {
            let ending = until_ended(&ctx, &mut group, &bad);
            tokio::pin!(ending);
            tokio::select! {
                end = &mut ending => (end, false),
                _ = &mut pumps => (ending.await, true),
            }
        };
        // What it has started must not outlive it, wherever that has gone.
        group.signal(Signal::SIGKILL);
        see_gone(&ctx, async {
            if !is_pumped {
                pumps.await;
            }
            group.wait_for_all().await.is_ok()
        })
        .await;
        end
    };
    match end {
        End::ByItself(status) => {
            let status = status?;
            if output.is_cut() && !status.success() {
                return Err(NodeError::Retryable(ended_badly(program, status, &tail)));
            }
            conclude(program, status, output.finish()?, &tail)
        }
        End::Told(status) => {
            tail.shown().into_iter().for_each(|shown| ctx.has_come(shown));
            conclude_told(&ctx, status?, output.finish().ok().flatten())
        }
    }
}

/// How a child ended.
enum End {
    /// Nobody had told it to, or it printed what it must not.
    ByItself(io::Result<ExitStatus>),
    /// It was told to.
    Told(io::Result<ExitStatus>),
}

/// Waits for the child's end, by itself or by force.
async fn until_ended(ctx: &Context, group: &mut Group, bad: &CancellationToken) -> End {
    tokio::select! {
        biased;
        status = group.wait() => End::ByItself(status),
        () = bad.cancelled() => {
            group.signal(Signal::SIGKILL);
            End::ByItself(group.wait().await)
        }
        _ = ctx.stopped() => End::Told(tell_to_end(ctx, group).await),
    }
}

/// Waits until all that was killed is gone, and its output is closed. If that takes too long, or if there is no time to
/// see it, something may run on.
pub(super) async fn see_gone(ctx: &Context, gone: impl Future<Output = bool>) {
    let doubt = Doubt(ctx);
    if tokio::time::timeout(PIPES_AFTER_END, gone).await == Ok(true) {
        std::mem::forget(doubt);
    } else {
        tracing::warn!(run.id = %ctx.run(), task = %ctx.task(), "a process that was killed has not ended");
    }
}

/// Whether something runs on. Dropped, it is noted in the attempt's proof, also if the work was dropped meanwhile.
struct Doubt<'a>(&'a Context);

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        self.0.runs_on();
    }
}

/// Tells a group to end: asks all of it, and kills what is left of it when the grace is over.
pub(super) async fn tell_to_end(ctx: &Context, group: &mut Group) -> io::Result<ExitStatus> {
    group.end(Signal::SIGTERM);
    tokio::select! {
        biased;
        status = group.wait_for_all() => return status,
        () = ctx.work_grace_over() => {}
    }
    group.end(Signal::SIGKILL);
    group.wait_for_all().await
}

/// Writes the input, and closes it. A child that does not read it is free not to.
async fn feed(mut stdin: ChildStdin, input: &[u8]) {
    let _ = stdin.write_all(input).await;
}

fn conclude(program: &str, status: ExitStatus, result: Option<Value>, tail: &Tail) -> Result<Reply, NodeError> {
    if status.success() {
        return Ok(result.map_or_else(Reply::nothing, Reply::update));
    }
    Err(NodeError::Retryable(ended_badly(program, status, tail)))
}

/// What a child printed that was told to end is kept as partial. It counts as a result, to be refused, only under a
/// stop order: under a shutdown nobody knows whether it did all of its work, and it is done again elsewhere.
pub(super) fn conclude_told(ctx: &Context, status: ExitStatus, result: Option<Value>) -> Result<Reply, NodeError> {
    let Some(result) = result else { return Err(NodeError::Stopped) };
    ctx.partial(&result);
    match ctx.stop_reason() {
        Some(EndReason::StopOrdered(_)) if status.success() => Ok(Reply::update(result)),
        Some(_) | None => Err(NodeError::Stopped),
    }
}

fn ended_badly(program: &str, status: ExitStatus, tail: &Tail) -> Failure {
    let mut failure = Failure::new(FailureKind::Handler, format!("the program `{program}` {}", how(status)));
    failure.chain.extend(tail.shown());
    failure
}

/// How a child ended, in words.
pub(super) fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => {
            let name = Signal::try_from(signal).map_or("unknown", Signal::as_str);
            format!("was ended by signal {signal} ({name})")
        }
        (None, None) => "ended in an unknown way".to_owned(),
    }
}
