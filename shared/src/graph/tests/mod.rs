//! Tests of reading and checking graphs.

mod building;
mod mistakes;
mod reading;
