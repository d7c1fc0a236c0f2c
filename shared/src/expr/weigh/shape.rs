//! What is known of a value before it is there, and what an evaluation comes to.

use serde_json::Value;

use super::super::Scope;

/// The most that one value may grow, as a multiple of what is read.
pub(super) const GROWTH_MAX: u32 = 64;
/// Bytes of all values of a light evaluation together, as JSON.
const SIZE_MAX: u64 = 4 * 1024 * 1024;
/// Bytes that a light evaluation may walk over.
const WORK_MAX: u64 = 16 * 1024 * 1024;
/// Bytes that every evaluation may read beside the state: short literals, a short `range`.
const ALLOWANCE: usize = 1024;

/// What is not bounded by what it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heavy;

/// What is known of the kind of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A number, a boolean or nothing: it takes no room, and work on it none.
    Number,
    /// A text.
    Text,
    /// Anything.
    Other,
}

/// What is known of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) kind: Kind,
    /// Its bytes, as a multiple of what is read.
    pub(super) size: u32,
    /// How many loops deep it is a part of the whole. Work on it that deep comes to its size once, however often the loops
    /// go round; work on it one loop deeper comes to its size each time.
    pub(super) home: usize,
}

impl Shape {
    pub(super) const NUMBER: Self = Self { kind: Kind::Number, size: 0, home: usize::MAX };

    /// What may be one or the other.
    pub(super) fn or(self, other: Self) -> Self {
        let kind = if self.kind == other.kind { self.kind } else { Kind::Other };
        Self { kind, size: self.size.max(other.size), home: self.home.min(other.home) }
    }

    /// What holds both.
    pub(super) fn and(self, other: Self) -> Self {
        let kind = if self.kind == other.kind { self.kind } else { Kind::Other };
        Self { kind, size: self.size.saturating_add(other.size), home: self.home.min(other.home) }
    }

    /// A part of it, of any kind.
    pub(super) const fn part(self) -> Self {
        Self { kind: Kind::Other, ..self }
    }

    /// It as a text: what is none yet is written out, with quotes and escapes.
    pub(super) const fn written(self) -> Self {
        let size = match self.kind {
            Kind::Number => 1,
            Kind::Text => self.size,
            Kind::Other => self.size.saturating_mul(ESCAPED),
        };
        Self { kind: Kind::Text, size, home: self.home }
    }

    /// It, several times as large.
    pub(super) const fn times(self, times: u32) -> Self {
        Self { size: self.size.saturating_mul(times), ..self }
    }
}

/// The most bytes that one byte takes when it is escaped: `\u0001`, `&quot;`.
pub(super) const ESCAPED: u32 = 6;

/// A step of a path into the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Key {
    /// A name.
    Name(String),
    /// A place in a list.
    Place(usize),
}

/// What a light evaluation comes to, as multiples of the bytes that it reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Bounds {
    /// The bytes of all that is made on the way.
    pub(super) size: u32,
    /// The bytes that are walked over.
    pub(super) work: u32,
    /// The bytes that are walked over as often as there are bytes.
    pub(super) squares: u32,
    /// Paths that must lead to numbers: what is multiplied.
    pub(super) numbers: Vec<Vec<Key>>,
}

impl Bounds {
    /// Whether an evaluation of this text stays light on these values.
    pub(in super::super) fn hold(&self, scope: &Scope<'_>, text: &str, read: usize) -> bool {
        let read = u64::try_from(read.saturating_add(text.len()).saturating_add(ALLOWANCE)).unwrap_or(u64::MAX);
        let times = |factor: u32| read.saturating_mul(u64::from(factor));
        let size = times(self.size.saturating_add(1));
        let work = times(self.work.saturating_add(1)).saturating_add(times(self.squares).saturating_mul(read));
        size <= SIZE_MAX && work <= WORK_MAX && self.numbers.iter().all(|path| is_number(scope, path))
    }
}

/// Whether a path leads to a number, or to nothing that could be repeated.
fn is_number(scope: &Scope<'_>, path: &[Key]) -> bool {
    let Some((Key::Name(root), rest)) = path.split_first() else { return false };
    let mut value = scope.get(root);
    for key in rest {
        value = value.and_then(|value| match key {
            Key::Name(name) => value.get(name),
            Key::Place(place) => value.get(place),
        });
    }
    match value {
        None | Some(Value::Null | Value::Bool(_) | Value::Number(_)) => true,
        Some(Value::String(_) | Value::Array(_) | Value::Object(_)) => false,
    }
}
