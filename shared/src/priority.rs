//! How urgent a run is, and the lane that its tasks wait in: those of one pool and one priority.
//!
//! A lane is a queue of its own. Workers take from the lanes of a pool by weight, so that none of them starves.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{self, PoolName};
use crate::time::{Timestamp, millis};

/// How urgent a run is. The order is that in which they go first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Goes before the others: somebody waits for it.
    High,
    /// What is not said to be anything else.
    #[default]
    Normal,
    /// Can wait; it goes on all the same, and is the first to be refused when there is too much.
    Low,
}

impl Priority {
    /// All of them, the most urgent one first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// The priority's name in files, flags and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// The priority of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.name() == name)
    }

    /// By how much a run that waits for its plan counts as waiting longer than it does. So what is urgent is planned before a
    /// backlog of what is not, and what has waited for as long goes before that.
    pub const fn head_start(self) -> Duration {
        match self {
            Self::High => Duration::from_mins(1),
            Self::Normal => Duration::from_secs(30),
            Self::Low => Duration::ZERO,
        }
    }

    /// Since when a run that is ready from now on counts as waiting.
    pub fn ready_since(self, now: Timestamp) -> Timestamp {
        Timestamp::from_millis(now.as_millis().saturating_sub(millis(self.head_start())))
    }

    /// Whether it is what holds where nothing is said, so that a record leaves it out.
    pub const fn is_normal(&self) -> bool {
        matches!(self, Self::Normal)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Where a task waits for a worker. Its text is the pool's name, with the priority before it where that is not normal:
/// `gpu`, `high:gpu`. (No name has a colon.)
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// Whose workers take from it.
    pub pool: PoolName,
    /// How urgent what waits in it is.
    pub priority: Priority,
}

impl Lane {
    /// The lane of a pool for this priority.
    pub const fn new(pool: PoolName, priority: Priority) -> Self {
        Self { pool, priority }
    }

    /// A pool's lane of runs that are not said to be urgent or not.
    pub const fn normal(pool: PoolName) -> Self {
        Self::new(pool, Priority::Normal)
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.priority {
            Priority::Normal => self.pool.fmt(f),
            Priority::High | Priority::Low => write!(f, "{}:{}", self.priority, self.pool),
        }
    }
}

/// A text that is no lane.
#[derive(Debug, thiserror::Error)]
pub enum InvalidLane {
    /// What is before the colon is no priority.
    #[error("`{0}` is no priority")]
    Priority(String),
    /// What is behind it is no pool's name.
    #[error(transparent)]
    Pool(#[from] id::Error),
}

impl FromStr for Lane {
    type Err = InvalidLane;
    fn from_str(text: &str) -> Result<Self, InvalidLane> {
        match text.split_once(':') {
            None => Ok(Self::normal(PoolName::new(text)?)),
            Some((name, pool)) => {
                let priority = Priority::from_name(name).ok_or_else(|| InvalidLane::Priority(name.to_owned()))?;
                Ok(Self::new(PoolName::new(pool)?, priority))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lane_is_read_back_from_its_text_and_normal_ones_are_plain_pools() {
        let pool = PoolName::new("gpu.a-1").unwrap();
        for priority in Priority::ALL {
            let lane = Lane::new(pool.clone(), priority);
            assert_eq!(lane.to_string().parse::<Lane>().unwrap(), lane);
            assert_eq!(serde_json::to_value(priority).unwrap(), priority.name());
        }
        assert_eq!(Lane::normal(pool).to_string(), "gpu.a-1");
        assert!("urgent:gpu".parse::<Lane>().is_err() && "high:g:pu".parse::<Lane>().is_err());
    }
}
