//! The supervisor of a child: a small process between the worker and the command of one attempt, or of a warm process.
//! It is this program itself, started again.
//!
//! ```text
//! worker ──orders: the job; work for, terminate, kill─────────► supervisor ──► command ──► what it starts
//!    ▲ └──standard input, output, error──────────────────────────────────────────┘            │
//!    └────reports: started | failed ERRNO | exited STATUS──────── │ ◄──── orphans ────────────┘
//! ```
//!
//! - It is a *subreaper*: whatever descends from the command is its descendant for good. One that leaves its group and
//!   session, clears its environment or loses its parent becomes its child. When it has no child, nothing is left; then
//!   it ends, and its own end is the proof. So each process belongs to exactly one attempt.
//! - It ends all of them when its worker is gone, however that came about: the pipe of its orders is closed then.
//! - It sets the limits of the command, and hands down nothing but the three standard files.
//!
//! A child may kill its supervisor, being of the same user. Its processes become children of the worker then, which ends
//! them: of a program that begins with [`crate::begin`], every child is a supervisor.

mod job;
mod launch;
mod serve;
mod tree;

pub(super) use job::Job;
pub(super) use launch::{Launched, Pipes, Report, end_orphans, is_available, launch};

pub(crate) use launch::{ARGUMENT, claim_children};
pub(crate) use serve::serve;
