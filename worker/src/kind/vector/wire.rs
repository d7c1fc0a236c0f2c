//! The requests of one try, one after another: JSON there, JSON back, and what is wrong with it in words.

use coxswain_shared::outcome::{Failure, FailureKind};
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Body, Request, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::sleep;

use crate::handler::{Context, NodeError};
use crate::kind::llm::error_of;
use crate::outside::{Answer, Call, Secrets, request};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Characters that are told of an answer of another shape.
const SHOWN_CHARS: usize = 200;

/// The requests of a try.
#[derive(Debug)]
pub(super) struct Wire<'a> {
    ctx: &'a Context,
    call: Call<'a>,
    sent: u64,
    /// Whether something was done that a new beginning would do again.
    has_done: bool,
}

/// What comes of a request.
#[derive(Debug)]
pub(super) enum Told<T> {
    /// What was asked for.
    Answer(T),
    /// There is no such thing, and what was said.
    Absent(NodeError),
    /// There is such a thing already, and what was said.
    Taken(NodeError),
}

impl<T> Told<T> {
    /// The answer; anything else is a failure.
    pub(super) fn answer(self) -> Result<T, NodeError> {
        match self {
            Self::Answer(answer) => Ok(answer),
            Self::Absent(refusal) | Self::Taken(refusal) => Err(refusal),
        }
    }
}

impl<'a> Wire<'a> {
    pub(super) const fn new(ctx: &'a Context, call: Call<'a>) -> Self {
        Self { ctx, call, sent: 0, has_done: false }
    }

    /// Notes that something was done: from here on, a request that finds no place at its upstream waits for one. Before, it
    /// puts the whole off, which then begins anew.
    pub(super) const fn note_done(&mut self) {
        self.has_done = true;
    }

    /// Sends a request without a body.
    pub(super) async fn ask<T: DeserializeOwned>(&mut self, request: Request) -> Result<Told<T>, NodeError> {
        self.exchange(request).await
    }

    /// Sends a request with a body.
    pub(super) async fn send<T: DeserializeOwned>(
        &mut self,
        mut request: Request,
        body: &impl Serialize,
    ) -> Result<Told<T>, NodeError> {
        let body = serde_json::to_vec(body)
            .map_err(|error| request::bad(format!("the request cannot be written as JSON: {error}")))?;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *request.body_mut() = Some(Body::from(body));
        self.exchange(request).await
    }

    async fn exchange<T: DeserializeOwned>(&mut self, mut request: Request) -> Result<Told<T>, NodeError> {
        // Each request of a try is another one: the key is the same only for the same one of the next try.
        self.sent += 1;
        if let Ok(key) = HeaderValue::try_from(format!("{}/{}", self.ctx.idempotency_key(), self.sent)) {
            request.headers_mut().entry(IDEMPOTENCY_KEY).or_insert(key);
        }
        let mut answer = self.pass(request).await?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(Told::Absent(answer.refusal().await)),
            StatusCode::CONFLICT => Ok(Told::Taken(answer.refusal().await)),
            status if !status.is_success() => Err(error_of(answer.refused().await)),
            _ => {
                let body = answer.text().await?;
                let secrets = &self.call.secrets;
                secrets.read(&body).map(Told::Answer).map_err(|error| misshapen(&answer, &error, &body, secrets))
            }
        }
    }

    /// Sends a request, and waits for its turn if it may.
    async fn pass(&self, mut request: Request) -> Result<Answer<'_>, NodeError> {
        loop {
            request::send_along(self.ctx, &mut request);
            let again = request.try_clone().filter(|_| self.has_done);
            match (self.call.send(request).await, again) {
                (Err(NodeError::PutOff { failure, after }), Some(_)) if after >= self.ctx.remaining() => {
                    return Err(NodeError::Later { failure, after });
                }
                (Err(NodeError::PutOff { after, .. }), Some(again)) => {
                    sleep(after).await;
                    request = again;
                }
                (sent, _) => return sent,
            }
        }
    }
}

fn misshapen(answer: &Answer<'_>, error: &serde_json::Error, body: &str, secrets: &Secrets) -> NodeError {
    let mut shown: String = secrets.redact(body).chars().take(SHOWN_CHARS).collect();
    if shown.len() < body.len() {
        shown.push('…');
    }
    let failure = answer.wrong(&format!("the answer is not of the expected shape ({error}): `{shown}`"));
    NodeError::Retryable(Failure { kind: FailureKind::BadOutput, ..failure })
}

/// The failure of an answer that has its shape, and makes no sense.
pub(super) fn bad_output(message: impl Into<String>) -> NodeError {
    NodeError::Retryable(Failure::new(FailureKind::BadOutput, message))
}
