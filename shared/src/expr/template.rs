//! A compiled text template: text with `{{ expression }}` in it.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::Arc;

use minijinja::{Environment, ErrorKind};

use super::engine::{FUNCTIONS, RESULT_BYTES_MAX, TEMPLATE_BYTES_MAX, environment};
use super::{Error, Scope, names, nesting};

const NAME: &str = "template";

/// A compiled text template. Cloning it is cheap, and it can be shared between threads.
#[derive(Clone)]
pub struct Template(Arc<Compiled>);

struct Compiled {
    text: String,
    words: BTreeSet<String>,
    names: BTreeSet<String>,
    environment: Environment<'static>,
}

impl Template {
    /// Compiles a template.
    pub fn compile(text: impl Into<String>) -> Result<Self, Error> {
        let text = text.into();
        if text.len() > TEMPLATE_BYTES_MAX {
            let shown = text.chars().take(200).collect();
            return Err(Error::TooLong { text: shown, bytes: text.len(), max: TEMPLATE_BYTES_MAX });
        }
        let operators = nesting::in_template(&text);
        if operators > nesting::OPERATORS_MAX {
            return Err(Error::TooDeep { text, operators });
        }
        let mut environment = environment().clone();
        environment.add_template_owned(NAME, text.clone()).map_err(|error| Error::syntax(&text, &error))?;
        let names =
            environment.get_template(NAME).map_err(|error| Error::syntax(&text, &error))?.undeclared_variables(false);
        let names = names.into_iter().filter(|name| !FUNCTIONS.contains(&name.as_str())).collect();
        let words = names::words(&text).into_iter().map(ToOwned::to_owned).collect();
        Ok(Self(Arc::new(Compiled { text, words, names, environment })))
    }

    /// The template as it was written.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The names it reads, sorted. One that is only sliced (`x[1:2]`) may be missing.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.names.iter().map(String::as_str)
    }

    /// Gives the text with its expressions filled in.
    pub fn render(&self, scope: &Scope) -> Result<String, Error> {
        let text = &self.0.text;
        let template = self.0.environment.get_template(NAME).map_err(|error| Error::syntax(text, &error))?;
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
