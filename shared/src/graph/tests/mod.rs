//! Tests of reading and checking graphs.

mod building;
mod drawing;
mod mistakes;
mod reading;
