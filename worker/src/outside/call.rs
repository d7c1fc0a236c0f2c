//! One call: sent within its limits, its answer read piece by piece, and every end of it in words.

use std::time::Duration;

use coxswain_shared::config::redact_url;
use coxswain_shared::exhaustion::Resource;
use coxswain_shared::graph::Policy;
use coxswain_shared::limits::Limit;
use coxswain_shared::outcome::{Failure, FailureKind};
use coxswain_shared::time::{Clock, Timestamp};
use reqwest::header::{CONTENT_ENCODING, HeaderMap, RETRY_AFTER};
use reqwest::{Method, Request, Response, StatusCode};
use tokio::time::{Instant, timeout, timeout_at};

use super::client::Clients;
use super::failure::{self, Progress};
use super::guard;
use super::request;
use super::secrets::{Astray, Secrets};
use super::upstream::{Gates, Terms, Turn};
use crate::handler::{Context, NodeError};
use crate::metrics::Metrics;

/// Bytes of a refusal that are read.
const REFUSAL_BYTES_MAX: u64 = 64 * 1024;
/// How long the end of an answer is waited for, once all that matters has come.
const LEAVE: Duration = Duration::from_millis(50);
/// As `Retry-After`, in milliseconds.
const RETRY_AFTER_MS: &str = "retry-after-ms";
/// Characters of a refusal that are told.
const REFUSAL_CHARS_MAX: usize = 1_000;

/// The limits of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    connect: Duration,
    /// From the beginning of the call, connecting included.
    first_byte: Duration,
    idle: Duration,
}

impl Limits {
    /// Those of a node's policy.
    pub(crate) fn of(policy: &Policy) -> Self {
        Self {
            connect: policy.connect_timeout.unwrap_or(Limit::ConnectTimeout.default()),
            first_byte: policy.first_byte_timeout.unwrap_or(Limit::FirstByteTimeout.default()),
            idle: policy.idle_timeout.unwrap_or(Limit::IdleTimeout.default()),
        }
    }
}

/// A call in the making, and under way.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(super) ctx: &'a Context,
    pub(super) clients: &'a Clients,
    pub(super) gates: &'a Gates,
    pub(super) metrics: &'a Metrics,
    pub(super) limits: Limits,
    pub(crate) secrets: Secrets,
    /// Bytes of the answer's body.
    pub(super) max_bytes: u64,
    /// Statuses after which another try may help.
    pub(super) retry_on: &'a [u16],
    /// Whether the body of a good answer says how well the upstream is, and not its head.
    pub(super) is_stream: bool,
}

/// An answer whose body is still to come.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    call: &'a Call<'a>,
    name: String,
    /// Held until the body was read, or is not wanted.
    turn: Turn,
    response: Response,
    begun_at: Instant,
    bytes: u64,
    /// The time after which a piece came already that was no progress.
    late_for: Option<Instant>,
}

/// An answer with a bad status.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    /// The beginning of its body, without secrets.
    pub(crate) body: String,
    pub(crate) failure: Failure,
    /// Whether another try may help, by its status.
    retryable: bool,
    /// How long the other side asks to be left alone.
    after: Option<Duration>,
}

/// A call of which nothing has come. Dropped, it says so to its attempt, which may have been ended for it.
struct Unanswered<'a> {
    ctx: &'a Context,
    name: &'a str,
    begun_at: Instant,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        let progress = Progress { elapsed: self.begun_at.elapsed(), waited: Duration::ZERO, status: None, bytes: 0 };
        self.ctx.has_come(format!("{}: {}", self.name, progress.tell()));
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        self.call.ctx.has_come(format!("{}: {}", self.name, self.progress().tell()));
    }
}

/// What comes of an answer next.
#[derive(Debug)]
pub(crate) enum Next {
    /// A piece of the body.
    Piece(Vec<u8>),
    /// Its end.
    End,
    /// Nothing, until whoever waits wanted to be woken.
    Woken,
}

impl Call<'_> {
    /// The call of a stream: who reads its answer says with [`Answer::judged`] that enough has come of it to know how well
    /// the upstream is.
    #[must_use]
    pub(crate) fn of_stream(self) -> Self {
        Self { is_stream: true, ..self }
    }

    /// Sends a request; returns when the head of the answer has come.
    pub(crate) async fn send(&self, request: Request) -> Result<Answer<'_>, NodeError> {
        let name = self.name(request.method(), request.url().as_str());
        let begun_at = Instant::now();
        let unanswered = Unanswered { ctx: self.ctx, name: &name, begun_at };
        let clean = |error: NodeError| error.map_texts(|text| self.secrets.redact(text));
        let astray = |astray: Astray| clean(request::bad(format!("{name} was not made: {astray}")));
        self.secrets.check(request.url()).map_err(astray)?;
        guard::check(self.clients.config(), request.url())
            .map_err(|private| clean(failure::private(&private, &name)))?;
        let gate = self.gates.of(request.url(), self.ctx.run()).await;
        let turn = gate.enter(self.terms(begun_at)).await;
        let turn = turn.map_err(|refusal| clean(failure::refused(&refusal, &name)))?;
        if let Some(retries) = turn.retries() {
            self.ctx.limit_retries(retries);
        }
        let progress = || Progress { elapsed: begun_at.elapsed(), waited: turn.waited(), status: None, bytes: 0 };
        let told = |error: reqwest::Error| self.tell(&error, &name, progress());
        let client = self.clients.client(self.limits.connect, request.url(), self.secrets.minds_ports());
        let client = client.map_err(told)?;
        let error = match timeout_at(begun_at + self.limits.first_byte, client.execute(request)).await {
            Ok(Ok(response)) => {
                self.ctx.sign_of_life();
                turn.answered(response.status().as_u16());
                if !(self.is_stream && response.status().is_success()) {
                    turn.tell_probe().await;
                }
                drop(unanswered);
                return Ok(Answer { call: self, name, turn, response, begun_at, bytes: 0, late_for: None });
            }
            Ok(Err(error)) if error.is_connect() && error.is_timeout() => {
                turn.unheard(Limit::ConnectTimeout, self.limits.connect);
                self.hit(Limit::ConnectTimeout, self.limits.connect, &name, progress())
            }
            // For want of files or memory here: that says nothing of the upstream.
            Ok(Err(error)) if Resource::behind(&error).is_some() => told(error),
            Ok(Err(error)) if failure::is_of_the_caller(&error) => {
                turn.is_callers_fault();
                told(error)
            }
            Ok(Err(error)) => {
                // A refusal to connect is a sign of life, if no more.
                turn.broke(if error.is_connect() { "no connection" } else { "it broke off" });
                told(error)
            }
            Err(_) => {
                turn.unheard(Limit::FirstByteTimeout, self.limits.first_byte);
                self.hit(Limit::FirstByteTimeout, self.limits.first_byte, &name, progress())
            }
        };
        turn.tell_probe().await;
        Err(error)
    }

    /// It may wait for its turn as long as enough of its time is left for an answer.
    fn terms(&self, begun_at: Instant) -> Terms {
        let Limits { connect, first_byte, .. } = self.limits;
        let until = begun_at + first_byte.min(self.ctx.remaining()) / 2;
        Terms { until, deadline: self.ctx.deadline(), connect, first_byte }
    }

    fn name(&self, method: &Method, url: &str) -> String {
        // A secret may reach beyond where the query begins: it is looked for before that is taken out.
        let url = redact_url(&self.secrets.redact(url));
        format!("{method} {}", url.split_once('?').map_or_else(|| url.clone(), |(place, _)| format!("{place}?***")))
    }

    fn hit(&self, limit: Limit, length: Duration, name: &str, progress: Progress) -> NodeError {
        self.metrics.limit(limit);
        failure::timed_out(limit, length, name, progress)
    }

    fn tell(&self, error: &reqwest::Error, name: &str, progress: Progress) -> NodeError {
        failure::of_client(error, name, progress, |text| self.secrets.redact(text))
    }
}

impl Answer<'_> {
    /// Its status.
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Its headers.
    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// Refuses a body that is encoded in a way that nobody asked for: it would be read as rubbish.
    pub(crate) fn check_encoding(&self) -> Result<(), NodeError> {
        let encoding = self.headers().get(CONTENT_ENCODING).and_then(|encoding| encoding.to_str().ok());
        match encoding.map(str::trim).filter(|encoding| !matches!(*encoding, "" | "identity")) {
            None => Ok(()),
            Some(encoding) => {
                let why = format!("the answer is encoded as `{encoding}`, though it was asked for as it is");
                Err(NodeError::Fatal(self.wrong(&why)))
            }
        }
    }

    /// The next piece of the body; none at its end.
    pub(crate) async fn piece(&mut self) -> Result<Option<Vec<u8>>, NodeError> {
        let call = self.call;
        let piece = match timeout(call.limits.idle, self.response.chunk()).await {
            Ok(Ok(piece)) => piece,
            Ok(Err(error)) => return Err(self.broke(&error)),
            Err(_) => return Err(self.hit(Limit::IdleTimeout, call.limits.idle)),
        };
        piece.map(|piece| self.count(&piece)).transpose()
    }

    /// What comes next of an answer in which not every byte is progress: `progressed` says when there last was some, and
    /// none if there was none yet. Until the first, the limit of the first byte holds, from the beginning of the call.
    pub(crate) async fn next(&mut self, progressed: Option<Instant>, wake: Option<Instant>) -> Result<Next, NodeError> {
        let call = self.call;
        let (limit, length, since) = match progressed {
            None => (Limit::FirstByteTimeout, call.limits.first_byte, self.begun_at),
            Some(at) => (Limit::IdleTimeout, call.limits.idle, at),
        };
        let due = since + length;
        // What keeps coming without progress is never waited for; one piece may have come while nobody looked.
        if self.late_for == Some(due) {
            return Err(self.hit(limit, length));
        }
        let until = wake.map_or(due, |wake| wake.min(due));
        match timeout_at(until, self.response.chunk()).await {
            Ok(Ok(Some(piece))) => {
                self.late_for = (Instant::now() >= due).then_some(due);
                self.count(&piece).map(Next::Piece)
            }
            Ok(Ok(None)) => Ok(Next::End),
            Ok(Err(error)) => Err(self.broke(&error)),
            Err(_) if until < due => Ok(Next::Woken),
            Err(_) => Err(self.hit(limit, length)),
        }
    }

    fn hit(&self, limit: Limit, length: Duration) -> NodeError {
        self.turn.unheard(limit, length);
        self.call.hit(limit, length, &self.name, self.progress())
    }

    fn broke(&self, error: &reqwest::Error) -> NodeError {
        self.turn.broke("it broke off");
        self.call.tell(error, &self.name, self.progress())
    }

    /// What has come shows a fault of the upstream, whatever its status was.
    pub(crate) fn faulty(&self, why: &str) {
        self.turn.broke(&shorten(&self.call.secrets.redact(why)));
    }

    /// It is known by now how well the upstream is.
    pub(crate) async fn judged(&self) {
        self.turn.tell_probe().await;
    }

    fn count(&mut self, piece: &[u8]) -> Result<Vec<u8>, NodeError> {
        self.call.ctx.sign_of_life();
        self.turn.heard();
        self.bytes += piece.len() as u64;
        if self.bytes > self.call.max_bytes {
            return Err(failure::too_long(self.call.max_bytes, &self.name));
        }
        Ok(piece.to_vec())
    }

    /// Reads what is left after the end that the other side has named, for a moment: a connection that was read to its
    /// end can be used again.
    pub(crate) async fn leave(mut self) {
        let rest = async { while let Ok(Some(_)) = self.response.chunk().await {} };
        let _ = timeout(LEAVE, rest).await;
    }

    /// The failure of an answer that is not what it should be.
    pub(crate) fn wrong(&self, why: &str) -> Failure {
        // What is cut first may end within a secret.
        let why = shorten(&self.call.secrets.redact(why));
        Failure::new(FailureKind::Outside, format!("{}: {why}: {}", self.name, self.progress().tell()))
    }

    /// The whole body as text, with the secrets that it may repeat. What is no UTF-8 is replaced.
    pub(crate) async fn text(&mut self) -> Result<String, NodeError> {
        self.check_encoding()?;
        let mut body = Vec::new();
        while let Some(piece) = self.piece().await? {
            body.extend_from_slice(&piece);
        }
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// The failure that an answer with a bad status is.
    pub(crate) async fn refusal(self) -> NodeError {
        self.refused().await.into_error()
    }

    /// An answer with a bad status, as far as it is read.
    pub(crate) async fn refused(mut self) -> Refused {
        let status = self.status();
        let after = retry_after(self.headers(), Clock::system().now());
        let body = self.refusing().await;
        let said = shorten(&body);
        let mut message = format!("{} was answered with {status}", self.name);
        if !said.is_empty() {
            message = format!("{message}: {said}");
        }
        let retryable = self.call.retry_on.contains(&status.as_u16());
        Refused { status, body, failure: Failure::new(FailureKind::Outside, message), retryable, after }
    }

    /// What comes in time of the body of a refusal, without secrets.
    async fn refusing(&mut self) -> String {
        let mut body = Vec::new();
        while self.bytes < REFUSAL_BYTES_MAX {
            match self.piece().await {
                Ok(Some(piece)) => body.extend_from_slice(&piece),
                // The status is what counts.
                Ok(None) | Err(_) => break,
            }
        }
        self.call.secrets.redact(&String::from_utf8_lossy(&body))
    }

    fn progress(&self) -> Progress {
        let status = Some(self.response.status().as_u16());
        Progress { elapsed: self.begun_at.elapsed(), waited: self.turn.waited(), status, bytes: self.bytes }
    }
}

impl Refused {
    /// What it is for a node.
    pub(crate) fn into_error(self) -> NodeError {
        let Self { failure, retryable, after, .. } = self;
        match (retryable, after) {
            (false, _) => NodeError::Fatal(failure),
            (true, Some(after)) => NodeError::Later { failure, after },
            (true, None) => NodeError::Retryable(failure),
        }
    }
}

/// As much of a text as is told.
fn shorten(text: &str) -> String {
    let mut said: String = text.trim().chars().take(REFUSAL_CHARS_MAX).collect();
    if said.len() < text.trim().len() {
        said.push('…');
    }
    said
}

/// How long the other side asks to be left alone: seconds, or a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let told = |name: &str| headers.get(name).and_then(|text| text.to_str().ok()).map(str::trim);
    // More exact, where a provider of models tells it.
    if let Some(millis) = told(RETRY_AFTER_MS).and_then(|text| text.parse::<f64>().ok()) {
        return Duration::try_from_secs_f64(millis / 1_000.0).ok();
    }
    let text = told(RETRY_AFTER.as_str())?;
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let at = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Timestamp::from_millis(0).after(at).since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_side_may_name_seconds_or_a_date() {
        let now = Timestamp::from_millis(784_111_770_000);
        let after = |text: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            retry_after(&headers, now)
        };
        assert_eq!(after("120"), Some(Duration::from_mins(2)));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(7)));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:00 GMT"), Some(Duration::ZERO));
        assert_eq!(after("1.5"), Some(Duration::from_millis(1_500)));
        assert_eq!([after("soon"), after("-5"), after("inf"), after("NaN")], [None; 4]);
        let both = [("retry-after", "1"), ("retry-after-ms", "250")]
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        assert_eq!(retry_after(&HeaderMap::from_iter(both), now), Some(Duration::from_millis(250)));
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
