//! The questions of a run that waits for humans, and which answer goes to which of them.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::Error;
use super::graphs::check_channel;
use super::patience::patiently;
use super::unserved::fan_outs;
use crate::checkpoint::Values;
use crate::graph::Graph;
use crate::id::{NodeName, RunId, TaskId};
use crate::outcome::Outcome;
use crate::store::{Run, Store, tasks_where};
use crate::task::{Task, TaskState};

/// Characters of an answer, and answers of a resume, that the audit trail keeps.
const ANSWER_SHOWN_MAX: usize = 80;
const ANSWERS_SHOWN_MAX: usize = 8;

/// A question that is open: a task that waits for a human.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Question {
    /// Its id, which no other question of the run ever has: that of its task, `step:node:item`.
    pub id: TaskId,
    /// Its name among the questions that are open: the node, with the item in brackets where the node is fanned out.
    pub name: String,
    /// What it shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asks: Option<Value>,
}

/// Answers to questions of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Answers {
    /// None: the run pauses between two steps.
    None,
    /// One, for the one question that is open.
    One(Value),
    /// Each by the name of its question: its id (`step:node:item`), `node[item]`, or `node` where the node asks one question
    /// alone. `node[*]` is every question of the node that is not answered by its own name.
    ByName(BTreeMap<String, Value>),
}

/// How exactly a name tells which question is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Exactness {
    /// All of a node.
    Every,
    /// The one of a node.
    Node,
    /// This one.
    Own,
}

impl Question {
    /// Whether, and how exactly, it is meant by a name.
    fn is_meant_by(&self, name: &str) -> Option<Exactness> {
        let TaskId { node, item, .. } = &self.id;
        if name == node.as_str() {
            Some(Exactness::Node)
        } else if name == self.id.to_string() || name == format!("{node}[{item}]") {
            Some(Exactness::Own)
        } else {
            (name == format!("{node}[*]")).then_some(Exactness::Every)
        }
    }
}

/// The questions of these tasks that are open, in order.
pub(super) fn questions_of(graph: &Graph, tasks: &[Task]) -> Vec<Question> {
    let fanned = fan_outs(graph);
    let waiting = tasks.iter().filter(|task| task.state == TaskState::Human);
    let question = |task: &Task| {
        let TaskId { node, item, .. } = &task.id;
        let is_item = *item > 0 || fanned.contains(node);
        let name = if is_item { format!("{node}[{item}]") } else { node.to_string() };
        Question { id: task.id.clone(), name, asks: task.payload.clone().filter(|shown| !shown.is_null()) }
    };
    waiting.map(question).collect()
}

/// The questions of a run that are open, in order.
pub async fn questions(store: &dyn Store, run: &Run, graph: &Graph) -> Result<Vec<Question>, Error> {
    let is_human = |task: &Task| task.state == TaskState::Human;
    let tasks = patiently(async || tasks_where(store, &run.key, run.step, is_human).await).await?;
    Ok(questions_of(graph, &tasks))
}

/// Tells each question its answer. Questions may be left open; none may be answered twice.
pub(super) fn tell<'a>(
    run: &RunId,
    open: &'a [Question],
    answers: Answers,
) -> Result<Vec<(&'a Question, Value)>, Error> {
    let names = || open.iter().map(|question| question.name.clone()).collect::<Vec<_>>();
    let by_name = match (answers, open) {
        (Answers::None, []) => return Ok(Vec::new()),
        (Answers::None, _) => return Err(Error::MissingAnswer { run: run.clone(), questions: names() }),
        (Answers::One(value), [question]) => return Ok(vec![(question, value)]),
        (Answers::One(_), []) => {
            return Err(Error::UnknownAnswer { run: run.clone(), name: "answer".to_owned(), open: Vec::new() });
        }
        (Answers::One(_), _) => return Err(Error::AmbiguousAnswer { run: run.clone(), questions: names() }),
        (Answers::ByName(by_name), _) => by_name,
    };
    let mut told: BTreeMap<usize, (Exactness, Value)> = BTreeMap::new();
    for (name, value) in by_name {
        let meant: Vec<_> = open
            .iter()
            .enumerate()
            .filter_map(|(place, question)| Some((place, question.is_meant_by(&name)?)))
            .collect();
        match meant.as_slice() {
            [] => return Err(Error::UnknownAnswer { run: run.clone(), name, open: names() }),
            [(_, Exactness::Node), _, ..] => {
                let questions = meant.iter().map(|(place, _)| open[*place].name.clone()).collect();
                return Err(Error::AmbiguousAnswer { run: run.clone(), questions });
            }
            _ => {}
        }
        for (place, exactness) in meant {
            match told.get(&place) {
                Some((other, _)) if *other == exactness || exactness.min(*other) == Exactness::Node => {
                    return Err(Error::AnsweredTwice { run: run.clone(), question: open[place].name.clone() });
                }
                Some((other, _)) if *other > exactness => {}
                Some(_) | None => {
                    told.insert(place, (exactness, value.clone()));
                }
            }
        }
    }
    Ok(told.into_iter().map(|(place, (_, value))| (&open[place], value)).collect())
}

/// What was answered, for the audit trail: each question with its answer, cut where that is long.
pub(super) fn in_words(told: &[(&Question, Value)]) -> Option<String> {
    let short = |value: &Value| {
        let text = value.to_string();
        let cut: String = text.chars().take(ANSWER_SHOWN_MAX).collect();
        if cut.len() < text.len() { format!("{cut}…") } else { text }
    };
    let shown = told.iter().take(ANSWERS_SHOWN_MAX);
    let shown: Vec<_> = shown.map(|(question, value)| format!("{} = {}", question.name, short(value))).collect();
    let more = told.len() - shown.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!told.is_empty()).then(|| format!("answered {}{more}", shown.join(", ")))
}

/// An answer is written like a node's result: to the node's `into`, or as an object of values by channel.
pub(super) fn outcome(graph: &Graph, node: &NodeName, answer: &Value) -> Result<Outcome, Error> {
    let into = graph.nodes.get(node).and_then(|node| node.into.as_ref());
    if let Some(channel) = into {
        return Ok(Outcome::wrote([(channel.clone(), answer.clone())].into()));
    }
    if answer.is_null() {
        return Ok(Outcome::wrote(Values::new()));
    }
    let writes: Values =
        serde_json::from_value(answer.clone()).map_err(|_| Error::AnswerForm { node: node.clone() })?;
    writes.keys().try_for_each(|channel| check_channel(graph, channel))?;
    Ok(Outcome::wrote(writes))
}
