//! One attempt on a warm process, from the task to its end.

use std::sync::Arc;

use coxswain_shared::checkpoint::Values;
use coxswain_shared::graph::{ExecNode, NodeKind};
use coxswain_shared::id::{AttemptNumber, Fence};
use coxswain_shared::outcome::{Failure, FailureKind};
use nix::sys::signal::Signal;
use serde::Serialize;
use serde_json::Value;

use super::Pool;
use super::process::Process;
use super::wire::Answer;
use crate::handler::{Context, NodeError, Reply};
use crate::kind::exec::child::{conclude_told, see_gone, tell_to_end};

#[derive(Serialize)]
struct Line<'a> {
    task: Told<'a>,
}

/// What a warm process is told of a task.
#[derive(Serialize)]
struct Told<'a> {
    call: &'a str,
    state: &'a Values,
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<&'a Value>,
    index: u32,
    input: &'a Value,
    run: &'a str,
    task: String,
    node: &'a str,
    attempt: AttemptNumber,
    fence: Fence,
    idempotency_key: String,
    deadline_ms: u128,
    grace_ms: u128,
}

/// Runs one attempt on a process of the pool.
pub(in crate::kind::exec) async fn serve(ctx: Context, pool: Arc<Pool>) -> Result<Reply, NodeError> {
    let NodeKind::Exec(node) = &ctx.definition().kind else {
        unreachable!("the registry hands each kind its own nodes");
    };
    let mut process = pool.take(node, &ctx).await?;
    let line = line_of(&ctx, node);
    let answered = tokio::select! {
        biased;
        answer = process.wire.ask(&line, &ctx) => answer,
        _ = ctx.stopped() => return end(&ctx, process).await,
    };
    match answered {
        Ok(Some(answer)) => {
            let tail = process.told();
            pool.give_back(process);
            conclude(answer, tail)
        }
        Ok(None) => Err(process.ended_early("before the end of its task").await),
        Err(error) => Err(process.discard(error).await),
    }
}

fn line_of(ctx: &Context, node: &ExecNode) -> Vec<u8> {
    let input = ctx.input();
    let told = Told {
        call: node.call.as_deref().unwrap_or(ctx.node().as_str()),
        state: ctx.state(),
        item: ctx.item(),
        index: ctx.index(),
        input: &input,
        run: ctx.run().as_str(),
        task: ctx.task().to_string(),
        node: ctx.node().as_str(),
        attempt: ctx.attempt(),
        fence: ctx.fence(),
        idempotency_key: ctx.idempotency_key(),
        deadline_ms: ctx.remaining().as_millis(),
        grace_ms: ctx.grace().as_millis(),
    };
    let mut line = serde_json::to_vec(&Line { task: told }).expect("JSON values serialise");
    line.push(b'\n');
    line
}

fn conclude(answer: Answer, tail: Option<String>) -> Result<Reply, NodeError> {
    match answer {
        Answer::Result(value) => Ok(Reply::update(value)),
        Answer::Error { message, is_retryable } => {
            let mut failure = Failure::new(FailureKind::Handler, message);
            failure.chain.extend(tail);
            Err(if is_retryable { NodeError::Retryable(failure) } else { NodeError::Fatal(failure) })
        }
    }
}

/// Ends the process of an attempt that is to end; it is never used again. What it still answers is kept as partial.
async fn end(ctx: &Context, mut process: Process) -> Result<Reply, NodeError> {
    let Process { group, wire, .. } = &mut process;
    wire.close();
    let (status, mut said) = {
        let (answering, ending) = (wire.answer(ctx), tell_to_end(ctx, group));
        tokio::pin!(answering, ending);
        tokio::select! {
            biased;
            said = &mut answering => (ending.await, Some(said)),
            status = &mut ending => (status, None),
        }
    };
    // What it has started must not outlive it, wherever that has gone.
    group.signal(Signal::SIGKILL);
    let rest = async {
        if said.is_none() {
            said = Some(wire.answer(ctx).await);
        }
        wire.ended().await;
        group.wait_for_all().await.is_ok()
    };
    see_gone(ctx, rest).await;
    process.told().into_iter().for_each(|told| ctx.has_come(told));
    let result = match said {
        Some(Ok(Some(Answer::Result(value)))) => Some(value),
        Some(Ok(Some(Answer::Error { .. }) | None) | Err(_)) | None => None,
    };
    conclude_told(ctx, status?, result)
}
