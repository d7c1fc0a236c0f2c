//! What a run spends at those who are paid by use, and the budget that it may spend. Pure numbers.

use std::fmt::{self, Display};
use std::ops::AddAssign;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::limits::DESCENDANTS;

/// Millionths of one unit of a currency.
const MICROS: f64 = 1_000_000.0;

/// The greatest cost that can be told exactly in a number with a fraction: a billion units.
const MICROS_MAX: u64 = 1_000_000_000_000_000;

/// An amount of money, in the currency of the table of prices; exact to a millionth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost(u64);

impl Cost {
    /// So many millionths, at most a billion units.
    pub fn from_micros(micros: u64) -> Self {
        Self(micros.min(MICROS_MAX))
    }

    /// So many units; none for what is no amount, or more than a billion.
    pub fn from_units(units: f64) -> Option<Self> {
        let micros = (units * MICROS).round();
        let is_amount = units.is_finite() && units >= 0.0 && micros <= 1e15;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is whole and between 0 and 1e15"
        )]
        is_amount.then_some(Self(micros as u64))
    }

    /// In millionths.
    pub const fn micros(self) -> u64 {
        self.0
    }

    fn units(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "it is at most 1e15")]
        let micros = self.0 as f64;
        micros / MICROS
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.units())
    }
}

impl Serialize for Cost {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.units().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Cost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let units = f64::deserialize(deserializer)?;
        Self::from_units(units).ok_or_else(|| de::Error::custom(format!("{units} is no amount of money")))
    }
}

/// What was spent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spend {
    /// Tokens that models were sent.
    #[serde(default)]
    pub input_tokens: u64,
    /// Tokens that they wrote.
    #[serde(default)]
    pub output_tokens: u64,
    /// What that cost, as far as prices are known.
    #[serde(default)]
    pub cost: Cost,
    /// Calls of tools that they asked for.
    #[serde(default)]
    pub tool_calls: u64,
}

impl Spend {
    /// Whether nothing was spent.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// What is beyond this other sum.
    #[must_use]
    pub const fn beyond(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_sub(other.input_tokens),
            output_tokens: self.output_tokens.saturating_sub(other.output_tokens),
            cost: Cost(self.cost.0.saturating_sub(other.cost.0)),
            tool_calls: self.tool_calls.saturating_sub(other.tool_calls),
        }
    }

    /// Tokens of both ways.
    pub const fn tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }
}

impl AddAssign for Spend {
    fn add_assign(&mut self, other: Self) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cost = Cost::from_micros(self.cost.0.saturating_add(other.cost.0));
        self.tool_calls = self.tool_calls.saturating_add(other.tool_calls);
    }
}

impl fmt::Display for Spend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tokens ({} in, {} out)", self.tokens(), self.input_tokens, self.output_tokens)?;
        if self.cost.0 > 0 {
            write!(f, ", cost {}", self.cost)?;
        }
        if self.tool_calls > 0 {
            write!(f, ", {} tool calls", self.tool_calls)?;
        }
        Ok(())
    }
}

/// The most that a run may spend, its child runs included. What is absent is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Tokens of both ways.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Money.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// Calls of tools that models ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<u64>,
    /// Child runs, at every depth together. Where it is absent, [`DESCENDANTS`] for a run that is no child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub descendants: Option<u64>,
}

/// What the failure of a run says that has no room for more child runs.
pub fn descendants_over(most: impl Display, had: impl Display, more: impl Display) -> String {
    format!(
        "its limit of {most} child runs at every depth (`limits.descendants`) is used up: it has had {had}, and the next step was to start {more} more"
    )
}

impl Budget {
    /// Whether nothing is limited.
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }

    /// This budget, and what the other one says of what this one leaves open.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.or(other.tokens),
            cost: self.cost.or(other.cost),
            tool_calls: self.tool_calls.or(other.tool_calls),
            descendants: self.descendants.or(other.descendants),
        }
    }

    /// What a run says that has had so many child runs at every depth, and has no room for more; absent while it has. A child
    /// is limited by its own graph's word alone.
    pub fn descendants_overrun(&self, is_child: bool, had: u64, more: u64) -> Option<String> {
        let most = self.descendants.or_else(|| (!is_child).then_some(DESCENDANTS))?;
        (had.saturating_add(more) > most).then(|| descendants_over(most, had, more))
    }

    /// What is over the budget, in words; absent while nothing is.
    pub fn overrun(&self, spent: &Spend) -> Option<String> {
        let over = if let Some(tokens) = self.tokens.filter(|tokens| spent.tokens() > *tokens) {
            format!("{tokens} tokens")
        } else if let Some(cost) = self.cost.filter(|cost| spent.cost > *cost) {
            format!("cost {cost}")
        } else {
            let calls = self.tool_calls.filter(|calls| spent.tool_calls > *calls)?;
            format!("{calls} tool calls")
        };
        Some(format!("its budget of {over} is used up: it has spent {spent}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_of_money_is_exact_to_a_millionth_and_reads_back() {
        let cost = Cost::from_units(0.1).unwrap();
        assert_eq!((cost.micros(), cost.to_string()), (100_000, "0.1".to_owned()));
        assert_eq!(serde_json::from_str::<Cost>(&serde_json::to_string(&cost).unwrap()).unwrap(), cost);
        for wrong in [-0.1, f64::NAN, f64::INFINITY, 1e10] {
            assert_eq!(Cost::from_units(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_budget_is_used_up_by_more_than_it_and_not_by_just_it() {
        let budget = Budget { tokens: Some(10), cost: Cost::from_units(1.5), tool_calls: Some(2), ..Budget::default() };
        let mut spent =
            Spend { input_tokens: 6, output_tokens: 4, cost: Cost::from_units(1.5).unwrap(), tool_calls: 2 };
        assert_eq!(budget.overrun(&spent), None);
        spent += Spend { tool_calls: 1, ..Spend::default() };
        assert_eq!(
            budget.overrun(&spent).unwrap(),
            "its budget of 2 tool calls is used up: it has spent 10 tokens (6 in, 4 out), cost 1.5, 3 tool calls"
        );
        spent += Spend { input_tokens: 1, ..Spend::default() };
        assert!(budget.overrun(&spent).unwrap().starts_with("its budget of 10 tokens"));
        assert!(Budget::default().is_unlimited() && Budget::default().overrun(&spent).is_none());
    }

    #[test]
    fn descendants_have_a_limit_unless_a_child_says_nothing_of_it() {
        let own = Budget { descendants: Some(5), ..Budget::default() };
        assert_eq!(own.descendants_overrun(false, 3, 2), None, "just the limit is not over it");
        let told = own.descendants_overrun(true, 3, 3).unwrap();
        assert!(
            told.starts_with("its limit of 5 child runs at every depth (`limits.descendants`) is used up"),
            "{told}"
        );
        assert!(Budget::default().descendants_overrun(false, 0, DESCENDANTS + 1).is_some());
        assert_eq!(Budget::default().descendants_overrun(true, 0, u64::MAX), None);
    }

    #[test]
    fn sums_do_not_overflow() {
        let mut most =
            Spend { input_tokens: u64::MAX, output_tokens: 1, cost: Cost::from_micros(u64::MAX), tool_calls: u64::MAX };
        most += most;
        assert_eq!((most.tokens(), most.cost.micros()), (u64::MAX, MICROS_MAX));
    }
}
