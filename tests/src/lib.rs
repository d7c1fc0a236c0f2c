//!
//! It is not a product crate: nothing here ships. Whatever it starts is on loopback, in a folder of its own, and is
//! gone when its handle is dropped, or when the test process dies before that (`tests/harness.rs` holds both).

pub mod certificates;
pub mod fleet;
mod guard;
pub mod installed;
pub mod ports;
pub mod process;
pub mod proxy;
mod refuser;
pub mod servers;
pub mod wait;
pub mod web;

pub use nix::sys::signal::Signal;
pub use process::{Cox, Output};
pub use proxy::{Direction, Mode, Proxy};
pub use refuser::Refuser;
pub use servers::{
    Asked, ChromaServer, LlamaServer, MockModel, PrometheusServer, RabbitServer, RedisCluster, RedisOptions,
    RedisServer,
};
pub use wait::{poll, wait_for};
