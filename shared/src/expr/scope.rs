//! The names that an expression can use, and their values.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::evaluator::{Evaluation, Evaluator, Form};
use super::size;
use crate::checkpoint::Values;

/// The names that an expression can use: the channels of a state, and what stands beside them, such as `item`.
///
/// It borrows; only the values that an expression names are handed to the engine.
#[derive(Debug, Clone)]
pub struct Scope<'a> {
    evaluator: &'a dyn Evaluator,
    channels: Option<&'a Values>,
    extra: BTreeMap<&'a str, Cow<'a, Value>>,
}

impl<'a> Scope<'a> {
    /// The channels of a state. A channel that is not in it is declared, but has no value yet.
    /// `evaluator` evaluates what is heavy.
    pub const fn of(channels: &'a Values, evaluator: &'a dyn Evaluator) -> Self {
        Self { evaluator, channels: Some(channels), extra: BTreeMap::new() }
    }

    /// A scope without any names.
    pub const fn empty(evaluator: &'a dyn Evaluator) -> Self {
        Self { evaluator, channels: None, extra: BTreeMap::new() }
    }

    /// Adds the item of a fan-out and its place: `item` and `index`. They win over channels of these names.
    #[must_use]
    pub fn with_item(self, item: &'a Value, index: usize) -> Self {
        let mut scope = self.with("item", item);
        scope.extra.insert("index", Cow::Owned(Value::from(index)));
        scope
    }

    /// Adds a name. It wins over a channel of the same name.
    #[must_use]
    pub fn with(mut self, name: &'a str, value: &'a Value) -> Self {
        self.extra.insert(name, Cow::Borrowed(value));
        self
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let extra = self.extra.get(name).map(AsRef::as_ref);
        extra.or_else(|| self.channels.and_then(|channels| channels.get(name)))
    }

    /// Who evaluates what is heavy.
    pub(super) const fn evaluator(&self) -> &'a dyn Evaluator {
        self.evaluator
    }

    /// About how many bytes the values of a text with these words have as JSON.
    pub(super) fn measure(&self, words: &BTreeSet<String>) -> usize {
        words.iter().filter_map(|word| self.get(word)).map(size::of).fold(0, usize::saturating_add)
    }

    /// The evaluation of a text with these words, as data.
    pub(super) fn evaluation<'t>(&'t self, form: Form, text: &'t str, words: &'t BTreeSet<String>) -> Evaluation<'t> {
        let value = |word: &'t String| Some((Cow::Borrowed(word.as_str()), Cow::Borrowed(self.get(word)?)));
        Evaluation { form, text: Cow::Borrowed(text), values: words.iter().filter_map(value).collect() }
    }

    /// What the engine is handed for a text with these words.
    pub(super) fn engine_context(&self, words: &BTreeSet<String>) -> minijinja::Value {
        words
            .iter()
            .filter_map(|word| Some((word.clone(), minijinja::value::Serde(self.get(word)?).into())))
            .collect::<BTreeMap<String, minijinja::Value>>()
            .into()
    }

    /// Those of the names that have no value.
    pub(super) fn absent<'n>(&self, all: &'n BTreeSet<String>) -> Absent<'n> {
        Absent { all, names: all.iter().map(String::as_str).filter(|name| self.get(name).is_none()).collect() }
    }
}

/// The names of an expression that have no value in a scope.
pub(super) struct Absent<'n> {
    /// All of its names.
    pub(super) all: &'n BTreeSet<String>,
    /// Those without a value.
    pub(super) names: Vec<&'n str>,
}
