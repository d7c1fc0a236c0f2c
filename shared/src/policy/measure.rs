//! What policies count: the measures, how much of each was used, and how much of each may be.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration;
use crate::outcome::{Outcome, OutcomeKind};
use crate::spend::{Cost, Spend};
use crate::stop::Cause;

/// The greatest amount that is counted of anything: it is exact in a double, which scripts count in.
const AMOUNT_MAX: u64 = 1_000_000_000_000_000;

/// Something that policies count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// Runs that are submitted, or that start.
    Runs,
    /// Tasks that workers begin; another try of a task is not another one.
    NodeRuns,
    /// Tasks that end badly at a worker, when no try is left, and those whose workers died too often.
    Failures,
    /// Tokens of both ways.
    Tokens,
    /// Money, in millionths.
    Cost,
    /// Calls of tools that models ask for.
    ToolCalls,
    /// How long nodes were at work, all tries added up, in milliseconds.
    WallTime,
}

impl Measure {
    /// All of them; their places in a [`Usage`].
    pub const ALL: [Self; 7] =
        [Self::Runs, Self::NodeRuns, Self::Failures, Self::Tokens, Self::Cost, Self::ToolCalls, Self::WallTime];

    /// Why a run is stopped that is over a limit of this: `budget` for what is spent, `policy` for what is counted.
    pub const fn cause(self) -> Cause {
        match self {
            Self::Runs | Self::NodeRuns | Self::Failures => Cause::Policy,
            Self::Tokens | Self::Cost | Self::ToolCalls | Self::WallTime => Cause::Budget,
        }
    }

    /// An amount of it in words: `3 runs`, `cost 0.2`, `1h wall time`.
    pub fn show(self, amount: u64) -> String {
        let count = |of: &str| format!("{amount} {of}{}", if amount == 1 { "" } else { "s" });
        match self {
            Self::Runs => count("run"),
            Self::NodeRuns => count("node run"),
            Self::Failures => count("failure"),
            Self::Tokens => count("token"),
            Self::Cost => format!("cost {}", Cost::from_micros(amount)),
            Self::ToolCalls => count("tool call"),
            Self::WallTime => format!("{} wall time", duration::show(Duration::from_millis(amount))),
        }
    }

    const fn place(self) -> usize {
        self as usize
    }
}

/// How much was used of each measure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage([u64; Measure::ALL.len()]);

impl Usage {
    /// So much of one measure.
    pub fn of(measure: Measure, amount: u64) -> Self {
        let mut usage = Self::default();
        usage.add(measure, amount);
        usage
    }

    /// What a try comes to: what it spent, how long it took, and whether it was the last one and bad.
    pub fn of_try(spent: &Spend, took: Duration, outcome: Option<&Outcome>) -> Self {
        let is_bad = outcome.is_some_and(|outcome| outcome.is_bad() && outcome.kind() != OutcomeKind::Stopped);
        let mut usage = Self::of(Measure::Failures, u64::from(is_bad));
        usage.add(Measure::Tokens, spent.tokens());
        usage.add(Measure::Cost, spent.cost.micros());
        usage.add(Measure::ToolCalls, spent.tool_calls);
        usage.add(Measure::WallTime, in_millis(took));
        usage
    }

    /// How much of one measure.
    pub const fn get(&self, measure: Measure) -> u64 {
        self.0[measure.place()]
    }

    /// Adds so much of one measure; sums end at 10^15.
    pub fn add(&mut self, measure: Measure, amount: u64) {
        let sum = &mut self.0[measure.place()];
        *sum = sum.saturating_add(amount).min(AMOUNT_MAX);
    }

    /// Adds all that another one has.
    pub fn add_all(&mut self, other: &Self) {
        for measure in Measure::ALL {
            self.add(measure, other.get(measure));
        }
    }

    /// As much of it as is limited: the rest need not be counted.
    #[must_use]
    pub fn limited_by(&self, limits: &Limits) -> Self {
        let mut usage = Self::default();
        limits.all().for_each(|(measure, _)| usage.add(measure, self.get(measure)));
        usage
    }

    /// Whether it is nothing at all.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// How much of each measure is allowed in a window. What is absent is not limited; 0 allows nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "limits such as {runs: 10, cost: 5}")]
pub struct Limits {
    /// [`Measure::Runs`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<u64>,
    /// [`Measure::NodeRuns`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_runs: Option<u64>,
    /// [`Measure::Failures`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<u64>,
    /// [`Measure::Tokens`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// [`Measure::Cost`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// [`Measure::ToolCalls`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<u64>,
    /// [`Measure::WallTime`].
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::option")]
    pub wall_time: Option<Duration>,
}

impl Limits {
    /// What was used of each measure that is limited, as limits are written.
    #[must_use]
    pub fn used(&self, used: &Usage) -> Self {
        let of = |limit: Option<u64>, measure| limit.map(|_| used.get(measure));
        Self {
            runs: of(self.runs, Measure::Runs),
            node_runs: of(self.node_runs, Measure::NodeRuns),
            failures: of(self.failures, Measure::Failures),
            tokens: of(self.tokens, Measure::Tokens),
            cost: self.cost.map(|_| Cost::from_micros(used.get(Measure::Cost))),
            tool_calls: of(self.tool_calls, Measure::ToolCalls),
            wall_time: self.wall_time.map(|_| Duration::from_millis(used.get(Measure::WallTime))),
        }
    }

    /// How much of a measure is allowed.
    pub fn get(&self, measure: Measure) -> Option<u64> {
        match measure {
            Measure::Runs => self.runs,
            Measure::NodeRuns => self.node_runs,
            Measure::Failures => self.failures,
            Measure::Tokens => self.tokens,
            Measure::Cost => self.cost.map(Cost::micros),
            Measure::ToolCalls => self.tool_calls,
            Measure::WallTime => self.wall_time.map(in_millis),
        }
    }

    /// Those that hold for runs in flight: all but the number of runs, in which they are counted themselves.
    #[must_use]
    pub fn in_flight(&self) -> Self {
        Self { runs: None, ..self.clone() }
    }

    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        self.all().next().is_none()
    }

    /// The measures that are limited, with their limits.
    pub fn all(&self) -> impl Iterator<Item = (Measure, u64)> + '_ {
        Measure::ALL.into_iter().filter_map(|measure| Some((measure, self.get(measure)?)))
    }

    /// The first measure of which all that is allowed is used: there is no room for more.
    pub fn used_up(&self, used: &Usage) -> Option<Measure> {
        self.all().find(|(measure, limit)| used.get(*measure) >= *limit).map(|(measure, _)| measure)
    }

    /// The first measure of which more is used than is allowed.
    pub fn overrun(&self, used: &Usage) -> Option<Measure> {
        self.all().find(|(measure, limit)| used.get(*measure) > *limit).map(|(measure, _)| measure)
    }
}

fn in_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Failure, FailureKind};

    #[test]
    fn what_is_just_the_limit_leaves_no_room_and_is_no_overrun() {
        let limits = Limits { tokens: Some(10), ..Limits::default() };
        let used = |tokens| Usage::of(Measure::Tokens, tokens);
        assert_eq!((limits.used_up(&used(9)), limits.overrun(&used(9))), (None, None));
        assert_eq!((limits.used_up(&used(10)), limits.overrun(&used(10))), (Some(Measure::Tokens), None));
        assert_eq!(limits.overrun(&used(11)), Some(Measure::Tokens));
        let none = Limits { runs: Some(0), ..Limits::default() };
        assert_eq!(none.used_up(&Usage::default()), Some(Measure::Runs), "nothing at all is allowed");
        assert_eq!(Limits::default().used_up(&used(u64::MAX)), None);
    }

    #[test]
    fn a_try_counts_what_it_spent_and_a_failure_when_no_try_is_left() {
        let spent = Spend { input_tokens: 2, output_tokens: 3, cost: Cost::from_micros(7), tool_calls: 1 };
        let failed = Outcome::Failed { failure: Failure::new(FailureKind::Handler, "no") };
        let usage = Usage::of_try(&spent, Duration::from_secs(2), Some(&failed));
        let got = Measure::ALL.map(|measure| usage.get(measure));
        assert_eq!(got, [0, 0, 1, 5, 7, 1, 2_000]);
        let again = Usage::of_try(&Spend::default(), Duration::ZERO, None);
        assert!(again.is_nothing(), "what is tried again has not failed yet");
    }

    #[test]
    fn every_limit_is_read_under_its_measure_and_sums_end_somewhere() {
        let text = r#"{"runs":1,"node_runs":2,"failures":3,"tokens":4,"cost":5,"tool_calls":6,"wall_time":"7s"}"#;
        let limits: Limits = serde_json::from_str(text).unwrap();
        let all: Vec<_> = limits.all().map(|(_, limit)| limit).collect();
        assert_eq!(all, [1, 2, 3, 4, 5_000_000, 6, 7_000]);
        let mut most = Usage::of(Measure::Tokens, u64::MAX);
        most.add_all(&most.clone());
        assert_eq!(most.get(Measure::Tokens), AMOUNT_MAX);
        assert_eq!(Measure::Cost.show(1_500_000), "cost 1.5");
        assert_eq!(Measure::WallTime.show(90_000), "1m30s wall time");
    }
}
