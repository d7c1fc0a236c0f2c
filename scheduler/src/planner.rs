//! Makes plans: small ones where they are asked for, all others on threads of their own.
//!
//! A plan evaluates the graph's expressions on the run's state, and both are anybody's. So the thread that serves all runs
//! evaluates only what is light and small. What is left over is planned again apart, where heavy expressions go to the sandbox
//! and the whole has a time. Planning is pure, so nothing is lost by beginning anew.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use coxswain_shared::checkpoint::Values;
use coxswain_shared::expr::{self, Evaluator};
use coxswain_shared::graph::Graph;
use coxswain_shared::id::TaskId;
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::outcome::{Failure, FailureKind, Outcome};
use coxswain_shared::plan::{self, Base, PlanInput, Planned, Then};
use coxswain_shared::sandbox::{Evaluations, Inline, Sandbox};
use coxswain_shared::store::Ready;
use coxswain_shared::time::Clock;
use tokio::sync::Semaphore;

/// Plans that are made apart at the same time.
const APART_MAX: usize = 4;
/// Kilobytes of values and outcomes whose plans are made apart, or wait for that. A run that finds no place is taken again
/// after the hold. At least one run finds a place.
const APART_KB_MAX: u32 = 64 * 1024;
/// Bytes of values and outcomes that are planned where they are asked for.
const SMALL_BYTES: usize = 512 * 1024;

/// All that a plan is made from.
#[derive(Debug)]
pub(crate) struct Materials {
    pub(crate) ready: Ready,
    graph: Arc<Graph>,
    base: Option<Base>,
    children: BTreeMap<TaskId, Values>,
    /// About the bytes of its values and outcomes as JSON.
    bytes: usize,
}

impl Materials {
    pub(crate) fn new(ready: Ready, graph: Arc<Graph>, base: Option<Base>, children: BTreeMap<TaskId, Values>) -> Self {
        let bytes = bytes(&ready, base.as_ref(), &children);
        Self { ready, graph, base, children, bytes }
    }

    fn plan(&self, evaluator: &dyn Evaluator) -> Result<Planned, plan::Error> {
        let Self { ready, graph, base, children, .. } = self;
        let run = &ready.run;
        let input = PlanInput {
            graph,
            run: &run.key.id,
            depth: run.parent.as_ref().map_or(0, |parent| parent.depth),
            spec: &run.spec,
            checkpoint: ready.checkpoint.as_ref(),
            values: &ready.values,
            tasks: &ready.tasks,
            resumed: ready.resumed,
            base: base.as_ref(),
            children,
            now: Clock::system().now(),
            run_deadline: run.deadline_at,
            evaluator,
        };
        catch_unwind(AssertUnwindSafe(|| plan::plan(&input))).unwrap_or_else(|panic| Ok(failed(panic.as_ref())))
    }
}

/// About the bytes of values and outcomes as JSON.
fn bytes(ready: &Ready, base: Option<&Base>, children: &BTreeMap<TaskId, Values>) -> usize {
    let values = [&ready.values].into_iter().chain(base.map(|base| &base.values)).chain(children.values());
    let outcomes = ready.tasks.iter().filter_map(|task| match task.outcome.as_ref()? {
        Outcome::Succeeded { writes, .. } => Some(writes),
        Outcome::Failed { .. }
        | Outcome::TimedOut { .. }
        | Outcome::Crashed { .. }
        | Outcome::Stopped { .. }
        | Outcome::ChildEnded { .. } => None,
    });
    let bytes = values.chain(outcomes).flat_map(BTreeMap::values).map(expr::bytes_of);
    bytes.fold(0, usize::saturating_add)
}

/// A mistake in this program, which must not end more than the run that met it.
fn failed(panic: &(dyn Any + Send)) -> Planned {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let message = format!("its plan panicked: {}", text.unwrap_or("without a message"));
    Planned::only(Then::Fail { failure: Failure::new(FailureKind::Unknown, message), order: None })
}

/// Why no plan could be made now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unmade {
    /// The records do not fit this program.
    #[error("the records do not fit")]
    Records(#[source] plan::Error),
    /// Something that is no fault of the run was in the way.
    #[error("{0}")]
    Passing(String),
}

/// Makes plans. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Planner {
    sandbox: Sandbox,
    threads: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

impl Default for Planner {
    fn default() -> Self {
        let (threads, places) = (Semaphore::new(APART_MAX), Semaphore::new(APART_KB_MAX as usize));
        Self { sandbox: Sandbox::new(), threads: Arc::new(threads), places: Arc::new(places) }
    }
}

impl Planner {
    /// Makes a small plan in the thread that asks; nothing where it has to be made apart.
    pub(crate) fn at_once(materials: &Materials) -> Option<Result<Planned, Unmade>> {
        if materials.bytes > SMALL_BYTES {
            return None;
        }
        let evaluator = Inline::default();
        let planned = materials.plan(&evaluator);
        (!evaluator.has_deferred()).then(|| planned.map_err(Unmade::Records))
    }

    /// Makes any plan, on a thread of its own.
    pub(crate) async fn apart(&self, materials: Materials, tasks: &Tasks) -> Result<Planned, Unmade> {
        let kilobytes = u32::try_from(materials.bytes / 1024).unwrap_or(u32::MAX).clamp(1, APART_KB_MAX);
        let Ok(_place) = self.places.try_acquire_many(kilobytes) else {
            return Err(Unmade::Passing(format!("plans of {APART_KB_MAX} kB wait for a thread already")));
        };
        let Ok(thread) = Arc::clone(&self.threads).acquire_owned().await else {
            return Err(Unmade::Passing("the planner has ended".to_owned()));
        };
        let (sandbox, tasks) = (self.sandbox.clone(), tasks.clone());
        let made = tokio::task::spawn_blocking(move || {
            let evaluations = Evaluations::of_plan(sandbox, move || !tasks.is_draining());
            let planned = materials.plan(&evaluations).map_err(Unmade::Records);
            drop(thread);
            evaluations.trouble().map_or(planned, |why| Err(Unmade::Passing(why)))
        });
        made.await.unwrap_or_else(|error| Err(Unmade::Passing(error.to_string())))
    }
}
