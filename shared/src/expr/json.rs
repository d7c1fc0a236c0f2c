//! From the engine's values back to JSON, exactly: nothing undefined, no number changed, nothing larger than allowed.
//!
//! The engine's own serialiser is not used, because it turns what is undefined, broken or infinite into `null`.

use minijinja::value::ValueKind;
use serde_json::{Map, Value};

use super::engine::RESULT_BYTES_MAX;

/// How deep a value may nest: what JSON readers accept.
const DEPTH_MAX: usize = 100;

/// Why a value is not JSON.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It, or something in it, has no value. The path leads to it.
    Undefined(String),
    /// It is, or holds, something JSON has no form for.
    Unfit(String),
    /// It is too large.
    TooLarge,
}

/// Turns a value of the engine into JSON.
pub(super) fn from_engine(value: &minijinja::Value) -> Result<Value, Refusal> {
    Converter { left: RESULT_BYTES_MAX }.convert(value, 0)
}

struct Converter {
    left: usize,
}

impl Converter {
    fn spend(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.left = self.left.checked_sub(bytes).ok_or(Refusal::TooLarge)?;
        Ok(())
    }

    fn convert(&mut self, value: &minijinja::Value, depth: usize) -> Result<Value, Refusal> {
        if depth > DEPTH_MAX {
            return Err(Refusal::Unfit(format!("a value nested deeper than {DEPTH_MAX}")));
        }
        self.spend(2)?;
        match value.kind() {
            ValueKind::Undefined => Err(Refusal::Undefined(String::new())),
            ValueKind::None => Ok(Value::Null),
            ValueKind::Bool => Ok(Value::Bool(value.is_true())),
            ValueKind::Number => number(value),
            ValueKind::String => {
                let text = value.as_str().unwrap_or_default();
                self.spend(text.len())?;
                Ok(Value::from(text))
            }
            ValueKind::Seq | ValueKind::Iterable => self.list(value, depth),
            ValueKind::Map => self.object(value, depth),
            ValueKind::Invalid => Err(Refusal::Unfit("a broken value".to_owned())),
            kind => Err(Refusal::Unfit(kind.to_string())),
        }
    }

    fn list(&mut self, value: &minijinja::Value, depth: usize) -> Result<Value, Refusal> {
        let items = value.try_iter().map_err(|error| Refusal::Unfit(error.to_string()))?;
        let mut list = Vec::new();
        for (index, item) in items.enumerate() {
            list.push(self.convert(&item, depth + 1).map_err(|refusal| refusal.under(&format!("[{index}]")))?);
        }
        Ok(Value::Array(list))
    }

    fn object(&mut self, value: &minijinja::Value, depth: usize) -> Result<Value, Refusal> {
        let keys = value.try_iter().map_err(|error| Refusal::Unfit(error.to_string()))?;
        let mut map = Map::new();
        for key in keys {
            let Some(name) = key.as_str() else {
                return Err(Refusal::Unfit(format!("an object with the key {key}, which is no text")));
            };
            self.spend(name.len() + 3)?;
            let item = value.get_item(&key).map_err(|error| Refusal::Unfit(error.to_string()))?;
            let item = self.convert(&item, depth + 1).map_err(|refusal| refusal.under(&format!(".{name}")))?;
            map.insert(name.to_owned(), item);
        }
        Ok(Value::Object(map))
    }
}

impl Refusal {
    fn under(self, step: &str) -> Self {
        match self {
            Self::Undefined(path) => Self::Undefined(format!("{step}{path}")),
            other @ (Self::Unfit(_) | Self::TooLarge) => other,
        }
    }
}

fn number(value: &minijinja::Value) -> Result<Value, Refusal> {
    match serde_json::to_value(value) {
        Ok(Value::Number(number)) => Ok(Value::Number(number)),
        // A float that is infinite or no number comes as null, an integer beyond 64 bits as an error.
        Ok(_) | Err(_) => Err(Refusal::Unfit(format!("the number {value}"))),
    }
}
