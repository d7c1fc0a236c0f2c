//! Whether a fleet takes a run now: those that can wait are not taken while a pool that they need is overloaded.

use super::Error;
use super::patience::patiently;
use crate::graph::{Graph, canonical};
use crate::id::RunId;
use crate::priority::Priority;
use crate::store::Store;

/// Refuses a run of low priority that needs an overloaded pool. One that is there already is not refused: submitting it
/// again changes nothing.
pub(super) async fn check(
    store: &dyn Store,
    graph: &Graph,
    priority: Priority,
    id: Option<&RunId>,
) -> Result<(), Error> {
    match priority {
        Priority::High | Priority::Normal => return Ok(()),
        Priority::Low => {}
    }
    for pool in canonical::pools(graph) {
        let load = patiently(async || store.load(&pool).await).await?;
        let Some(overload) = load.and_then(|load| load.overload) else { continue };
        if let Some(id) = id
            && patiently(async || store.locate(id).await).await?.is_some()
        {
            return Ok(());
        }
        return Err(Error::Overloaded { pool, overload, priority });
    }
    Ok(())
}
