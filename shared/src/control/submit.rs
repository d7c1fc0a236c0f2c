//! Submits a run: everything that can be wrong with a submission is found before anything is stored.

use std::collections::BTreeMap;
use std::time::Duration;

use super::graphs::deploy;
use super::patience::patiently;
use super::{Error, graphs, load};
use crate::checkpoint::Values;
use crate::graph::Graph;
use crate::id::{GraphHash, NodeName, RunId, RunKey, Step, TaskId, ThreadId};
use crate::limits::{DESCENDANTS_CEILING, LABELS_MAX, Limit, MAX_STEPS_CEILING, TEXT_BYTES_MAX};
use crate::policing;
use crate::printable;
use crate::priority::Priority;
use crate::run::RunStatus;
use crate::spend::Budget;
use crate::state;
use crate::store::{Created, NewRun, OnConflict, RunSpec, Start, Store};

/// A run that somebody wants.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Its graph.
    pub graph: Graph,
    /// Values written to channels at the start.
    pub input: Values,
    /// Its id; a fresh one where absent. Submitting again with the same id changes nothing.
    pub id: Option<RunId>,
    /// Its thread; one of its own where absent.
    pub thread: Option<ThreadId>,
    /// What it does to a run in flight on its thread.
    pub on_conflict: OnConflict,
    /// What it can be found by.
    pub labels: BTreeMap<String, String>,
    /// Overrides the graph's `run_timeout`.
    pub run_timeout: Option<Duration>,
    /// Overrides the graph's `max_steps`.
    pub max_steps: Option<u64>,
    /// Overrides the graph's budget, as far as it says something.
    pub budget: Budget,
    /// How urgent it is.
    pub priority: Priority,
    /// Pause before these nodes run.
    pub interrupt_before: Vec<NodeName>,
    /// Pause after these nodes have run.
    pub interrupt_after: Vec<NodeName>,
    /// Who submits it.
    pub actor: String,
}

impl Submission {
    /// A submission with nothing but what it must have.
    pub fn new(graph: Graph, actor: impl Into<String>) -> Self {
        Self {
            graph,
            input: Values::new(),
            id: None,
            thread: None,
            on_conflict: OnConflict::default(),
            labels: BTreeMap::new(),
            run_timeout: None,
            max_steps: None,
            budget: Budget::default(),
            priority: Priority::default(),
            interrupt_before: Vec::new(),
            interrupt_after: Vec::new(),
            actor: actor.into(),
        }
    }
}

/// A run that was submitted.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Submitted {
    /// Its address.
    #[serde(flatten)]
    pub key: RunKey,
    /// Its thread.
    pub thread: ThreadId,
    /// Where it stands: `cancelled` if a stop order had come before it.
    pub status: RunStatus,
    /// Whether it was there already, so that nothing was changed.
    pub existed: bool,
}

/// Checks a submission, stores its graph with all child graphs, and makes the run.
pub async fn submit(store: &dyn Store, submission: Submission) -> Result<Submitted, Error> {
    check(&submission)?;
    load::check(store, &submission.graph, submission.priority, submission.id.as_ref()).await?;
    let hash = deploy(store, &submission.graph).await?;
    make(store, hash, submission).await
}

/// The same with a graph that [`deploy`] has stored, for those who submit many runs of one graph.
pub async fn create(store: &dyn Store, hash: GraphHash, submission: Submission) -> Result<Submitted, Error> {
    check(&submission)?;
    load::check(store, &submission.graph, submission.priority, submission.id.as_ref()).await?;
    make(store, hash, submission).await
}

async fn make(store: &dyn Store, graph_hash: GraphHash, submission: Submission) -> Result<Submitted, Error> {
    let id = submission.id.unwrap_or_else(RunId::fresh);
    let thread = submission.thread.unwrap_or_else(|| own_thread(&id));
    let run = NewRun {
        id,
        thread,
        graph: submission.graph.name.clone(),
        graph_hash,
        on_conflict: submission.on_conflict,
        run_timeout: submission.run_timeout.unwrap_or(submission.graph.limits.run_timeout),
        parent: None,
        spec: RunSpec {
            input: submission.input,
            start: Start::Fresh,
            interrupt_before: submission.interrupt_before,
            interrupt_after: submission.interrupt_after,
            labels: submission.labels,
            actor: submission.actor,
            reason: None,
            max_steps: submission.max_steps,
            budget: submission.budget.or(submission.graph.limits.budget),
            priority: submission.priority,
        },
    };
    put(store, run).await
}

/// Makes a run, and repeats that until the store has answered.
pub(super) async fn put(store: &dyn Store, run: NewRun) -> Result<Submitted, Error> {
    if let Some(halt) = patiently(async || policing::may_make(store, &run).await).await? {
        return Err(Error::Refused(halt.reached));
    }
    let thread = run.thread.clone();
    let mut repeated = false;
    let created = patiently(async || {
        let created = store.create_run(run.clone()).await;
        repeated |= created.is_err();
        created
    });
    match created.await? {
        Created::Made { key, status } => Ok(Submitted { key, thread, status, existed: false }),
        // After a lost reply it is most likely this call's own run.
        Created::Exists { key, status } => Ok(Submitted { key, thread, status, existed: !repeated }),
        Created::Busy { active } => Err(Error::ThreadBusy { thread, active }),
        Created::QueueFull { max } => Err(Error::QueueFull { thread, max }),
    }
}

/// The thread of a run on its own: it has the run's id.
fn own_thread(id: &RunId) -> ThreadId {
    ThreadId::new(id.as_str()).expect("run ids and thread ids are names of the same form")
}

fn check(submission: &Submission) -> Result<(), Error> {
    check_values(&submission.graph, &submission.input)?;
    check_texts(&submission.labels, &submission.actor)?;
    check_limits(submission.run_timeout, submission.max_steps)?;
    check_budget(submission.budget)?;
    let nodes = submission.interrupt_before.iter().chain(&submission.interrupt_after);
    nodes.into_iter().try_for_each(|node| graphs::check_node(&submission.graph, node))
}

/// Whether these values can be written to the graph's channels.
pub(super) fn check_values(graph: &Graph, values: &Values) -> Result<(), Error> {
    values.keys().try_for_each(|channel| graphs::check_channel(graph, channel))?;
    let input = TaskId { step: Step::new(0), node: input_node(), item: 0 };
    let run = RunId::new(input.node.as_str()).expect("a constant name is well formed");
    state::update(&graph.state, &run, &state::initial(&graph.state), &[(&input, values)])?;
    Ok(())
}

/// Stands for the submitter where the state names its writers.
fn input_node() -> NodeName {
    NodeName::new("input").expect("a constant name is well formed")
}

pub(super) fn check_texts(labels: &BTreeMap<String, String>, actor: &str) -> Result<(), Error> {
    if labels.len() > LABELS_MAX {
        return Err(Error::TooManyLabels(labels.len()));
    }
    for (name, value) in labels {
        if name.is_empty() {
            return Err(Error::NamelessLabel);
        }
        check_text(|| format!("the name of the label `{}…`", name.chars().take(32).collect::<String>()), name)?;
        check_text(|| format!("the value of the label `{name}`"), value)?;
    }
    check_text(|| "the actor".to_owned(), actor)
}

/// Whether a text is as short as it has to be, and nothing but text.
pub(super) fn check_text(what: impl FnOnce() -> String, text: &str) -> Result<(), Error> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Error::LongText { what: what(), bytes: text.len() });
    }
    match text.chars().find(|character| printable::is_control(*character)) {
        Some(character) => Err(Error::ControlCharacter { what: printable::line(&what()), character }),
        None => Ok(()),
    }
}

pub(super) fn check_budget(budget: Budget) -> Result<(), Error> {
    match budget.descendants.filter(|most| *most > DESCENDANTS_CEILING) {
        Some(most) => Err(Error::BadDescendants(most)),
        None => Ok(()),
    }
}

pub(super) fn check_limits(run_timeout: Option<Duration>, max_steps: Option<u64>) -> Result<(), Error> {
    let limit = Limit::RunTimeout;
    if let Some(given) = run_timeout.filter(|given| !(limit.floor()..=limit.ceiling()).contains(given)) {
        return Err(Error::BadLimit { limit, given });
    }
    match max_steps.filter(|steps| !(1..=MAX_STEPS_CEILING).contains(steps)) {
        Some(steps) => Err(Error::BadMaxSteps(steps)),
        None => Ok(()),
    }
}
