//! Reads an answer while it comes: the limits of the first token and of silence, and what each event adds.

use coxswain_shared::graph::{LlmNode, Provider};
use reqwest::header::CONTENT_TYPE;
use tokio::time::Instant;

use super::call::CallError;
use super::gathered::{Blame, Gathered, Step, StreamError};
use super::sse::{Decoder, Event};
use super::tokens::Telling;
use super::{anthropic, openai, unpaid};
use crate::handler::NodeError;
use crate::outside::{Answer, Next};

/// Reads an answer to its end. The upstream's breaker is told: how well it is, its stream says, and not the stream's head.
pub(super) async fn read(
    node: &LlmNode,
    answer: &mut Answer<'_>,
    gathered: &mut Gathered,
    telling: &mut Telling<'_>,
) -> Result<(), CallError> {
    let read = read_on(node, answer, gathered, telling).await;
    answer.judged().await;
    read
}

async fn read_on(
    node: &LlmNode,
    answer: &mut Answer<'_>,
    gathered: &mut Gathered,
    telling: &mut Telling<'_>,
) -> Result<(), CallError> {
    answer.check_encoding()?;
    let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.trim_start().starts_with("application/json") {
        return read_whole(node, answer, gathered, telling).await;
    }
    let (mut decoder, mut progressed) = (Decoder::default(), None);
    loop {
        let next = match answer.next(progressed, telling.due()).await {
            // The answer is whole, and paid for: a server that does not close its stream takes nothing of it away.
            Err(NodeError::TimedOut { .. } | NodeError::Retryable(_)) if gathered.finish_reason.is_some() => break,
            next => next?,
        };
        let events = match next {
            Next::Woken => {
                telling.tell();
                continue;
            }
            Next::Piece(bytes) => decoder.feed(&bytes),
            Next::End => break,
        };
        let events = events.map_err(|error| broken(answer, &error))?;
        for event in &events {
            let step = take(node, gathered, event).map_err(|error| refused(answer, &error));
            telling.take(gathered);
            match step? {
                Step::Nothing => {}
                Step::Progress => {
                    gathered.pieces += u64::from(gathered.finish_reason.is_none());
                    if progressed.is_none() {
                        answer.judged().await;
                    }
                    progressed = Some(Instant::now());
                }
                Step::Done => return whole(answer, gathered),
            }
        }
    }
    let last = decoder.finish().map_err(|error| broken(answer, &error))?;
    let last = last.map(|event| take(node, gathered, &event)).transpose();
    let is_done = last.map_err(|error| refused(answer, &error))? == Some(Step::Done);
    telling.take(gathered);
    // Some servers close the stream without the word for its end.
    if is_done || gathered.finish_reason.is_some() {
        return whole(answer, gathered);
    }
    Err(broken(answer, &"the stream ended in the middle of the answer"))
}

/// Reads an answer of a server that does not stream whatever it is asked: all of it at once.
async fn read_whole(
    node: &LlmNode,
    answer: &mut Answer<'_>,
    gathered: &mut Gathered,
    telling: &mut Telling<'_>,
) -> Result<(), CallError> {
    let data = answer.text().await?;
    let taken = take(node, gathered, &Event { name: String::new(), data: data.clone() });
    telling.take(gathered);
    match taken {
        Err(error @ StreamError::Reported { .. }) => Err(refused(answer, &error)),
        Ok(_) if gathered.finish_reason.is_some() || !gathered.text.is_empty() || gathered.has_calls() => Ok(()),
        Ok(_) | Err(StreamError::NoJson { .. } | StreamError::TooManyCalls) => {
            let why = format!(
                "the answer is JSON, and neither the stream of events that was asked for nor an answer: `{data}`"
            );
            Err(broken(answer, &why))
        }
    }
}

/// What a stream that came to its end has brought: an answer, be it empty, or nothing at all.
fn whole(answer: &Answer<'_>, gathered: &Gathered) -> Result<(), CallError> {
    if gathered.finish_reason.is_none() && gathered.text.is_empty() && !gathered.has_calls() {
        return Err(broken(answer, &"the stream ended without an answer"));
    }
    Ok(())
}

fn take(node: &LlmNode, gathered: &mut Gathered, event: &Event) -> Result<Step, StreamError> {
    match node.provider {
        Provider::Openai => openai::take(gathered, &event.data),
        Provider::Anthropic => anthropic::take(gathered, &event.data, node.schema.is_some()),
    }
}

/// The stream broke off, or is none: a fault of the upstream.
fn broken(answer: &Answer<'_>, error: &impl std::fmt::Display) -> CallError {
    answer.faulty("its stream broke off");
    NodeError::Retryable(answer.wrong(&error.to_string())).into()
}

fn refused(answer: &Answer<'_>, error: &StreamError) -> CallError {
    let failure = answer.wrong(&error.to_string());
    match error {
        StreamError::NoJson { .. } => broken(answer, error),
        StreamError::TooManyCalls => NodeError::Retryable(failure).into(),
        StreamError::Reported { blame, said } => match blame {
            Blame::Account => CallError::Unpaid(unpaid::unpaid(failure)),
            Blame::Request => NodeError::Fatal(failure).into(),
            Blame::Pace => NodeError::Retryable(failure).into(),
            Blame::Provider => {
                answer.faulty(&format!("an error in its stream: {said}"));
                NodeError::Retryable(failure).into()
            }
        },
    }
}
