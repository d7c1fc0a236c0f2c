//! Whether a run goes round without getting on: the hashes of its states and of its nodes' inputs, and what is said of it.
//! What is remembered of them is `crate::rounds`.
//!
//! The input of a node is what it is handed: the channels it reads, and of a fan-out those that its lists are made from. A
//! run that lets time pass, or asks a human, is meant to ask again: with a `wait`, an `interrupt` or a pause it counts anew.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use sha2::{Digest as _, Sha256};

use super::decide::pauses;
use super::dispatch::names_used;
use super::edges::Next;
use super::input::PlanInput;
use crate::checkpoint::{Checkpoint, Values};
use crate::expr::Program;
use crate::graph::{Graph, Node, NodeKind};
use crate::id::{ChannelName, NodeName, Step};
use crate::rounds::{Round, Rounds};

/// Nodes that are named; of more, how many there are.
const NAMED_MAX: usize = 5;

/// A step that is complete.
#[derive(Debug, Clone, Copy)]
pub(super) struct Done<'a> {
    pub(super) step: Step,
    /// The values that it changed.
    pub(super) changed: &'a Values,
    /// What is due after it.
    pub(super) next: &'a Next,
}

/// What is remembered after a step.
///
/// A run has to take more steps than its graph has nodes before one of them has run twice: until then, and so for every
/// run that never goes back, nothing is remembered and nothing is hashed.
pub(super) fn after(input: &PlanInput<'_>, before: &Checkpoint, done: Done<'_>) -> Rounds {
    let nodes = u64::try_from(input.graph.nodes.len()).unwrap_or(u64::MAX);
    if done.step.get() < nodes || done.next.due.is_empty() {
        return Rounds::default();
    }
    let mut ran: BTreeMap<&NodeName, BTreeSet<usize>> = BTreeMap::new();
    for due in &before.next {
        ran.entry(&due.node).or_default().extend(&due.for_each);
    }
    let has_waited = ran.keys().any(|name| input.graph.nodes.get(*name).is_some_and(is_waiting));
    let anew = has_waited || pauses(input.spec, before);
    let mut rounds = if anew { Rounds::default() } else { before.rounds.clone() };
    let mut hashes = Hashes { values: input.values, changed: done.changed, known: BTreeMap::new() };
    for (name, edges) in ran {
        if let Some(node) = input.graph.nodes.get(name).filter(|node| !is_waiting(node)) {
            let reads = reads(input.graph, node, &edges);
            rounds.meet_input(name, hashes.input(reads.as_ref(), &edges), done.step);
        }
    }
    rounds.meet_state(hashes.state(done.next), done.step);
    rounds
}

/// Why a run is ended that has been here too often.
pub(super) fn too_often(graph: &Graph, checkpoint: &Checkpoint) -> Option<String> {
    let most = graph.limits.max_repeats;
    let Rounds { state, nodes } = &checkpoint.rounds;
    let is_over = |round: &Round| round.times >= most;
    let (round, what) = if let Some(round) = state.as_ref().filter(|round| is_over(round)) {
        (round, "the run has been in the same state".to_owned())
    } else {
        let works = |name: &NodeName| graph.nodes.get(name).is_some_and(|node| !matches!(node.kind, NodeKind::Set(_)));
        let (name, round) = nodes.iter().find(|(name, round)| is_over(round) && works(name))?;
        (round, format!("node `{name}` has run with the same input"))
    };
    let Round { times, since, .. } = round;
    let through = through(&checkpoint.rounds, round, checkpoint.step);
    Some(format!(
        "{what} {times} times since step {since}: it goes round{through} without getting on, or `max_repeats` ({most}) is too low"
    ))
}

/// The nodes that ran in the last circle, in their order. A single one needs no words.
fn through(rounds: &Rounds, round: &Round, step: Step) -> String {
    let length = (step.get() - round.since.get().min(step.get())).div_ceil(round.times.saturating_sub(1).max(1));
    let is_in = |other: &&NodeName| rounds.nodes[*other].last.get().saturating_add(length) > step.get();
    let mut nodes: Vec<_> = rounds.nodes.keys().filter(is_in).collect();
    nodes.sort_by_key(|name| (rounds.nodes[*name].last, *name));
    let more = nodes.len().saturating_sub(NAMED_MAX);
    let named: Vec<_> = nodes.iter().take(NAMED_MAX).map(|name| format!("`{name}`")).collect();
    match (named.len(), more) {
        (0 | 1, _) => String::new(),
        (_, 0) => format!(" through {}", named.join(", ")),
        (_, more) => format!(" through {} and {more} more", named.join(", ")),
    }
}

const fn is_waiting(node: &Node) -> bool {
    matches!(node.kind, NodeKind::Wait(_) | NodeKind::Interrupt(_))
}

/// The channels that a node's tasks are made from; none: all.
fn reads(graph: &Graph, node: &Node, edges: &BTreeSet<usize>) -> Option<BTreeSet<ChannelName>> {
    let own = match (&node.reads, &node.kind) {
        // What its expressions use goes to its child, whatever it reads.
        (_, NodeKind::Graph(_)) => return None,
        (Some(reads), _) => reads.iter().cloned().collect(),
        (None, NodeKind::Rust(_) | NodeKind::Exec(_)) if !edges.is_empty() => BTreeSet::new(),
        (None, kind) => channels(graph, names_used(kind)?),
    };
    edges.iter().try_fold(own, |mut reads, place| {
        let list = Program::compile(graph.edges.get(*place)?.for_each.as_ref()?.0.as_str()).ok()?;
        reads.extend(channels(graph, list.names().map(str::to_owned).collect()));
        Some(reads)
    })
}

fn channels(graph: &Graph, names: BTreeSet<String>) -> BTreeSet<ChannelName> {
    names.into_iter().filter_map(|name| Some(graph.state.get_key_value(name.as_str())?.0.clone())).collect()
}

/// The hashes of a state's values, each made once a step.
struct Hashes<'a> {
    values: &'a Values,
    changed: &'a Values,
    /// Those of the values before the step.
    known: BTreeMap<&'a ChannelName, [u8; 32]>,
}

impl Hashes<'_> {
    /// Of what a node was handed: channels as they were before the step, and the edges that fanned it out.
    fn input(&mut self, reads: Option<&BTreeSet<ChannelName>>, edges: &BTreeSet<usize>) -> u64 {
        let mut hasher = Hasher::default();
        hasher.put(&edges);
        for (channel, value) in self.values.iter().filter(|(name, _)| reads.is_none_or(|reads| reads.contains(*name))) {
            hasher.put_hash(channel, self.known.entry(channel).or_insert_with(|| hash(value)));
        }
        hasher.finish()
    }

    /// Of the state after the step: all its values, and where it stands in the graph.
    fn state(&mut self, next: &Next) -> u64 {
        let mut hasher = Hasher::default();
        hasher.put(&next.due);
        hasher.put(&next.joins);
        let (values, changed) = (self.values, self.changed);
        for (channel, value) in values.iter().filter(|(name, _)| !changed.contains_key(*name)) {
            hasher.put_hash(channel, self.known.entry(channel).or_insert_with(|| hash(value)));
        }
        for (channel, value) in changed {
            hasher.put_hash(channel, &hash(value));
        }
        hasher.finish()
    }
}

fn hash(value: &serde_json::Value) -> [u8; 32] {
    let mut hasher = Hasher::default();
    hasher.put(value);
    hasher.0.finalize().into()
}

/// SHA-256 over JSON: it is kept in checkpoints, so every build has to come to the same.
#[derive(Default)]
struct Hasher(Sha256);

impl Hasher {
    fn put(&mut self, value: &impl serde::Serialize) {
        serde_json::to_writer(&mut *self, value)
            .expect("names, numbers and values are always JSON, and hashing never fails");
    }

    fn put_hash(&mut self, channel: &ChannelName, hash: &[u8; 32]) {
        self.0.update(channel.as_str().as_bytes());
        self.0.update([0]);
        self.0.update(hash);
    }

    /// The first 48 bits: a number that every reader of JSON keeps whole.
    fn finish(self) -> u64 {
        self.0.finalize().iter().take(6).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

impl io::Write for Hasher {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.update(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
