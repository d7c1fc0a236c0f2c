//! The environments that expressions are compiled in: what they allow and what they bound.
//!
//! Filters whose output can grow without relation to their input are taken out (`format`, `indent`, `batch`, `slice`,
//! `pprint`) or bounded (`replace`), because fuel counts instructions and not bytes.

use std::sync::OnceLock;

use minijinja::{Environment, ErrorKind, UndefinedBehavior};

use crate::limits::OUTCOME_BYTES_MAX;

/// Bytes of one expression.
pub const EXPRESSION_BYTES_MAX: usize = 4 * 1024;
/// Bytes of one text template.
pub const TEMPLATE_BYTES_MAX: usize = 64 * 1024;
/// Instructions that one evaluation may take. A condition takes tens; a template that walks a list, a few per item.
pub const EXPRESSION_FUEL: u64 = 1_000_000;
/// Instructions that one light evaluation may take where it is asked for: some milliseconds. One that needs more is
/// evaluated as a heavy one.
pub(super) const LIGHT_FUEL: u64 = 50_000;
/// Bytes of what one evaluation may give: what a task may write.
pub const RESULT_BYTES_MAX: usize = OUTCOME_BYTES_MAX;

const UNBOUNDED_FILTERS: [&str; 5] = ["format", "indent", "batch", "slice", "pprint"];
const USELESS_GLOBALS: [&str; 3] = ["debug", "namespace", "dict"];

/// The functions that an expression may call.
pub(super) const FUNCTIONS: [&str; 1] = ["range"];

/// The environment of light evaluations, made once.
pub(super) fn light() -> &'static Environment<'static> {
    static ENVIRONMENT: OnceLock<Environment<'static>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| build(LIGHT_FUEL))
}

/// The environment of all others, made once.
pub(super) fn full() -> &'static Environment<'static> {
    static ENVIRONMENT: OnceLock<Environment<'static>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| build(EXPRESSION_FUEL))
}

fn build(fuel: u64) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(fuel));
    // Spans, so that an error can name the part that failed.
    environment.set_debug(true);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    for filter in UNBOUNDED_FILTERS {
        environment.remove_filter(filter);
    }
    for global in USELESS_GLOBALS {
        environment.remove_global(global);
    }
    environment.add_filter("replace", replace);
    environment
}

fn replace(value: &str, from: &str, to: &str) -> Result<String, minijinja::Error> {
    let count = value.matches(from).count();
    if value.len().saturating_add(count.saturating_mul(to.len())) > RESULT_BYTES_MAX {
        return Err(minijinja::Error::new(ErrorKind::InvalidOperation, "the replaced text is too large"));
    }
    Ok(value.replace(from, to))
}
