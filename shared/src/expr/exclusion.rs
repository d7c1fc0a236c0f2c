//! Whether two conditions can both be true, as far as their texts alone tell it.

use minijinja::machinery::ast::{BinOpKind, Expr, UnaryOpKind};
use minijinja::machinery::tokenize;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;

use super::syntax;

/// Whether these conditions are never true together: one is the other's negation, or they compare the same with constants
/// that exclude each other. Of conditions that are joined by `and`, one pair is enough. False where the texts do not tell it.
pub fn exclude_each_other(one: &str, other: &str) -> bool {
    let (Ok(one_tree), Ok(other_tree)) = (syntax::expression(one), syntax::expression(other)) else { return false };
    let (mut ones, mut others) = (Vec::new(), Vec::new());
    conjuncts(&one_tree, one, false, &mut ones);
    conjuncts(&other_tree, other, false, &mut others);
    ones.iter().any(|one| others.iter().any(|other| one.excludes(other)))
}

/// A part of a condition that must be true for the whole to be.
struct Claim<'a> {
    /// The tokens of what must be true, or of what must be false.
    tokens: Vec<String>,
    is_negated: bool,
    comparison: Option<Comparison<'a>>,
}

/// A comparison of something with a constant.
struct Comparison<'a> {
    tokens: Vec<String>,
    op: Op,
    constant: &'a Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Eq,
    Ne,
    Lt,
    Lte,
    Gt,
    Gte,
}

impl Op {
    const fn of(kind: BinOpKind) -> Option<Self> {
        Some(match kind {
            BinOpKind::Eq => Self::Eq,
            BinOpKind::Ne => Self::Ne,
            BinOpKind::Lt => Self::Lt,
            BinOpKind::Lte => Self::Lte,
            BinOpKind::Gt => Self::Gt,
            BinOpKind::Gte => Self::Gte,
            BinOpKind::ScAnd
            | BinOpKind::ScOr
            | BinOpKind::Add
            | BinOpKind::Sub
            | BinOpKind::Mul
            | BinOpKind::Div
            | BinOpKind::FloorDiv
            | BinOpKind::Rem
            | BinOpKind::Pow
            | BinOpKind::Concat
            | BinOpKind::In => return None,
        })
    }

    /// With its sides exchanged.
    const fn turned(self) -> Self {
        match self {
            Self::Eq | Self::Ne => self,
            Self::Lt => Self::Gt,
            Self::Lte => Self::Gte,
            Self::Gt => Self::Lt,
            Self::Gte => Self::Lte,
        }
    }

    /// True where this is false, and the other way round.
    const fn negated(self) -> Self {
        match self {
            Self::Eq => Self::Ne,
            Self::Ne => Self::Eq,
            Self::Lt => Self::Gte,
            Self::Lte => Self::Gt,
            Self::Gt => Self::Lte,
            Self::Gte => Self::Lt,
        }
    }

    const fn is_lower_bound(self) -> bool {
        matches!(self, Self::Eq | Self::Gt | Self::Gte)
    }

    const fn is_upper_bound(self) -> bool {
        matches!(self, Self::Eq | Self::Lt | Self::Lte)
    }

    const fn admits_its_bound(self) -> bool {
        matches!(self, Self::Eq | Self::Lte | Self::Gte)
    }
}

impl Claim<'_> {
    fn excludes(&self, other: &Self) -> bool {
        let is_negation = self.tokens == other.tokens && self.is_negated != other.is_negated;
        let compared = self.comparison.as_ref().zip(other.comparison.as_ref());
        is_negation || compared.is_some_and(|(one, other)| one.tokens == other.tokens && one.excludes(other))
    }
}

impl Comparison<'_> {
    fn excludes(&self, other: &Self) -> bool {
        match (self.op, other.op) {
            (Op::Eq, Op::Eq) => self.constant != other.constant,
            (Op::Eq, Op::Ne) | (Op::Ne, Op::Eq) => self.constant == other.constant,
            (Op::Ne, _) | (_, Op::Ne) => false,
            _ => self.lies_above(other) || other.lies_above(self),
        }
    }

    /// Whether all that this admits is above all that the other admits.
    fn lies_above(&self, other: &Self) -> bool {
        let (Some(low), Some(high)) = (number(self.constant), number(other.constant)) else { return false };
        let touch = self.op.admits_its_bound() && other.op.admits_its_bound();
        self.op.is_lower_bound() && other.op.is_upper_bound() && (low > high || (low >= high && !touch))
    }
}

fn number(value: &Value) -> Option<f64> {
    value.is_number().then(|| f64::try_from(value.clone()).ok()).flatten()
}

/// Takes a condition apart at its `and`s; where it is negated, at its `or`s.
fn conjuncts<'a>(tree: &'a Expr<'_>, text: &str, is_negated: bool, claims: &mut Vec<Claim<'a>>) {
    match tree {
        Expr::UnaryOp(not) if matches!(not.op, UnaryOpKind::Not) => conjuncts(&not.expr, text, !is_negated, claims),
        Expr::BinOp(both) if matches!((both.op, is_negated), (BinOpKind::ScAnd, false) | (BinOpKind::ScOr, true)) => {
            conjuncts(&both.left, text, is_negated, claims);
            conjuncts(&both.right, text, is_negated, claims);
        }
        _ => claims.push(Claim {
            tokens: tokens(tree, text),
            is_negated,
            comparison: comparison(tree, text, is_negated),
        }),
    }
}

fn comparison<'a>(tree: &'a Expr<'_>, text: &str, is_negated: bool) -> Option<Comparison<'a>> {
    let Expr::BinOp(compared) = tree else { return None };
    let op = Op::of(compared.op)?;
    let (compared, op, constant) = match (&compared.left, &compared.right) {
        (left, Expr::Const(constant)) => (left, op, constant),
        (Expr::Const(constant), right) => (right, op.turned(), constant),
        _ => return None,
    };
    let op = if is_negated { op.negated() } else { op };
    Some(Comparison { tokens: tokens(compared, text), op, constant: &constant.value })
}

/// What the source of a part says, whatever its blanks and outer brackets.
fn tokens(tree: &Expr<'_>, text: &str) -> Vec<String> {
    let span = tree.span();
    let offset = |offset: u32| usize::try_from(offset).unwrap_or(usize::MAX);
    let source = text.get(offset(span.start_offset)..offset(span.end_offset)).unwrap_or(text);
    let tokens = tokenize(source, true, SyntaxConfig::default());
    tokens.filter_map(|token| Some(format!("{:?}", token.ok()?.0))).collect()
}

#[cfg(test)]
mod tests {
    use super::exclude_each_other;

    #[test]
    fn conditions_exclude_each_other_where_their_texts_tell_it() {
        for (one, other) in [
            ("ok", "not ok"),
            ("not (a.b  == 1)", "a.b == 1"),
            ("route == 'x'", "route == 'y'"),
            ("'x' == route", "route=='y'"),
            ("n > 3", "n <= 3"),
            ("n > 3", "3 >= n"),
            ("n < 1", "n == 2.5"),
            ("a and n < 1", "n >= 1 and b"),
            ("not (a or b)", "a"),
            ("kind != 'x'", "kind == 'x'"),
            ("found | length > 0", "found | length == 0"),
            ("x is defined", "not x is defined"),
        ] {
            assert!(exclude_each_other(one, other) && exclude_each_other(other, one), "{one} / {other}");
        }
        for (one, other) in [
            ("ok", "ok"),
            ("ok", "not good"),
            ("a or b", "not a"),
            ("not (a and b)", "a"),
            ("n >= 3", "n <= 3"),
            ("n > 3", "n > 5"),
            ("route == 'x'", "route == 'x'"),
            ("route == 'x'", "other == 'y'"),
            ("n != 1", "n != 2"),
            ("a ==", "b"),
        ] {
            assert!(!exclude_each_other(one, other) && !exclude_each_other(other, one), "{one} / {other}");
        }
    }
}
