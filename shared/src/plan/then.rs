//! What a plan decides.

use serde::Serialize;

use crate::checkpoint::{Checkpoint, Values};
use crate::id::Step;
use crate::outcome::Failure;
use crate::stop::NewOrder;
use crate::task::{Group, NewTask};

/// The next change of a run: what `advance` is to write.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Planned {
    /// The checkpoint of the step that is complete; absent if the plan only dispatches, pauses or fails the step.
    pub checkpoint: Option<Checkpoint>,
    /// The values of the channels whose version is that checkpoint's step.
    pub changed: Values,
    /// What comes then.
    pub then: Then,
}

impl Planned {
    /// A plan that leaves the last checkpoint as it is.
    pub const fn only(then: Then) -> Self {
        Self { checkpoint: None, changed: Values::new(), then }
    }
}

/// What comes after a step.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "then", rename_all = "snake_case")]
pub enum Then {
    /// These tasks, as this step. If all are settled at once, the run is ready again.
    Step {
        /// The step.
        step: Step,
        /// Its tasks; at least one.
        tasks: Vec<NewTask>,
        /// Its groups, which tasks name by their place.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        groups: Vec<Group>,
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

impl From<Failure> for Then {
    fn from(failure: Failure) -> Self {
        Self::Fail { failure, order: None }
    }
}
