//! The whole worker over the embedded store and broker, with one graph at a time.

mod bench;

mod attempts;
mod deliveries;
mod examples;
mod exec;
mod http;
mod llm;
mod shutdown;
mod stops;
mod upstream;
mod warm;
