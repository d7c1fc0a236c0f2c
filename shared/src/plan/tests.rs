//! The planner's rules as behaviour, one table or sentence each. Random graphs are in `tests/random.rs`.

mod case;
mod edges;
mod failures;
mod steps;
