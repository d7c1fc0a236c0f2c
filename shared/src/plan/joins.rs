//! What joins still wait for when a run has ended: a branch that was never taken.

use super::edges::name;
use crate::checkpoint::Checkpoint;
use crate::graph::{EdgeTarget, Graph};
use crate::id::NodeName;

/// The joins of a run's last checkpoint that wait still, in sentences. None where it is not the end.
pub fn waiting_joins(graph: &Graph, last: &Checkpoint) -> Vec<String> {
    if !last.next.is_empty() {
        return Vec::new();
    }
    let waiting = last.joins.iter().filter_map(|(place, arrived)| {
        let edge = graph.edges.get(*place).filter(|edge| edge.to != EdgeTarget::End)?;
        let missing: Vec<_> = edge.from.iter().filter(|node| !arrived.contains(*node)).collect();
        let arrived = list(&arrived.iter().collect::<Vec<_>>());
        Some(format!(
            "{} still waited at the end: {arrived} had arrived, {} had not; if not all of them are meant to come, write an edge from each",
            name(edge),
            list(&missing)
        ))
    });
    waiting.collect()
}

fn list(names: &[&NodeName]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
