//! The long-lived form of `exec` (`warm: true`): processes that are kept, and serve one task at a time each.
//!
//! Lines of JSON go both ways. *To the process*, one a task: `{"task": {…}}` with `call` (the node's, or the node's
//! name), `state`, `item` (of a fan-out), `index`, `input`, `run`, `task`, `node`, `attempt`, `fence`,
//! `idempotency_key`, `deadline_ms` and `grace_ms`. Its standard input is closed when there will be no more.
//! *From the process*: `{"ready": true}` once it can take tasks; then for each task any number of `{"progress": any}` and
//! `{"event": "name", "value": any}`, and at its end one `{"result": any}` or
//! `{"error": {"message": "text", "retryable": true}}`. A line may bear the `fence` of the task that it belongs to: then
//! one that comes late is not taken for the next task's.
//!
//! ```text
//!           ┌──────── idle, in its pool ◄────────┐ it answered
//!           ▼                                    │
//! start ─► one task ─────────────────────────────┤
//!    (ready)                                     └ stop, deadline, bad line, early end: never used again
//! ```
//!
//! Nodes with the same command, variables and folder share a pool. Processes are started when none is idle, at most as
//! many as the worker has slots; one that is idle for too long is ended, and all are when the worker is through. How a
//! process is started, guarded, told to end and killed is the same as in the one-shot form: a process group, the ladder.
//! The environment is the same too, without all that differs from task to task.

mod errors;
mod pool;
mod process;
mod serve;
mod wire;

pub(super) use pool::{Limits, Pool, Starter};
pub(super) use serve::serve;
