//! How much an evaluation can cost, told from its syntax tree before anything is evaluated.
//!
//! Fuel counts the engine's instructions. One instruction can copy a text, compare two lists or repeat a text a million
//! times. So fuel alone bounds neither time nor memory. An evaluation is *light* if bytes and time are bounded by a small
//! multiple of the bytes that it reads: paths, comparisons, arithmetic of numbers, boolean operators, filters that neither
//! grow much nor compare all with all, and loops over what such expressions give. Everything else is *heavy*.
//!
//! ```text
//! {{ doc.title }}: {% for m in matches %}- {{ m.text | trim }}{% endfor %}     light: each byte is read a few times
//! {{ x * n }}                                                                  light where x and n are numbers
//! found | reject('in', seen)                                                   heavy: all with all
//! range(99999) | join('x' * 100000)                                            heavy: grows without relation to the state
//! ```

mod expression;
mod filters;
mod shape;
mod statement;
mod tests_of_values;

use minijinja::machinery::ast::{Expr, Stmt};

pub(super) use filters::FILTERS;
pub(super) use shape::Bounds;
pub(super) use tests_of_values::TESTS;

use expression::Weigher;
use shape::Heavy;

/// What an evaluation can cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Weight {
    /// Bounded by what it reads.
    Light(Bounds),
    /// Not bounded by what it reads.
    Heavy,
}

/// Weighs an expression.
pub(super) fn expression(tree: &Expr<'_>) -> Weight {
    let mut weigher = Weigher::default();
    match weigher.expr(tree) {
        Ok(_) => Weight::Light(weigher.bounds),
        Err(Heavy) => Weight::Heavy,
    }
}

/// Weighs a template.
pub(super) fn template(tree: &Stmt<'_>) -> Weight {
    let mut weigher = Weigher::default();
    weigher.note_assigned(tree);
    match weigher.stmt(tree) {
        Ok(()) => Weight::Light(weigher.bounds),
        Err(Heavy) => Weight::Heavy,
    }
}
