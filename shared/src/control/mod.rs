//! What users and operators ask for, in terms of the store port alone: the command line and the HTTP API both stand on
//! this. It knows no flags and prints nothing.
//!
//! A call whose reply was lost is repeated here, a few times: every call of the port is safe to repeat.

mod answers;
pub mod cancel;
mod error;
mod follow;
mod graphs;
mod load;
mod look;
mod patience;
pub mod policies;
mod resume;
pub mod scope;
mod submit;
mod unserved;

pub use answers::{Answers, Question, questions};
pub use error::{Error, ErrorKind};
pub use follow::{FOLLOW_PATIENCE, Follow, Progress, TaskChange};
pub use graphs::{check_channel, deploy, graph_of};
pub use look::{Described, SoFar, StateAt, describe, find, history, last_checkpoint, state};
pub use resume::{ResumedAs, Resumption, resume};
pub use submit::{Submission, Submitted, create, submit};
pub use unserved::{fan_outs, served, unserved_of};

#[cfg(test)]
mod tests;
