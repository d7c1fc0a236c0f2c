//! About how many bytes a value has as JSON. Escapes are not counted.

use serde_json::Value;

/// Bytes of a number, `true`, `false` or `null`, and what stands around a value.
const PLAIN: usize = 8;
const AROUND: usize = 2;

/// About the bytes of a value as JSON: escapes are not counted.
pub fn of(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => PLAIN,
        Value::String(text) => text.len().saturating_add(AROUND),
        Value::Array(list) => list.iter().map(of).fold(AROUND, usize::saturating_add),
        Value::Object(map) => {
            let entry = |(name, value): (&String, &Value)| name.len().saturating_add(AROUND).saturating_add(of(value));
            map.iter().map(entry).fold(AROUND, usize::saturating_add)
        }
    }
}
