//! Weighs tests of values (`x is y`): one row for each that there is.

use minijinja::machinery::ast::{CallArg, Test};

use super::expression::Weigher;
use super::shape::{Heavy, Shape};

/// The tests that there are.
pub(in super::super) const TESTS: [&str; 42] = [
    "!=",
    "<",
    "<=",
    "==",
    ">",
    ">=",
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "equalto",
    "escaped",
    "even",
    "false",
    "filter",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "int",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "safe",
    "sameas",
    "sequence",
    "startingwith",
    "string",
    "test",
    "true",
    "undefined",
    "upper",
];

/// Whether a test of this name looks at a value once, and no further than what it is compared with: all do but one.
pub(super) fn is_light_name(name: &str) -> bool {
    name != "in" && TESTS.contains(&name)
}

impl<'a> Weigher<'a> {
    pub(super) fn test(&mut self, test: &Test<'a>) -> Result<Shape, Heavy> {
        let value = self.expr(&test.expr)?;
        let mut args = Vec::new();
        for arg in &test.args {
            match arg {
                CallArg::Pos(tree) | CallArg::Kwarg(_, tree) => args.push(self.expr(tree)?),
                CallArg::PosSplat(_) | CallArg::KwargSplat(_) => return Err(Heavy),
            }
        }
        match (test.name, args.as_slice()) {
            ("in", [list]) => self.walk(*list)?,
            (name, []) if is_light_name(name) => self.walk_cased(name, value)?,
            (name, [other]) if is_light_name(name) => self.walk_either(value, *other)?,
            _ => return Err(Heavy),
        }
        Ok(Shape::NUMBER)
    }

    /// Only the tests of a text's case look at all of it.
    fn walk_cased(&mut self, name: &str, value: Shape) -> Result<(), Heavy> {
        if matches!(name, "lower" | "upper") { self.walk(value) } else { Ok(()) }
    }
}
