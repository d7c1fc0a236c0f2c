//! Says so when nobody works on the pools that a run needs: it would wait without a sign.

use std::collections::BTreeSet;

use coxswain_shared::control;
use coxswain_shared::id::PoolName;
use coxswain_shared::store::Store;

use crate::context::Context;
use crate::failure::Failed;

/// Notes the pools that no worker was seen on within the last minute, with the remedy.
pub(crate) async fn note(context: &Context, store: &dyn Store, needed: &BTreeSet<PoolName>) -> Result<(), Failed> {
    let served = control::served(store).await?;
    let idle: Vec<_> = needed.iter().filter(|pool| !served.contains(*pool)).map(PoolName::as_str).collect();
    if !idle.is_empty() {
        let pools = idle.join(", ");
        context.output.note(format!(
            "no worker of the pool {pools} was seen within the last minute: the run waits for `cox up`, or a cox-worker with COX_POOLS={}",
            idle.join(",")
        ));
    }
    Ok(())
}
