//! Schemas that answers are held to: that each keyword says what JSON Schema lets it say, at its own place in the file.

use serde_json::{Map, Value};

use crate::graph::finding::Findings;
use crate::graph::place::Place;

/// The types of JSON.
const TYPES: [&str; 7] = ["array", "boolean", "integer", "null", "number", "object", "string"];
/// Keywords whose value is a schema.
const ONE: [&str; 10] = [
    "additionalProperties",
    "contains",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];
/// Keywords whose value is a list of schemas.
const LIST: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
/// Keywords whose value is an object of schemas by name.
const NAMED: [&str; 5] = ["$defs", "definitions", "dependentSchemas", "patternProperties", "properties"];
/// Keywords whose value is a number.
const NUMBERS: [&str; 5] = ["exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum", "multipleOf"];
/// Keywords whose value is a count.
const COUNTS: [&str; 8] =
    ["maxContains", "maxItems", "maxLength", "maxProperties", "minContains", "minItems", "minLength", "minProperties"];
/// How deep schemas are looked into.
const DEPTH_MAX: usize = 64;

/// Notes what is wrong with a schema.
pub(super) fn check(schema: &Value, place: &Place, findings: &mut Findings) {
    Schemas { root: schema }.check(schema, place, DEPTH_MAX, findings);
}

struct Schemas<'a> {
    root: &'a Value,
}

impl Schemas<'_> {
    fn check(&self, schema: &Value, place: &Place, depth: usize, findings: &mut Findings) {
        let fields = match schema {
            Value::Object(fields) => fields,
            Value::Bool(_) => return,
            Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                findings.error(place, "a schema is an object, true or false");
                return;
            }
        };
        if depth == 0 {
            findings.error(place, format!("schemas are nested deeper than {DEPTH_MAX}"));
            return;
        }
        own(fields, place, findings);
        self.reference(fields, place, findings);
        for (keyword, value) in fields {
            let place = place.key(keyword);
            let is_list_of_items = keyword == "items" && value.is_array();
            if NAMED.contains(&keyword.as_str()) {
                let Value::Object(named) = value else {
                    findings.error(&place, format!("`{keyword}` is an object of schemas by name"));
                    continue;
                };
                for (name, schema) in named {
                    self.check(schema, &place.key(name), depth - 1, findings);
                }
            } else if LIST.contains(&keyword.as_str()) || is_list_of_items {
                let Value::Array(list) = value else {
                    findings.error(&place, format!("`{keyword}` is a list of schemas"));
                    continue;
                };
                for (index, schema) in list.iter().enumerate() {
                    self.check(schema, &place.index(index), depth - 1, findings);
                }
            } else if ONE.contains(&keyword.as_str()) {
                self.check(value, &place, depth - 1, findings);
            }
        }
    }

    /// A reference within the schema leads somewhere.
    fn reference(&self, fields: &Map<String, Value>, place: &Place, findings: &mut Findings) {
        let Some(reference) = fields.get("$ref") else { return };
        let place = place.key("$ref");
        let Value::String(text) = reference else {
            findings.error(&place, "`$ref` is a text, such as `#/$defs/name`");
            return;
        };
        let pointer = text.strip_prefix('#').filter(|pointer| pointer.is_empty() || pointer.starts_with('/'));
        if pointer.is_some_and(|pointer| self.root.pointer(pointer).is_none()) {
            findings.error(&place, format!("there is no `{text}` in the schema"));
        }
    }
}

/// The keywords that hold no schemas.
fn own(fields: &Map<String, Value>, place: &Place, findings: &mut Findings) {
    if let Some(kind) = fields.get("type") {
        types(kind, &place.key("type"), findings);
    }
    let is_texts = |value: &Value| value.as_array().is_some_and(|items| items.iter().all(Value::is_string));
    let is_count = |value: &Value| value.as_f64().is_some_and(|count| count >= 0.0 && count.fract() == 0.0);
    for (keyword, value) in fields {
        let wanted = match keyword.as_str() {
            "required" if !is_texts(value) => "a list of names",
            "enum" if !value.is_array() => "a list of values",
            "pattern" if !value.is_string() => "a text",
            number if NUMBERS.contains(&number) && !value.is_number() => "a number",
            count if COUNTS.contains(&count) && !is_count(value) => "a whole number that is not negative",
            _ => continue,
        };
        findings.error(&place.key(keyword), format!("`{keyword}` is {wanted}"));
    }
}

fn types(kind: &Value, place: &Place, findings: &mut Findings) {
    let mut one = |kind: &Value, place: &Place| match kind {
        Value::String(name) if TYPES.contains(&name.as_str()) => {}
        Value::String(name) => {
            findings.error(place, format!("there is no type `{name}` in JSON")).suggest(name, TYPES);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            findings.error(place, "a type is a text, or a list of texts");
        }
    };
    match kind {
        Value::Array(kinds) => kinds.iter().enumerate().for_each(|(index, kind)| one(kind, &place.index(index))),
        kind => one(kind, place),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(schema: &Value) -> Vec<String> {
        let mut findings = Findings::default();
        check(schema, &Place::root().key("schema"), &mut findings);
        findings.into_diagnostics().iter().map(|found| format!("{}: {}", found.path, found.message)).collect()
    }

    #[test]
    fn each_mistake_of_a_schema_is_told_at_its_place() {
        let schema = json!({
            "type": "objekt",
            "properties": {"a": {"type": ["string", 3]}, "b": {"items": {"type": "int"}}, "c": 7},
            "required": "a", "anyOf": {}, "minLength": -1, "maximum": "3", "enum": 1, "pattern": 2,
            "$defs": {"d": {"$ref": "#/$defs/e"}}, "allOf": [{"$ref": 1}],
        });
        let told = told(&schema).join("\n");
        for part in [
            "schema.type: there is no type `objekt`",
            "schema.properties.a.type[1]: a type is a text",
            "schema.properties.b.items.type: there is no type `int`",
            "schema.properties.c: a schema is an object",
            "schema.required: `required` is a list of names",
            "schema.anyOf: `anyOf` is a list of schemas",
            "schema.minLength: `minLength` is a whole number",
            "schema.maximum: `maximum` is a number",
            "schema.enum: `enum` is a list of values",
            "schema.pattern: `pattern` is a text",
            "d.$ref: there is no `#/$defs/e`",
            "schema.allOf[0].$ref: `$ref` is a text",
        ] {
            assert!(told.contains(part), "{part} is missing in:\n{told}");
        }
    }

    #[test]
    fn a_good_schema_is_left_alone() {
        let schema = json!({
            "type": ["object", "null"], "title": "A", "properties": {"type": {"enum": [1, "a"]}, "n": {"$ref": "#/$defs/n"}},
            "required": ["n"], "additionalProperties": false, "$defs": {"n": {"type": "number", "minimum": 0.5, "multipleOf": 2}},
            "items": [true, {}], "minItems": 2.0, "$ref": "#",
        });
        assert_eq!(told(&schema), Vec::<String>::new());
        let mut deep = json!({});
        for _ in 0..100 {
            deep = json!({"not": deep});
        }
        assert_eq!(told(&deep).len(), 1);
    }
}
