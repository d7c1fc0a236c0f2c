//! Says so when nobody works on the pools that a run needs: it would wait without a sign. Refuses pools that the fleet
//! does not have, where they are listed.

use std::collections::BTreeSet;

use coxswain_shared::config::{KnownPools, Reader};
use coxswain_shared::control;
use coxswain_shared::id::PoolName;
use coxswain_shared::store::Store;

use crate::context::Context;
use crate::failure::Failed;

/// Refuses a graph that names a pool that is none of the fleet's.
pub(crate) fn refuse_unknown(context: &Context, needed: &BTreeSet<PoolName>) -> Result<(), Failed> {
    match unknown(context, needed)? {
        None => Ok(()),
        Some(why) => Err(Failed::usage(why, "name one of these in the graph's `pool`, or add it to the list")),
    }
}

/// Why one of these pools may not be named, if one may not.
pub(crate) fn unknown(context: &Context, needed: &BTreeSet<PoolName>) -> Result<Option<String>, Failed> {
    let mut reader = Reader::new(&context.source);
    let known = KnownPools::read(&mut reader);
    let known = reader.finish(known)?;
    Ok(needed.iter().find_map(|pool| known.refusal(pool)))
}

/// Notes the pools that no worker was seen on within the last minute, with the remedy.
pub(crate) async fn note(context: &Context, store: &dyn Store, needed: &BTreeSet<PoolName>) -> Result<(), Failed> {
    if let Some(pools) = unserved(store, needed).await? {
        context.output.note(format!(
            "no worker of the pool {} was seen within the last minute: the run waits for `cox up`, or a cox-worker with COX_POOLS={}",
            pools.join(", "),
            pools.join(",")
        ));
    }
    Ok(())
}

/// Those of these pools that no worker was seen on within the last minute; none if there are none.
pub(crate) async fn unserved(store: &dyn Store, needed: &BTreeSet<PoolName>) -> Result<Option<Vec<String>>, Failed> {
    let served = control::served(store).await?;
    let idle: Vec<_> = needed.iter().filter(|pool| !served.contains(*pool)).map(ToString::to_string).collect();
    Ok(Some(idle).filter(|idle| !idle.is_empty()))
}
