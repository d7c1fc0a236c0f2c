//! The Redis store on real servers: its conformance, its likeness to the embedded store, and what Redis alone can do to it.

mod likeness;
mod rig;
mod walk;
