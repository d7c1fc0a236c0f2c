//! What a child prints: one JSON value a line, each within a limit.

use coxswain_shared::spend::Spend;
use serde::Deserialize as _;
use serde_json::Value;
use tokio::io::{AsyncBufRead, BufReader};
use tokio::process::ChildStdout;
use tokio_util::sync::CancellationToken;

use super::lines::{Lines, bad};
use crate::events::check_kind;
use crate::handler::{Context, NodeError};

/// What a child has printed so far.
#[derive(Debug, Default)]
pub(super) struct Output {
    lines: Lines,
    result: Option<Value>,
    /// A value that counts as the result if no line follows; and its line's number.
    last: Option<(usize, Value)>,
    failure: Option<NodeError>,
    /// Whether that is for want of the rest of the last line.
    is_cut: bool,
}

/// One line, understood.
#[derive(Debug, PartialEq)]
pub(super) enum Line {
    Blank,
    Progress(Value),
    Event(String, Value),
    Spend(Spend),
    Result(Value),
    Other(Value),
}

impl Output {
    /// Reads to the end, or to the first bad line; then `bad` is cancelled. What was read so far stays if this is dropped.
    pub(super) async fn read(&mut self, from: ChildStdout, ctx: &Context, bad: &CancellationToken) {
        let mut from = BufReader::with_capacity(64 * 1024, from);
        if let Err(failure) = self.read_lines(&mut from, ctx).await {
            self.failure = Some(failure);
            self.is_cut = self.lines.is_cut();
            // What has ended its output is about to end: how it does tells more.
            if !self.is_cut {
                bad.cancel();
            }
        }
    }

    /// Whether it ended in the middle of a line.
    pub(super) const fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// The result, once all was read.
    pub(super) fn finish(self) -> Result<Option<Value>, NodeError> {
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(self.result.or(self.last.map(|(_, value)| value))),
        }
    }

    async fn read_lines(&mut self, from: &mut (impl AsyncBufRead + Unpin), ctx: &Context) -> Result<(), NodeError> {
        while let Some(text) = self.lines.next(from).await? {
            ctx.sign_of_life();
            match self.take(self.lines.number(), &text)? {
                Line::Progress(value) => ctx.progress(value),
                Line::Event(kind, value) => ctx.emit(&kind, value),
                Line::Spend(spend) => ctx.spend(spend),
                Line::Blank | Line::Result(_) | Line::Other(_) => {}
            }
        }
        Ok(())
    }

    /// Takes a line in; a result is kept here, the rest is the caller's.
    fn take(&mut self, number: usize, text: &[u8]) -> Result<Line, NodeError> {
        let line = understand(text).map_err(|why| bad(number, &why, text))?;
        if let Line::Event(kind, _) = &line {
            check_kind(kind).map_err(|why| bad(number, &format!("is an event whose {why}"), text))?;
        }
        if line == Line::Blank {
            return Ok(line);
        }
        if let Some((earlier, value)) = self.last.take() {
            let why = "is no progress, event or result, and only the last line may be any other value";
            return Err(bad(earlier, why, value.to_string().as_bytes()));
        }
        match &line {
            Line::Result(_) | Line::Other(_) if self.result.is_some() => Err(bad(number, "is a second result", text)),
            Line::Result(value) => {
                self.result = Some(value.clone());
                Ok(line)
            }
            Line::Other(value) => {
                self.last = Some((number, value.clone()));
                Ok(line)
            }
            Line::Blank | Line::Progress(_) | Line::Event(..) | Line::Spend(_) => Ok(line),
        }
    }
}

impl Line {
    /// Tells by its shape what a value is.
    pub(super) fn of(value: Value) -> Self {
        let Value::Object(mut fields) = value else { return Self::Other(value) };
        let is_event = fields.get("event").is_some_and(Value::is_string)
            && fields.keys().all(|name| matches!(name.as_str(), "event" | "value"));
        if is_event {
            let value = fields.remove("value").unwrap_or(Value::Null);
            if let Some(Value::String(kind)) = fields.remove("event") {
                return Self::Event(kind, value);
            }
        }
        if fields.len() == 1 {
            if let Some(spend) = fields.get("spend").and_then(spend) {
                return Self::Spend(spend);
            }
            for (name, make) in [("progress", Self::Progress as fn(Value) -> Self), ("result", Self::Result)] {
                if let Some(value) = fields.remove(name) {
                    return make(value);
                }
            }
        }
        Self::Other(Value::Object(fields))
    }
}

/// What was spent, if a value says just that.
fn spend(told: &Value) -> Option<Spend> {
    const FIELDS: [&str; 4] = ["input_tokens", "output_tokens", "cost", "tool_calls"];
    let is_known = told.as_object()?.keys().all(|name| FIELDS.contains(&name.as_str()));
    is_known.then(|| Spend::deserialize(told).ok()).flatten()
}

/// The JSON value of a line; none if it is blank.
pub(super) fn value_of(text: &[u8]) -> Result<Option<Value>, String> {
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    serde_json::from_slice(text).map(Some).map_err(|error| format!("is not JSON ({error})"))
}

fn understand(text: &[u8]) -> Result<Line, String> {
    Ok(value_of(text)?.map_or(Line::Blank, Line::of))
}
#[cfg(test)]
mod tests {
    use coxswain_shared::spend::Cost;
    use serde_json::json;

    use super::*;

    fn read(lines: &[&str]) -> Result<Option<Value>, String> {
        let mut output = Output::default();
        for (index, line) in lines.iter().enumerate() {
            output.take(index + 1, line.as_bytes()).map_err(|error| error.to_string())?;
        }
        output.finish().map_err(|error| error.to_string())
    }

    #[test]
    fn an_event_whose_name_would_steer_a_terminal_is_refused() {
        let why = read(&[r#"{"event": "a\u001b[2J"}"#, r#"{"result": 1}"#]).unwrap_err();
        assert!(why.contains("control character U+001B"), "{why}");
        let why = read(&[r#"{"event": ""}"#]).unwrap_err();
        assert!(why.contains("from 1 to 128"), "{why}");
    }

    #[test]
    fn lines_are_understood_by_their_shape() {
        let cases = [
            (r#"{"progress": 3}"#, Line::Progress(json!(3))),
            (
                r#"{"spend": {"input_tokens": 3, "cost": 0.5}}"#,
                Line::Spend(Spend { input_tokens: 3, cost: Cost::from_micros(500_000), ..Spend::default() }),
            ),
            (r#"{"spend": "much"}"#, Line::Other(json!({"spend": "much"}))),
            (r#"{"spend": {"tokens": 3}}"#, Line::Other(json!({"spend": {"tokens": 3}}))),
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
