//! The broker port: carries hints that tasks exist, from schedulers to workers.
//!
//! A message may be lost, late or doubled, and nothing breaks: a claim in the store decides, and a sweep sends again.

mod port;

pub use port::{Broker, Consumer, Delivery, Error};
