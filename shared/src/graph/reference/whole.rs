//! What is around the nodes: the graph, its channels, limits and edges.

use super::field::{Field, field};
use super::shape::Shape;
use crate::duration;
use crate::graph::model::Reducer;
use crate::limits::{
    DESCENDANTS, DESCENDANTS_CEILING, FAN_OUT_MAX, Limit, MAX_REPEATS, MAX_REPEATS_CEILING, MAX_STEPS,
    MAX_STEPS_CEILING, NODE_RUNS, NODE_RUNS_CEILING,
};

/// The fields of a graph.
pub(super) fn graph() -> Vec<Field> {
    vec![
        field("$schema", Shape::Text, "By which schema an editor reads the file; it means nothing else"),
        field("name", Shape::Name, "The graph's name; a child graph may leave it out"),
        field("description", Shape::Text, "What it is for"),
        field("state", Shape::Own("state", "mapping"), "The channels of the state, by name"),
        field("limits", Shape::Own("limits", "mapping"), "The limits of its runs"),
        field(
            "defaults",
            Shape::Own("policy", "mapping"),
            "A policy and a pool for all nodes: each field holds where a node does not write it itself",
        ),
        field("nodes", Shape::Own("nodes", "mapping"), "The nodes, by name").required(),
        field("graphs", Shape::Own("graphs", "mapping"), "Child graphs, by name: written out, or the path of a file"),
        field("edges", Shape::Own("edges", "list"), "Where to go next"),
    ]
}

/// The fields of `limits`.
pub(super) fn limits() -> Vec<Field> {
    let run_timeout = Limit::RunTimeout;
    vec![
        field("run_timeout", Shape::limit(run_timeout), "The time of the whole run, from its start")
            .default(format!("`{}`", duration::show(run_timeout.default()))),
        field("max_steps", Shape::Count(1, Some(MAX_STEPS_CEILING)), "Steps; one more ends the run (cause `loop`)")
            .default(format!("`{MAX_STEPS}`")),
        field(
            "node_runs",
            Shape::Count(1, Some(NODE_RUNS_CEILING)),
            "Node runs; one more ends the run (cause `budget`)",
        )
        .default(format!("`{NODE_RUNS}`")),
        field(
            "tokens",
            Shape::Count(0, None),
            "Tokens that models read and write, those of child runs included; more ends the run (cause `budget`)",
        ),
        field(
            "cost",
            Shape::Number(0.0, 1e9),
            "What that costs, by the workers' prices (see runaway.md); more ends the run (cause `budget`)",
        ),
        field(
            "tool_calls",
            Shape::Count(0, None),
            "Calls of tools that models ask for; more ends the run (cause `budget`)",
        ),
        field(
            "descendants",
            Shape::Count(0, Some(DESCENDANTS_CEILING)),
            "Child runs, at every depth together; more ends the run (cause `budget`)",
        )
        .default(format!("`{DESCENDANTS}` for a run that is no child")),
        field(
            "max_repeats",
            Shape::Count(2, Some(MAX_REPEATS_CEILING)),
            "How often a node may run with the same input, or the run be in the same state; then it is ended (cause `loop`)",
        )
        .default(format!("`{MAX_REPEATS}`")),
    ]
}

/// The fields of a channel.
pub(super) fn channel() -> Vec<Field> {
    vec![
        field("reducer", reducer(), "How writes are put into it").default(format!("`{}`", Reducer::default().name())),
        field("default", Shape::Json, "Its value before the first write")
            .default("`[]` for `append` and `messages`, `0` for `add`, `{}` for `merge`, else absent"),
    ]
}

/// The names of the reducers.
pub(super) fn reducer() -> Shape {
    Shape::Word(Reducer::ALL.map(Reducer::name).to_vec())
}

/// The fields of an edge.
pub(super) fn edge() -> Vec<Field> {
    vec![
        field(
            "from",
            Shape::Own("ends", "name; one or a list"),
            "Where it starts: a node, `START`, or several nodes for a join, which waits until all have run since it last fired",
        )
        .required(),
        field("to", Shape::Own("ends", "name; one or a list"), "Where it leads: a node, `END`, or several").required(),
        field("when", Shape::Expression, "It is taken if this is true"),
        field("otherwise", Shape::Truth, "Whether it is taken if no `when` of the same node is").default("`false`"),
        field(
            "for_each",
            Shape::Expression,
            "Fans the target out over the list that this gives: one task an item, whose expressions know `item` and `index`",
        ),
        field("concurrency", Shape::Count(1, Some(FAN_OUT_MAX as u64)), "How many items of the fan-out are under way at once")
            .default("all"),
        field(
            "policy",
            Shape::Own("fan_out_policy", "`each`, `collect`, `fail_fast`, `race`, `{ quorum: n }`"),
            "What the end of one item of the fan-out means for the others",
        )
        .default("`each`"),
        field(
            "results",
            Shape::Name,
            "The channel that one list of all results of the fan-out is written to; what the items write is in it then, and \
             goes nowhere else",
        ),
    ]
}

/// The fields of a fan-out's policy that is a mapping.
pub(super) fn fan_out_policy() -> Vec<Field> {
    vec![
        field("quorum", Shape::Count(1, Some(FAN_OUT_MAX as u64)), "So many successes are enough, and stop the others")
            .required(),
    ]
}

/// The fields of `on_failure` that is a mapping.
pub(super) fn on_failure() -> Vec<Field> {
    vec![
        field(
            "continue",
            Shape::Channels(Box::new(Shape::Json)),
            "The run goes on as if the node had written this: a value for each channel",
        ),
        field("goto", Shape::Name, "The run goes on at this node, beside what else is due"),
    ]
}
