//! What becomes of an answer: held to its schema, and written.

use coxswain_shared::graph::{LlmNode, Reducer};
use coxswain_shared::outcome::{Failure, FailureKind};
use coxswain_shared::sandbox::{Evaluations, Refusal};
use serde_json::Value;

use super::gathered::Gathered;
use crate::handler::{Context, NodeError, Reply};
use crate::kind::pick::pick;

/// Characters that are told of an answer that is no JSON.
const SHOWN_CHARS: usize = 300;

/// Refuses a schema that is none, before anything is paid for.
pub(super) fn check_schema(evaluations: &Evaluations, node: &LlmNode) -> Result<(), NodeError> {
    let Some(schema) = &node.schema else { return Ok(()) };
    fit(evaluations, schema, None).map(drop)
}

/// The answer as a value; null where it has no schema, or calls tools instead.
pub(super) fn value(evaluations: &Evaluations, node: &LlmNode, gathered: &Gathered) -> Result<Value, NodeError> {
    let Some(schema) = &node.schema else { return Ok(Value::Null) };
    if gathered.has_calls() && gathered.text.trim().is_empty() {
        return Ok(Value::Null);
    }
    let value = read(&gathered.text).map_err(|error| {
        let shown = shorten(&gathered.text);
        bad(gathered, &format!("the answer is no JSON, which `schema` asks for ({error}): `{shown}`"))
    })?;
    let mistakes = fit(evaluations, schema, Some(&value))?;
    if mistakes.is_empty() {
        Ok(value)
    } else {
        Err(bad(gathered, &format!("the answer does not fit `schema`: {}", mistakes.join("; "))))
    }
}

/// What does not fit a schema.
fn fit(evaluations: &Evaluations, schema: &Value, value: Option<&Value>) -> Result<Vec<String>, NodeError> {
    let refused = |kind, message| Err(NodeError::refused(kind, message));
    match evaluations.check(schema, value) {
        Ok(Ok(mistakes)) => Ok(mistakes),
        Ok(Err(why)) => refused(FailureKind::BadInput, format!("`schema` is no JSON schema: {why}")),
        Err(Refusal::Exceeded(bound)) => {
            refused(FailureKind::BadInput, format!("checking by `schema` took {bound}: give it a simpler one"))
        }
        Err(refusal @ (Refusal::Unwanted | Refusal::Unavailable(_))) => {
            Err(NodeError::retryable(format!("`schema` could not be used now: {refusal}")))
        }
    }
}

/// An answer that is not what was asked for. Another may be.
fn bad(gathered: &Gathered, message: &str) -> NodeError {
    let mut failure = Failure::new(FailureKind::BadOutput, message);
    if gathered.finish_reason.as_deref() == Some("length") {
        failure.chain.push("it was cut: `max_tokens` tokens had come".to_owned());
    }
    if !gathered.refusal.is_empty() {
        failure.chain.push(format!("the model refuses: {}", shorten(&gathered.refusal)));
    }
    NodeError::Retryable(failure)
}

/// The JSON of an answer: all of it, or what stands within its one fence, which some models put around JSON whatever they
/// are told; behind what the model thought, where a server leaves that in the text.
fn read(text: &str) -> Result<Value, serde_json::Error> {
    let thought = text.trim_start().strip_prefix("<think>").and_then(|thought| thought.split_once("</think>"));
    let text = thought.map_or(text, |(_, behind)| behind).trim();
    serde_json::from_str(text).or_else(|error| match fenced(text).map(serde_json::from_str) {
        Some(read) => read,
        None => Err(error),
    })
}

/// What stands within the one fence of a text, without the word behind its beginning.
fn fenced(text: &str) -> Option<&str> {
    let (_, behind) = text.split_once("```")?;
    let (inner, after) = behind.split_once("```")?;
    let begin = inner.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(inner.len());
    (!after.contains("```")).then(|| inner[begin..].trim())
}

fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN_CHARS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// What is written.
pub(super) fn reply(ctx: &Context, node: &LlmNode, gathered: &Gathered, json: Value) -> Result<Reply, NodeError> {
    let text = Value::from(gathered.text.as_str());
    if let Some(output) = &node.output {
        let optional = |text: &Option<String>| text.as_deref().map_or(Value::Null, Value::from);
        let names = [
            ("text", text),
            ("message", gathered.message()),
            ("json", json),
            ("usage", gathered.usage()),
            ("finish_reason", optional(&gathered.finish_reason)),
            ("model", optional(&gathered.model)),
        ];
        return Ok(Reply::update(pick(ctx, output, &names)?));
    }
    let state = &ctx.assignment().graph.state;
    let into = ctx.definition().into.as_ref().and_then(|channel| state.get(channel));
    Ok(match into {
        Some(channel) if channel.reducer == Reducer::Messages => Reply::update(gathered.message()),
        Some(_) if node.schema.is_none() => Reply::update(text),
        // With a schema, and without `into` an object of writes by channel.
        Some(_) | None => Reply::update(json),
    })
}

#[cfg(test)]
mod tests {
    use coxswain_shared::graph::Provider;
    use coxswain_shared::sandbox::Sandbox;
    use serde_json::json;

    use super::*;

    fn judged(schema: Value, text: &str) -> Result<Value, String> {
        let node = LlmNode { schema: Some(schema), ..LlmNode::new(Provider::Openai, "m", "p") };
        let evaluations = Evaluations::of_attempt(Sandbox::new(), || true);
        check_schema(&evaluations, &node).map_err(|error| error.to_string())?;
        let mut gathered = Gathered::default();
        gathered.text.push_str(text);
        value(&evaluations, &node, &gathered).map_err(|error| error.to_string())
    }

    fn person() -> Value {
        json!({"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "age": {"minimum": 0}}})
    }

    #[test]
    fn an_answer_that_fits_is_a_value_within_a_fence_too() {
        assert_eq!(judged(person(), " {\"name\": \"Ann\"}\n"), Ok(json!({"name": "Ann"})));
        assert_eq!(judged(person(), "```json\n{\"name\": \"Ann\"}\n```"), Ok(json!({"name": "Ann"})));
        assert_eq!(judged(person(), "```{\"name\": \"Ann\"}```"), Ok(json!({"name": "Ann"})));
        let around = "Sure, here it is:\n```JSON\n{\"name\": \"Ann\"}\n```\nIs there anything else?";
        assert_eq!(judged(person(), around), Ok(json!({"name": "Ann"})));
        assert_eq!(judged(person(), "<think>{}?</think>\n\n{\"name\": \"Ann\"}"), Ok(json!({"name": "Ann"})));
        assert_eq!(judged(json!({}), "1"), Ok(json!(1)));
        assert_eq!(judged(json!({}), "\"a ```b``` c\""), Ok(json!("a ```b``` c")));
        assert!(judged(json!({}), "one: ```1```, or two: ```2```").is_err(), "nobody knows which is meant");
    }

    #[test]
    fn an_answer_that_does_not_fit_is_told_with_its_places() {
        let told = judged(person(), "{\"age\": -1}").unwrap_err();
        for word in ["does not fit `schema`", "\"name\" is a required property", "`/age`: -1 is less than the minimum"]
        {
            assert!(told.contains(word), "{word} is missing in: {told}");
        }
        let told = judged(person(), "Sure! {").unwrap_err();
        assert!(told.contains("is no JSON") && told.contains("`Sure! {`"), "{told}");
    }

    #[test]
    fn a_schema_that_is_none_or_leads_elsewhere_is_refused() {
        for wrong in [json!({"type": "no such type"}), json!({"$ref": "https://example.org/schema.json"})] {
            let told = judged(wrong, "{}").unwrap_err();
            assert!(told.contains("`schema` is no JSON schema"), "{told}");
        }
    }
}
