//! Lets a run go on: an interrupted one where it is, with answers; one that has ended from a checkpoint, as a new run
//! that knows its origin.

use std::collections::BTreeMap;
use std::time::Duration;

use super::answers::{Answers, in_words, outcome, questions, tell};
use super::graphs::{check_channel, graph_of};
use super::look::{checkpoint, find};
use super::patience::patiently;
use super::submit::{Submitted, check_budget, check_limits, check_text, check_texts, put};
use super::{Error, load};
use crate::checkpoint::Values;
use crate::graph::Graph;
use crate::id::{NodeName, Nonce, RunId, Step, TaskId};
use crate::run::RunStatus;
use crate::spend::Budget;
use crate::state;
use crate::store::{NewRun, OnConflict, Resume, Resumed, Run, RunSpec, Start, Store};

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
    /// Not yet: the answers are kept, and questions are open still.
    Waiting {
        /// The run.
        run: RunId,
        /// The names of the questions that are open.
        open: Vec<String>,
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
    /// The run that goes on, or is to.
    pub const fn run(&self) -> &RunId {
        match self {
            Self::Itself { run } | Self::Waiting { run, .. } => run,
            Self::New { run, .. } => &run.key.id,
        }
    }
}

/// Lets a run go on.
pub async fn resume(store: &dyn Store, wish: Resumption) -> Result<ResumedAs, Error> {
    check_texts(&wish.labels, &wish.actor)?;
    check_text(|| "the reason".to_owned(), wish.reason.as_deref().unwrap_or_default())?;
    check_limits(wish.run_timeout, wish.max_steps)?;
    check_budget(wish.budget)?;
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
    let open = questions(store, &run, &graph).await?;
    let told = tell(&run.key.id, &open, wish.answers)?;
    let said = in_words(&told);
    let outcomes = told.iter().map(|(question, value)| {
        let outcome = outcome(&graph, &question.id.node, value)?;
        Ok((question.id.clone(), outcome))
    });
    let answers = outcomes.collect::<Result<BTreeMap<_, _>, Error>>()?;
    // The trail tells who answered what; the reason beside it, if there is one.
    let reason = [wish.reason, said].into_iter().flatten().reduce(|reason, said| format!("{reason}; {said}"));
    let resume = Resume { run: run.key.clone(), nonce: Nonce::fresh(), answers, actor: wish.actor, reason };
    match patiently(async || store.resume(resume.clone()).await).await? {
        Resumed::Ok => Ok(ResumedAs::Itself { run: run.key.id }),
        // Others may have answered since: who is told what is open sees what is open now.
        Resumed::StillOpen(_) => {
            let open = questions(store, &run, &graph).await?.into_iter().map(|question| question.name).collect();
            Ok(ResumedAs::Waiting { run: run.key.id, open })
        }
        Resumed::NotInterrupted(status) => Err(Error::InFlight { run: run.key.id, status }),
        Resumed::UnknownTask | Resumed::MissingAnswer => Err(Error::Changed(run.key.id)),
        Resumed::NotFound => Err(Error::RunNotFound(run.key.id)),
    }
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
