//! What a call spends. It is told when the call is over, however it ends, also when it is dropped: as the provider tells it,
//! and where it has not, as it is estimated from the text that went to and fro. What has come is paid for, and must not
//! escape a budget because the end of an answer was not waited for.

use coxswain_shared::spend::{Cost, Spend};
use serde_json::{Map, Value, json};

use super::gathered::{Gathered, Told};
use crate::handler::{Context, NodeError};
use crate::outside::{Caller, Tokens};

/// Bytes of a token, about: of English text, in all current models.
const TOKEN_BYTES: usize = 4;

/// An answer in the making, for which the run is billed in the end.
#[derive(Debug)]
pub(super) struct Bill<'a> {
    pub(super) gathered: Gathered,
    ctx: &'a Context,
    caller: &'a Caller,
    /// The model that was asked; the provider may tell a longer name.
    asked: String,
    /// Bytes of what it was asked.
    asked_bytes: usize,
}

impl<'a> Bill<'a> {
    /// A bill for a call of a model with so many bytes. Where the run's cost is limited, the model needs a price.
    pub(super) fn open(
        ctx: &'a Context,
        caller: &'a Caller,
        (asked, asked_bytes): (String, usize),
    ) -> Result<Self, NodeError> {
        caller.check_price(ctx, &asked)?;
        Ok(Self { gathered: Gathered::default(), ctx, caller, asked, asked_bytes })
    }

    fn cost(&self, tokens: Tokens) -> Option<Cost> {
        let models = self.gathered.model.as_deref().into_iter().chain([self.asked.as_str()]);
        self.caller.prices().cost(models, tokens)
    }

    /// What was used, as an event tells it: with what it cost, if that is known, and whether it is an estimate.
    pub(super) fn usage(&self) -> Option<Value> {
        let (tokens, is_estimate) = used(&self.gathered, self.asked_bytes);
        let mut usage = match self.gathered.usage() {
            Value::Object(usage) => usage,
            _ if is_estimate => Map::new(),
            _ => return None,
        };
        if is_estimate {
            usage.insert("input_tokens".to_owned(), json!(tokens.input));
            usage.insert("output_tokens".to_owned(), json!(tokens.output));
            usage.insert("estimated".to_owned(), json!(true));
        }
        if let Some(cost) = self.cost(tokens) {
            usage.insert("cost".to_owned(), json!(cost));
        }
        Some(Value::Object(usage))
    }

    fn spend(&self) -> Spend {
        let (tokens, _) = used(&self.gathered, self.asked_bytes);
        Spend {
            input_tokens: tokens.input,
            output_tokens: tokens.output,
            cost: self.cost(tokens).unwrap_or_default(),
            tool_calls: self.gathered.calls_count(),
        }
    }
}

impl Drop for Bill<'_> {
    fn drop(&mut self) {
        self.ctx.spend(self.spend());
    }
}

/// What was used, and whether that is more than the provider has told: nothing is guessed before a part of the answer has
/// come, and nothing once an answer is whole whose usage was told.
fn used(gathered: &Gathered, asked_bytes: usize) -> (Tokens, bool) {
    let Told { input, output, cache_read, cache_write } = gathered.tokens();
    let told = Tokens { input: input.unwrap_or(0), output: output.unwrap_or(0), cache_read, cache_write };
    let bytes = gathered.bytes();
    let has_begun = gathered.pieces > 0 || bytes > 0;
    let is_told = input.is_some() && output.is_some() && gathered.finish_reason.is_some();
    if !has_begun || is_told {
        return (told, false);
    }
    let of_bytes = |bytes: usize| bytes.div_ceil(TOKEN_BYTES) as u64;
    let tokens = Tokens {
        input: input.unwrap_or_else(|| of_bytes(asked_bytes)),
        output: told.output.max(gathered.pieces).max(of_bytes(bytes)),
        ..told
    };
    (tokens, tokens != told)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(text: &str, pieces: u64, usage: Value, finish_reason: Option<&str>) -> Gathered {
        let mut gathered = Gathered::default();
        gathered.text.push_str(text);
        (gathered.pieces, gathered.finish_reason) = (pieces, finish_reason.map(str::to_owned));
        gathered.note_usage(usage);
        gathered
    }

    #[test]
    fn what_a_provider_tells_of_a_whole_answer_is_what_was_used() {
        let told = json!({"prompt_tokens": 9, "completion_tokens": 3});
        let (tokens, is_estimate) = used(&gathered("a long text, longer than it costs", 9, told, Some("stop")), 999);
        assert_eq!((tokens.input, tokens.output, is_estimate), (9, 3, false));
    }

    #[test]
    fn what_nobody_told_is_estimated_once_an_answer_has_begun() {
        let cases = [
            // Nothing has come.
            (gathered("", 0, Value::Null, None), (0, 0, false)),
            // Cut off before the usage is told: by the pieces, or by their length.
            (gathered("one two", 7, Value::Null, None), (250, 7, true)),
            (gathered("eight token that came at once...", 1, Value::Null, None), (250, 8, true)),
            // Anthropic tells at the beginning what was read, and that a token was made.
            (gathered("one two", 2, json!({"input_tokens": 25, "output_tokens": 1}), None), (25, 2, true)),
            (gathered("one", 1, json!({"input_tokens": 25, "output_tokens": 1}), None), (25, 1, false)),
            // Whole, from a server that tells no usage.
            (gathered("one two", 2, Value::Null, Some("stop")), (250, 2, true)),
        ];
        for (gathered, wanted) in cases {
            let (tokens, is_estimate) = used(&gathered, 1_000);
            assert_eq!((tokens.input, tokens.output, is_estimate), wanted, "{gathered:?}");
        }
    }
}
