//! The commands, one a file: its flags, what it asks of `control`, and how it shows the answer.

pub(crate) mod audit;
pub(crate) mod bench;
pub(crate) mod cancel;
pub(crate) mod completions;
pub(crate) mod exit_codes;
pub(crate) mod get;
pub(crate) mod graph;
pub(crate) mod history;
pub(crate) mod list;
pub(crate) mod policy;
pub(crate) mod resume;
pub(crate) mod run;
pub(crate) mod state;
pub(crate) mod submit;
pub(crate) mod up;
pub(crate) mod watch;
pub(crate) mod workers;
