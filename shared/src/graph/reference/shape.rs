//! What a field can hold, as it is written: for people, and as a JSON Schema.

use std::time::Duration;

use serde_json::{Value, json};

use crate::duration::{self, DURATION_MAX};
use crate::limits::Limit;

/// A name, as a part of a pattern.
pub(super) const NAME: &str = "[A-Za-z0-9_][A-Za-z0-9_.-]*";
/// A duration: numbers with units, or a number of seconds.
const DURATION: &str = r"^\s*([0-9.]+\s*(d|h|m|s|ms)\s*)+$|^\s*[+-]?[0-9.]+([eE][+-]?[0-9]+)?\s*$";
/// What editors say of a name that is none, in place of the pattern.
pub(super) const NO_NAME: &str =
    "A name has 1 to 128 characters of A-Z a-z 0-9 _ . -, and starts with a letter, a digit or _.";
/// What they say of a duration that is none.
const NO_DURATION: &str = "Write 250ms, 10s, 2m, 1h30m or 1d, or a number of seconds.";
/// What a header's name is made of.
const HEADER: &str = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";

/// What a field can hold.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    /// A text; a number or a truth is taken as it is written.
    Text,
    /// A text with expressions and secrets in it.
    Template,
    /// An expression.
    Expression,
    /// The name of a channel, a node or a pool.
    Name,
    /// A length of time, from and to.
    Time(Duration, Duration),
    /// A whole number, from and to.
    Count(u64, Option<u64>),
    /// A number, from and to.
    Number(f64, f64),
    /// True or false.
    Truth,
    /// One of a few words.
    Word(Vec<&'static str>),
    /// One of a few words, in upper or lower case.
    AnyCase(Vec<&'static str>),
    /// A status of HTTP.
    Status,
    /// A list, or one item alone.
    OneOrMany(Box<Shape>),
    /// A list of at least one item.
    List(Box<Shape>),
    /// A mapping from names of channels.
    Channels(Box<Shape>),
    /// A mapping from names of variables to texts.
    Variables,
    /// A mapping from names of headers to templates.
    Headers,
    /// A mapping from any names to any values.
    Object,
    /// A list of anything.
    Items,
    /// A list of anything, or an expression in braces that gives one.
    ItemsOrTemplate,
    /// Any value.
    Json,
    /// What has a definition of its own: its name, and what people are told that it is.
    Own(&'static str, &'static str),
}

impl Shape {
    /// A limit's time.
    pub(super) const fn limit(limit: Limit) -> Self {
        Self::Time(limit.floor(), limit.ceiling())
    }

    /// What it is, for people.
    pub(super) fn show(&self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Template => "template".to_owned(),
            Self::Expression => "expression".to_owned(),
            Self::Name => "name".to_owned(),
            Self::Time(from, to) => match (from.is_zero(), *to == DURATION_MAX) {
                (true, true) => "duration".to_owned(),
                (true, false) => format!("duration, at most {}", duration::show(*to)),
                (false, _) => format!("duration, {} to {}", duration::show(*from), duration::show(*to)),
            },
            Self::Count(from, None) => format!("whole number, at least {from}"),
            Self::Count(from, Some(to)) => format!("whole number, {from} to {}", grouped(*to)),
            Self::Number(from, to) => format!("number, {from} to {to}"),
            Self::Truth => "`true` or `false`".to_owned(),
            Self::Word(words) | Self::AnyCase(words) => {
                words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
            }
            Self::Status => "status, 100 to 599".to_owned(),
            Self::OneOrMany(item) => format!("{}; one or a list", item.show()),
            Self::List(item) => format!("list of {}s", item.show()),
            Self::Channels(value) => match &**value {
                Self::Json => "mapping of values by channel".to_owned(),
                value => format!("mapping of {}s by channel", value.show()),
            },
            Self::Variables => "mapping of texts by name".to_owned(),
            Self::Headers => "mapping of templates by name".to_owned(),
            Self::Object => "mapping".to_owned(),
            Self::Items => "list".to_owned(),
            Self::ItemsOrTemplate => "list, or `\"{{ expression }}\"`".to_owned(),
            Self::Json => "any value".to_owned(),
            Self::Own(_, shown) => (*shown).to_owned(),
        }
    }

    /// What it is, as a JSON Schema.
    pub(super) fn schema(&self) -> Value {
        match self {
            Self::Text | Self::Template | Self::Expression => json!({"type": ["string", "number", "boolean"]}),
            Self::Name => json!({
                "type": ["string", "number", "boolean"],
                "pattern": format!("^{NAME}$"),
                "patternErrorMessage": NO_NAME,
                "maxLength": 128,
            }),
            Self::Time(from, to) => time(*from, *to),
            Self::Count(from, None) => json!({"type": "integer", "minimum": from}),
            Self::Count(from, Some(to)) => json!({"type": "integer", "minimum": from, "maximum": to}),
            Self::Number(from, to) => json!({"type": "number", "minimum": from, "maximum": to}),
            Self::Truth => json!({"type": "boolean"}),
            Self::Word(words) => json!({"enum": words}),
            Self::AnyCase(words) => {
                let pattern: Vec<_> = words.iter().map(|word| any_case(word)).collect();
                let pattern = format!("^({})$", pattern.join("|"));
                json!({"anyOf": [{"enum": words}, {"type": "string", "pattern": pattern}]})
            }
            Self::Status => {
                json!({"type": ["integer", "string"], "minimum": 100, "maximum": 599, "pattern": r"^\+?[0-9]+$"})
            }
            Self::OneOrMany(item) => one_or_many(item.schema()),
            Self::List(item) => json!({"type": "array", "items": item.schema(), "minItems": 1}),
            Self::Channels(value) => {
                let names = Self::Name.schema();
                json!({"type": "object", "propertyNames": names, "additionalProperties": value.schema()})
            }
            Self::Variables => {
                let names = json!({"pattern": "^[^=]+$", "not": {"pattern": "^COX_"}});
                json!({"type": "object", "propertyNames": names, "additionalProperties": Self::Text.schema()})
            }
            Self::Headers => {
                let names = json!({"pattern": HEADER});
                json!({"type": "object", "propertyNames": names, "additionalProperties": Self::Template.schema()})
            }
            Self::Object => json!({"type": "object"}),
            Self::Items => json!({"type": "array"}),
            Self::ItemsOrTemplate => {
                json!({"anyOf": [{"type": "array", "minItems": 1}, {"type": "string", "pattern": r"^\s*\{\{[\s\S]*\}\}\s*$"}]})
            }
            Self::Json => json!({}),
            Self::Own(name, _) => json!({"$ref": format!("#/$defs/{name}")}),
        }
    }

    /// The same, or nothing: a field that is there but empty counts as absent.
    pub(super) fn schema_or_nothing(&self) -> Value {
        match self {
            // Its definition says so itself.
            Self::Own(..) => self.schema(),
            _ => or_nothing(self.schema()),
        }
    }
}

/// What a schema allows, or nothing.
pub(super) fn or_nothing(mut schema: Value) -> Value {
    let nothing = json!({"type": "null"});
    if let Some(kind) = schema.get_mut("type") {
        match kind {
            Value::Array(types) => types.push(json!("null")),
            kind => *kind = json!([kind.take(), "null"]),
        }
    } else if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.push(nothing);
    } else if schema != json!({}) {
        schema = json!({"anyOf": [schema, nothing]});
    }
    schema
}

/// One item, or a list of them. Each word of a schema but `type` is about one type alone, so both fit in one.
fn one_or_many(item: Value) -> Value {
    let mut schema = item.clone();
    match schema.get_mut("type") {
        Some(Value::Array(types)) => {
            types.push(json!("array"));
            schema["items"] = item;
            schema
        }
        _ => json!({"anyOf": [item, {"type": "array", "items": item}]}),
    }
}

fn time(from: Duration, to: Duration) -> Value {
    let mut schema = json!({
        "type": ["string", "number"],
        "pattern": DURATION,
        "patternErrorMessage": NO_DURATION,
        "maximum": to.as_secs(),
    });
    // Whatever is more than nothing is at least a millisecond.
    let least = if from.is_zero() { "minimum" } else { "exclusiveMinimum" };
    schema[least] = json!(0);
    schema
}

fn any_case(word: &str) -> String {
    word.chars().flat_map(|c| ['[', c.to_ascii_uppercase(), c.to_ascii_lowercase(), ']']).collect()
}

/// A number with a comma between thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or_default()).collect();
    groups.join(",")
}
