//! Private servers: each on free loopback ports, with its data in a temporary folder, gone when its handle is dropped.
//!
//! A handle is bound to no runtime, so tests of one binary may share a server through a `tokio::sync::OnceCell` in a
//! `static` and keep apart by key prefix or queue name. What stops or restarts a server takes `&mut self`: a shared one
//! cannot be pulled from under its neighbours.

mod chroma;
mod launched;
mod llama;
mod mock;
mod prometheus;
mod rabbit;
mod redis;
mod redis_cluster;

pub use chroma::ChromaServer;
pub(crate) use launched::tail;
pub use llama::LlamaServer;
pub use mock::{Asked, MockModel};
pub use prometheus::{PrometheusServer, Sample};
pub use rabbit::RabbitServer;
pub use redis::{RedisOptions, RedisServer};
pub use redis_cluster::RedisCluster;
