//! The whole worker over the embedded store and broker, with one graph at a time.

mod bench;
mod model;
mod outside;

mod alone;
mod attempts;
mod breaker;
mod deliveries;
mod examples;
mod exec;
mod fallback;
mod http;
mod isolation;
mod llm;
mod llm_faults;
mod policies;
mod priorities;
mod secrets;
mod shutdown;
mod spending;
mod stops;
mod upstream;
mod vector;
mod warm;
