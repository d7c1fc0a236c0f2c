//! What users and operators ask for, on the embedded store: with a planner and a worker that do what the test says.

mod cancelling;
mod fleet;
mod following;
mod putting_off;
mod resuming;
mod submitting;
