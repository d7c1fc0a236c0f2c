//! One step's writes, put into the whole state: checked names, fixed order, bounded size.

use std::collections::BTreeMap;

use super::error::Error;
use super::reducer::{self, Write, apply};
use super::size;
use crate::checkpoint::Values;
use crate::closest::closest;
use crate::graph::{Channel, Reducer};
use crate::id::{ChannelName, RunId, TaskId};
use crate::limits::STATE_BYTES_MAX;
use crate::outcome::Writes;

/// The declared channels of a graph.
pub type Channels = BTreeMap<ChannelName, Channel>;

/// The values of a fresh state: each channel's default, or its reducer's first value.
pub fn initial(channels: &Channels) -> Values {
    channels
        .iter()
        .filter_map(|(name, channel)| {
            let value = channel.default.clone().or_else(|| reducer::first(channel.reducer))?;
            Some((name.clone(), value))
        })
        .collect()
}

/// Puts the writes of one step into the state, and gives the values that changed by it.
///
/// The order of `writes` does not matter: they are applied by node, then item. A write that leaves a value as it was is no
/// change. The input counts as written by a task of step 0. Fails on an undeclared channel, on a write that its
/// channel's reducer does not take, and on a state that would be too large.
pub fn update(
    channels: &Channels,
    run: &RunId,
    values: &Values,
    writes: &[(&TaskId, &Writes)],
) -> Result<Values, Error> {
    let mut ordered: Vec<_> = writes.iter().collect();
    ordered.sort_by_key(|(task, _)| (&task.node, task.item));
    let mut by_channel: BTreeMap<&ChannelName, Vec<Write<'_>>> = BTreeMap::new();
    for (task, writes) in ordered {
        for (channel, value) in *writes {
            declared(channels, channel, task)?;
            if size::is_too_deep(value) {
                return Err(Error::TooDeep { channel: channel.clone() });
            }
            by_channel.entry(channel).or_default().push(Write { task, value });
        }
    }
    let mut changed = Values::new();
    for (channel, writes) in by_channel {
        let reducer = channels.get(channel).map_or(Reducer::Last, |declared| declared.reducer);
        let current = values.get(channel);
        let value = apply(run, channel, reducer, current, &writes)?;
        if current != Some(&value) {
            changed.insert(channel.clone(), value);
        }
    }
    check(values, &changed)?;
    Ok(changed)
}

/// Sets values by hand: each replaces its channel's, whatever the reducer.
pub fn replace(channels: &Channels, values: &mut Values, update: &Values, by: &TaskId) -> Result<(), Error> {
    for (channel, value) in update {
        declared(channels, channel, by)?;
        values.insert(channel.clone(), value.clone());
    }
    check(values, &Values::new())
}

/// Checks the size of a state in which `changed` takes the place of what was there.
pub fn check(values: &Values, changed: &Values) -> Result<(), Error> {
    let kept = values.iter().filter(|(channel, _)| !changed.contains_key(*channel));
    let (mut total, mut largest) = (0_usize, None);
    for (channel, value) in kept.chain(changed) {
        if size::is_too_deep(value) {
            return Err(Error::TooDeep { channel: channel.clone() });
        }
        // `"name":value,`
        let bytes = size::bytes(value).saturating_add(channel.as_str().len() + 4);
        total = total.saturating_add(bytes);
        largest = largest.max(Some((bytes, channel)));
    }
    match largest {
        Some((_, channel)) if total > STATE_BYTES_MAX => {
            Err(Error::TooLarge { bytes: total, channel: channel.clone() })
        }
        _ => Ok(()),
    }
}

fn declared(channels: &Channels, channel: &ChannelName, task: &TaskId) -> Result<(), Error> {
    if channels.contains_key(channel) {
        return Ok(());
    }
    let nearest = closest(channel.as_str(), channels.keys()).cloned();
    Err(Error::UnknownChannel { channel: channel.clone(), task: task.clone(), nearest })
}

#[cfg(test)]
mod tests;
