//! The planner's rules as behaviour, one table or sentence each. Random graphs are in `tests/random.rs`.

mod case;
mod children;
mod edges;
mod failures;
mod limits;
mod pauses;
mod resumption;
mod steps;
