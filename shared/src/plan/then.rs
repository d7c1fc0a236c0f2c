//! What a plan decides.

use crate::checkpoint::{Checkpoint, Values};
use crate::id::Step;
use crate::outcome::Failure;
use crate::stop::NewOrder;
use crate::task::NewTask;

/// The next change of a run: what `advance` is to write.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// The checkpoint of the step that is complete; absent if the plan only dispatches or pauses.
    pub checkpoint: Option<Checkpoint>,
    /// The values of the channels whose version is that checkpoint's step.
    pub changed: Values,
    /// What comes then.
    pub then: Then,
}

/// What comes after a step.
#[derive(Debug, Clone, PartialEq)]
pub enum Then {
    /// These tasks, as this step. If all are settled at once, the run is ready again.
    Step {
        /// The step.
        step: Step,
        /// Its tasks; at least one.
        tasks: Vec<NewTask>,
    },
    /// A human: the run is interrupted. `step` is the step in flight or to come.
    Pause {
        /// The step.
        step: Step,
    },
    /// The end, well.
    Succeed,
    /// The end, badly.
    Fail {
        /// Why.
        failure: Failure,
        /// The order that ends it, for the causes that the plan finds: `loop` and `budget`.
        order: Option<NewOrder>,
    },
}
