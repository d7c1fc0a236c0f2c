//! The Redis store on real servers: its conformance, its likeness to the embedded store, and what Redis alone can do to it.

mod conformance;
mod failovers;
mod likeness;
mod neighbours;
mod ops;
mod reserved;
mod rig;
mod scale;
mod tls;
mod troubles;
mod walk;
