//! Why an expression or a template was refused, or failed.

use std::borrow::Cow;

use minijinja::ErrorKind;
use serde::{Deserialize, Serialize};

use super::scope::Absent;

/// Why an expression or a template was refused, or failed. Each names the text it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Error {
    /// It is longer than any expression needs to be.
    #[error("the expression `{}` has {bytes} bytes, more than {max}: compute it in a node", shorten(.text))]
    TooLong {
        /// The expression.
        text: String,
        /// Its length.
        bytes: usize,
        /// The most that is accepted.
        max: usize,
    },
    /// It has more operators than are safe to nest.
    #[error("`{}` has {operators} operators, more than {}: compute it in a node", shorten(.text), super::syntax::OPERATORS_MAX)]
    TooDeep {
        /// The expression.
        text: String,
        /// Its operators, brackets, dots and pipes.
        operators: usize,
    },
    /// It has more branches than are safe to nest.
    #[error("`{}` has {branches} `elif` branches, more than {}: decide in a node", shorten(.text), super::syntax::BRANCHES_MAX)]
    TooManyBranches {
        /// The template.
        text: String,
        /// Its branches.
        branches: usize,
    },
    /// It uses a filter or a test that there is not.
    #[error("`{}` uses the {what} `{name}`, which is unknown{}", shorten(.text), hint(.near.as_deref()))]
    Unknown {
        /// The expression.
        text: String,
        /// What is unknown: `filter` or `test`.
        what: Cow<'static, str>,
        /// Its name.
        name: String,
        /// The one that was probably meant.
        near: Option<String>,
    },
    /// It does not read as an expression.
    #[error("`{}` is not an expression: {message}{}", shorten(.text), at(*.column))]
    Syntax {
        /// The expression.
        text: String,
        /// What is wrong.
        message: String,
        /// Where, in characters from 1.
        column: Option<u32>,
    },
    /// It uses a name that has no value.
    #[error(
        "`{name}` has no value in `{}`: test it with `{name} is defined`, or give a value with `{name} | default(…)`",
        shorten(.text)
    )]
    Undefined {
        /// The expression.
        text: String,
        /// The name, or the part of the expression, that has no value.
        name: String,
    },
    /// It failed on the values it met.
    #[error("`{}` failed: {message}{}", shorten(.text), in_part(.part.as_deref(), .text))]
    Failed {
        /// The expression.
        text: String,
        /// What is wrong.
        message: String,
        /// The part that failed.
        part: Option<String>,
    },
    /// It took too many instructions.
    #[error("`{}` took more than {} instructions: compute it in a node", shorten(.text), super::EXPRESSION_FUEL)]
    OutOfFuel {
        /// The expression.
        text: String,
    },
    /// It gave a value of another type than its place needs.
    #[error("`{}` gave {found} where {wanted} is needed{}", shorten(.text), remedy(.wanted))]
    WrongType {
        /// The expression.
        text: String,
        /// What is needed: `true or false`, or `a list`.
        wanted: Cow<'static, str>,
        /// What it gave.
        found: String,
    },
    /// It gave what JSON cannot hold.
    #[error("`{}` gave {what}, which is not JSON", shorten(.text))]
    NotJson {
        /// The expression.
        text: String,
        /// What cannot be held.
        what: String,
    },
    /// It took more time or memory than any evaluation may.
    #[error("`{}` took {bound}: compute it in a node", shorten(.text))]
    Exceeded {
        /// The expression.
        text: String,
        /// What it took: `more than 256 MiB`.
        bound: String,
    },
    /// It could not be evaluated now, through no fault of its own.
    #[error("`{}` could not be evaluated now: {why}", shorten(.text))]
    Unavailable {
        /// The expression.
        text: String,
        /// What was in the way.
        why: String,
    },
    /// It gave more than fits.
    #[error("`{}` gave more than {} bytes", shorten(.text), super::RESULT_BYTES_MAX)]
    TooLarge {
        /// The expression.
        text: String,
    },
}

impl Error {
    /// Whether it says nothing about the expression: the same evaluation may succeed later.
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    pub(super) fn syntax(text: &str, error: &minijinja::Error) -> Self {
        let message = error.detail().map_or_else(|| error.kind().to_string(), ToOwned::to_owned);
        let column = error
            .range()
            .filter(|range| range.start <= text.len() && text.is_char_boundary(range.start))
            .and_then(|range| u32::try_from(text[..range.start].chars().count() + 1).ok());
        Self::Syntax { text: text.to_owned(), message, column }
    }

    pub(super) fn runtime(text: &str, absent: &Absent, error: &minijinja::Error) -> Self {
        let part = error.range().and_then(|range| text.get(range)).filter(|part| *part != text);
        match error.kind() {
            ErrorKind::OutOfFuel => Self::OutOfFuel { text: text.to_owned() },
            ErrorKind::UndefinedError => Self::undefined(text, absent, part),
            _ => {
                // Arithmetic on an undefined value is reported as a wrong operation; the cause is the missing name.
                let detail = error.detail().map_or_else(|| error.kind().to_string(), ToOwned::to_owned);
                if detail.contains("undefined") {
                    return Self::undefined(text, absent, part);
                }
                Self::Failed { text: text.to_owned(), message: detail, part: part.map(ToOwned::to_owned) }
            }
        }
    }

    /// Blames the name that is absent; where the failing part names only present ones, that part.
    pub(super) fn undefined(text: &str, absent: &Absent, part: Option<&str>) -> Self {
        let blamed_in =
            |within: &str| absent.names.iter().find(|name| super::names::occurs_unguarded(within, name)).copied();
        let part = part.filter(|part| absent.all.iter().any(|name| super::names::occurs(part, name)));
        let within = part.unwrap_or(text);
        let name = blamed_in(within).unwrap_or_else(|| within.trim()).to_owned();
        Self::Undefined { text: text.to_owned(), name }
    }
}

fn shorten(text: &str) -> String {
    const SHOWN: usize = 120;
    if text.chars().count() <= SHOWN { text.to_owned() } else { text.chars().take(SHOWN).chain(['…']).collect() }
}

fn hint(near: Option<&str>) -> String {
    near.map(|near| format!(": did you mean `{near}`?")).unwrap_or_default()
}

fn at(column: Option<u32>) -> String {
    column.map(|column| format!(" (at character {column})")).unwrap_or_default()
}

fn in_part(part: Option<&str>, text: &str) -> String {
    part.filter(|part| part.trim() != text.trim()).map(|part| format!(" (at `{}`)", shorten(part))).unwrap_or_default()
}

fn remedy(wanted: &str) -> &'static str {
    if wanted == super::program::TRUTH { ": compare it, as in `x > 0`, `x == 'yes'` or `x is defined`" } else { "" }
}
