//! What a warm process is told and what it says, line by line.

use coxswain_shared::id::Fence;
use coxswain_shared::outcome::FailureKind;
use coxswain_shared::spend::Spend;
use futures_util::FutureExt as _;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStdin, ChildStdout};

use crate::events::check_kind;
use crate::handler::{Context, NodeError};
use crate::kind::exec::lines::{Lines, bad, quoted};
use crate::kind::exec::output::{Line, value_of};

/// Both directions of one process.
#[derive(Debug)]
pub(super) struct Wire {
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    lines: Lines,
}

/// How a task came to its end, by its process' own word.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    Result(Value),
    Error { message: String, is_retryable: bool },
}

/// One line, understood.
#[derive(Debug, PartialEq)]
enum Said {
    Nothing,
    Progress(Value),
    Event(String, Value),
    Spend(Spend),
    Answer(Answer),
}

impl Wire {
    pub(super) fn new(stdin: ChildStdin, stdout: ChildStdout) -> Self {
        let stdout = BufReader::with_capacity(64 * 1024, stdout);
        Self { stdin: Some(stdin), stdout, lines: Lines::default() }
    }

    /// Waits until the process can take tasks; false if it ends before. Cancel safe.
    pub(super) async fn ready(&mut self) -> Result<bool, NodeError> {
        while let Some(text) = self.lines.next(&mut self.stdout).await? {
            let refuse = |why: &str| bad(self.lines.number(), why, &text);
            let told = match value_of(&text) {
                Err(_) if self.lines.is_cut() => return Ok(false),
                told => told.map_err(|why| refuse(&why))?,
            };
            match told {
                None => {}
                Some(value) if value == serde_json::json!({"ready": true}) => return Ok(true),
                Some(_) => return Err(refuse("came before `{\"ready\": true}`, with which a warm process begins")),
            }
        }
        Ok(false)
    }

    /// Hands a task over, and waits for its answer; none if the process ends before. If this is dropped,
    /// [`Wire::answer`] goes on.
    pub(super) async fn ask(&mut self, task: &[u8], ctx: &Context) -> Result<Option<Answer>, NodeError> {
        let Self { stdin, stdout, lines } = self;
        *lines = Lines::default();
        let stdin = stdin.as_mut().expect("a process whose input was closed is asked nothing more");
        let answering = read_answer(lines, stdout, ctx);
        tokio::pin!(answering);
        tokio::select! {
            biased;
            answer = &mut answering => return match answer? {
                None => Ok(None),
                Some(_) => Err(refused("it answered before it had read its task")),
            },
            // One that reads no more has ended, or is about to: what it says, or does not, tells.
            _ = stdin.write_all(task) => {}
        }
        answering.await
    }

    /// Waits for the rest of an answer; none if the process ends before. Cancel safe.
    pub(super) async fn answer(&mut self, ctx: &Context) -> Result<Option<Answer>, NodeError> {
        read_answer(&mut self.lines, &mut self.stdout, ctx).await
    }

    /// Tells the process that there will be no more tasks.
    pub(super) fn close(&mut self) {
        self.stdin = None;
    }

    /// Waits until nobody holds the process' output open any more. Cancel safe.
    pub(super) async fn ended(&mut self) {
        while let Ok(chunk @ [_, ..]) = self.stdout.fill_buf().await {
            let length = chunk.len();
            self.stdout.consume(length);
        }
    }

    /// Why a process that has no task cannot be given one: it has printed something, or ended.
    pub(super) fn unfit(&mut self) -> Option<String> {
        // What has come, without waiting for more.
        match self.stdout.fill_buf().now_or_never()? {
            Ok([]) | Err(_) => Some("it has ended".to_owned()),
            Ok(chunk) if is_blank(chunk) => None,
            Ok(chunk) => Some(quoted(chunk)),
        }
    }
}

async fn read_answer(
    lines: &mut Lines,
    stdout: &mut BufReader<ChildStdout>,
    ctx: &Context,
) -> Result<Option<Answer>, NodeError> {
    while let Some(text) = lines.next(stdout).await? {
        ctx.sign_of_life();
        let said = match understand(&text, ctx.fence()) {
            Err(_) if lines.is_cut() => return Ok(None),
            said => said.map_err(|why| bad(lines.number(), &why, &text))?,
        };
        match said {
            Said::Nothing => {}
            Said::Progress(value) => ctx.progress(value),
            Said::Event(kind, value) => ctx.emit(&kind, value),
            Said::Spend(spend) => ctx.spend(spend),
            Said::Answer(_) if !is_blank(stdout.buffer()) => {
                let next = stdout.buffer().split(|byte| *byte == b'\n').next().unwrap_or_default();
                return Err(bad(lines.number() + 1, "comes after the end of the task", next));
            }
            Said::Answer(answer) => return Ok(Some(answer)),
        }
    }
    Ok(None)
}

fn understand(text: &[u8], fence: Fence) -> Result<Said, String> {
    let Some(mut value) = value_of(text)? else { return Ok(Said::Nothing) };
    let named = value.as_object_mut().and_then(|fields| fields.remove("fence"));
    if named.is_some_and(|named| serde_json::to_value(fence).ok() != Some(named)) {
        return Err("belongs to another task".to_owned());
    }
    Ok(match Line::of(value) {
        Line::Blank => Said::Nothing,
        Line::Progress(value) => Said::Progress(value),
        Line::Event(kind, value) => {
            check_kind(&kind).map_err(|why| format!("is an event whose {why}"))?;
            Said::Event(kind, value)
        }
        Line::Spend(spend) => Said::Spend(spend),
        Line::Result(value) => Said::Answer(Answer::Result(value)),
        Line::Other(value) => {
            let told = ErrorLine::deserialize(value).map_err(|_| "is no progress, event, result or error")?;
            let ErrorLine { error: Told { message, retryable } } = told;
            Said::Answer(Answer::Error { message, is_retryable: retryable })
        }
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ErrorLine {
    error: Told,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    message: String,
    #[serde(default = "Told::by_default")]
    retryable: bool,
}

impl Told {
    /// As every error of a handler.
    const fn by_default() -> bool {
        true
    }
}

fn is_blank(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_whitespace)
}

fn refused(why: &str) -> NodeError {
    NodeError::refused(FailureKind::BadOutput, why)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_are_understood_by_their_shape() {
        let error = |message: &str, is_retryable| Said::Answer(Answer::Error { message: message.into(), is_retryable });
        let cases = [
            (r#"{"progress": 3}"#, Said::Progress(json!(3))),
            (r#"{"progress": 3, "fence": 7}"#, Said::Progress(json!(3))),
            (r#"{"event": "token", "value": "a"}"#, Said::Event("token".into(), json!("a"))),
            (r#"{"result": null}"#, Said::Answer(Answer::Result(json!(null)))),
            (r#"{"error": {"message": "no"}}"#, error("no", true)),
            (r#"{"error": {"message": "no", "retryable": false}, "fence": 7}"#, error("no", false)),
            ("  ", Said::Nothing),
        ];
        for (text, said) in cases {
            assert_eq!(understand(text.as_bytes(), Fence::new(7)), Ok(said), "{text}");
        }
    }

    #[test]
    fn what_is_no_line_of_the_protocol_or_of_another_task_is_refused() {
        let cases = [
            ("hello", "is not JSON"),
            ("7", "is no progress"),
            (r#"{"ready": true}"#, "is no progress"),
            (r#"{"error": "no"}"#, "is no progress"),
            (r#"{"error": {"message": "no", "more": 1}}"#, "is no progress"),
            (r#"{"result": 1, "fence": 6}"#, "belongs to another task"),
        ];
        for (text, words) in cases {
            let why = understand(text.as_bytes(), Fence::new(7)).unwrap_err();
            assert!(why.contains(words), "{text}: {why}");
        }
    }
}
