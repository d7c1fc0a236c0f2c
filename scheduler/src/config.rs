//! The scheduler's settings.

use std::time::Duration;

use coxswain_shared::config::{KnownPools, Mistakes, Reader, Source, Variable};
use coxswain_shared::duration;
use coxswain_shared::load::Bounds;

/// The settings of one scheduler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchedulerConfig {
    /// Partitions that are planned at the same time.
    pub advancers: usize,
    /// Runs that are taken from a partition at once.
    pub batch: usize,
    /// For how long a run that was taken is hidden from other schedulers.
    pub hold: Duration,
    /// How often partitions are looked at without having been nudged.
    pub poll: Duration,
    /// How often a partition is swept.
    pub sweep_every: Duration,
    /// How many tasks, and how many runs, one sweep of a partition may touch.
    pub sweep_batch: usize,
    /// When a task whose message was confirmed is looked at again, if nobody has claimed it.
    pub resend_after: Duration,
    /// What a pool may come to before it counts as overloaded. No bound where none is set.
    pub overload: Bounds,
    /// How long an overload must last before runs are shed; absent: none are.
    pub shed_after: Option<Duration>,
    /// The pools that graphs may name.
    pub known_pools: KnownPools,
    /// Whether the broker is known to be empty at start, as the embedded one is.
    pub broker_starts_empty: bool,
}

const ADVANCERS: Variable =
    Variable { name: "COX_ADVANCERS", default: "4", meaning: "partitions that a scheduler plans at the same time" };
const BATCH: Variable = Variable {
    name: "COX_ADVANCE_BATCH",
    default: "64",
    meaning: "runs that a scheduler takes from a partition at once",
};
const HOLD: Variable = Variable {
    name: "COX_ADVANCE_HOLD",
    default: "5s",
    meaning: "how long a run that a scheduler took is hidden from the others",
};
const POLL: Variable =
    Variable { name: "COX_POLL", default: "500ms", meaning: "how often partitions are looked at without a nudge" };
const SWEEP_EVERY: Variable =
    Variable { name: "COX_SWEEP_EVERY", default: "500ms", meaning: "how often each partition is swept" };
const SWEEP_BATCH: Variable = Variable {
    name: "COX_SWEEP_BATCH",
    default: "500",
    meaning: "tasks and runs that one sweep of a partition may touch",
};
const RESEND_AFTER: Variable = Variable {
    name: "COX_RESEND_AFTER",
    default: "30s",
    meaning: "when a task that was sent and not claimed is looked at again",
};

const OVERLOAD_BACKLOG: Variable = Variable {
    name: "COX_OVERLOAD_BACKLOG",
    default: "",
    meaning: "tasks that may wait for the workers of one pool; above it the pool is overloaded, and new runs of low priority that need it are refused, see docs/priorities.md; the same in all schedulers",
};
const OVERLOAD_QUEUE_AGE: Variable = Variable {
    name: "COX_OVERLOAD_QUEUE_AGE",
    default: "",
    meaning: "how long tasks may wait for a worker of one pool, such as 2m; above it the pool is overloaded",
};
const OVERLOAD_SHED_AFTER: Variable = Variable {
    name: "COX_OVERLOAD_SHED_AFTER",
    default: "",
    meaning: "how long an overload may last before runs that no worker has begun are stopped, low priority first, then normal, until the pool is within its bounds; none are where it is not set",
};

impl SchedulerConfig {
    /// The variables it reads.
    pub const VARIABLES: [Variable; 11] = [
        ADVANCERS,
        BATCH,
        HOLD,
        POLL,
        SWEEP_EVERY,
        SWEEP_BATCH,
        RESEND_AFTER,
        OVERLOAD_BACKLOG,
        OVERLOAD_QUEUE_AGE,
        OVERLOAD_SHED_AFTER,
        KnownPools::VARIABLE,
    ];

    /// Reads it.
    pub fn read(source: &Source) -> Result<Self, Mistakes> {
        let mut reader = Reader::new(source);
        let config = Self {
            advancers: small(reader.number(&ADVANCERS, 1..=64)),
            batch: small(reader.number(&BATCH, 1..=1_000)),
            hold: reader.duration(&HOLD),
            poll: reader.duration(&POLL),
            sweep_every: reader.duration(&SWEEP_EVERY),
            sweep_batch: small(reader.number(&SWEEP_BATCH, 1..=1_000)),
            resend_after: reader.duration(&RESEND_AFTER),
            overload: Bounds {
                backlog: optional(&mut reader, &OVERLOAD_BACKLOG, backlog),
                queue_age: optional(&mut reader, &OVERLOAD_QUEUE_AGE, length),
            },
            shed_after: optional(&mut reader, &OVERLOAD_SHED_AFTER, length),
            known_pools: KnownPools::read(&mut reader),
            broker_starts_empty: false,
        };
        reader.check(
            config.shed_after.is_none() || config.overload != Bounds::default(),
            &OVERLOAD_SHED_AFTER,
            "needs a bound: COX_OVERLOAD_BACKLOG or COX_OVERLOAD_QUEUE_AGE",
        );
        reader.check(
            config.hold >= Duration::from_secs(1),
            &HOLD,
            "must be 1s or more: a plan and its advance must fit",
        );
        reader.check(config.poll >= Duration::from_millis(10), &POLL, "must be 10ms or more");
        reader.check(
            config.sweep_every >= Duration::from_millis(50) && config.sweep_every <= Duration::from_secs(2),
            &SWEEP_EVERY,
            "must be from 50ms to 2s: an expired lease is found by a sweep",
        );
        reader.check(config.resend_after >= Duration::from_secs(1), &RESEND_AFTER, "must be 1s or more");
        reader.finish(config)
    }
}

fn optional<T>(reader: &mut Reader<'_>, variable: &Variable, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
    let text = reader.optional(variable)?;
    match read(&text) {
        Ok(value) => Some(value),
        Err(why) => {
            reader.check(false, variable, why);
            None
        }
    }
}

fn backlog(text: &str) -> Result<u64, String> {
    text.parse().ok().filter(|tasks| *tasks > 0).ok_or_else(|| "must be a number of tasks, 1 or more".to_owned())
}

fn length(text: &str) -> Result<Duration, String> {
    let length = duration::parse(text).map_err(|error| error.to_string())?;
    if length < Duration::from_secs(1) {
        return Err("must be 1s or more: pools are looked at every second".to_owned());
    }
    Ok(length)
}

fn small(number: u64) -> usize {
    usize::try_from(number).expect("a number of at most a thousand fits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_have_no_mistakes() {
        let defaults = SchedulerConfig::read(&Source::default()).unwrap();
        assert!(!defaults.broker_starts_empty, "a broker of its own keeps what it was sent");
    }

    #[test]
    fn nothing_is_refused_and_nothing_shed_until_somebody_sets_a_bound() {
        let read = |pairs: &[(&str, &str)]| {
            SchedulerConfig::read(&Source::from_pairs(
                pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
            ))
        };
        let defaults = read(&[]).unwrap();
        assert_eq!((defaults.overload, defaults.shed_after), (Bounds::default(), None));
        let set = read(&[("COX_OVERLOAD_BACKLOG", "500"), ("COX_OVERLOAD_SHED_AFTER", "1m")]).unwrap();
        assert_eq!((set.overload.backlog, set.shed_after), (Some(500), Some(Duration::from_mins(1))));
        let told = read(&[("COX_OVERLOAD_QUEUE_AGE", "0s"), ("COX_OVERLOAD_BACKLOG", "many")]).unwrap_err().to_string();
        assert!(told.contains("1s or more") && told.contains("a number of tasks"), "{told}");
        let told = read(&[("COX_OVERLOAD_SHED_AFTER", "1m")]).unwrap_err().to_string();
        assert!(told.contains("needs a bound"), "{told}");
    }

    #[test]
    fn relations_between_settings_are_checked() {
        let source = Source::from_pairs([("COX_SWEEP_EVERY".to_owned(), "1m".to_owned())]);
        let told = SchedulerConfig::read(&source).unwrap_err().to_string();
        assert!(told.contains("COX_SWEEP_EVERY") && told.contains("50ms to 2s"), "{told}");
    }
}
