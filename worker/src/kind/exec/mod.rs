//! The kind `exec`: a child process in a process group of its own. Here is its one-shot form, a process for each try; the
//! long-lived one is in `warm`.
//!
//! - *Standard input*, one JSON object: `{"state": {…}, "item": …, "index": 0, "input": …}`; `input` is the item of a
//!   fan-out, else the state. It is then closed.
//! - *Standard output*, one JSON value a line: `{"progress": any}`, `{"event": "name", "value": any}`,
//!   `{"spend": {"input_tokens": n, …}}`, `{"result": any}`. Any other JSON value counts as the result if it is the last line. The result is an object of
//!   writes by channel, or whatever goes into the node's `into` channel; without one, nothing is written.
//! - *Standard error* is the child's own; its end is shown if the child fails.
//! - *Environment*: `PATH`, `HOME`, `LANG`, `LC_*`, `TZ`, `TMPDIR`, `USER` and what `COX_EXEC_ENV` names, from the
//!   worker; the node's `env`; and `COX_RUN`, `COX_TASK`, `COX_NODE`, `COX_ATTEMPT`, `COX_FENCE`,
//!   `COX_IDEMPOTENCY_KEY`, `COX_DEADLINE_MS` (what is left), `COX_DEADLINE_AT` (RFC 3339), `COX_GRACE_MS`,
//!   `COX_STATE_<CHANNEL>`, `COX_ITEM` and `COX_ITEM_<FIELD>` (texts, numbers, true and false of up to 4 KiB).
//!
//! When the attempt is to end, the command and all that descends from it is sent SIGTERM; when the grace is over, SIGKILL,
//! until nothing is left. A process that has left its group and session, or has cleared its environment, is found all the
//! same: each command has a supervisor that adopts it (`supervisor`). When the command ends by itself, what it has started
//! is killed too. If the worker is killed, the supervisor kills all. If both are, the next worker on this machine ends what
//! it finds by a mark in the environment, `COX_PROCESS_MARK` (`mark`).
//!
//! A command runs with umask 077, without cores, under the limits of `COX_EXEC_…`, with no descriptors but its three
//! standard files, and without the rights to look into other processes.

mod child;
mod command;
mod group;
mod kind;
mod lines;
mod mark;
mod output;
mod supervisor;
mod tail;
mod trace;
mod warm;

pub(crate) use kind::ExecKind;
pub(crate) use supervisor::{ARGUMENT, claim_children, serve};
