//! Measures values as JSON without writing them anywhere.

use std::io;

use serde_json::Value;

/// How deep a channel's value may nest. Readers of JSON refuse 128 levels, and records wrap a value in a few more.
pub const DEPTH_MAX: usize = 100;

/// The bytes that a value takes as JSON.
pub(super) fn bytes(value: &Value) -> usize {
    let mut counter = Counter(0);
    serde_json::to_writer(&mut counter, value).expect("a value is always JSON, and counting never fails");
    counter.0
}

/// Whether a value nests deeper than [`DEPTH_MAX`]. It looks no deeper than that itself.
pub(super) fn is_too_deep(value: &Value) -> bool {
    is_deeper(value, DEPTH_MAX)
}

fn is_deeper(value: &Value, allowed: usize) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        Value::Array(_) | Value::Object(_) if allowed == 0 => true,
        Value::Array(list) => list.iter().any(|inner| is_deeper(inner, allowed - 1)),
        Value::Object(map) => map.values().any(|inner| is_deeper(inner, allowed - 1)),
    }
}

struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(buffer.len());
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn nested(depth: usize) -> Value {
        (0..depth).fold(json!(1), |inner, _| json!([inner]))
    }

    #[test]
    fn the_count_is_that_of_the_written_json() {
        let value = json!({"a": [1, 2.5, "ü\n"], "b": null});
        assert_eq!(bytes(&value), value.to_string().len());
    }

    #[test]
    fn depth_is_allowed_up_to_the_limit() {
        assert!(!is_too_deep(&nested(DEPTH_MAX)));
        assert!(is_too_deep(&nested(DEPTH_MAX + 1)));
        assert!(is_too_deep(&json!({"a": 1, "b": nested(DEPTH_MAX)})));
    }
}
