//! What a process shows of itself: logs, metrics, health.

mod fatal;
mod health;
mod logs;
mod metrics;
mod port;

pub use fatal::{report_fatal, report_mistakes, report_usage};
pub use health::{Health, HttpConfig, Probe, serve};
pub use logs::{LogConfig, start_logs};
pub use metrics::{Metrics, Registered, stop_buckets};
