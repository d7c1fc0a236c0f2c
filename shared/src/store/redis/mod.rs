//! The store port on Redis: each changing call is one Lua script on one partition's slot.
//!
//! # Keys and slots
//!
//! All of a partition's keys share the hash tag `{p}`, so that what must change together lies in one slot of a cluster
//! (`keys` lists them). A script is routed by one declared key, the partition's prefix, and builds the further keys of
//! the same slot from it: which they are depends on what it reads. That is this adapter's one liberty with the rule that
//! scripts declare their keys; it holds as long as servers check slots and not names. Time is the server's, read
//! inside the script.
//!
//! # Locators, and their races
//!
//! A run is named by its id, and lies where its thread lies, so each id has a *locator* in a slot of its own: the run's
//! partition, or an order to stop that came before the run. Two slots cannot change in one script, so:
//!
//! - *create* first asks the locator (script `locate`: writes the partition, or hands out the early order), then makes
//!   the run in the partition (`create`). *stop* first asks the locator (`find`: names the partition, or keeps the
//!   order), then orders in the partition (`stop`), which keeps the order there if the run is not there yet.
//! - `find` before `locate`: the order is in the locator; `locate` hands it to `create`. `locate` before `find`: `stop`
//!   goes to the partition; before `create` it leaves the order there and `create` finds it, after `create` it finds the
//!   run. So an acknowledged order is never lost. A maker that dies between its two scripts leaves a locator, and no run:
//!   the next one of the same id goes on from there, and the early order is still in the locator.
//! - A second maker of the same id on *another* thread finds a locator that names a partition without the run: the first
//!   one is still at it, or dead. It is told to try again, until the locator has stood for 90 s; then it takes it over. The
//!   first one can make its run only within 30 s of its own `locate`, so there are never two.
//! - `advance` makes child runs in its own script. Their locators are written before it, so that an order to a child that
//!   exists always finds it; if `advance` is refused, they are taken back in the same way (`refuse`).
//! - A refused run's locator is taken back at once, if it is still the one that was written for it. Another maker that had
//!   asked before would then make a run without locator; so the refusal leaves word in the partition, and that maker
//!   is told to ask again.
//! - A refused run whose maker died, an ended run whose retention is over, and an order kept in a partition are on the list `forget`; a
//!   sweep clears the partition first and the locator then, unless somebody has asked for it within the last minute.
//!
//! # Large steps
//!
//! Up to 250 tasks go with `advance` itself. More are staged before, in chunks of 500, in a hash that nobody reads; `advance`
//! renames it. It is dropped when `advance` is refused, and expires when it is never tried.
//!
//! # What is bounded
//!
//! No script reads or writes more than a step's tasks (10,000), a thread's queue (1,000), a run's open children or the
//! batch that it was given. Lists are passed on in pieces of at most 1,000 values.

mod check;
mod config;
mod create;
mod decode;
mod encode;
mod kept;
mod keys;
mod leasing;
mod link;
mod listing;
mod loads;
mod merge;
mod planning;
mod policies;
mod push;
mod reading;
mod refusal;
mod reply;
mod script;
mod store;
mod tending;
mod upstreams;
mod words;

pub use config::RedisConfig;
pub use store::{Persistence, RedisStore};

/// The version of the records that is written and understood.
const FORMAT: u32 = 1;
/// For how long an order to a run that does not exist is kept, in ms: a day.
const EARLY_KEPT: i64 = 24 * 3_600_000;
/// For how long staged tasks wait to be taken over, in ms.
const STAGED_KEPT: i64 = 10 * 60_000;
/// After how long the locator of a refused run is taken back, in ms.
const REFUSED_KEPT: i64 = 3_600_000;
/// After how long a new task is sent by a sweep, if its maker did not, in ms.
const SEND_AFTER: i64 = 2_000;
