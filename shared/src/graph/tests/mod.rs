//! Tests of reading and checking graphs.

mod building;
mod drawing;
mod examples;
mod mistakes;
mod reading;
