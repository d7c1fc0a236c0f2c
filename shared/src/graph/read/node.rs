//! A node.

use std::time::Duration;

use super::children::Children;
use super::fields::{self, Fields};
use super::kinds;
use super::policy::Written;
use crate::graph::finding::Findings;
use crate::graph::model::{Node, NodeKind, WaitNode};
use crate::graph::place::Place;
use crate::graph::tree::Tree;
use crate::id::{NodeName, PoolName};

/// A node, and whether it could be told what it does.
pub(super) struct ReadNode {
    /// The node; one that does nothing where that could not be told.
    pub(super) node: Node,
    /// Whether it could not be told.
    pub(super) broken: bool,
}

/// Reads a node.
pub(super) fn read<'f>(
    tree: &'f Tree,
    place: &Place,
    name: &NodeName,
    defaults: &Written,
    (children, findings): (&mut Children<'f, '_>, &mut Findings),
) -> Option<ReadNode> {
    let mut fields = Fields::of(tree, place, "a node", findings)?;
    let what = kinds::name(&mut fields).map_or_else(|| "a node".to_owned(), |kind| format!("a node of kind `{kind}`"));
    let kind = kinds::read(&mut fields, name, children, findings);
    let into = fields.name("into", findings);
    let reads = fields.get("reads").map(|tree| {
        fields::one_or_many(tree, &fields.place("reads"), |item, place| fields::name(item, place, findings))
    });
    let written = Written::read(&mut fields, findings).or(defaults);
    fields.finish(&what, findings);
    let broken = kind.is_none();
    let node = Node {
        kind: kind.unwrap_or(NodeKind::Wait(WaitNode { length: Duration::ZERO })),
        pool: written.pool.clone().unwrap_or_else(PoolName::standard),
        into,
        reads,
        policy: written.policy(),
    };
    Some(ReadNode { node, broken })
}
