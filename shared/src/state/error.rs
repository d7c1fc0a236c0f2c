//! Why writes could not be put into the state.

use crate::graph::Reducer;
use crate::id::{ChannelName, NodeName, Step, TaskId};
use crate::limits::STATE_BYTES_MAX;
use crate::outcome::{Failure, FailureKind};

/// Why writes could not be put into the state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The graph has no such channel.
    #[error("{} wrote channel `{channel}`, which the graph does not declare{}", writer(.task), hint(.nearest.as_ref()))]
    UnknownChannel {
        /// The name that was written.
        channel: ChannelName,
        /// Who wrote it.
        task: TaskId,
        /// A declared channel of a similar name.
        nearest: Option<ChannelName>,
    },
    /// Two tasks of one step wrote a channel that takes one writer.
    #[error("{}", conflict(.channel, .first, .second))]
    Conflict {
        /// The channel.
        channel: ChannelName,
        /// The first writer, in order.
        first: TaskId,
        /// The second one.
        second: TaskId,
    },
    /// The write does not fit the channel's reducer.
    #[error("{} wrote {found} to channel `{channel}`, whose reducer `{}` takes {wanted}", writer(.task), .reducer.name())]
    BadWrite {
        /// The channel.
        channel: ChannelName,
        /// Its reducer.
        reducer: Reducer,
        /// Who wrote it.
        task: TaskId,
        /// What the reducer takes.
        wanted: &'static str,
        /// What was written.
        found: &'static str,
    },
    /// What the channel holds does not fit its reducer.
    #[error(
        "channel `{channel}` holds {found}, but its reducer `{}` adds to {wanted}: give it such a default, or another reducer",
        .reducer.name()
    )]
    BadValue {
        /// The channel.
        channel: ChannelName,
        /// Its reducer.
        reducer: Reducer,
        /// What the reducer adds to.
        wanted: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// A sum has left the range of numbers.
    #[error("adding what {} wrote to channel `{channel}` leaves the range of its numbers", writer(.task))]
    Overflow {
        /// The channel.
        channel: ChannelName,
        /// Whose number was too much.
        task: TaskId,
    },
    /// The whole state would be too large.
    #[error(
        "the state would take {bytes} bytes as JSON, most of it in channel `{channel}`; a run's whole state may take {STATE_BYTES_MAX}: keep large things elsewhere, and their addresses in the state"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The largest channel.
        channel: ChannelName,
    },
    /// A value is nested too deeply to be read back.
    #[error("channel `{channel}` would nest deeper than {} levels, and could not be read back", super::DEPTH_MAX)]
    TooDeep {
        /// The channel.
        channel: ChannelName,
    },
}

impl Error {
    /// The kind of failure that this is to a run.
    pub const fn kind(&self) -> FailureKind {
        match self {
            Self::Conflict { .. } => FailureKind::Conflict,
            Self::TooLarge { .. } | Self::TooDeep { .. } => FailureKind::TooLarge,
            Self::UnknownChannel { task, .. } | Self::BadWrite { task, .. } | Self::Overflow { task, .. } => {
                if is_input(task) { FailureKind::BadInput } else { FailureKind::BadOutput }
            }
            Self::BadValue { .. } => FailureKind::BadInput,
        }
    }

    /// The node that is to blame, where one is.
    pub const fn node(&self) -> Option<&NodeName> {
        match self {
            Self::UnknownChannel { task, .. }
            | Self::BadWrite { task, .. }
            | Self::Overflow { task, .. }
            | Self::Conflict { second: task, .. } => {
                if is_input(task) {
                    None
                } else {
                    Some(&task.node)
                }
            }
            Self::BadValue { .. } | Self::TooLarge { .. } | Self::TooDeep { .. } => None,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let failure = Self::from_error(error.kind(), &error);
        match error.node() {
            Some(node) => failure.at(node),
            None => failure,
        }
    }
}

/// Step 0 has no tasks: what is written there is the input.
const fn is_input(task: &TaskId) -> bool {
    task.step.get() == Step::new(0).get()
}

fn writer(task: &TaskId) -> String {
    match (is_input(task), task.item) {
        (true, _) => format!("the {}", task.node),
        (false, 0) => format!("node `{}`", task.node),
        (false, item) => format!("item {item} of node `{}`", task.node),
    }
}

fn hint(nearest: Option<&ChannelName>) -> String {
    nearest.map(|name| format!(": did you mean `{name}`?")).unwrap_or_default()
}

fn conflict(channel: &ChannelName, first: &TaskId, second: &TaskId) -> String {
    if first.node == second.node {
        let (node, one, two) = (&first.node, first.item, second.item);
        return format!(
            "items {one} and {two} of node `{node}` both wrote channel `{channel}` in one step, whose reducer `last` takes one writer: give it the reducer `append`"
        );
    }
    format!(
        "nodes `{}` and `{}` both wrote channel `{channel}` in one step, whose reducer `last` takes one writer: give it another reducer, or let one node follow the other",
        first.node, second.node
    )
}
