//! A field of a mapping, and a mapping of fields.

use serde_json::{Map, Value, json};

use super::shape::Shape;

/// A field.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) meaning: String,
    pub(super) is_required: bool,
    /// What holds where it is absent, if that is worth a word.
    pub(super) default: Option<String>,
}

/// A field that may be absent. The meaning is Markdown.
pub(super) fn field(name: &'static str, shape: Shape, meaning: impl Into<String>) -> Field {
    Field { name, shape, meaning: meaning.into(), is_required: false, default: None }
}

impl Field {
    /// The same, as one that must be there.
    pub(super) fn required(self) -> Self {
        Self { is_required: true, ..self }
    }

    /// The same, with what holds where it is absent, as Markdown.
    pub(super) fn default(self, default: impl Into<String>) -> Self {
        Self { default: Some(default.into()), ..self }
    }

    /// What the field can hold, with what it means.
    pub(super) fn schema(&self) -> Value {
        let mut schema = if self.is_required { self.shape.schema() } else { self.shape.schema_or_nothing() };
        let default = self.default.as_ref().map(|default| format!(" Default: {default}.")).unwrap_or_default();
        let bounds = match &self.shape {
            shape @ (Shape::Time(..) | Shape::Count(..) | Shape::Number(..)) => format!(" A {}.", shape.show()),
            _ => String::new(),
        };
        schema["description"] = json!(format!("{}.{bounds}{default}", self.meaning));
        schema
    }
}

/// What a mapping of just these fields can hold.
pub(super) fn mapping(meaning: &str, fields: &[Field]) -> Value {
    let properties: Map<_, _> = fields.iter().map(|field| (field.name.to_owned(), field.schema())).collect();
    let required: Vec<_> = fields.iter().filter(|field| field.is_required).map(|field| field.name).collect();
    let mut schema =
        json!({"type": "object", "description": meaning, "properties": properties, "additionalProperties": false});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}
