//! The flags that say what a run may spend.

use coxswain_shared::limits::DESCENDANTS_CEILING;
use coxswain_shared::spend::{Budget, Cost};

/// What a run may spend at models, its child runs included. Each overrides the graph's.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct BudgetFlags {
    /// How many tokens it may use, in and out [default: the graph's `limits.tokens`, or what a run had that goes on]
    #[arg(long = "max-tokens", value_name = "N", help_heading = "Budget")]
    tokens: Option<u64>,
    /// What it may cost, in the currency of the workers' prices [default: the graph's `limits.cost`, or what a run had that goes on]
    #[arg(long = "max-cost", value_name = "AMOUNT", value_parser = cost, help_heading = "Budget")]
    cost: Option<Cost>,
    /// How many calls of tools its models may ask for [default: the graph's `limits.tool_calls`, or what a run had that goes on]
    #[arg(long = "max-tool-calls", value_name = "N", help_heading = "Budget")]
    tool_calls: Option<u64>,
    /// How many child runs it may have, at every depth together, at most 100000 [default: the graph's `limits.descendants`, or what a run had that goes on; else 1000]
    #[arg(long = "max-descendants", value_name = "N", help_heading = "Budget", value_parser = clap::value_parser!(u64).range(0..=DESCENDANTS_CEILING))]
    descendants: Option<u64>,
}

impl BudgetFlags {
    /// The budget that they come to.
    pub(crate) const fn budget(&self) -> Budget {
        Budget { tokens: self.tokens, cost: self.cost, tool_calls: self.tool_calls, descendants: self.descendants }
    }
}

fn cost(text: &str) -> Result<Cost, String> {
    let units = text.parse::<f64>().ok().and_then(Cost::from_units);
    units.ok_or_else(|| "it is an amount from 0 to a billion, such as 0.50".to_owned())
}
