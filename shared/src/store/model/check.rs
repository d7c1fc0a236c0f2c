//! Drives a store and the model with the same random operations, and compares every answer and all that is visible.

use std::fmt::Write as _;
use std::sync::Arc;

use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::call::Call;
use super::fit::{self, Fitter};
use super::operation::{self, Operation};
use super::plain::Plain;
use super::state::Model;
use crate::id::{RunKey, Step};
use crate::store::{RunFilter, Store};
use crate::time::Clock;

/// Holds an adapter to the model over many random sequences of operations; `make` answers a fresh store, and the clock by which
/// it lives. A difference is shrunk, and shown with the calls that led to it.
///
/// # Panics
/// Where the store and the model differ.
pub fn hold_to_the_model<F>(cases: u32, make: F)
where
    F: AsyncFn() -> (Arc<dyn Store>, Clock),
{
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime is built");
    // A failure is mended, not remembered in a file.
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 4_000, ..Config::default() };
    let result = TestRunner::new(config).run(&operation::operations(), |operations| {
        runtime.block_on(async {
            let (store, clock) = make().await;
            live(store.as_ref(), &clock, operations).await
        })
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// What differs, or what the store could not do.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{what} differs\n  store: {got}\n  model: {wanted}")]
    Difference { what: String, got: String, wanted: String },
    #[error("the store could not be asked")]
    Store(#[from] crate::store::Error),
}

/// One case.
async fn live(store: &dyn Store, clock: &Clock, operations: Vec<Operation>) -> Result<(), TestCaseError> {
    let mut case = Case { model: Model::new(store.partitions()), fitter: Fitter::default(), calls: Vec::new() };
    let mut history = String::new();
    for operation in operations {
        if let Err(error) = case.step(store, clock, operation, &mut history).await {
            return Err(TestCaseError::fail(format!("{error}\nafter:\n{history}")));
        }
    }
    Ok(())
}

struct Case {
    model: Model,
    fitter: Fitter,
    calls: Vec<Call>,
}

impl Case {
    async fn step(
        &mut self,
        store: &dyn Store,
        clock: &Clock,
        operation: Operation,
        history: &mut String,
    ) -> Result<(), Error> {
        let call = match operation {
            Operation::Pass(length) => {
                clock.advance(length);
                let _ = writeln!(history, "{length:?} pass");
                None
            }
            Operation::Repeat(back) => self.calls.iter().rev().nth(back.into()).cloned(),
            other => self.fitter.fit(other, &self.model),
        };
        let Some(call) = call else { return Ok(()) };
        self.calls.push(call.clone());
        self.model.set_now(clock.now());
        let _ = writeln!(history, "{call:?}");
        let wanted = call.clone().expect(&mut self.model);
        let answer = call.ask(store).await?;
        let _ = writeln!(history, "  -> {answer:?}");
        same("the answer", &answer, &wanted)?;
        compare(store, &self.model).await
    }
}

/// Compares all that is visible.
async fn compare(store: &dyn Store, model: &Model) -> Result<(), Error> {
    let runs = store.runs(&RunFilter::default(), None, 1_000).await?.rows.plain();
    same("the list of runs", &runs, &model.runs().plain())?;
    same("the count of ended runs", &store.ends().await?, &model.ends())?;
    for key in fit::keys(model) {
        compare_run(store, model, &key).await?;
    }
    for run in &runs {
        same(&format!("thread {}", run.thread), &store.thread(&run.thread).await?, &model.thread(&run.thread))?;
    }
    Ok(())
}

async fn compare_run(store: &dyn Store, model: &Model, key: &RunKey) -> Result<(), Error> {
    let id = &key.id;
    let run = store.run(id).await?.plain();
    let of_model = model.runs().into_iter().find(|run| run.key == *key).plain();
    same(&format!("run {id}"), &run, &of_model)?;
    let step = of_model.map_or(Step::new(0), |run| run.step);
    let tasks = store.tasks(key, step, 0, 100).await?.plain();
    same(&format!("the tasks of run {id}"), &tasks, &model.tasks(id, step).plain())?;
    let mut trail = store.audit(Some(id), None, 1_000).await?.rows.plain();
    trail.reverse();
    same(&format!("the audit trail of run {id}"), &trail, &model.audit(id).plain())?;
    let checkpoints = store.checkpoints(key, Step::new(0), 1_000).await?;
    same(&format!("the checkpoints of run {id}"), &checkpoints, &model.checkpoints(id))?;
    if let Some(last) = checkpoints.last() {
        let step = last.checkpoint.step;
        same(&format!("the values of run {id}"), &store.values(key, step).await?, &model.values(id, step))?;
    }
    let events = store.events(key, 0, 1_000).await?;
    same(&format!("the events of run {id}"), &events, &model.events(id))
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: &T, wanted: &T) -> Result<(), Error> {
    if got == wanted {
        return Ok(());
    }
    let (got, wanted) = (format!("{got:#?}"), format!("{wanted:#?}"));
    Err(Error::Difference { what: what.to_owned(), got, wanted })
}
