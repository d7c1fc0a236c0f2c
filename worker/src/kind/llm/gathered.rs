//! What has come of an answer so far, whoever sends it; and what can be wrong with what comes.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::unpaid;

/// The tool calls of one answer.
const CALLS_MAX: usize = 256;

/// The field of a message with what a model thought, as the provider wants to be told it again.
pub(super) const THOUGHTS: &str = "thinking_blocks";

/// What has come so far.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) text: String,
    /// What the model thinks before it answers, where its provider shows that.
    pub(super) thought: String,
    /// What the model says instead of answering.
    pub(super) refusal: String,
    /// By their number, from which the order is.
    calls: BTreeMap<u64, ToolCall>,
    /// The numbers of calls whose provider gave them that of another one, which comes first.
    renumbered: BTreeMap<u64, u64>,
    /// What the model thought before: blocks of Anthropic's API, by their number.
    pub(super) thoughts: BTreeMap<u64, Value>,
    /// Words beside an answer that is a call of a tool; and the number of that call.
    pub(super) aside: String,
    pub(super) answer_block: Option<u64>,
    /// As the provider tells it.
    usage: Map<String, Value>,
    pub(super) finish_reason: Option<String>,
    pub(super) model: Option<String>,
    /// How many pieces of the answer have come: each is a token at least.
    pub(super) pieces: u64,
}

/// A call of a tool, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct ToolCall {
    pub(super) id: String,
    pub(super) name: String,
    /// JSON, as text.
    pub(super) arguments: String,
    /// Fields that only the provider knows.
    pub(super) others: Map<String, Value>,
}

/// What a provider tells of the tokens that were used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) input: Option<u64>,
    pub(super) output: Option<u64>,
    pub(super) cache_read: u64,
    pub(super) cache_write: u64,
}

/// What an event was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A ping, or the frame around what is to come: no sign of progress.
    Nothing,
    /// A part of the answer.
    Progress,
    /// The end.
    Done,
}

/// Why a stream cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum StreamError {
    /// The provider says that it failed.
    #[error("the provider reports an error: {said}")]
    Reported {
        /// What it says.
        said: String,
        /// Who is to blame.
        blame: Blame,
    },
    #[error("an event holds no JSON of the expected shape ({why}): `{shown}`")]
    NoJson { why: String, shown: String },
    #[error("the model calls more than {CALLS_MAX} tools at once")]
    TooManyCalls,
}

/// Who is to blame for an error within a stream: what a status would say, had there been one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// The account has no credit left: a 402.
    Account,
    /// What is asked for is wrong, or not allowed: any other 4xx.
    Request,
    /// The provider is well, and wants to be asked less often, or again: a 429.
    Pace,
    /// The provider: a 5xx.
    Provider,
}

impl StreamError {
    pub(super) fn no_json(error: &serde_json::Error, data: &str) -> Self {
        Self::NoJson { why: error.to_string(), shown: data.to_owned() }
    }

    /// The error that a provider reports: an object with `message`, and with `type` or `code`.
    pub(super) fn reported(error: &Value) -> Self {
        let field = |name: &str| error.get(name).filter(|value| !value.is_null());
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let kinds: Vec<String> = ["type", "code"].into_iter().filter_map(field).map(text).collect();
        let message = field("message").map_or_else(|| text(error), text);
        let said = if kinds.is_empty() { message } else { format!("{message} ({})", kinds.join(", ")) };
        let blame = if unpaid::is_error(error) { Blame::Account } else { Blame::of(&kinds) };
        Self::Reported { said, blame }
    }
}

impl Blame {
    /// By the types and codes of an error.
    fn of(kinds: &[String]) -> Self {
        let any = |blamed: fn(&str) -> bool| kinds.iter().any(|kind| blamed(kind));
        if any(is_wrong) {
            Self::Request
        } else if any(is_pace) {
            Self::Pace
        } else {
            Self::Provider
        }
    }
}

/// Whether an error of this type or code will come again: what is asked for is wrong, or not allowed.
fn is_wrong(kind: &str) -> bool {
    if let Ok(status) = kind.parse::<u16>() {
        return (400..500).contains(&status) && !is_pace(kind);
    }
    let kind = kind.to_ascii_lowercase();
    ["invalid", "authentication", "permission", "not_found", "too_large", "quota", "exceed_context", "policy"]
        .iter()
        .any(|word| kind.contains(word))
}

/// Whether an error of this type or code is one of a provider that is well.
fn is_pace(kind: &str) -> bool {
    matches!(kind, "408" | "409" | "425" | "429") || kind.to_ascii_lowercase().contains("rate_limit")
}

impl Gathered {
    /// The tool call of this number.
    pub(super) fn call(&mut self, number: u64) -> Result<&mut ToolCall, StreamError> {
        if self.calls.len() >= CALLS_MAX && !self.calls.contains_key(&number) {
            return Err(StreamError::TooManyCalls);
        }
        Ok(self.calls.entry(number).or_default())
    }

    /// The tool call of this number, if it has begun.
    pub(super) fn known_call(&mut self, number: u64) -> Option<&mut ToolCall> {
        self.calls.get_mut(&number)
    }

    /// The number of the call that a provider means, which gives it a number or not: a new one if the call that has this
    /// number is another one.
    pub(super) fn number_of(&mut self, given: Option<u64>, is_another: impl Fn(&ToolCall) -> bool) -> u64 {
        let next = self.calls.last_key_value().map_or(0, |(last, _)| last + 1);
        let Some(given) = given else { return next };
        let number = self.renumbered.get(&given).copied().unwrap_or(given);
        if self.calls.get(&number).is_some_and(is_another) {
            self.renumbered.insert(given, next);
            return next;
        }
        number
    }

    /// How many tools the model calls.
    pub(super) fn calls_count(&self) -> u64 {
        self.calls.len() as u64
    }

    /// Whether the model calls tools.
    pub(super) fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Takes over what is told of usage: later numbers replace earlier ones.
    pub(super) fn note_usage(&mut self, usage: Value) {
        if let Value::Object(usage) = usage {
            self.usage.extend(usage.into_iter().filter(|(_, value)| !value.is_null()));
        }
    }

    /// The usage: what the provider tells, and `input_tokens` and `output_tokens` whoever it is; null if it tells nothing.
    pub(super) fn usage(&self) -> Value {
        if self.usage.is_empty() {
            return Value::Null;
        }
        let mut usage = self.usage.clone();
        let tokens = |name: &str| self.usage.get(name).and_then(Value::as_u64).unwrap_or(0);
        // Of Anthropic's API, `input_tokens` are those that have nothing to do with its cache; all others tell the sum.
        let cached = tokens("cache_creation_input_tokens").saturating_add(tokens("cache_read_input_tokens"));
        if cached > 0 && !usage.contains_key("prompt_tokens") {
            usage.insert("input_tokens".to_owned(), Value::from(tokens("input_tokens").saturating_add(cached)));
        }
        for (name, other) in [("input_tokens", "prompt_tokens"), ("output_tokens", "completion_tokens")] {
            if let Some(tokens) = usage.get(name).or_else(|| usage.get(other)).cloned() {
                usage.insert(name.to_owned(), tokens);
            }
        }
        Value::Object(usage)
    }

    /// What was used, as far as the provider tells it.
    pub(super) fn tokens(&self) -> Told {
        let usage = self.usage();
        let first = |pointers: &[&str]| pointers.iter().find_map(|pointer| usage.pointer(pointer)?.as_u64());
        Told {
            input: first(&["/input_tokens"]),
            output: first(&["/output_tokens"]),
            cache_read: first(&["/cache_read_input_tokens", "/prompt_tokens_details/cached_tokens"]).unwrap_or(0),
            cache_write: first(&["/cache_creation_input_tokens"]).unwrap_or(0),
        }
    }

    /// The bytes of all that the model has said, thought and called.
    pub(super) fn bytes(&self) -> usize {
        let calls: usize = self.calls.values().map(|call| call.name.len() + call.arguments.len()).sum();
        self.text.len() + self.thought.len() + self.refusal.len() + self.aside.len() + calls
    }

    /// Takes secrets out of all that is told.
    pub(super) fn redact(&mut self, redact: impl Fn(&str) -> String) {
        let calls = self.calls.values_mut().flat_map(|call| [&mut call.id, &mut call.name, &mut call.arguments]);
        let others =
            [&mut self.text, &mut self.refusal].into_iter().chain(&mut self.finish_reason).chain(&mut self.model);
        for text in calls.chain(others).chain([&mut self.aside, &mut self.thought]) {
            *text = redact(text);
        }
        let usage = serde_json::from_str(&redact(&Value::Object(std::mem::take(&mut self.usage)).to_string()));
        self.usage = usage.unwrap_or_default();
        for block in self.thoughts.values_mut() {
            *block = serde_json::from_str(&redact(&block.to_string())).unwrap_or_default();
        }
        for call in self.calls.values_mut() {
            let others = Value::Object(std::mem::take(&mut call.others)).to_string();
            call.others = serde_json::from_str(&redact(&others)).unwrap_or_default();
        }
    }

    /// The message, in the words of `OpenAI`'s API.
    pub(super) fn message(&self) -> Value {
        let mut message = json!({"role": "assistant", "content": self.text});
        if !self.refusal.is_empty() {
            message["refusal"] = Value::from(self.refusal.as_str());
        }
        // Thoughts without a signature are refused when they go back.
        let signed: Vec<_> = self.thoughts.values().filter(|block| block["signature"] != "").cloned().collect();
        if !signed.is_empty() {
            message[THOUGHTS] = Value::from(signed);
        }
        if self.has_calls() {
            let call = |call: &ToolCall| {
                let arguments = if call.arguments.is_empty() { "{}" } else { &call.arguments };
                let function = json!({"name": call.name, "arguments": arguments});
                let known = json!({"id": call.id, "type": "function", "function": function});
                let known = known.as_object().cloned().into_iter().flatten();
                call.others.clone().into_iter().chain(known).collect::<Map<_, _>>()
            };
            message["tool_calls"] = self.calls.values().map(call).collect();
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_by_its_type_or_code_who_is_to_blame() {
        let blame = |error: &Value| match StreamError::reported(error) {
            StreamError::Reported { blame, .. } => blame,
            other => panic!("{other}"),
        };
        for (wanted, errors) in [
            (
                Blame::Provider,
                vec![
                    json!({"type": "overloaded_error", "message": "Overloaded"}),
                    json!({"type": "api_error"}),
                    json!({"code": 500, "type": "server_error"}),
                    json!({"message": "?"}),
                    json!("busy"),
                ],
            ),
            (
                Blame::Pace,
                vec![
                    json!({"type": "rate_limit_error"}),
                    json!({"code": "rate_limit_exceeded"}),
                    json!({"code": 429, "type": "x"}),
                ],
            ),
            (
                Blame::Request,
                vec![
                    json!({"type": "invalid_request_error"}),
                    json!({"type": "authentication_error"}),
                    json!({"code": 400, "type": "exceed_context_size_error"}),
                ],
            ),
            (
                Blame::Account,
                vec![
                    json!({"code": "insufficient_quota", "type": "x"}),
                    json!({"type": "billing_error", "message": "?"}),
                    json!({"code": 402, "message": "Insufficient credits"}),
                ],
            ),
        ] {
            for error in errors {
                assert_eq!(blame(&error), wanted, "{error}");
            }
        }
    }

    #[test]
    fn an_error_is_told_with_its_type() {
        let error = StreamError::reported(&json!({"type": "overloaded_error", "message": "Overloaded"}));
        assert_eq!(error.to_string(), "the provider reports an error: Overloaded (overloaded_error)");
        assert!(StreamError::reported(&json!("busy")).to_string().ends_with("busy"));
    }

    #[test]
    fn usage_has_the_same_names_whoever_tells_it() {
        let mut gathered = Gathered::default();
        assert_eq!(gathered.usage(), Value::Null);
        gathered.note_usage(json!({"prompt_tokens": 3, "completion_tokens": 1, "details": null}));
        gathered.note_usage(json!({"completion_tokens": 5}));
        assert_eq!(
            gathered.usage(),
            json!({"prompt_tokens": 3, "completion_tokens": 5, "input_tokens": 3, "output_tokens": 5})
        );
    }

    #[test]
    fn what_was_read_from_a_cache_or_into_it_was_read() {
        let told = |usage: Value| {
            let mut gathered = Gathered::default();
            gathered.note_usage(usage);
            assert_eq!(gathered.usage()["input_tokens"], gathered.tokens().input.unwrap());
            gathered.tokens()
        };
        let (cache_read, cache_write) = (5_000, 1_000);
        let of_anthropic = json!({"input_tokens": 10, "cache_creation_input_tokens": 1_000, "cache_read_input_tokens": 5_000, "output_tokens": 7});
        assert_eq!(told(of_anthropic), Told { input: Some(6_010), output: Some(7), cache_read, cache_write });
        let of_openai =
            json!({"prompt_tokens": 6_010, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 5_000}});
        assert_eq!(told(of_openai), Told { input: Some(6_010), output: Some(7), cache_read, cache_write: 0 });
        let of_both =
            json!({"prompt_tokens": 6_010, "cache_creation_input_tokens": 1_000, "cache_read_input_tokens": 5_000});
        assert_eq!(told(of_both), Told { input: Some(6_010), output: None, cache_read, cache_write });
    }

    #[test]
    fn a_secret_is_taken_out_of_every_part() {
        let mut gathered = Gathered { model: Some("hunter2".to_owned()), ..Gathered::default() };
        gathered.text.push_str("hunter2");
        gathered.refusal.push_str("hunter2");
        gathered.finish_reason = Some("hunter2".to_owned());
        gathered.note_usage(json!({"input_tokens": 3, "note": "hunter2"}));
        let call = gathered.call(0).unwrap();
        (call.id, call.name, call.arguments) = ("hunter2".into(), "hunter2".into(), "{\"k\": \"hunter2\"}".into());
        gathered.redact(|text| text.replace("hunter2", "***"));
        assert!(!format!("{gathered:?}").contains("hunter2"), "{gathered:?}");
        assert_eq!(gathered.usage()["input_tokens"], 3);
    }

    #[test]
    fn nobody_calls_tools_without_end() {
        let mut gathered = Gathered::default();
        for number in 0..CALLS_MAX as u64 {
            gathered.call(number).unwrap();
        }
        gathered.call(0).unwrap();
        assert_eq!(gathered.call(CALLS_MAX as u64).unwrap_err(), StreamError::TooManyCalls);
    }
}
