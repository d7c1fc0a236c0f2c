//! A compiled expression.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use minijinja::Expression;
use serde_json::Value;

use super::engine::{self, EXPRESSION_BYTES_MAX};
use super::evaluator::{self, Form, Light};
use super::json::{Refusal, from_engine};
use super::weigh::{self, Weight};
use super::{Error, Scope, known, names, syntax};

/// What a condition needs.
pub(super) const TRUTH: &str = "true or false";

/// A compiled expression. Cloning it is cheap, and it can be shared between threads.
#[derive(Clone)]
pub struct Program(Arc<Compiled>);

struct Compiled {
    text: String,
    words: BTreeSet<String>,
    names: BTreeSet<String>,
    light: Option<Light<Expression<'static, 'static>>>,
}

impl Program {
    /// Compiles an expression.
    pub fn compile(text: impl Into<String>) -> Result<Self, Error> {
        let text = text.into();
        if text.len() > EXPRESSION_BYTES_MAX {
            let shown = text.chars().take(200).collect();
            return Err(Error::TooLong { text: shown, bytes: text.len(), max: EXPRESSION_BYTES_MAX });
        }
        let tree = syntax::expression(&text)?;
        let uses = names::of_expression(&tree);
        known::check(&text, &uses)?;
        let names = uses.names();
        let weight = weigh::expression(&tree);
        drop(tree);
        let light = match weight {
            Weight::Light(bounds) => {
                let compiled = engine::light().compile_expression_owned(text.clone());
                Some(Light { bounds, compiled: compiled.map_err(|error| Error::syntax(&text, &error))? })
            }
            Weight::Heavy => None,
        };
        let words = names::words(&text).into_iter().map(ToOwned::to_owned).collect();
        Ok(Self(Arc::new(Compiled { text, words, names, light })))
    }

    /// The expression as it was written.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The names it reads, sorted: channels, `item`, `index`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.names.iter().map(String::as_str)
    }

    /// Gives its value. What is light is evaluated here, everything else by the scope's evaluator.
    pub fn eval(&self, scope: &Scope<'_>) -> Result<Value, Error> {
        let Compiled { text, words, light, .. } = &*self.0;
        let here = |compiled: &Expression<'_, '_>| self.evaluate(compiled, scope);
        evaluator::evaluate(Form::Expression, text, words, light.as_ref(), scope, here)
    }

    /// Gives its value, whatever that takes.
    pub(super) fn eval_fully(&self, scope: &Scope<'_>) -> Result<Value, Error> {
        let text = &self.0.text;
        let expression = engine::full().compile_expression(text).map_err(|error| Error::syntax(text, &error))?;
        self.evaluate(&expression, scope)
    }

    fn evaluate(&self, expression: &Expression<'_, '_>, scope: &Scope<'_>) -> Result<Value, Error> {
        let text = &self.0.text;
        let absent = scope.absent(&self.0.names);
        let context = scope.engine_context(&self.0.words);
        let value = expression.eval(context).map_err(|error| Error::runtime(text, &absent, &error))?;
        from_engine(&value).map_err(|refusal| match refusal {
            Refusal::Undefined(path) if path.is_empty() => Error::undefined(text, &absent, None),
            Refusal::Undefined(path) => {
                let name = absent.names.first().map_or(path, |name| (*name).to_owned());
                Error::Undefined { text: text.clone(), name }
            }
            Refusal::Unfit(what) => Error::NotJson { text: text.clone(), what },
            Refusal::TooLarge => Error::TooLarge { text: text.clone() },
        })
    }

    /// Gives its truth. Anything but `true` and `false` is an error: a text such as `"no"` would count as true.
    pub fn eval_bool(&self, scope: &Scope<'_>) -> Result<bool, Error> {
        match self.eval(scope)? {
            Value::Bool(truth) => Ok(truth),
            other => Err(self.wrong_type(TRUTH, &other)),
        }
    }

    /// Gives its list. Anything but a list is an error.
    pub fn eval_list(&self, scope: &Scope<'_>) -> Result<Vec<Value>, Error> {
        match self.eval(scope)? {
            Value::Array(list) => Ok(list),
            other => Err(self.wrong_type("a list", &other)),
        }
    }

    /// Whether it is bounded by what it reads.
    #[cfg(test)]
    pub(super) fn is_light(&self) -> bool {
        self.0.light.is_some()
    }

    fn wrong_type(&self, wanted: &'static str, value: &Value) -> Error {
        Error::WrongType { text: self.0.text.clone(), wanted: wanted.into(), found: describe(value) }
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Program").field(&self.0.text).finish()
    }
}

impl PartialEq for Program {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => format!("`{truth}`"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text {:?}", text.chars().take(40).collect::<String>()),
        Value::Array(list) => format!("a list of {}", list.len()),
        Value::Object(_) => "an object".to_owned(),
    }
}
