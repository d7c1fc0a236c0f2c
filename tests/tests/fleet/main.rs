//! The guarantees on a whole fleet: real schedulers and workers as processes, on real RabbitMQ and Redis, under crashes.
//!
//! `docs/guarantees.md` says which test holds which guarantee. Times are asserted no tighter than the design's hard
//! limits, since the machine is shared; what was measured is printed (`--nocapture`).

mod cascades;
mod crashes;
mod deadlines;
mod drains;
mod failures;

mod fan_outs;
mod hostile;
mod messages;
mod models;
mod neighbours;
mod outages;
mod overloads;
mod partitions;
mod policies;
mod priorities;
mod rig;
mod stops;
mod upstreams;
mod volume;
