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
//! When the attempt is to end, the whole group is sent SIGTERM; when the grace is over, SIGKILL. So is a process that has
//! left the group (`setsid`): it is found by a mark in its environment, `COX_PROCESS_MARK`. Only one that has no mark either
//! escapes; if it holds the child's output open, the attempt's proof is not confirmed. When the child ends by itself, what
//! is left of its group is killed, and one that has left it may live on: it is not waited for. If the worker itself is
//! killed, the child is killed with it where the machine has `setpriv`; what the child has started lives on, and its
//! writes are refused by their fence. In a container, run the worker under an init, which reaps what others leave.

mod child;
mod command;
mod group;
mod guard;
mod kind;
mod lines;
mod mark;
mod output;
mod tail;
mod warm;

pub(crate) use kind::ExecKind;
