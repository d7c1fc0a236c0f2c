//! What a child prints: one JSON value a line, each within a limit.

use coxswain_shared::limits::OUTCOME_BYTES_MAX;
use coxswain_shared::outcome::FailureKind;
use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, BufReader};
use tokio::process::ChildStdout;
use tokio_util::sync::CancellationToken;

use crate::handler::{Context, NodeError};

/// Bytes of one line: a result of the largest size, and what stands around it.
const LINE_BYTES_MAX: usize = OUTCOME_BYTES_MAX + 1024;
/// Bytes of all lines together.
const OUTPUT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How much of a bad line is quoted.
const QUOTED_CHARS: usize = 120;

/// What a child has printed so far.
#[derive(Debug, Default)]
pub(super) struct Output {
    line: usize,
    bytes: usize,
    result: Option<Value>,
    /// A value that counts as the result if no line follows; and its line's number.
    last: Option<(usize, Value)>,
    failure: Option<NodeError>,
}

/// One line, understood.
#[derive(Debug, PartialEq)]
enum Line {
    Blank,
    Progress(Value),
    Event(String, Value),
    Result(Value),
    Other(Value),
}

impl Output {
    /// Reads to the end, or to the first bad line; then `bad` is cancelled. What was read so far stays if this is dropped.
    pub(super) async fn read(&mut self, from: ChildStdout, ctx: &Context, bad: &CancellationToken) {
        let mut from = BufReader::with_capacity(64 * 1024, from);
        if let Err(failure) = self.read_lines(&mut from, ctx).await {
            self.failure = Some(failure);
            bad.cancel();
        }
    }

    /// The result, once all was read.
    pub(super) fn finish(self) -> Result<Option<Value>, NodeError> {
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(self.result.or(self.last.map(|(_, value)| value))),
        }
    }

    async fn read_lines(&mut self, from: &mut (impl AsyncBufRead + Unpin), ctx: &Context) -> Result<(), NodeError> {
        let mut text = Vec::new();
        while self.read_line(from, &mut text).await? {
            ctx.sign_of_life();
            match self.take(&text)? {
                Line::Progress(value) => ctx.progress(value),
                Line::Event(kind, value) => ctx.emit(&kind, value),
                Line::Blank | Line::Result(_) | Line::Other(_) => {}
            }
            text.clear();
        }
        Ok(())
    }

    /// Reads one line into `text`; false at the end.
    async fn read_line(
        &mut self,
        from: &mut (impl AsyncBufRead + Unpin),
        text: &mut Vec<u8>,
    ) -> Result<bool, NodeError> {
        self.line += 1;
        loop {
            // A pipe that breaks has ended.
            let chunk = from.fill_buf().await.unwrap_or_default();
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let part = &chunk[..end.unwrap_or(chunk.len())];
            text.extend_from_slice(part);
            let (taken, is_end) = (part.len() + usize::from(end.is_some()), chunk.is_empty());
            from.consume(taken);
            self.bytes += taken;
            if text.len() > LINE_BYTES_MAX {
                let what = format!("line {} of its output has more than {LINE_BYTES_MAX} bytes", self.line);
                return Err(too_large(&what));
            }
            if self.bytes > OUTPUT_BYTES_MAX {
                return Err(too_large(&format!("its output has more than {OUTPUT_BYTES_MAX} bytes")));
            }
            if is_end {
                return Ok(!text.is_empty());
            }
            if end.is_some() {
                return Ok(true);
            }
        }
    }

    /// Takes a line in; a result is kept here, the rest is the caller's.
    fn take(&mut self, text: &[u8]) -> Result<Line, NodeError> {
        let line = understand(text).map_err(|why| bad(self.line, &why, text))?;
        if line == Line::Blank {
            return Ok(line);
        }
        if let Some((number, value)) = self.last.take() {
            let why = "is no progress, event or result, and only the last line may be any other value";
            return Err(bad(number, why, value.to_string().as_bytes()));
        }
        match &line {
            Line::Result(_) | Line::Other(_) if self.result.is_some() => {
                Err(bad(self.line, "is a second result", text))
            }
            Line::Result(value) => {
                self.result = Some(value.clone());
                Ok(line)
            }
            Line::Other(value) => {
                self.last = Some((self.line, value.clone()));
                Ok(line)
            }
            Line::Blank | Line::Progress(_) | Line::Event(..) => Ok(line),
        }
    }
}

fn bad(line: usize, why: &str, text: &[u8]) -> NodeError {
    let text = String::from_utf8_lossy(text);
    let quoted: String = text.chars().take(QUOTED_CHARS).collect();
    let more = if text.chars().nth(QUOTED_CHARS).is_some() { " …" } else { "" };
    let message = format!(
        "line {line} of its output {why}: `{quoted}{more}`; print one JSON value a line there, and all else to standard error"
    );
    NodeError::refused(FailureKind::BadOutput, message)
}

fn understand(text: &[u8]) -> Result<Line, String> {
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(Line::Blank);
    }
    let value: Value = serde_json::from_slice(text).map_err(|error| format!("is not JSON ({error})"))?;
    let Value::Object(mut fields) = value else { return Ok(Line::Other(value)) };
    let is_event = fields.get("event").is_some_and(Value::is_string)
        && fields.keys().all(|name| matches!(name.as_str(), "event" | "value"));
    if is_event {
        let value = fields.remove("value").unwrap_or(Value::Null);
        if let Some(Value::String(kind)) = fields.remove("event") {
            return Ok(Line::Event(kind, value));
        }
    }
    if fields.len() == 1 {
        for (name, make) in [("progress", Line::Progress as fn(Value) -> Line), ("result", Line::Result)] {
            if let Some(value) = fields.remove(name) {
                return Ok(make(value));
            }
        }
    }
    Ok(Line::Other(Value::Object(fields)))
}

fn too_large(what: &str) -> NodeError {
    let message = format!("{what}: put it somewhere else, and print where it is");
    NodeError::refused(FailureKind::TooLarge, message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(lines: &[&str]) -> Result<Option<Value>, String> {
        let mut output = Output::default();
        for line in lines {
            output.line += 1;
            output.take(line.as_bytes()).map_err(|error| error.to_string())?;
        }
        output.finish().map_err(|error| error.to_string())
    }

    #[test]
    fn lines_are_understood_by_their_shape() {
        let cases = [
            (r#"{"progress": 3}"#, Line::Progress(json!(3))),
            (r#"{"event": "token", "value": "a"}"#, Line::Event("token".into(), json!("a"))),
            (r#"{"event": "done"}"#, Line::Event("done".into(), Value::Null)),
            (r#"{"result": {"a": 1}}"#, Line::Result(json!({"a": 1}))),
            (r#"{"progress": 3, "more": 4}"#, Line::Other(json!({"progress": 3, "more": 4}))),
            (r#"{"event": 7}"#, Line::Other(json!({"event": 7}))),
            ("[1]", Line::Other(json!([1]))),
            (" \r", Line::Blank),
        ];
        for (text, line) in cases {
            assert_eq!(understand(text.as_bytes()), Ok(line), "{text}");
        }
    }

    #[test]
    fn the_result_is_named_or_the_last_line() {
        assert_eq!(read(&[r#"{"progress": 1}"#, r#"{"text": "a"}"#, ""]), Ok(Some(json!({"text": "a"}))));
        assert_eq!(read(&[r#"{"result": 5}"#, r#"{"progress": 1}"#]), Ok(Some(json!(5))));
        assert_eq!(read(&[r#"{"progress": 1}"#]), Ok(None));
    }

    #[test]
    fn a_bad_line_is_named_by_its_number_and_quoted() {
        let told = read(&[r#"{"progress": 1}"#, "Traceback (most recent call last)"]).unwrap_err();
        assert!(told.contains("line 2") && told.contains("`Traceback") && told.contains("not JSON"), "{told}");
        let told = read(&["7", r#"{"progress": 1}"#]).unwrap_err();
        assert!(told.contains("line 1") && told.contains("only the last line"), "{told}");
        let told = read(&[r#"{"result": 1}"#, r#"{"result": 2}"#]).unwrap_err();
        assert!(told.contains("line 2") && told.contains("second result"), "{told}");
        let told = read(&[&"x".repeat(10_000)]).unwrap_err();
        assert!(told.len() < 500 && told.contains('…'), "{told}");
    }
}
