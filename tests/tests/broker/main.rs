//! The RabbitMQ adapter on real brokers: the conformance suite, and the faults that a broker's life brings.
//!
//! The suite shares one broker and keeps apart by queue prefix; what harms a broker has one to itself.

mod conformance;
mod faults;
mod permissions;
mod refusals;
mod rig;
mod subscriptions;
