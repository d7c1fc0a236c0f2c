//! How an embedded store is set up.

use std::path::PathBuf;
use std::time::Duration;

use crate::time::Clock;

/// The settings of a [`super::SqliteStore`].
#[derive(Debug, Clone)]
pub struct SqliteConfig {
    /// The file; it is made where there is none, its folder is not. Absent: in memory, gone with the last handle.
    pub path: Option<PathBuf>,
    /// How long a finished run is kept at least. 7 days by default.
    pub retention: Duration,
    /// Where the store's time comes from: the machine, except in tests.
    pub clock: Clock,
    /// How many partitions a new file has; one that is there keeps its number. 16 by default.
    pub partitions: u16,
    /// How long a call waits while another process is writing, before it is answered as unavailable. 5 s by default.
    pub busy_timeout: Duration,
    /// How many calls may wait for the writer; further ones wait outside. 1024 by default.
    pub queue_max: usize,
    /// How many calls one transaction takes at most. 256 by default.
    pub batch_max: usize,
}

impl Default for SqliteConfig {
    fn default() -> Self {
        Self {
            path: None,
            retention: Duration::from_hours(7 * 24),
            clock: Clock::system(),
            partitions: 16,
            busy_timeout: Duration::from_secs(5),
            queue_max: 1024,
            batch_max: 256,
        }
    }
}

impl SqliteConfig {
    /// A store in memory, with the machine's clock.
    pub fn memory() -> Self {
        Self::default()
    }

    /// A store in a file, with the machine's clock.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { path: Some(path.into()), ..Self::default() }
    }

    /// What errors call it.
    pub(super) fn place(&self) -> String {
        self.path.as_ref().map_or_else(|| "memory".to_owned(), |path| path.display().to_string())
    }
}
