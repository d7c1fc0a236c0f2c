//! What a call spends. It is told when the call is over, however it ends: also when it is dropped, as far as the provider
//! has told it by then.

use coxswain_shared::spend::{Cost, Spend};
use serde_json::{Value, json};

use super::gathered::Gathered;
use crate::handler::{Context, NodeError};
use crate::outside::Caller;

/// An answer in the making, for which the run is billed in the end.
#[derive(Debug)]
pub(super) struct Bill<'a> {
    pub(super) gathered: Gathered,
    ctx: &'a Context,
    caller: &'a Caller,
    /// The model that was asked; the provider may tell a longer name.
    asked: String,
}

impl<'a> Bill<'a> {
    /// A bill for a call of a model. Where the run's cost is limited, the model needs a price.
    pub(super) fn open(ctx: &'a Context, caller: &'a Caller, asked: String) -> Result<Self, NodeError> {
        caller.check_price(ctx, &asked)?;
        Ok(Self { gathered: Gathered::default(), ctx, caller, asked })
    }

    fn cost(&self, input: u64, output: u64) -> Option<Cost> {
        let models = self.gathered.model.as_deref().into_iter().chain([self.asked.as_str()]);
        self.caller.prices().cost(models, input, output)
    }

    /// What was used, as an event tells it: with what it cost, if that is known.
    pub(super) fn usage(&self) -> Option<Value> {
        let Value::Object(mut usage) = self.gathered.usage() else { return None };
        let spend = self.spend();
        if let Some(cost) = self.cost(spend.input_tokens, spend.output_tokens) {
            usage.insert("cost".to_owned(), json!(cost));
        }
        Some(Value::Object(usage))
    }

    fn spend(&self) -> Spend {
        let usage = self.gathered.usage();
        let tokens = |name: &str| usage.get(name).and_then(Value::as_u64).unwrap_or(0);
        let (input_tokens, output_tokens) = (tokens("input_tokens"), tokens("output_tokens"));
        let cost = self.cost(input_tokens, output_tokens).unwrap_or_default();
        Spend { input_tokens, output_tokens, cost, tool_calls: self.gathered.calls_count() }
    }
}

impl Drop for Bill<'_> {
    fn drop(&mut self) {
        self.ctx.spend(self.spend());
    }
}
