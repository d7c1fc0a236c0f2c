//! Calls of tools in a list of messages that nobody will answer any more, and the answers that stand in for them.
//!
//! Models refuse a conversation in which a call has no answer. A run that is stopped between the two leaves one.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::id::RunId;

/// Which calls count as abandoned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abandoned {
    /// Those after which the conversation went on: an answer would come too late.
    PassedOver,
    /// Those at its end too: who was to answer them is gone.
    All,
}

/// Puts an answer after each abandoned call, behind those that its message has. `by` is the run that left them, `run` the
/// one that goes on and names the answers, the same way each time.
pub fn answer_abandoned(messages: &mut Vec<Value>, which: Abandoned, by: &RunId, run: &RunId) {
    let last = messages.iter().rposition(|message| !is_answer(message));
    let mut answered: BTreeSet<String> =
        messages.iter().filter(|message| is_answer(message)).filter_map(answers).map(str::to_owned).collect();
    let mut whole = Vec::with_capacity(messages.len());
    let mut open: Vec<String> = Vec::new();
    let mut place = 0;
    let mut close = |open: &mut Vec<String>, whole: &mut Vec<Value>| {
        for call in open.drain(..) {
            whole.push(answer(&call, by, &format!("{run}:0:cancelled:0:{place}")));
            place += 1;
        }
    };
    for (index, message) in std::mem::take(messages).into_iter().enumerate() {
        if !is_answer(&message) {
            close(&mut open, &mut whole);
            if which == Abandoned::All || Some(index) != last {
                open.extend(calls(&message).filter(|call| answered.insert((*call).to_owned())).map(str::to_owned));
            }
        }
        whole.push(message);
    }
    close(&mut open, &mut whole);
    *messages = whole;
}

fn answer(call: &str, by: &RunId, id: &str) -> Value {
    let content = format!(
        "cancelled: run `{by}` left this call without an answer, and the conversation went on; whether it had an effect is not known"
    );
    json!({"role": "tool", "tool_call_id": call, "content": content, "id": id})
}

fn is_answer(message: &Value) -> bool {
    message["role"] == "tool"
}

fn answers(message: &Value) -> Option<&str> {
    message["tool_call_id"].as_str()
}

fn calls(message: &Value) -> impl Iterator<Item = &str> {
    let calls = message["tool_calls"].as_array().filter(|_| message["role"] == "assistant");
    calls.into_iter().flatten().filter_map(|call| call["id"].as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A conversation in short: `u` says something, `?ab` calls `a` and `b`, `a` answers.
    fn conversation(short: &str) -> Vec<Value> {
        let message = |word: &str| match word.strip_prefix('?') {
            Some(calls) => {
                let calls: Vec<_> = calls.chars().map(|id| json!({"id": id.to_string(), "type": "function"})).collect();
                json!({"role": "assistant", "content": null, "tool_calls": calls})
            }
            None if word == "u" => json!({"role": "user", "content": "hi"}),
            None => json!({"role": "tool", "tool_call_id": word, "content": "42"}),
        };
        short.split_whitespace().map(message).collect()
    }

    /// The same way back; `!a` is an answer that stands in for one.
    fn short(messages: &[Value]) -> String {
        let word = |message: &Value| match message["role"].as_str().unwrap() {
            "assistant" => format!("?{}", calls(message).collect::<String>()),
            "user" => "u".to_owned(),
            _ => {
                let stands_in = message["content"].as_str().unwrap().starts_with("cancelled: run `r1`");
                format!("{}{}", if stands_in { "!" } else { "" }, answers(message).unwrap())
            }
        };
        messages.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_abandoned_call_gets_an_answer_where_it_belongs() {
        for (before, passed_over, all) in [
            ("", "", ""),
            ("u ?a a u", "u ?a a u", "u ?a a u"),
            ("u ?a", "u ?a", "u ?a !a"),
            ("u ?ab b", "u ?ab b", "u ?ab b !a"),
            ("u ?a u", "u ?a !a u", "u ?a !a u"),
            ("u ?ab a u ?c", "u ?ab a !b u ?c", "u ?ab a !b u ?c !c"),
            ("?a u a", "?a u a", "?a u a"),
            ("?a ?bc c u", "?a !a ?bc c !b u", "?a !a ?bc c !b u"),
            ("x u", "x u", "x u"),
        ] {
            for (which, wanted) in [(Abandoned::PassedOver, passed_over), (Abandoned::All, all)] {
                let mut messages = conversation(before);
                let (by, run) = (RunId::new("r1").unwrap(), RunId::new("r2").unwrap());
                answer_abandoned(&mut messages, which, &by, &run);
                assert_eq!(short(&messages), wanted, "{which:?} of {before}");
                let once = messages.clone();
                answer_abandoned(&mut messages, which, &by, &run);
                assert_eq!(messages, once, "a second time changes nothing");
            }
        }
    }

    #[test]
    fn what_is_no_message_is_left_as_it_is() {
        let strange = vec![json!(1), json!({"role": "assistant", "tool_calls": [{"id": 3}, "x"]}), json!(null)];
        let mut messages = strange.clone();
        answer_abandoned(&mut messages, Abandoned::All, &RunId::new("r1").unwrap(), &RunId::new("r2").unwrap());
        assert_eq!(messages, strange);
    }
}
