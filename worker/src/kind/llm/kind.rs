//! The kind: one call from its request to what is written.

use std::sync::Arc;

use coxswain_shared::graph::{LlmNode, NodeKind};
use coxswain_shared::limits::STREAM_BYTES;
use serde_json::{Value, json};

use super::gathered::Gathered;
use super::tokens::Tokens;
use super::{answer, ask, stream};
use crate::handler::{Context, NodeError, Reply};
use crate::kind::set::scope_of;
use crate::kind::{Kind, Work};
use crate::metrics::Metrics;
use crate::outside::{Call, Clients, Limits, Texts};

/// Statuses that may pass: those of any server, of those who stand before one, and of a provider that is overloaded.
const RETRY_ON: [u16; 14] = [408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529];

/// Calls of language models.
#[derive(Debug)]
pub(crate) struct LlmKind {
    clients: Arc<Clients>,
    metrics: Metrics,
}

impl LlmKind {
    /// Its name.
    pub(crate) const NAME: &str = "llm";

    pub(crate) const fn new(clients: Arc<Clients>, metrics: Metrics) -> Self {
        Self { clients, metrics }
    }
}

impl Kind for LlmKind {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn start(&self, ctx: Context) -> Result<Work, NodeError> {
        let NodeKind::Llm(node) = &ctx.definition().kind else {
            unreachable!("the registry hands each kind its own nodes");
        };
        let (node, clients, metrics) = (node.clone(), Arc::clone(&self.clients), self.metrics.clone());
        Ok(Work::new(async move { run(&ctx, &node, &clients, &metrics).await }))
    }
}

async fn run(ctx: &Context, node: &LlmNode, clients: &Clients, metrics: &Metrics) -> Result<Reply, NodeError> {
    let schema = answer::schema(node)?;
    let mut texts = Texts::new(scope_of(ctx), Arc::clone(clients.config()));
    let request = ask::ask(ctx, node, &mut texts)?;
    let call = Call {
        ctx,
        clients,
        metrics,
        limits: Limits::of(&ctx.definition().policy),
        secrets: texts.into_secrets(),
        max_bytes: node.max_bytes.unwrap_or(STREAM_BYTES as u64),
        retry_on: &RETRY_ON,
    };
    let mut answer = call.send(request).await?;
    if !answer.status().is_success() {
        return Err(answer.refusal().await);
    }
    let mut gathered = Gathered::default();
    let mut tokens = Tokens::new(ctx, &call.secrets);
    let read = stream::read(node, &mut answer, &mut gathered, &mut tokens).await;
    tokens.finish();
    gathered.redact(|text| call.secrets.redact(text));
    tell_usage(ctx, node, &gathered);
    read.map_err(|error| with_progress(error, &gathered))?;
    answer.leave().await;
    let value = answer::value(&gathered, schema.as_ref())?;
    answer::reply(ctx, node, &gathered, value)
}

/// Tells what the call has used, whatever becomes of its answer.
fn tell_usage(ctx: &Context, node: &LlmNode, gathered: &Gathered) {
    let Value::Object(mut usage) = gathered.usage() else { return };
    usage.insert("provider".to_owned(), json!(node.provider));
    usage.insert("model".to_owned(), json!(gathered.model));
    ctx.emit("usage", usage);
}

/// Adds to a failure how much of the answer had come.
fn with_progress(mut error: NodeError, gathered: &Gathered) -> NodeError {
    if let NodeError::Retryable(failure) | NodeError::TimedOut { failure, .. } = &mut error {
        let come = gathered.text.chars().count();
        failure.chain.push(format!("{come} characters of the answer's text had come"));
    }
    error
}
