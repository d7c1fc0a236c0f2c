//! The reducer `messages`: a list of messages, each known by its `id`.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::error::Error;
use super::reducer::{Target, Write, shape};
use crate::id::{RunId, TaskId};

const WANTED: &str = "a message (an object whose `id`, if it has one, is a string) or a list of messages";

/// Puts messages into the list: one with a known id replaces, any other is appended. A message without an id is named
/// after its run, task and place, so that a replay names it the same and no other run's message is replaced by it.
pub(super) fn put(target: &Target<'_>, current: Option<&Value>, writes: &[Write<'_>]) -> Result<Value, Error> {
    let mut list = match current {
        None => Vec::new(),
        Some(Value::Array(list)) => list.clone(),
        Some(other) => return Err(target.bad_value("a list of messages", other)),
    };
    let mut places: HashMap<String, usize> =
        list.iter().enumerate().filter_map(|(place, message)| Some((known_id(message)?.to_owned(), place))).collect();
    for write in writes {
        let messages = match write.value {
            Value::Array(messages) => messages.as_slice(),
            one => std::slice::from_ref(one),
        };
        for (place, message) in messages.iter().enumerate() {
            let (id, message) = named(message, || fresh_id(target.run, write.task, place))
                .ok_or_else(|| target.bad_write(write, WANTED, found(message)))?;
            let message = Value::Object(message);
            if let Some(known) = places.get(&id).and_then(|place| list.get_mut(*place)) {
                *known = message;
            } else {
                places.insert(id, list.len());
                list.push(message);
            }
        }
    }
    Ok(Value::Array(list))
}

fn known_id(message: &Value) -> Option<&str> {
    message.get("id")?.as_str()
}

/// The message with its id; none if it is no message.
fn named(message: &Value, fresh: impl FnOnce() -> String) -> Option<(String, Map<String, Value>)> {
    let mut message = message.as_object()?.clone();
    let id = match message.get("id") {
        Some(Value::String(id)) => id.clone(),
        None | Some(Value::Null) => {
            let id = fresh();
            message.insert("id".to_owned(), Value::String(id.clone()));
            id
        }
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => return None,
    };
    Some((id, message))
}

fn found(message: &Value) -> &'static str {
    match message {
        Value::Object(_) => "a message whose `id` is no string",
        other => shape(other),
    }
}

fn fresh_id(run: &RunId, task: &TaskId, place: usize) -> String {
    format!("{run}:{task}:{place}")
}
