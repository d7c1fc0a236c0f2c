//! Overload: what a pool has to do, held to the bounds that its operators set.
//!
//! A scheduler looks at each pool every second and judges it. What it finds is kept for a few seconds, so that whoever submits a
//! run can know of it, and another scheduler can go on from it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration;
use crate::id::PoolName;
use crate::priority::Priority;
use crate::time::Timestamp;

/// An overload ends only when the pool is at so much of its bounds, in percent: one that hovers about them would be
/// told and untold every second.
pub const CLEAR_PERCENT: u64 = 80;

/// What a pool may come to before it counts as overloaded. What is absent has no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Tasks that wait for a worker.
    pub backlog: Option<u64>,
    /// How long they wait.
    pub queue_age: Option<Duration>,
}

/// What was seen of a pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Messages that wait, by the priority of their runs.
    pub waiting: BTreeMap<Priority, u64>,
    /// How long the tasks wait that are taken now; or how long none was taken while some waited.
    pub age: Duration,
}

/// The bound that a pool is over, and the figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "bound", rename_all = "snake_case")]
pub enum Over {
    /// Too many tasks wait.
    Backlog {
        /// So many.
        waiting: u64,
        /// As many may.
        max: u64,
    },
    /// They wait for too long.
    QueueAge {
        /// So long.
        #[serde(with = "duration")]
        age: Duration,
        /// As long may they.
        #[serde(with = "duration")]
        max: Duration,
    },
}

/// That a pool is overloaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overload {
    /// Since when.
    pub since: Timestamp,
    /// Over which bound.
    #[serde(flatten)]
    pub over: Over,
}

/// How a scheduler judges a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolLoad {
    /// The pool.
    pub pool: PoolName,
    /// Who judges it: the others leave it to that one for as long as it goes on to.
    pub by: String,
    /// The overload, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overload: Option<Overload>,
    /// Messages on the queues that have lost their meaning, by priority: of runs that were shed. A worker that takes one drops it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shed: BTreeMap<Priority, u64>,
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backlog { waiting, max } => {
                let than = if waiting > max { "more than" } else { "after more than" };
                write!(f, "{waiting} tasks wait for a worker, {than} {max}")
            }
            Self::QueueAge { age, max } => {
                let than = if age > max { "longer than" } else { "after longer than" };
                write!(f, "tasks wait {} for a worker, {than} {}", duration::show(*age), duration::show(*max))
            }
        }
    }
}

impl Over {
    /// The bound's name in labels.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Backlog { .. } => "backlog",
            Self::QueueAge { .. } => "queue_age",
        }
    }
}

impl Seen {
    /// The tasks that wait, without messages that have lost their meaning. Those are of the newest runs of their queue,
    /// and at its end: as long as they are fewer than what waits, all of them do.
    fn tasks(&self, shed: &BTreeMap<Priority, u64>) -> u64 {
        let of = |(priority, waiting): (&Priority, &u64)| waiting - shed.get(priority).unwrap_or(&0).min(waiting);
        self.waiting.iter().map(of).sum()
    }

    /// The bound that it is over by this much of it.
    fn over(&self, shed: &BTreeMap<Priority, u64>, bounds: &Bounds, percent: u64) -> Option<Over> {
        let waiting = self.tasks(shed);
        let backlog = bounds.backlog.filter(|max| waiting.saturating_mul(100) > max.saturating_mul(percent));
        if let Some(max) = backlog {
            return Some(Over::Backlog { waiting, max });
        }
        let percent = u32::try_from(percent).unwrap_or(u32::MAX);
        let age = bounds.queue_age.filter(|max| self.age.saturating_mul(100) > max.saturating_mul(percent));
        age.map(|max| Over::QueueAge { age: self.age, max })
    }
}

impl PoolLoad {
    /// A pool of which nothing is known, judged by this scheduler.
    pub const fn unknown(pool: PoolName, by: String) -> Self {
        Self { pool, by, overload: None, shed: BTreeMap::new() }
    }

    /// The judgement of the next look, by whoever judges now.
    #[must_use]
    pub fn next(&self, by: &str, seen: &Seen, bounds: &Bounds, now: Timestamp) -> Self {
        let left = |(priority, shed): (&Priority, &u64)| {
            let left = *shed.min(seen.waiting.get(priority).unwrap_or(&0));
            (left > 0).then_some((*priority, left))
        };
        let shed: BTreeMap<_, _> = self.shed.iter().filter_map(left).collect();
        let percent = if self.overload.is_some() { CLEAR_PERCENT } else { 100 };
        let overload = seen.over(&shed, bounds, percent).map(|over| {
            let since = self.overload.as_ref().map_or(now, |overload| overload.since);
            Overload { since, over }
        });
        Self { pool: self.pool.clone(), by: by.to_owned(), overload, shed }
    }

    /// How many of the tasks that wait are too many. Tasks wait for as long as the queue is: where they wait for twice as long as
    /// they may, half of them are.
    pub fn excess(&self, seen: &Seen) -> u64 {
        match self.overload.as_ref().map(|overload| overload.over) {
            None => 0,
            Some(Over::Backlog { waiting, max }) => waiting.saturating_sub(max),
            Some(Over::QueueAge { age, max }) => {
                let waiting = u128::from(seen.tasks(&self.shed));
                let allowed = waiting * max.as_millis() / age.as_millis().max(1);
                u64::try_from(waiting.saturating_sub(allowed)).unwrap_or(u64::MAX)
            }
        }
    }
}

/// How long the tasks of a pool wait, by what was known at the look before.
pub fn queue_age(before: Duration, longest: Option<Duration>, waiting: u64, elapsed: Duration) -> Duration {
    match longest {
        // Who was taken just now knows.
        Some(longest) => longest,
        None if waiting == 0 => Duration::ZERO,
        // Nobody is taken, and somebody waits for so much longer.
        None => before.saturating_add(elapsed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn seen(low: u64, normal: u64, age: u64) -> Seen {
        Seen {
            waiting: [(Priority::Low, low), (Priority::Normal, normal)].into(),
            age: SECOND * u32::try_from(age).unwrap(),
        }
    }

    fn bounds(backlog: Option<u64>, age: Option<u64>) -> Bounds {
        Bounds { backlog, queue_age: age.map(Duration::from_secs) }
    }

    fn pool() -> PoolLoad {
        PoolLoad::unknown("gpu".parse().unwrap(), "one".to_owned())
    }

    #[test]
    fn an_overload_begins_above_the_bound_and_ends_only_clearly_below_it() {
        let bounds = bounds(Some(100), None);
        let mut load = pool();
        let mut is_over = Vec::new();
        for (second, waiting) in [50, 100, 101, 100, 81, 80, 100, 101].into_iter().enumerate() {
            load = load.next("one", &seen(waiting, 0, 0), &bounds, at(i64::try_from(second).unwrap()));
            is_over.push(load.overload.as_ref().map(|overload| overload.since));
        }
        let since = Some(at(2));
        assert_eq!(is_over, [None, None, since, since, since, None, None, Some(at(7))]);
    }

    #[test]
    fn the_other_bound_keeps_an_overload_up_and_each_tells_its_figure() {
        let bounds = bounds(Some(100), Some(60));
        let backlog = pool().next("one", &seen(90, 30, 0), &bounds, at(1));
        let told =
            |load: &PoolLoad| load.overload.as_ref().map(|overload| overload.over.to_string()).unwrap_or_default();
        assert_eq!(told(&backlog), "120 tasks wait for a worker, more than 100");
        let age = backlog.next("two", &seen(10, 0, 61), &bounds, at(2));
        assert_eq!((told(&age).as_str(), age.by.as_str()), ("tasks wait 1m1s for a worker, longer than 1m", "two"));
        assert_eq!(age.overload.as_ref().unwrap().since, at(1), "it is one overload");
        let less = age.next("two", &seen(10, 0, 50), &bounds, at(3));
        assert_eq!(told(&less), "tasks wait 50s for a worker, after longer than 1m");
        assert_eq!(less.next("two", &seen(10, 0, 48), &bounds, at(4)).overload, None);
        assert_eq!(pool().next("one", &seen(u64::MAX, 0, 900), &self::bounds(None, None), at(1)).overload, None);
    }

    #[test]
    fn so_many_are_too_many_and_what_was_shed_is_not_counted_twice() {
        let bounds = bounds(Some(100), None);
        let seen_first = seen(90, 40, 0);
        let mut load = pool().next("one", &seen_first, &bounds, at(1));
        assert_eq!(load.excess(&seen_first), 30);
        load.shed = [(Priority::Low, 25)].into();
        // Its messages are there still: no worker has taken them.
        let load = load.next("one", &seen_first, &bounds, at(2));
        assert_eq!((load.excess(&seen_first), load.shed[&Priority::Low]), (5, 25));
        let drained = seen(10, 0, 0);
        let load = load.next("one", &drained, &bounds, at(3));
        assert_eq!((load.overload.as_ref(), load.shed[&Priority::Low]), (None, 10));
        assert!(load.next("one", &seen(0, 9, 0), &bounds, at(4)).shed.is_empty());
    }

    #[test]
    fn where_tasks_wait_for_twice_as_long_as_they_may_half_of_them_are_too_many() {
        let seen = seen(40, 0, 120);
        let load = pool().next("one", &seen, &bounds(None, Some(60)), at(1));
        assert_eq!(load.excess(&seen), 20);
        assert_eq!(pool().excess(&seen), 0);
    }

    #[test]
    fn a_queue_grows_older_while_somebody_waits_and_nobody_is_taken() {
        let mut age = Duration::ZERO;
        let looks =
            [(None, 0), (None, 5), (None, 5), (Some(SECOND * 9), 5), (Some(SECOND * 2), 0), (None, 1), (None, 0)];
        let ages: Vec<_> = looks
            .into_iter()
            .map(|(longest, waiting)| {
                age = queue_age(age, longest, waiting, SECOND);
                age.as_secs()
            })
            .collect();
        assert_eq!(ages, [0, 1, 2, 9, 2, 3, 0]);
    }

    #[test]
    fn a_judgement_reads_back_from_json() {
        let load = PoolLoad { shed: [(Priority::Low, 3)].into(), ..pool() };
        let load = load.next("one", &seen(200, 0, 0), &bounds(Some(100), None), at(1));
        let json = serde_json::to_string(&load).unwrap();
        assert_eq!(serde_json::from_str::<PoolLoad>(&json).unwrap(), load, "{json}");
    }
}
