//! Who evaluates what is heavy. The core only names what is to be evaluated; a program hands in who does it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::weigh::Bounds;
use super::{Error, Program, Scope, Template};

/// Evaluates what is heavy, and says whether what is light may be evaluated now.
pub trait Evaluator: fmt::Debug + Send + Sync {
    /// Evaluates what is not bounded by what it reads.
    fn heavy(&self, evaluation: &Evaluation<'_>) -> Result<Value, Error>;

    /// Whether a light expression or template of this text, which reads so many bytes, may be evaluated by the caller
    /// itself now. An error where the time of the whole is up.
    fn light(&self, text: &str, bytes: usize) -> Result<(), Error>;
}

/// An evaluation as data: it can be sent to another process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation<'a> {
    /// What the text is.
    pub form: Form,
    /// The expression or template.
    pub text: Cow<'a, str>,
    /// The values of the names in it, by name.
    pub values: BTreeMap<Cow<'a, str>, Cow<'a, Value>>,
}

/// What a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// An expression, which gives a value.
    Expression,
    /// A template, which gives a text.
    Template,
}

impl Evaluation<'_> {
    /// Evaluates it here, bounded by fuel and by the size of its result alone: neither by time nor by memory. The caller is
    /// a process that is made for it, or a test.
    pub fn run(&self) -> Result<Value, Error> {
        let values = self.values.iter().map(|(name, value)| (name.as_ref(), value.as_ref()));
        let scope = values.fold(Scope::empty(&Here), |scope, (name, value)| scope.with(name, value));
        match self.form {
            Form::Expression => Program::compile(self.text.as_ref())?.eval_fully(&scope),
            Form::Template => Template::compile(self.text.as_ref())?.render_fully(&scope).map(Value::String),
        }
    }
}

/// What is compiled of a light text, and its bounds. A heavy text is not compiled before it is evaluated, since that folds
/// its constants.
pub(super) struct Light<T> {
    pub(super) bounds: Bounds,
    pub(super) compiled: T,
}

/// Evaluates a text where it belongs: here if it is light on these values and stays so, else by the scope's evaluator.
pub(super) fn evaluate<T>(
    form: Form,
    text: &str,
    words: &BTreeSet<String>,
    light: Option<&Light<T>>,
    scope: &Scope<'_>,
    here: impl FnOnce(&T) -> Result<Value, Error>,
) -> Result<Value, Error> {
    if let Some(light) = light {
        let read = scope.measure(words);
        if light.bounds.hold(scope, text, read) {
            scope.evaluator().light(text, read)?;
            match here(&light.compiled) {
                Err(Error::OutOfFuel { .. }) => {}
                done => return done,
            }
        }
    }
    scope.evaluator().heavy(&scope.evaluation(form, text, words))
}

/// Evaluates everything in the caller's own thread: for tests, and for a process that is made for it.
#[derive(Debug, Clone, Copy)]
pub struct Here;

impl Evaluator for Here {
    fn heavy(&self, evaluation: &Evaluation<'_>) -> Result<Value, Error> {
        evaluation.run()
    }

    fn light(&self, _: &str, _: usize) -> Result<(), Error> {
        Ok(())
    }
}
