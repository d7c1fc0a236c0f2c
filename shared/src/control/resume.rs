//! Lets a run go on: an interrupted one where it is, with answers; one that has ended from a checkpoint, as a new run
//! that knows its origin.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::graphs::{check_channel, graph_of};
use super::look::{checkpoint, find};
use super::patience::patiently;
use super::submit::{Submitted, check_limits, check_text, check_texts, put};
use super::{Error, load};
use crate::checkpoint::Values;
use crate::graph::Graph;
use crate::id::{NodeName, Nonce, RunId, Step, TaskId};
use crate::outcome::Outcome;
use crate::run::RunStatus;
use crate::spend::Budget;
use crate::state;
use crate::store::{NewRun, OnConflict, Resume, Resumed, Run, RunSpec, Start, Store, tasks_where};
use crate::task::{Task, TaskState};

/// Characters of an answer, and answers of a resume, that the audit trail keeps.
const ANSWER_SHOWN_MAX: usize = 80;
const ANSWERS_SHOWN_MAX: usize = 8;

/// Answers for the tasks that wait for a human.
#[derive(Debug, Clone, PartialEq)]
pub enum Answers {
    /// None: the run pauses between two steps.
    None,
    /// One, for the one node that waits.
    One(Value),
    /// By the name of a node, or of one of its tasks (`step:node:item`), which goes over the node's.
    ByName(BTreeMap<String, Value>),
}

/// How a run is to go on. What is absent is as it was in the origin.
#[derive(Debug, Clone)]
pub struct Resumption {
    /// The run.
    pub run: RunId,
    /// For an interrupted run: the answers.
    pub answers: Answers,
    /// For a run that has ended: the checkpoint; its last where absent.
    pub from: Option<Step>,
    /// For a run that has ended: values set by hand before it goes on.
    pub update: Values,
    /// For a run that has ended: the new run's id; a fresh one where absent.
    pub id: Option<RunId>,
    /// For a run that has ended: what the new run does to a run in flight on the thread.
    pub on_conflict: OnConflict,
    /// For a run that has ended: labels put over the origin's.
    pub labels: BTreeMap<String, String>,
    /// For a run that has ended: its time.
    pub run_timeout: Option<Duration>,
    /// For a run that has ended: its bound of steps.
    pub max_steps: Option<u64>,
    /// Overrides the graph's budget, as far as it says something.
    pub budget: Budget,
    /// Who resumes it.
    pub actor: String,
    /// Why, in their words.
    pub reason: Option<String>,
}

impl Resumption {
    /// A resumption from the last checkpoint, without answers.
    pub fn new(run: RunId, actor: impl Into<String>) -> Self {
        Self {
            run,
            answers: Answers::None,
            from: None,
            update: Values::new(),
            id: None,
            on_conflict: OnConflict::default(),
            labels: BTreeMap::new(),
            run_timeout: None,
            max_steps: None,
            budget: Budget::default(),
            actor: actor.into(),
            reason: None,
        }
    }
}

/// How a run went on.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "resumed", rename_all = "snake_case")]
pub enum ResumedAs {
    /// Where it was.
    Itself {
        /// The run.
        run: RunId,
    },
    /// As a new run.
    New {
        /// The run it comes from.
        origin: RunId,
        /// The checkpoint it comes from.
        step: Step,
        /// The new run.
        #[serde(flatten)]
        run: Submitted,
    },
}

impl ResumedAs {
    /// The run that goes on.
    pub const fn run(&self) -> &RunId {
        match self {
            Self::Itself { run } => run,
            Self::New { run, .. } => &run.key.id,
        }
    }
}

/// Lets a run go on.
pub async fn resume(store: &dyn Store, wish: Resumption) -> Result<ResumedAs, Error> {
    check_texts(&wish.labels, &wish.actor)?;
    check_text(|| "the reason".to_owned(), wish.reason.as_deref().unwrap_or_default())?;
    check_limits(wish.run_timeout, wish.max_steps)?;
    let run = find(store, &wish.run).await?;
    match run.status {
        RunStatus::Interrupted => answer(store, run, wish).await,
        RunStatus::Succeeded | RunStatus::Failed | RunStatus::TimedOut | RunStatus::Cancelled => {
            take_up(store, run, wish).await
        }
        RunStatus::Queued | RunStatus::Running | RunStatus::Stopping => {
            Err(Error::InFlight { run: run.key.id, status: run.status })
        }
    }
}

async fn answer(store: &dyn Store, run: Run, wish: Resumption) -> Result<ResumedAs, Error> {
    if wish.from.is_some() || !wish.update.is_empty() {
        return Err(Error::Waits(run.key.id));
    }
    let graph = graph_of(store, &run.graph_hash).await?;
    let waiting = waiting(store, &run).await?;
    let said = answered_in_words(&wish.answers, &waiting);
    let answers = outcomes(&graph, &run.key.id, &waiting, wish.answers)?;
    // The trail tells who answered what; the reason beside it, if there is one.
    let reason = [wish.reason, said].into_iter().flatten().reduce(|reason, said| format!("{reason}; {said}"));
    let resume = Resume { run: run.key.clone(), nonce: Nonce::fresh(), answers, actor: wish.actor, reason };
    match patiently(async || store.resume(resume.clone()).await).await? {
        Resumed::Ok => Ok(ResumedAs::Itself { run: run.key.id }),
        Resumed::NotInterrupted(status) => Err(Error::InFlight { run: run.key.id, status }),
        Resumed::UnknownTask | Resumed::MissingAnswer => Err(Error::Changed(run.key.id)),
        Resumed::NotFound => Err(Error::RunNotFound(run.key.id)),
    }
}

/// What was answered, for the audit trail: each node with its answer, cut where that is long.
fn answered_in_words(answers: &Answers, waiting: &[TaskId]) -> Option<String> {
    let short = |value: &Value| {
        let text = value.to_string();
        let cut: String = text.chars().take(ANSWER_SHOWN_MAX).collect();
        if cut.len() < text.len() { format!("{cut}…") } else { text }
    };
    let pairs: Vec<String> = match answers {
        Answers::None => return None,
        Answers::One(value) => nodes_of(waiting).iter().map(|node| format!("{node} = {}", short(value))).collect(),
        Answers::ByName(by_name) => by_name.iter().map(|(name, value)| format!("{name} = {}", short(value))).collect(),
    };
    let more = pairs.len().saturating_sub(ANSWERS_SHOWN_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let shown: Vec<_> = pairs.into_iter().take(ANSWERS_SHOWN_MAX).collect();
    Some(format!("answered {}{more}", shown.join(", ")))
}

/// The tasks that wait for a human.
async fn waiting(store: &dyn Store, run: &Run) -> Result<Vec<TaskId>, Error> {
    let is_human = |task: &Task| task.state == TaskState::Human;
    let tasks = patiently(async || tasks_where(store, &run.key, run.step, is_human).await).await?;
    Ok(tasks.into_iter().map(|task| task.id).collect())
}

/// The outcome of each task that waits, from what was answered.
fn outcomes(
    graph: &Graph,
    run: &RunId,
    waiting: &[TaskId],
    answers: Answers,
) -> Result<BTreeMap<TaskId, Outcome>, Error> {
    let nodes = nodes_of(waiting);
    let by_name = match answers {
        Answers::None => BTreeMap::new(),
        Answers::One(value) => match nodes.as_slice() {
            [node] => BTreeMap::from([(node.clone(), value)]),
            [] => return Err(Error::UnknownAnswer { run: run.clone(), name: "answer".to_owned(), waiting: nodes }),
            _ => return Err(Error::AmbiguousAnswer { run: run.clone(), nodes }),
        },
        Answers::ByName(by_name) => by_name,
    };
    let is_known = |name: &String| nodes.contains(name) || waiting.iter().any(|task| task.to_string() == *name);
    if let Some(name) = by_name.keys().find(|name| !is_known(name)) {
        return Err(Error::UnknownAnswer { run: run.clone(), name: name.clone(), waiting: nodes });
    }
    let answer_to = |task: &TaskId| by_name.get(&task.to_string()).or_else(|| by_name.get(task.node.as_str()));
    let missing: Vec<_> =
        waiting.iter().filter(|task| answer_to(task).is_none()).map(|task| task.node.to_string()).collect();
    if !missing.is_empty() {
        return Err(Error::MissingAnswer { run: run.clone(), tasks: dedup(missing) });
    }
    let answered = waiting.iter().filter_map(|task| Some((task, answer_to(task)?)));
    answered.map(|(task, value)| Ok((task.clone(), outcome(graph, &task.node, value)?))).collect()
}

fn nodes_of(tasks: &[TaskId]) -> Vec<String> {
    dedup(tasks.iter().map(|task| task.node.to_string()).collect())
}

/// Tasks are ordered by node, so that equals are neighbours.
fn dedup(mut names: Vec<String>) -> Vec<String> {
    names.dedup();
    names
}

/// An answer is written like a node's result: to the node's `into`, or as an object of values by channel.
fn outcome(graph: &Graph, node: &NodeName, answer: &Value) -> Result<Outcome, Error> {
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

async fn take_up(store: &dyn Store, run: Run, wish: Resumption) -> Result<ResumedAs, Error> {
    if wish.answers != Answers::None {
        return Err(Error::WaitsForNothing { run: run.key.id, status: run.status });
    }
    let found = checkpoint(store, &run, wish.from).await?;
    let step = found.checkpoint.step;
    let graph = graph_of(store, &run.graph_hash).await?;
    check_update(store, &graph, &run, step, &wish.update).await?;
    load::check(store, &graph, run.spec.priority, None).await?;
    let made = put(store, successor(&run, &graph, step, wish)).await?;
    if made.existed {
        return Err(Error::IdTaken { run: made.key.id, status: made.status });
    }
    Ok(ResumedAs::New { origin: run.key.id, step, run: made })
}

async fn check_update(store: &dyn Store, graph: &Graph, run: &Run, step: Step, update: &Values) -> Result<(), Error> {
    if update.is_empty() {
        return Ok(());
    }
    update.keys().try_for_each(|channel| check_channel(graph, channel))?;
    let mut values = patiently(async || store.values(&run.key, step).await).await?.unwrap_or_default();
    let by = TaskId { step: Step::new(0), node: updater(), item: 0 };
    state::replace(&graph.state, &mut values, update, &by)?;
    Ok(())
}

/// Stands for the human where the state names its writers.
fn updater() -> NodeName {
    NodeName::new("update").expect("a constant name is well formed")
}

/// The run that goes on where another one has ended: as that one was, except for what is wished otherwise.
fn successor(origin: &Run, graph: &Graph, step: Step, wish: Resumption) -> NewRun {
    let spec = &origin.spec;
    let mut labels = spec.labels.clone();
    labels.extend(wish.labels);
    let had = origin.deadline_at.zip(origin.started_at).map(|(deadline, start)| deadline.since(start));
    NewRun {
        id: wish.id.unwrap_or_else(RunId::fresh),
        thread: origin.thread.clone(),
        graph: origin.graph.clone(),
        graph_hash: origin.graph_hash.clone(),
        on_conflict: wish.on_conflict,
        run_timeout: wish.run_timeout.or(had).unwrap_or(graph.limits.run_timeout),
        parent: None,
        spec: RunSpec {
            input: Values::new(),
            start: Start::From { run: origin.key.id.clone(), step, update: wish.update },
            interrupt_before: spec.interrupt_before.clone(),
            interrupt_after: spec.interrupt_after.clone(),
            labels,
            actor: wish.actor,
            reason: wish.reason,
            max_steps: wish.max_steps.or(spec.max_steps),
            budget: wish.budget.or(spec.budget),
            priority: spec.priority,
        },
    }
}
