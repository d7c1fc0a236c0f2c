//! Edges: chains such as `a -> b & c -> END`, and mappings with `from`, `to` and their conditions.

use super::fan_out;
use super::fields::{self, Fields};
use crate::graph::fan_out::FanOut;
use crate::graph::finding::Findings;
use crate::graph::model::{Condition, END, Edge, EdgeTarget, Expression, START};
use crate::graph::place::Place;
use crate::graph::tree::{Branch, Tree};
use crate::id::NodeName;

const ARROW: &str = "->";
const FORMS: &str = "write `a -> b`, `a & b -> c` for a join, or a mapping with `from` and `to`";

/// Edges with their places in the file's list: a chain is several edges.
#[derive(Debug, Default)]
pub(super) struct ReadEdges {
    /// The edges, each with its place.
    pub(super) edges: Vec<(Edge, usize)>,
    /// Whether some could not be read.
    pub(super) broken: bool,
}

/// Reads the list of edges.
pub(super) fn read(tree: &Tree, place: &Place, findings: &mut Findings) -> ReadEdges {
    let Branch::List(items) = &tree.value else {
        findings.error(place, format!("`edges` must be a list, not {}", tree.describe())).remedy(FORMS);
        return ReadEdges { edges: Vec::new(), broken: true };
    };
    let mut read = ReadEdges::default();
    for (index, item) in items.iter().enumerate() {
        match edge(item, &place.index(index), findings) {
            Some(edges) => read.edges.extend(edges.into_iter().map(|edge| (edge, index))),
            None => read.broken = true,
        }
    }
    read
}

fn edge(tree: &Tree, place: &Place, findings: &mut Findings) -> Option<Vec<Edge>> {
    match &tree.value {
        Branch::Text(text) => chain(text, place, findings),
        Branch::Map(_) => mapping(tree, place, findings),
        Branch::Null | Branch::Bool(_) | Branch::Number(_) | Branch::List(_) => {
            findings.error(place, format!("an edge cannot be {}", tree.describe())).remedy(FORMS);
            None
        }
    }
}

fn chain(text: &str, place: &Place, findings: &mut Findings) -> Option<Vec<Edge>> {
    let stops: Vec<&str> = text.split(ARROW).map(str::trim).collect();
    if stops.len() < 2 || stops.iter().any(|stop| stop.is_empty()) {
        findings.error(place, format!("`{text}` is not an edge")).remedy(FORMS);
        return None;
    }
    let groups: Vec<Option<Vec<End>>> = stops.into_iter().map(|stop| group(stop, place, findings)).collect();
    let groups: Vec<Vec<End>> = groups.into_iter().collect::<Option<_>>()?;
    let plain = Extras { when: Condition::Always, for_each: None, fan_out: FanOut::default() };
    let pairs = groups.windows(2).map(|pair| connect(&pair[0], &pair[1], &plain, place, findings));
    pairs.collect::<Option<Vec<_>>>().map(|edges| edges.concat())
}

/// One end of an edge.
#[derive(Debug, Clone, PartialEq)]
enum End {
    Start,
    Node(NodeName),
    Finish,
}

/// The nodes of one stop of a chain: `a`, `a & b`, or `[a, b]`.
fn group(stop: &str, place: &Place, findings: &mut Findings) -> Option<Vec<End>> {
    let inner = stop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let names = inner.map_or_else(|| stop.split('&').collect::<Vec<_>>(), |inner| inner.split(',').collect());
    names.into_iter().map(|name| end(name.trim(), place, findings)).collect()
}

fn end(name: &str, place: &Place, findings: &mut Findings) -> Option<End> {
    match name {
        START => Some(End::Start),
        END => Some(End::Finish),
        _ => findings.keep(place, NodeName::new(name)).map(End::Node),
    }
}

#[derive(Debug, Clone)]
struct Extras {
    when: Condition,
    for_each: Option<Expression>,
    fan_out: FanOut,
}

/// The edges from one stop to the next: one join if there are several origins, and one edge for each target.
fn connect(from: &[End], to: &[End], extras: &Extras, place: &Place, findings: &mut Findings) -> Option<Vec<Edge>> {
    let mut origins = Vec::new();
    for end in from {
        match end {
            End::Node(name) => origins.push(name.clone()),
            End::Start if from.len() == 1 => {}
            End::Start => {
                findings.error(place, "START cannot be joined with nodes").remedy("START needs an edge of its own");
                return None;
            }
            End::Finish => {
                findings.error(place, "no edge can start at END");
                return None;
            }
        }
    }
    let mut edges = Vec::new();
    for end in to {
        let to = match end {
            End::Node(name) => EdgeTarget::Node(name.clone()),
            End::Finish => EdgeTarget::End,
            End::Start => {
                findings.error(place, "no edge can lead to START");
                return None;
            }
        };
        let Extras { when, for_each, fan_out } = extras.clone();
        edges.push(Edge { from: origins.clone(), to, when, for_each, fan_out });
    }
    Some(edges)
}

fn mapping(tree: &Tree, place: &Place, findings: &mut Findings) -> Option<Vec<Edge>> {
    let mut fields = Fields::of(tree, place, "an edge", findings)?;
    let from = ends(&mut fields, "from", findings);
    let to = ends(&mut fields, "to", findings);
    let when = fields.expression("when", findings);
    let otherwise = fields.truth("otherwise", findings).unwrap_or_default();
    let for_each = fields.expression("for_each", findings);
    let fan_out = fan_out::read(&mut fields, findings);
    let both = when.is_some() && otherwise;
    if both {
        let message = "an edge has either `when` or `otherwise`";
        findings.error(place, message).remedy("`otherwise` is taken when no `when` of the same node holds");
    }
    fields.finish("an edge", findings);
    let condition = match when {
        Some(expression) => Condition::If(expression),
        None if otherwise => Condition::Otherwise,
        None => Condition::Always,
    };
    let edges = connect(&from?, &to?, &Extras { when: condition, for_each, fan_out }, place, findings)?;
    (!both).then_some(edges)
}

fn ends(fields: &mut Fields<'_>, name: &'static str, findings: &mut Findings) -> Option<Vec<End>> {
    let Some(tree) = fields.get(name) else {
        findings.error(fields.here(), format!("the edge has no `{name}`")).remedy(FORMS);
        return None;
    };
    let place = fields.place(name);
    let ends = fields::one_or_many(tree, &place, |item, place| {
        Some(fields::text(item, place, findings).and_then(|text| end(text.trim(), place, findings)))
    });
    if ends.is_empty() {
        findings.error(&place, format!("`{name}` is empty"));
        return None;
    }
    ends.into_iter().collect()
}
