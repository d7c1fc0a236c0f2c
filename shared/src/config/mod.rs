//! Configuration: where settings come from, how they are read, and how mistakes are told.
//!
//! A component has a `Config` beside it, which is read from a [`Source`] through a [`Reader`]: a file first, then the
//! environment over it, then flags over both. All mistakes are reported at once. A process with a mistaken
//! configuration ends with exit code [`EXIT_USAGE`].

mod environment;
mod known;
mod pools;
mod reader;
mod secret;
mod source;

pub(crate) use environment::take as take_environment;
pub use known::{NAMES, is_known};
pub use pools::KnownPools;
pub use reader::{Mistake, Mistakes, Reader, Variable, check_unknown, list, tell_unknown};
pub use secret::{Secret, has_blanks_around, has_split_login, redact_url, url_remedy};
pub use source::Source;

/// The exit code of a process whose flags or configuration are mistaken (`EX_USAGE`).
pub const EXIT_USAGE: u8 = 64;
