//! Weighs filters: one row for each that there is.

use minijinja::machinery::ast::{CallArg, Filter};

use super::expression::{Weigher, is_short, literal};
use super::shape::{ESCAPED, Heavy, Kind, Shape};
use super::tests_of_values::is_light_name;

/// The filters that there are.
pub(in super::super) const FILTERS: [&str; 44] = [
    "abs",
    "attr",
    "bool",
    "capitalize",
    "chain",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "first",
    "float",
    "groupby",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
    "urlencode",
    "zip",
];

/// Comparisons of each item that sorting takes, at the most: the logarithm of the longest list.
const SORTING: u32 = 24;
/// The most bytes that one byte takes in upper or lower case.
const CASED: u32 = 3;
/// The most bytes that one byte takes in an address.
const IN_ADDRESS: u32 = 3;
/// What `map` may apply to each item: filters without arguments that look at the item once.
const MAPPED: [&str; 16] = [
    "abs",
    "bool",
    "capitalize",
    "count",
    "first",
    "float",
    "int",
    "last",
    "length",
    "lower",
    "round",
    "string",
    "title",
    "trim",
    "upper",
    "items",
];

impl<'a> Weigher<'a> {
    pub(super) fn filter(&mut self, filter: &Filter<'a>) -> Result<Shape, Heavy> {
        // Without a value it is a block's filter, and a block is captured.
        let value = self.expr(filter.expr.as_ref().ok_or(Heavy)?)?;
        let args = filter.args.as_slice();
        match filter.name {
            "default" | "d" => self.with_args(value, args, Shape::or),
            "chain" | "zip" => {
                let all = self.with_args(value, args, Shape::and)?;
                self.walk(all)?;
                self.made(all.part())
            }
            "map" => {
                mapped(args)?;
                self.walk(value)?;
                self.made(value.part().times(CASED))
            }
            "select" | "reject" => {
                tested(args, 0)?;
                self.walk(value)?;
                self.made(value.part())
            }
            "selectattr" | "rejectattr" => {
                tested(args, 1)?;
                self.walk(value)?;
                self.made(value.part())
            }
            name => {
                are_short(args)?;
                self.plain(name, value, args)
            }
        }
    }

    /// A filter all of whose arguments are short literals.
    fn plain(&mut self, name: &str, value: Shape, args: &[CallArg<'a>]) -> Result<Shape, Heavy> {
        let sorts = matches!(name, "sort" | "unique" | "dictsort" | "groupby");
        self.walk_times(value, if sorts { SORTING } else { 1 })?;
        match name {
            "length" | "count" | "abs" | "round" | "int" | "float" | "bool" => Ok(Shape::NUMBER),
            "sum" if args.iter().all(|arg| matches!(arg, CallArg::Kwarg("attribute", _))) => Ok(Shape::NUMBER),
            "first" | "last" | "min" | "max" | "attr" => Ok(value.part()),
            "list" | "items" | "reverse" | "lines" | "split" | "sort" | "unique" | "dictsort" | "groupby" => {
                self.made(value.part())
            }
            "trim" | "string" | "safe" => self.made(value.written()),
            "lower" | "upper" | "title" | "capitalize" => self.made(value.written().times(CASED)),
            "urlencode" => self.made(value.written().times(IN_ADDRESS)),
            "escape" | "e" => self.made(value.written().times(ESCAPED)),
            "tojson" if args.is_empty() => self.made(value.part().written().times(ESCAPED)),
            "join" => self.made(value.written().and(Shape { kind: Kind::Text, ..value.times(longest(args)) })),
            "replace" => self.made(value.written().times(longest(args).saturating_add(1))),
            _ => Err(Heavy),
        }
    }

    fn with_args(
        &mut self,
        mut value: Shape,
        args: &[CallArg<'a>],
        with: impl Fn(Shape, Shape) -> Shape,
    ) -> Result<Shape, Heavy> {
        for arg in args {
            match arg {
                CallArg::Pos(tree) | CallArg::Kwarg(_, tree) => value = with(value, self.expr(tree)?),
                CallArg::PosSplat(_) | CallArg::KwargSplat(_) => return Err(Heavy),
            }
        }
        Ok(value)
    }
}

fn are_short(args: &[CallArg<'_>]) -> Result<(), Heavy> {
    args.iter().try_for_each(|arg| match arg {
        CallArg::Pos(tree) | CallArg::Kwarg(_, tree) if is_short(tree) => Ok(()),
        CallArg::Pos(_) | CallArg::Kwarg(..) | CallArg::PosSplat(_) | CallArg::KwargSplat(_) => Err(Heavy),
    })
}

/// The bytes of the longest of some literals.
fn longest(args: &[CallArg<'_>]) -> u32 {
    let length = |arg: &CallArg<'_>| match arg {
        CallArg::Pos(tree) | CallArg::Kwarg(_, tree) => literal(tree).map_or(0, str::len),
        CallArg::PosSplat(_) | CallArg::KwargSplat(_) => 0,
    };
    args.iter().map(length).max().and_then(|length| u32::try_from(length).ok()).unwrap_or(0)
}

/// The arguments of `map`: an attribute, or a filter's name alone.
fn mapped(args: &[CallArg<'_>]) -> Result<(), Heavy> {
    let is_light = match args {
        [CallArg::Pos(tree)] => literal(tree).is_some_and(|name| MAPPED.contains(&name)),
        [] | [CallArg::PosSplat(_) | CallArg::KwargSplat(_) | CallArg::Pos(_), ..] => false,
        [CallArg::Kwarg(..), ..] => {
            let is_known =
                |arg: &CallArg<'_>| matches!(arg, CallArg::Kwarg("attribute" | "default", tree) if is_short(tree));
            args.iter().all(is_known)
        }
    };
    is_light.then_some(()).ok_or(Heavy)
}

/// The arguments of a selection: some that say what is looked at, then a test's name, then what it compares with.
fn tested(args: &[CallArg<'_>], before: usize) -> Result<(), Heavy> {
    are_short(args)?;
    let name = |arg: &CallArg<'_>| match arg {
        CallArg::Pos(tree) => literal(tree).is_some_and(is_light_name),
        CallArg::Kwarg(..) | CallArg::PosSplat(_) | CallArg::KwargSplat(_) => false,
    };
    args.get(before).is_none_or(name).then_some(()).ok_or(Heavy)
}
