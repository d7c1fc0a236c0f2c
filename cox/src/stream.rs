//! Puts together what tasks say in pieces, such as the tokens of a model: the pieces of one item stay on one line, however
//! those of several come in between.

use std::collections::BTreeMap;

use coxswain_shared::id::TaskId;
use coxswain_shared::store::{Event, NewEvent};
use serde_json::Value;

/// Characters that are kept of one line; a longer one is shown in parts.
const LINE_MAX: usize = 2_000;

/// A line that a task has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    /// The kind of its events.
    pub(crate) kind: String,
    /// The line.
    pub(crate) text: String,
}

/// What tasks have said and is not shown yet, by task.
#[derive(Debug, Default)]
pub(crate) struct Streams(BTreeMap<TaskId, Said>);

/// The text that an event adds to what its task said before, if it is a piece of a stream.
pub(crate) fn piece(event: &NewEvent) -> Option<&str> {
    match &event.value {
        Value::Object(fields) if fields.len() == 1 => fields.get("text")?.as_str(),
        Value::String(text) if event.kind == "token" => Some(text),
        _ => None,
    }
}

impl Streams {
    /// Takes an event; gives the lines that are whole by it: all before the last line break, or what was said before an event
    /// of another kind.
    pub(crate) fn take(&mut self, event: &Event) -> Vec<Said> {
        let NewEvent { task, kind, .. } = &event.event;
        let Some(text) = piece(&event.event) else { return self.end(task) };
        let is_other = self.0.get(task).is_some_and(|said| said.kind != *kind);
        let mut whole = if is_other { self.end(task) } else { Vec::new() };
        let said = self.0.entry(task.clone()).or_insert_with(|| Said { kind: kind.clone(), text: String::new() });
        said.text.push_str(text);
        while let Some((line, rest)) = said.text.split_once('\n').map(|(line, rest)| (line.to_owned(), rest.to_owned()))
        {
            if !line.trim().is_empty() {
                whole.push(Said { kind: kind.clone(), text: line });
            }
            said.text = rest;
        }
        if said.text.chars().count() >= LINE_MAX {
            whole.extend(self.end(task));
        }
        whole
    }

    /// A task says nothing more for now: what is left of its line.
    pub(crate) fn end(&mut self, task: &TaskId) -> Vec<Said> {
        self.0.remove(task).filter(|said| !said.text.trim().is_empty()).into_iter().collect()
    }

    /// The tasks of which something is left.
    pub(crate) fn open(&self) -> Vec<TaskId> {
        self.0.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use coxswain_shared::time::Timestamp;
    use serde_json::json;

    use super::*;

    fn event(item: u32, kind: &str, value: Value) -> Event {
        let task = format!("1:ask:{item}").parse().unwrap();
        Event { seq: 1, at: Timestamp::from_millis(0), event: NewEvent { task, kind: kind.to_owned(), value } }
    }

    #[test]
    fn pieces_of_two_items_that_come_in_turns_are_two_lines() {
        let mut streams = Streams::default();
        for (item, text) in [(0, "The "), (1, "Yes"), (0, "sky "), (1, ", it "), (0, "is"), (1, "is")] {
            assert_eq!(streams.take(&event(item, "token", json!({"text": text}))), []);
        }
        let line = |text: &str| vec![Said { kind: "token".to_owned(), text: text.to_owned() }];
        assert_eq!(streams.take(&event(0, "token", json!(" blue\nand"))), line("The sky is blue"));
        assert_eq!(streams.take(&event(1, "usage", json!({"input": 1}))), line("Yes, it is"));
        assert_eq!(streams.end(&"1:ask:0".parse().unwrap()), line("and"));
        assert_eq!(streams.open(), []);
    }

    #[test]
    fn a_line_without_end_is_shown_in_parts() {
        let mut streams = Streams::default();
        let long = "x".repeat(LINE_MAX);
        assert_eq!(streams.take(&event(0, "token", json!({"text": long}))).len(), 1);
    }
}
