//! The graphs that the tests run.

pub(crate) const HELLO: &str = "
name: hello
state: { name: { default: world }, greeting: }
nodes:
  greet: { kind: set, set: { greeting: \"'Hello, ' ~ name ~ '!'\" } }
edges: [START -> greet -> END]
";

/// Goes round until `limit`; each round is a process that sleeps.
pub(crate) const ROUNDS: &str = "
name: rounds
state: { rounds: add, limit: { default: 1000000 } }
nodes:
  work: { kind: exec, command: [sh, -c, \"sleep 0.05; echo 1\"], into: rounds }
edges:
  - START -> work
  - { from: work, to: work, when: \"rounds < limit\" }
  - { from: work, to: END, otherwise: true }
";

/// Three processes at once that sleep for an hour; what one of them leaves undone is made up for.
pub(crate) const BRANCHES: &str = "
name: branches
state: { items: { default: [0, 1, 2] }, out: append }
nodes:
  nap: { kind: exec, command: [sh, -c, \"sleep 3600\"], into: out, on_failure: { continue: { out: [given up] } } }
edges:
  - { from: START, to: nap, for_each: items }
  - nap -> END
";

/// A fan-out of which one item hangs.
pub(crate) const HALF: &str = "
name: half
state: { items: { default: [0, 1, 2] }, out:, results: }
nodes:
  work: { kind: exec, command: [sh, -c, '[ $COX_ITEM = 2 ] && sleep 3600; echo 1$COX_ITEM'], into: out }
edges:
  - { from: START, to: work, for_each: items, policy: collect, results: results }
  - work -> END
";

/// A process that says what it spends, round by round, within a budget.
pub(crate) const SPENDING: &str = "
name: spending
limits: { tokens: 25 }
state: { rounds: add }
nodes:
  work: { kind: exec, command: [sh, -c, 'echo \"{\\\"spend\\\": {\\\"output_tokens\\\": 10}}\"; echo 1'], into: rounds }
edges: [START -> work, work -> work]
";

/// A process that does not heed SIGTERM, and has two minutes to do so.
pub(crate) const STUBBORN: &str = "
name: stubborn
state: { out: }
nodes:
  work: { kind: exec, command: [sh, -c, \"trap '' TERM; while :; do sleep 0.1; done\"], into: out, grace: 2m }
edges: [START -> work -> END]
";

/// Asks a human.
pub(crate) const REVIEW: &str = "
name: review
state: { draft: { default: text }, verdict: }
nodes:
  approve: { kind: interrupt, show: draft, into: verdict }
edges: [START -> approve -> END]
";

pub(crate) const FAILING: &str = "
name: failing
nodes:
  work: { kind: exec, command: [\"false\"] }
edges: [START -> work -> END]
";

pub(crate) const SLOW: &str = "
name: slow
nodes:
  nap: { kind: wait, for: 1h }
edges: [START -> nap -> END]
";

/// An agent that asks for the same again and again, while what it notes grows.
pub(crate) const STUCK: &str = "
name: stuck
state: { question: { default: why }, log: append }
nodes:
  search: { kind: exec, command: [\"true\"], reads: [question] }
  think: { kind: set, set: { log: \"'none'\" } }
edges: [START -> search -> think -> search]
";
