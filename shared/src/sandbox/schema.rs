//! Checks a value by a JSON schema. Schemas can refer to themselves and double with each reference, so this runs in a process
//! of the sandbox alone.

use jsonschema::PatternOptions;
use serde_json::Value;

use super::request::Reply;

/// Mistakes that are told.
const MISTAKES_MAX: usize = 3;
/// Characters that are told of one mistake.
const SHOWN_CHARS: usize = 300;

pub(super) fn check(schema: &Value, value: Option<&Value>) -> Reply {
    // Patterns in linear time: a graph is not trusted that far.
    let options = jsonschema::options().with_pattern_options(PatternOptions::regex());
    let validator = match options.build(schema) {
        Ok(validator) => validator,
        Err(error) => return Reply::NoSchema(shorten(&error.to_string())),
    };
    let Some(value) = value else { return Reply::Mistakes(Vec::new()) };
    let told = validator.iter_errors(value).take(MISTAKES_MAX).map(|error| {
        let place = error.instance_path().to_string();
        let place = if place.is_empty() { "it".to_owned() } else { format!("`{place}`") };
        format!("{place}: {}", shorten(&error.to_string()))
    });
    Reply::Mistakes(told.collect())
}

fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN_CHARS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
