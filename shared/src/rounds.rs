//! What a run has met before, so that going round without getting on is noticed. Hashes and counts, nothing else.
//!
//! A hash is remembered, and whoever is the same is counted. Where it does not come back in time, another is remembered
//! in its place: first after one, then after two, after four, so that a circle of any length is soon remembered from
//! within (Brent's way to find a cycle). So a run keeps one hash of its states and one for each node, not a history.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{NodeName, Step};

/// The longest circle of states that is found, in steps.
pub const STATES_BETWEEN_MAX: u32 = 64;
/// How many other inputs a node may have between two that are the same. Low, so that one that is stuck after a long time of
/// being well is soon noticed.
pub const INPUTS_BETWEEN_MAX: u32 = 8;
/// Nodes whose inputs are remembered: those that ran last. A circle of more nodes is one of states, or is bounded by
/// `max_steps`.
pub const NODES_MAX: usize = 32;

/// What a run has met before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rounds {
    /// Its states: all values, and what is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Round>,
    /// The inputs of its nodes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub nodes: BTreeMap<NodeName, Round>,
}

/// Something that is remembered, and how often it has come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// Its hash, of 48 bits: a number that every reader of JSON keeps whole.
    pub hash: u64,
    /// How often it was met.
    pub times: u64,
    /// The step in which it was first met.
    pub since: Step,
    /// The step in which it, or another in its place, was met last.
    pub last: Step,
    /// What was met since it was itself, or since it was remembered.
    pub others: u32,
    /// After how many others it is given up.
    pub patience: u32,
}

impl Round {
    fn first(hash: u64, step: Step, patience: u32) -> Self {
        Self { hash, times: 1, since: step, last: step, others: 0, patience }
    }

    /// What is remembered once this hash is met too.
    fn met(self, hash: u64, step: Step, patience_max: u32) -> Self {
        if hash == self.hash {
            return Self { times: self.times.saturating_add(1), last: step, others: 0, ..self };
        }
        let others = self.others.saturating_add(1);
        if others < self.patience {
            return Self { last: step, others, ..self };
        }
        Self::first(hash, step, self.patience.saturating_mul(2).min(patience_max))
    }
}

impl Rounds {
    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.state.is_none() && self.nodes.is_empty()
    }

    /// Notes the state after a step.
    pub fn meet_state(&mut self, hash: u64, step: Step) {
        self.state = Some(next(self.state.take(), hash, step, STATES_BETWEEN_MAX));
    }

    /// Notes the input that a node had in a step. Of too many nodes, those that ran longest ago are forgotten.
    pub fn meet_input(&mut self, node: &NodeName, hash: u64, step: Step) {
        let round = next(self.nodes.remove(node), hash, step, INPUTS_BETWEEN_MAX);
        if self.nodes.len() >= NODES_MAX {
            let oldest = self.nodes.iter().min_by_key(|(name, round)| (round.last, *name));
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                self.nodes.remove(&oldest);
            }
        }
        self.nodes.insert(node.clone(), round);
    }
}

fn next(before: Option<Round>, hash: u64, step: Step, patience_max: u32) -> Round {
    before.map_or_else(|| Round::first(hash, step, 1), |round| round.met(hash, step, patience_max))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often what is remembered has come, after each of these was met.
    fn times(hashes: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let mut rounds = Rounds::default();
        let count = |(step, hash)| {
            rounds.meet_state(hash, Step::new(step));
            rounds.state.as_ref().unwrap().times
        };
        (1..).zip(hashes).map(count).collect()
    }

    #[test]
    fn the_same_again_and_again_is_counted_from_the_first() {
        assert_eq!(times([7, 7, 7, 7]), [1, 2, 3, 4]);
    }

    #[test]
    fn every_circle_up_to_the_longest_is_found_after_whatever_came_before() {
        for before in [0, 1, 5, 63, 64, 200] {
            for length in 1..=u64::from(STATES_BETWEEN_MAX) {
                let circle = (0..(2 * 64 + 10 * length)).map(|place| 1_000 + place % length);
                let met = times((0..before).chain(circle));
                assert!(*met.last().unwrap() >= 10 - 3, "{before} before a circle of {length}: {met:?}");
            }
        }
    }

    #[test]
    fn what_never_comes_back_is_never_counted() {
        assert!(times(0..1_000).iter().all(|times| *times == 1));
    }

    #[test]
    fn what_comes_back_too_late_counts_anew() {
        let late =
            (0..10).flat_map(|place| [vec![1], (0..100).map(|other| 100 + place * 100 + other).collect()].concat());
        assert!(times(late).iter().all(|times| *times <= 2));
    }

    #[test]
    fn the_nodes_that_ran_last_are_kept() {
        let mut rounds = Rounds::default();
        let name = |number: u64| NodeName::new(format!("n{number}")).unwrap();
        for number in 0..1_000 {
            rounds.meet_input(&name(0), 1, Step::new(number));
            rounds.meet_input(&name(number), 1, Step::new(number));
        }
        assert_eq!(rounds.nodes.len(), NODES_MAX);
        assert_eq!(rounds.nodes[&name(0)].times, 1_001);
        assert!(rounds.nodes.contains_key(&name(999)) && !rounds.nodes.contains_key(&name(900)));
    }
}
