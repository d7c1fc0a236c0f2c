//! One call from its request to what is written.

use coxswain_shared::graph::LlmNode;
use coxswain_shared::limits::STREAM_BYTES;
use coxswain_shared::outcome::Failure;
use serde_json::{Value, json};

use super::bill::Bill;
use super::gathered::Gathered;
use super::tokens::Telling;
use super::{answer, ask, stream, unpaid};
use crate::handler::{Context, NodeError, Reply};
use crate::kind::set::scope_of;
use crate::outside::Caller;

/// Statuses after which a model's provider may be asked again: those of any server, of those who stand before one, and of a provider that is overloaded.
pub(in crate::kind) const RETRY_ON: [u16; 14] = [408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529];

/// Why a call of a model brought nothing.
#[derive(Debug)]
pub(super) enum CallError {
    /// As of any other call.
    Node(NodeError),
    /// The account at the provider has no credit left: no other try helps, but another model may.
    Unpaid(Failure),
}

impl From<NodeError> for CallError {
    fn from(error: NodeError) -> Self {
        Self::Node(error)
    }
}

/// One call of one model.
pub(super) async fn call(ctx: &Context, node: &LlmNode, caller: &Caller) -> Result<Reply, CallError> {
    answer::check_schema(ctx.evaluations(), node)?;
    let mut texts = caller.texts(scope_of(ctx));
    let model = texts.text("model", &node.model)?;
    let request = ask::ask(ctx, node, &mut texts)?;
    let max_bytes = node.max_bytes.unwrap_or(STREAM_BYTES as u64);
    let call = caller.call(ctx, &texts, (max_bytes, &RETRY_ON)).of_stream();
    let asked_bytes = request.body().and_then(reqwest::Body::as_bytes).map_or(0, <[u8]>::len);
    let bill = Bill::open(ctx, caller, (model, asked_bytes));
    let mut bill = bill.map_err(|error| error.map_texts(|text| call.secrets.redact(text)))?;
    let mut answer = call.send(request).await?;
    if !answer.status().is_success() {
        return Err(
            unpaid::judge(answer.refused().await).map_or_else(|other| other.into_error().into(), CallError::Unpaid)
        );
    }
    let mut telling = Telling::new(ctx, &call.secrets);
    let read = stream::read(node, &mut answer, &mut bill.gathered, &mut telling).await;
    telling.finish();
    bill.gathered.redact(|text| call.secrets.redact_json(text));
    tell_usage(ctx, node, &bill);
    let gathered = &bill.gathered;
    read.map_err(|error| with_progress(error, gathered))?;
    answer.leave().await;
    let value = answer::value(ctx.evaluations(), node, gathered)?;
    Ok(answer::reply(ctx, node, gathered, value)?)
}

/// Tells what the call has used, whatever becomes of its answer.
fn tell_usage(ctx: &Context, node: &LlmNode, bill: &Bill<'_>) {
    let Some(Value::Object(mut usage)) = bill.usage() else { return };
    usage.insert("provider".to_owned(), json!(node.provider));
    usage.insert("model".to_owned(), json!(bill.gathered.model));
    ctx.emit("usage", usage);
}

/// Adds to a failure how much of the answer had come.
fn with_progress(mut error: CallError, gathered: &Gathered) -> CallError {
    if let CallError::Node(NodeError::Retryable(failure) | NodeError::TimedOut { failure, .. })
    | CallError::Unpaid(failure) = &mut error
    {
        let come = gathered.text.chars().count();
        failure.chain.push(format!("{come} characters of the answer's text had come"));
    }
    error
}
