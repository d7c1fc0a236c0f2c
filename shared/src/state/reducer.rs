//! The reducers: how a step's writes to one channel become its next value.

use serde_json::{Map, Number, Value};

use super::error::Error;
use super::messages;
use crate::graph::Reducer;
use crate::id::{ChannelName, RunId, TaskId};

/// What one task wrote to one channel.
#[derive(Debug, Clone, Copy)]
pub struct Write<'a> {
    /// The task.
    pub task: &'a TaskId,
    /// The value.
    pub value: &'a Value,
}

/// One channel while its writes are put into it.
pub(super) struct Target<'a> {
    pub(super) run: &'a RunId,
    pub(super) channel: &'a ChannelName,
    pub(super) reducer: Reducer,
}

/// Puts the writes of one step into a channel, in the order given; by node, then item, everywhere in Coxswain.
///
/// `run` names the messages that have no id of their own. Without writes the value stays, or is the reducer's first one.
pub fn apply(
    run: &RunId,
    channel: &ChannelName,
    reducer: Reducer,
    current: Option<&Value>,
    writes: &[Write<'_>],
) -> Result<Value, Error> {
    let target = Target { run, channel, reducer };
    match reducer {
        Reducer::Last => last(&target, current, writes),
        Reducer::Append => append(&target, current, writes),
        Reducer::Add => add(&target, current, writes),
        Reducer::Merge => merge(&target, current, writes),
        Reducer::Messages => messages::put(&target, current, writes),
    }
}

/// The value of a channel before its first write, where the graph gives none.
pub(super) fn first(reducer: Reducer) -> Option<Value> {
    match reducer {
        Reducer::Last => None,
        Reducer::Append | Reducer::Messages => Some(Value::Array(Vec::new())),
        Reducer::Add => Some(Value::from(0)),
        Reducer::Merge => Some(Value::Object(Map::new())),
    }
}

impl Target<'_> {
    pub(super) fn bad_write(&self, write: &Write<'_>, wanted: &'static str, found: &'static str) -> Error {
        let (channel, task) = (self.channel.clone(), write.task.clone());
        Error::BadWrite { channel, reducer: self.reducer, task, wanted, found }
    }

    pub(super) fn bad_value(&self, wanted: &'static str, value: &Value) -> Error {
        Error::BadValue { channel: self.channel.clone(), reducer: self.reducer, wanted, found: shape(value) }
    }
}

/// What a value is, for people.
pub(super) const fn shape(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn last(target: &Target<'_>, current: Option<&Value>, writes: &[Write<'_>]) -> Result<Value, Error> {
    match writes {
        [] => Ok(current.cloned().unwrap_or(Value::Null)),
        [only] => Ok(only.value.clone()),
        [first, second, ..] => Err(Error::Conflict {
            channel: target.channel.clone(),
            first: first.task.clone(),
            second: second.task.clone(),
        }),
    }
}

fn append(target: &Target<'_>, current: Option<&Value>, writes: &[Write<'_>]) -> Result<Value, Error> {
    let mut list = match current {
        None => Vec::new(),
        Some(Value::Array(list)) => list.clone(),
        Some(other) => return Err(target.bad_value("a list", other)),
    };
    for write in writes {
        match write.value {
            Value::Array(more) => list.extend(more.iter().cloned()),
            one => list.push(one.clone()),
        }
    }
    Ok(Value::Array(list))
}

/// A sum: exact while all are integers.
#[derive(Clone, Copy)]
enum Sum {
    Exact(i128),
    Float(f64),
}

impl Sum {
    fn of(number: &Number) -> Self {
        let exact = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
        // A number that is no integer is a float in every value that was read from JSON.
        exact.map_or_else(|| Self::Float(number.as_f64().unwrap_or(f64::NAN)), Self::Exact)
    }

    /// The value as JSON; none where no number of JSON holds it.
    fn value(self) -> Option<Number> {
        match self {
            Self::Exact(sum) => {
                i64::try_from(sum).map(Number::from).ok().or_else(|| u64::try_from(sum).map(Number::from).ok())
            }
            Self::Float(sum) => Number::from_f64(sum),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a sum with a float in it is a float, and documented as such")]
    const fn float(self) -> f64 {
        match self {
            Self::Exact(sum) => sum as f64,
            Self::Float(sum) => sum,
        }
    }

    /// The range is checked at every addition, so that what overflows does not depend on what follows.
    fn plus(self, other: Self) -> Option<Self> {
        let sum = match (self, other) {
            (Self::Exact(one), Self::Exact(two)) => Self::Exact(one.checked_add(two)?),
            (one, two) => Self::Float(one.float() + two.float()),
        };
        sum.value().is_some().then_some(sum)
    }
}

fn add(target: &Target<'_>, current: Option<&Value>, writes: &[Write<'_>]) -> Result<Value, Error> {
    let mut sum = match current {
        None => Sum::Exact(0),
        Some(Value::Number(number)) => Sum::of(number),
        Some(other) => return Err(target.bad_value("a number", other)),
    };
    for write in writes {
        let Value::Number(number) = write.value else {
            return Err(target.bad_write(write, "a number", shape(write.value)));
        };
        sum = sum
            .plus(Sum::of(number))
            .ok_or_else(|| Error::Overflow { channel: target.channel.clone(), task: write.task.clone() })?;
    }
    sum.value().map(Value::Number).ok_or_else(|| target.bad_value("a number", current.unwrap_or(&Value::Null)))
}

fn merge(target: &Target<'_>, current: Option<&Value>, writes: &[Write<'_>]) -> Result<Value, Error> {
    let mut object = match current {
        None => Map::new(),
        Some(Value::Object(object)) => object.clone(),
        Some(other) => return Err(target.bad_value("an object", other)),
    };
    for write in writes {
        let Value::Object(more) = write.value else {
            return Err(target.bad_write(write, "an object", shape(write.value)));
        };
        merge_into(&mut object, more);
    }
    Ok(Value::Object(object))
}

/// Nested objects are merged; anything else replaces, null too.
fn merge_into(object: &mut Map<String, Value>, more: &Map<String, Value>) {
    for (key, value) in more {
        match (object.get_mut(key), value) {
            (Some(Value::Object(inner)), Value::Object(more)) => merge_into(inner, more),
            _ => {
                object.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests;
