//! The language of the Coxswain fleet: a pure core, two ports with their adapters, and what every process needs.
//!
//! The pure core (everything above the line in the list of modules) knows no clock, network or runtime. The ports,
//! [`store`] and [`broker`], are small traits in the words of the domain; their adapters are files beside them.

pub mod checkpoint;
pub mod closest;
pub mod duration;
pub mod expr;
pub mod graph;
pub mod id;
pub mod limits;
pub mod load;
pub mod outcome;
pub mod plan;
pub mod policy;
pub mod printable;
pub mod priority;
pub mod retry;
pub mod rounds;
pub mod run;
pub mod spend;
pub mod state;
pub mod stop;
pub mod submission;
pub mod task;
pub mod time;
pub mod upstream;
pub mod wire;

pub mod backend;
pub mod broker;
pub mod config;
pub mod control;
pub mod crashpoint;
pub mod exhaustion;
#[cfg(any(test, feature = "testing"))]
pub mod fault;
pub mod lifecycle;
pub mod policing;
pub mod process;
pub mod sandbox;
pub mod store;
pub mod telemetry;
