//! The items of a `vector_upsert`: as a graph gives them, and with their vectors.

use std::collections::BTreeSet;

use coxswain_shared::limits::VECTOR_ITEMS_MAX;
use serde_json::{Map, Value};

use super::numbers::Vector;
use crate::handler::{NodeError, json_size};
use crate::outside::request;

/// Bytes that a number of a vector may take in a request.
const NUMBER_BYTES: usize = 14;

/// An item that is to be put into a collection.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) id: String,
    pub(super) text: Option<String>,
    /// Absent: to be made of the text.
    pub(super) vector: Option<Vector>,
    pub(super) metadata: Map<String, Value>,
}

/// An item with its vector.
#[derive(Debug)]
pub(super) struct Point {
    pub(super) id: String,
    pub(super) text: Option<String>,
    pub(super) vector: Vector,
    pub(super) metadata: Map<String, Value>,
}

impl Point {
    /// About how many bytes it takes in a request.
    pub(super) fn bytes(&self) -> usize {
        let text = self.text.as_ref().map_or(0, String::len);
        self.id.len() + text + self.vector.length() * NUMBER_BYTES + json_size(&Value::Object(self.metadata.clone()))
    }
}

/// Reads the items that a node's `items` give.
pub(super) fn read(items: Value, can_embed: bool) -> Result<Vec<Item>, NodeError> {
    let Value::Array(given) = items else { return Err(request::bad("`items` is no list")) };
    let mut items = Vec::new();
    for (index, item) in given.into_iter().enumerate() {
        match item {
            // An expression that gave several.
            Value::Array(several) => items.extend(several),
            item @ Value::Object(_) => items.push(item),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                return Err(request::bad(format!("`items[{index}]` is neither an item nor a list of items")));
            }
        }
    }
    if items.len() > VECTOR_ITEMS_MAX {
        let message = format!("there are {} items, more than the {VECTOR_ITEMS_MAX} that are allowed", items.len());
        return Err(request::bad(message));
    }
    let items = items.into_iter().enumerate().map(|(index, item)| self::item(item, can_embed, index + 1));
    let items = items.collect::<Result<Vec<_>, _>>()?;
    let mut ids = BTreeSet::new();
    match items.iter().find(|item| !ids.insert(&item.id)) {
        Some(item) => Err(request::bad(format!("two items have the id `{}`", item.id))),
        None => Ok(items),
    }
}

fn item(item: Value, can_embed: bool, number: usize) -> Result<Item, NodeError> {
    let bad = |what: String| request::bad(format!("the item number {number} {what}"));
    let Value::Object(mut fields) = item else { return Err(bad("is no object".to_owned())) };
    let id = match fields.remove("id") {
        Some(Value::String(id)) if !id.is_empty() => id,
        Some(Value::Number(id)) => id.to_string(),
        Some(_) => return Err(bad("has an `id` that is neither a text nor a number".to_owned())),
        None => return Err(bad("has no `id`".to_owned())),
    };
    let text = match fields.remove("text") {
        Some(Value::String(text)) => Some(text),
        Some(Value::Null) | None => None,
        Some(_) => return Err(bad(format!("(`{id}`) has a `text` that is none"))),
    };
    let vector = fields.remove("vector").filter(|vector| !vector.is_null()).map(Vector::read).transpose();
    let vector = vector.map_err(|error| bad(format!("(`{id}`) has a `vector` that {error}")))?;
    let metadata = match fields.remove("metadata") {
        Some(Value::Object(metadata)) => metadata,
        Some(Value::Null) | None => Map::new(),
        Some(_) => return Err(bad(format!("(`{id}`) has a `metadata` that is no object"))),
    };
    let is_blank = text.as_deref().is_none_or(|text| text.trim().is_empty());
    match (&vector, is_blank) {
        (None, true) => Err(bad(format!("(`{id}`) has neither a `vector` nor a `text` that one can be made of"))),
        (None, false) if !can_embed => {
            Err(bad(format!("(`{id}`) has no `vector`, and the node no `embed` that would make one of its text")))
        }
        (Some(_), _) | (None, false) => Ok(Item { id, text, vector, metadata }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(items: Value, can_embed: bool) -> String {
        read(items, can_embed).map(|items| items.len()).unwrap_err().to_string()
    }

    #[test]
    fn items_come_one_by_one_and_as_lists() {
        let items = json!([{"id": 7, "text": "a"}, [{"id": "b", "vector": [1, 2], "metadata": null}]]);
        let items = read(items, true).unwrap();
        assert_eq!(items.iter().map(|item| item.id.as_str()).collect::<Vec<_>>(), ["7", "b"]);
        assert!(read(json!([]), false).unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_with_an_item_names_it() {
        for (items, told) in [
            (json!("x"), "`items` is no list"),
            (json!([1]), "`items[0]` is neither an item nor a list"),
            (json!([{"text": "a"}]), "the item number 1 has no `id`"),
            (json!([{"id": ""}]), "neither a text nor a number"),
            (json!([{"id": "a", "text": " "}]), "the item number 1 (`a`) has neither a `vector` nor a `text`"),
            (json!([{"id": "a", "text": 1}]), "has a `text` that is none"),
            (json!([{"id": "a", "vector": ["1"]}]), "has a `vector` that is no list of numbers"),
            (json!([{"id": "a", "vector": [1], "metadata": []}]), "has a `metadata` that is no object"),
            (json!([{"id": "a", "vector": [1]}, {"id": "a", "vector": [2]}]), "two items have the id `a`"),
        ] {
            let error = self::told(items, true);
            assert!(error.contains(told), "{error}");
        }
        assert!(self::told(json!([{"id": "a", "text": "x"}]), false).contains("no `embed`"));
        let many: Vec<Value> = (0..=VECTOR_ITEMS_MAX).map(|id| json!({"id": id, "vector": [1]})).collect();
        assert!(self::told(Value::Array(many), true).contains("more than the 10000"));
    }
}
