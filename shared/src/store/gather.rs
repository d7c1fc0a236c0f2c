//! Reads that take more than one call: the store answers in pages, and a child run is found by its id.

use std::collections::BTreeMap;

use super::{Error, Store};
use crate::checkpoint::Values;
use crate::id::{RunKey, Step, TaskId};
use crate::limits::PAGE_MAX;
use crate::outcome::Outcome;
use crate::run::RunStatus;
use crate::task::Task;

/// The tasks of a step that are wanted, in their order. All of them are read, and only these are kept.
///
/// Errors are those of [`Store::tasks`].
pub async fn tasks_where(
    store: &dyn Store,
    run: &RunKey,
    step: Step,
    is_wanted: impl Fn(&Task) -> bool,
) -> Result<Vec<Task>, Error> {
    let (mut found, mut seen) = (Vec::new(), 0);
    loop {
        let page = store.tasks(run, step, seen, PAGE_MAX).await?;
        seen += page.len();
        let is_last = page.len() < PAGE_MAX;
        found.extend(page.into_iter().filter(|task| is_wanted(task)));
        if is_last {
            return Ok(found);
        }
    }
}

/// The final values of the child runs that these tasks started, and that have ended well. One that is forgotten has none.
///
/// Errors are those of [`Store::run`] and [`Store::values`].
pub async fn values_of_children(store: &dyn Store, tasks: &[Task]) -> Result<BTreeMap<TaskId, Values>, Error> {
    let mut children = BTreeMap::new();
    for task in tasks {
        let Some(Outcome::ChildEnded { run, status: RunStatus::Succeeded, .. }) = &task.outcome else { continue };
        let Some(child) = store.run(run).await? else { continue };
        let values = store.values(&child.key, child.step).await?;
        children.extend(values.map(|values| (task.id.clone(), values)));
    }
    Ok(children)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::plan::Then;
    use crate::store::conformance::{Fixture, make};
    use crate::store::sqlite::{SqliteConfig, SqliteStore};

    fn fixture() -> Fixture {
        Fixture::real(Arc::new(SqliteStore::open(SqliteConfig::memory()).unwrap()), ())
    }

    #[tokio::test]
    async fn a_step_of_more_tasks_than_a_page_is_read_to_its_end() {
        let fixture = fixture();
        let tasks = (0..=PAGE_MAX).map(|item| make::task(&format!("1:a:{item}"))).collect();
        let (run, _) = fixture.dispatched("r", tasks).await;
        let all = tasks_where(fixture.store(), &run, Step::new(1), |_| true).await.unwrap();
        assert_eq!(all.len(), PAGE_MAX + 1);
        let last = TaskId::to_string(&all[PAGE_MAX].id);
        let found = tasks_where(fixture.store(), &run, Step::new(1), |task| task.id.to_string() == last).await.unwrap();
        assert_eq!(found, all[PAGE_MAX..]);
    }

    #[tokio::test]
    async fn a_child_run_that_is_forgotten_keeps_nobody_from_the_values_of_the_others() {
        let fixture = fixture();
        let child = fixture.begin("known").await;
        fixture.checkpoint(&child, 0, 7, Then::Succeed).await;
        let ended =
            |run: &str| Outcome::ChildEnded { run: make::run_id(run), status: RunStatus::Succeeded, failure: None };
        let tasks = vec![make::settled("1:a:0", ended("forgotten")), make::settled("1:b:0", ended("known"))];
        let (run, keys) = fixture.dispatched("parent", tasks).await;
        let tasks = tasks_where(fixture.store(), &run, Step::new(1), |_| true).await.unwrap();
        let values = values_of_children(fixture.store(), &tasks).await.unwrap();
        assert_eq!(values.into_keys().collect::<Vec<_>>(), [keys[1].task.clone()]);
    }
}
