//! A compiled text template: text with `{{ expression }}` in it.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::Arc;

use minijinja::{Environment, ErrorKind};
use serde_json::Value;

use super::engine::{self, RESULT_BYTES_MAX, TEMPLATE_BYTES_MAX};
use super::evaluator::{self, Form, Light};
use super::weigh::{self, Weight};
use super::{Error, Scope, known, names, syntax};

const NAME: &str = "template";

/// A compiled text template. Cloning it is cheap, and it can be shared between threads.
#[derive(Clone)]
pub struct Template(Arc<Compiled>);

struct Compiled {
    text: String,
    words: BTreeSet<String>,
    names: BTreeSet<String>,
    light: Option<Light<Environment<'static>>>,
}

impl Template {
    /// Compiles a template.
    pub fn compile(text: impl Into<String>) -> Result<Self, Error> {
        let text = text.into();
        if text.len() > TEMPLATE_BYTES_MAX {
            let shown = text.chars().take(200).collect();
            return Err(Error::TooLong { text: shown, bytes: text.len(), max: TEMPLATE_BYTES_MAX });
        }
        let tree = syntax::template(&text)?;
        let uses = names::of_template(&tree);
        known::check(&text, &uses)?;
        let names = uses.names();
        let weight = weigh::template(&tree);
        drop(tree);
        let light = match weight {
            Weight::Light(bounds) => Some(Light { bounds, compiled: holding(&text, engine::light())? }),
            Weight::Heavy => None,
        };
        let words = names::words(&text).into_iter().map(ToOwned::to_owned).collect();
        Ok(Self(Arc::new(Compiled { text, words, names, light })))
    }

    /// The template as it was written.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The names it reads, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.names.iter().map(String::as_str)
    }

    /// Gives the text with its expressions filled in. What is light is filled in here, everything else by the scope's
    /// evaluator.
    pub fn render(&self, scope: &Scope<'_>) -> Result<String, Error> {
        let Compiled { text, words, light, .. } = &*self.0;
        let here = |compiled: &Environment<'static>| self.fill(compiled, scope).map(Value::String);
        match evaluator::evaluate(Form::Template, text, words, light.as_ref(), scope, here)? {
            Value::String(filled) => Ok(filled),
            other => Err(Error::WrongType { text: text.clone(), wanted: "a text".into(), found: other.to_string() }),
        }
    }

    /// Gives the text with its expressions filled in, whatever that takes.
    pub(super) fn render_fully(&self, scope: &Scope<'_>) -> Result<String, Error> {
        self.fill(&holding(&self.0.text, engine::full())?, scope)
    }

    fn fill(&self, environment: &Environment<'static>, scope: &Scope<'_>) -> Result<String, Error> {
        let text = &self.0.text;
        let template = environment.get_template(NAME).map_err(|error| Error::syntax(text, &error))?;
        let context = scope.engine_context(&self.0.words);
        let mut output = Bounded { bytes: Vec::new(), overflowed: false };
        match template.render_captured_to(context, &mut output) {
            Ok(_) => Ok(String::from_utf8_lossy(&output.bytes).into_owned()),
            Err(error) if output.overflowed && error.kind() == ErrorKind::WriteFailure => {
                Err(Error::TooLarge { text: text.clone() })
            }
            Err(error) => Err(Error::runtime(text, &scope.absent(&self.0.names), &error)),
        }
    }

    /// Whether it is bounded by what it reads.
    #[cfg(test)]
    pub(super) fn is_light(&self) -> bool {
        self.0.light.is_some()
    }
}

/// An environment that holds a template.
fn holding(text: &str, environment: &Environment<'static>) -> Result<Environment<'static>, Error> {
    let mut environment = environment.clone();
    environment.add_template_owned(NAME, text.to_owned()).map_err(|error| Error::syntax(text, &error))?;
    Ok(environment)
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Template").field(&self.0.text).finish()
    }
}

/// A writer that refuses more than a result may have.
struct Bounded {
    bytes: Vec<u8>,
    overflowed: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > RESULT_BYTES_MAX {
            self.overflowed = true;
            return Err(io::Error::other("too large"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
