//! Weighs expressions.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::machinery::ast::{BinOp, BinOpKind, Call, CallArg, CallType, Compare, CompareOpKind, Const, Expr};
use minijinja::value::ValueKind;

use super::shape::{Bounds, GROWTH_MAX, Heavy, Key, Kind, Shape};

/// The longest literal that counts for nothing, in bytes.
pub(super) const LITERAL_BYTES: usize = 32;
/// The longest `range` that is light.
const RANGE_MAX: usize = 1_000;
/// Bytes of one of its numbers.
const RANGE_NUMBER_BYTES: u32 = 8;
/// What a loop tells of itself without work.
const LOOP_NUMBERS: [&str; 9] =
    ["index", "index0", "revindex", "revindex0", "first", "last", "length", "depth", "depth0"];

/// Walks a tree in the order in which it is evaluated, and adds up.
#[derive(Debug, Default)]
pub(super) struct Weigher<'a> {
    pub(super) bounds: Bounds,
    /// What names stand for, the innermost block last.
    pub(super) blocks: Vec<BTreeMap<&'a str, Shape>>,
    /// How many loops deep.
    pub(super) depth: usize,
    /// The names that are assigned to anywhere.
    pub(super) assigned: BTreeSet<&'a str>,
}

impl<'a> Weigher<'a> {
    pub(super) fn expr(&mut self, tree: &Expr<'a>) -> Result<Shape, Heavy> {
        match tree {
            Expr::Var(var) => self.named(var.id),
            Expr::Const(literal) => Ok(literal_shape(literal, self.depth)),
            Expr::Slice(slice) => {
                for bound in [&slice.start, &slice.stop, &slice.step].into_iter().flatten() {
                    self.expr(bound)?;
                }
                let whole = self.expr(&slice.expr)?;
                self.walk(whole)?;
                self.made(whole)
            }
            Expr::UnaryOp(unary) => self.expr(&unary.expr).map(|_| Shape::NUMBER),
            Expr::BinOp(binary) => self.binary(binary),
            Expr::Compare(compare) => self.compare(compare),
            Expr::IfExpr(choice) => {
                self.expr(&choice.test_expr)?;
                let shape = self.expr(&choice.true_expr)?;
                match &choice.false_expr {
                    Some(other) => Ok(shape.or(self.expr(other)?)),
                    None => Ok(shape),
                }
            }
            Expr::Filter(filter) => self.filter(filter),
            Expr::Test(test) => self.test(test),
            Expr::GetAttr(attr) => match &attr.expr {
                Expr::Var(var) if var.id == "loop" && self.depth > 0 => {
                    LOOP_NUMBERS.contains(&attr.name).then_some(Shape::NUMBER).ok_or(Heavy)
                }
                whole => Ok(self.expr(whole)?.part()),
            },
            Expr::GetItem(item) => {
                let whole = self.expr(&item.expr)?;
                let place = self.expr(&item.subscript_expr)?;
                // A character of a text is counted to; a field of an object is looked up.
                if place.kind != Kind::Text {
                    self.walk(whole)?;
                }
                Ok(whole.part())
            }
            Expr::Call(call) => range(call),
            Expr::List(list) => self.all(&list.items),
            Expr::Tuple(tuple) => self.all(&tuple.items),
            Expr::Map(map) => self.all(map.keys.iter().chain(&map.values)),
        }
    }

    fn named(&self, name: &str) -> Result<Shape, Heavy> {
        match self.blocks.iter().rev().find_map(|block| block.get(name)) {
            Some(shape) => Ok(*shape),
            None if name == "loop" && self.depth > 0 => Err(Heavy),
            None => Ok(Shape { kind: Kind::Other, size: 1, home: 0 }),
        }
    }

    /// What holds all of these.
    fn all<'t>(&mut self, trees: impl IntoIterator<Item = &'t Expr<'a>>) -> Result<Shape, Heavy>
    where
        'a: 't,
    {
        let mut whole = Shape { kind: Kind::Other, size: 0, home: self.depth };
        for tree in trees {
            whole = whole.and(self.expr(tree)?);
        }
        self.made(whole.part())
    }

    fn binary(&mut self, binary: &BinOp<'a>) -> Result<Shape, Heavy> {
        let left = self.expr(&binary.left)?;
        let right = self.expr(&binary.right)?;
        match binary.op {
            BinOpKind::Eq | BinOpKind::Ne | BinOpKind::Lt | BinOpKind::Lte | BinOpKind::Gt | BinOpKind::Gte => {
                self.walk_either(left, right)?;
                Ok(Shape::NUMBER)
            }
            BinOpKind::In => {
                self.walk(right)?;
                Ok(Shape::NUMBER)
            }
            BinOpKind::ScAnd | BinOpKind::ScOr => Ok(left.or(right)),
            BinOpKind::Add if left.kind == Kind::Number && right.kind == Kind::Number => Ok(Shape::NUMBER),
            BinOpKind::Add => {
                self.walk(left)?;
                self.walk(right)?;
                self.made(left.and(right))
            }
            BinOpKind::Sub | BinOpKind::Div | BinOpKind::FloorDiv | BinOpKind::Rem => Ok(Shape::NUMBER),
            BinOpKind::Mul | BinOpKind::Pow => {
                self.must_be_number(&binary.left, left)?;
                self.must_be_number(&binary.right, right)?;
                Ok(Shape::NUMBER)
            }
            BinOpKind::Concat => {
                self.walk(left)?;
                self.walk(right)?;
                self.made(left.written().and(right.written()))
            }
        }
    }

    /// What is multiplied must be a number: a text or a list would be repeated.
    fn must_be_number(&mut self, tree: &Expr<'a>, shape: Shape) -> Result<(), Heavy> {
        if shape.kind == Kind::Number {
            return Ok(());
        }
        let path = path(tree).ok_or(Heavy)?;
        let Some(Key::Name(root)) = path.first() else { return Err(Heavy) };
        if self.blocks.iter().any(|block| block.contains_key(root.as_str())) {
            return Err(Heavy);
        }
        self.bounds.numbers.push(path);
        Ok(())
    }

    fn compare(&mut self, compare: &Compare<'a>) -> Result<Shape, Heavy> {
        let mut left = self.expr(&compare.expr)?;
        for op in &compare.ops {
            let right = self.expr(&op.expr)?;
            match op.op {
                CompareOpKind::In | CompareOpKind::NotIn => self.walk(right)?,
                CompareOpKind::Eq
                | CompareOpKind::Ne
                | CompareOpKind::Lt
                | CompareOpKind::Lte
                | CompareOpKind::Gt
                | CompareOpKind::Gte => self.walk_either(left, right)?,
            }
            left = right;
        }
        Ok(Shape::NUMBER)
    }

    /// Counts a walk over a value.
    pub(super) fn walk(&mut self, shape: Shape) -> Result<(), Heavy> {
        self.walk_times(shape, 1)
    }

    /// Counts some walks over a value.
    pub(super) fn walk_times(&mut self, shape: Shape, times: u32) -> Result<(), Heavy> {
        let work = shape.size.saturating_mul(times);
        match self.depth.saturating_sub(shape.home) {
            _ if work == 0 => {}
            0 => self.bounds.work = self.bounds.work.saturating_add(work),
            1 => self.bounds.squares = self.bounds.squares.saturating_add(work),
            _ => return Err(Heavy),
        }
        Ok(())
    }

    /// Counts a walk over two values at once, which ends where the shorter one does.
    pub(super) fn walk_either(&mut self, left: Shape, right: Shape) -> Result<(), Heavy> {
        if left.kind == Kind::Number || right.kind == Kind::Number {
            return Ok(());
        }
        self.walk(if left.home >= right.home { left } else { right })
    }

    /// Counts a value that is made.
    pub(super) fn made(&mut self, shape: Shape) -> Result<Shape, Heavy> {
        if shape.size > GROWTH_MAX {
            return Err(Heavy);
        }
        self.bounds.size = self.bounds.size.saturating_add(shape.size);
        Ok(shape)
    }
}

/// A literal is a part of the text, which is read as the state is. A short one counts for nothing, however often it is used.
fn literal_shape(literal: &Const, depth: usize) -> Shape {
    match literal.value.as_str() {
        Some(text) if text.len() <= LITERAL_BYTES => Shape { kind: Kind::Text, size: 1, home: depth },
        Some(_) => Shape { kind: Kind::Text, size: 1, home: 0 },
        None => match literal.value.kind() {
            ValueKind::Bool | ValueKind::Number | ValueKind::None => Shape::NUMBER,
            _ => Shape { kind: Kind::Other, size: 1, home: 0 },
        },
    }
}

/// The text of a literal.
pub(super) fn literal<'t>(tree: &'t Expr<'_>) -> Option<&'t str> {
    match tree {
        Expr::Const(literal) => literal.value.as_str(),
        _ => None,
    }
}

/// Whether a tree is a literal that counts for nothing.
pub(super) fn is_short(tree: &Expr<'_>) -> bool {
    match tree {
        Expr::Const(literal) => literal.value.as_str().is_none_or(|text| text.len() <= LITERAL_BYTES),
        _ => false,
    }
}

/// A path into the state: names with dots, and places in brackets.
fn path(tree: &Expr<'_>) -> Option<Vec<Key>> {
    match tree {
        Expr::Var(var) => Some(vec![Key::Name(var.id.to_owned())]),
        Expr::GetAttr(attr) => {
            let mut whole = path(&attr.expr)?;
            whole.push(Key::Name(attr.name.to_owned()));
            Some(whole)
        }
        Expr::GetItem(item) => {
            let Expr::Const(key) = &item.subscript_expr else { return None };
            let mut whole = path(&item.expr)?;
            whole.push(match key.value.as_str() {
                Some(name) => Key::Name(name.to_owned()),
                None => Key::Place(key.value.as_usize()?),
            });
            Some(whole)
        }
        _ => None,
    }
}

/// A call of the function `range` with literals, if it makes few numbers. Nothing else is to be called.
fn range(call: &Call<'_>) -> Result<Shape, Heavy> {
    let CallType::Function("range") = call.identify_call() else { return Err(Heavy) };
    let number = |arg: &CallArg<'_>| match arg {
        CallArg::Pos(Expr::Const(literal)) => literal.value.as_usize().filter(|number| *number <= RANGE_MAX),
        CallArg::Pos(_) | CallArg::Kwarg(..) | CallArg::PosSplat(_) | CallArg::KwargSplat(_) => None,
    };
    if call.args.iter().all(|arg| number(arg).is_some()) {
        // As many numbers as there are bytes in the allowance, whatever the state is.
        Ok(Shape { kind: Kind::Other, size: RANGE_NUMBER_BYTES, home: 0 })
    } else {
        Err(Heavy)
    }
}
