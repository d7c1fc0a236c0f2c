//! Why no plan can be made: the records do not fit this build, or each other. The run is left as it is.

use crate::checkpoint::CHECKPOINT_FORMAT;
use crate::id::{NodeName, Step, TaskId};
use crate::task::TaskState;

/// Why no plan can be made. None of these is a failure of the run: another scheduler, or a later call, may plan it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A checkpoint was written by a later version.
    #[error("the checkpoint of step {step} has format {found}; this build understands {CHECKPOINT_FORMAT}: upgrade it")]
    Format {
        /// The checkpoint's step.
        step: Step,
        /// Its format.
        found: u32,
    },
    /// A task of the step has no outcome yet.
    #[error("task {task} is {}, so its step is not complete", .state.name())]
    NotReady {
        /// The task.
        task: TaskId,
        /// Where it stands.
        state: TaskState,
    },
    /// A task is of another step than the one that follows the checkpoint, or is there twice.
    #[error("task {task} is not one of step {step}, or is there twice")]
    Misplaced {
        /// The task.
        task: TaskId,
        /// The step that follows the checkpoint.
        step: Step,
    },
    /// The step's tasks are not all there.
    #[error("node `{node}` was due in step {step}, but its task is not there")]
    MissingTask {
        /// The node.
        node: NodeName,
        /// The step.
        step: Step,
    },
}
