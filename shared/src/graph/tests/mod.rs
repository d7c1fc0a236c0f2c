//! Tests of reading and checking graphs.

mod mistakes;
mod reading;
