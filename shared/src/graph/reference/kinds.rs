//! The kinds of nodes: what each does, its fields, and an example.

use super::calls;
use super::field::{Field, field};
use super::shape::Shape;
use super::vector;
use crate::duration::DURATION_MAX;

/// A kind of node.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) meaning: &'static str,
    /// Nodes as they stand under `nodes:`. Channels that they name are `docs`, `answer`, `question` and `count`.
    pub(super) example: &'static str,
    pub(super) fields: Vec<Field>,
    /// Whether it has a result that `into` can take.
    pub(super) has_result: bool,
}

/// All of them, in the order of the page.
pub(super) fn all() -> Vec<Kind> {
    vec![
        rust(),
        exec(),
        calls::http(),
        calls::llm(),
        vector::search(),
        vector::upsert(),
        set(),
        wait(),
        interrupt(),
        graph(),
    ]
}

/// The names of the fields that belong to some kind.
pub(in crate::graph) fn names_of_fields() -> Vec<&'static str> {
    all().iter().flat_map(|kind| &kind.fields).map(|field| field.name).collect()
}

/// The fields of every node, whatever its kind, but for its policy.
pub(super) fn shared() -> Vec<Field> {
    vec![
        field("into", Shape::Name, "The channel that its whole result is written to")
            .default("the result is an object of writes by channel"),
        field("reads", Shape::OneOrMany(Box::new(Shape::Name)), "The channels it is handed").default(
            "all; none beside its item if it is fanned out; those that its expressions name if it is a `set` node or \
             calls the outside",
        ),
    ]
}

fn rust() -> Kind {
    Kind {
        name: "rust",
        meaning: "A handler in Rust that is registered with the worker",
        example: "judge: { kind: rust, handler: judge, with: { strict: true }, into: answer }",
        fields: vec![
            field("handler", Shape::Text, "The name it is registered under").required(),
            field("with", Shape::Json, "What the handler is told beside its input"),
        ],
        has_result: true,
    }
}

fn exec() -> Kind {
    Kind {
        name: "exec",
        meaning: "A child process in a process group of its own",
        example: "\
search: { kind: exec, command: [./search.sh, --all], env: { LANG: C }, into: docs, attempt_timeout: 10s }
split:  { kind: exec, command: [python3, tools.py], warm: true, call: split, into: docs }",
        fields: vec![
            field(
                "command",
                Shape::List(Box::new(Shape::Text)),
                "The program and its arguments; nothing is split or expanded. The program is looked up in `PATH`",
            )
            .required(),
            field(
                "env",
                Shape::Variables,
                "Variables set for it, beside the few that the worker passes on; none starts with `COX_`",
            ),
            field("cwd", Shape::Text, "The folder it starts in").default("the worker's own"),
            field(
                "warm",
                Shape::Truth,
                "Whether it is kept for further tasks of every node with the same command, variables and folder, and \
                 speaks lines of JSON; otherwise it is started for each try",
            )
            .default("`false`"),
            field("call", Shape::Text, "Which function of a warm process is meant").default("the node's name"),
        ],
        has_result: true,
    }
}

fn set() -> Kind {
    Kind {
        name: "set",
        meaning: "Expressions over the state",
        example: "sum_up: { kind: set, set: { answer: \"docs | length\", count: 1 } }",
        fields: vec![
            field(
                "set",
                Shape::Channels(Box::new(Shape::Expression)),
                "What is written: an expression for each channel, at least one",
            )
            .required(),
        ],
        has_result: false,
    }
}

fn wait() -> Kind {
    Kind {
        name: "wait",
        meaning: "The passing of time. It holds no worker",
        example: "pause: { kind: wait, for: 10m }",
        fields: vec![field("for", Shape::Time(std::time::Duration::ZERO, DURATION_MAX), "How long").required()],
        has_result: false,
    }
}

fn interrupt() -> Kind {
    Kind {
        name: "interrupt",
        meaning: "A pause for a human, whose answer is written like a node's result",
        example: "approve: { kind: interrupt, show: \"{'question': question}\", into: answer }",
        fields: vec![field("show", Shape::Expression, "What the human is shown").default("nothing")],
        has_result: true,
    }
}

fn graph() -> Kind {
    let expressions = || Shape::Channels(Box::new(Shape::Expression));
    Kind {
        name: "graph",
        meaning: "A child run: its stop follows the parent's, its deadline is what the task has left",
        example: "\
ask:
  kind: graph
  graph:
    state: { question: , reply: }
    nodes: { shout: { kind: set, set: { reply: \"question | upper\" } } }
    edges: [START -> shout -> END]
  input: { question: \"question ~ '!'\" }
  output: { answer: reply }",
        fields: vec![
            field(
                "graph",
                Shape::Own("child", "name, path, or a graph"),
                "The child: the name of one of `graphs`; the path of a file, with `/` or ending in `.yaml`, `.yml` or \
                 `.json`, beside the file that names it; or the graph itself",
            )
            .required(),
            field("input", expressions(), "The child's input: an expression for each of its channels")
                .default("the channels of the same names"),
            field(
                "output",
                expressions(),
                "What is written when the child has ended: an expression over the child's state for each channel",
            )
            .default("the channels of the same names, or with `into` the child's whole state"),
        ],
        has_result: true,
    }
}
