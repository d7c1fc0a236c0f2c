//! The worker's settings: each with its variable, default and meaning; read with all mistakes at once.

use std::path::PathBuf;
use std::time::Duration;

use coxswain_shared::config::{Mistakes, Reader, Source, Variable, has_blanks_around};
use coxswain_shared::id::{PoolName, WorkerId};
use coxswain_shared::limits::{HEARTBEAT, LEASE_TTL};

use crate::exec_limits::ExecLimits;
use crate::kind::KindName;
use crate::outside::{OutsideConfig, Pattern, Prices, Upstreams};

const ID: Variable = Variable {
    name: "COX_WORKER_ID",
    default: "",
    meaning: "this worker's name; made of the host's name and a random part where absent",
};
const POOLS: Variable = Variable {
    name: "COX_POOLS",
    default: "default",
    meaning: "the pools it serves, separated by commas; its slots are split evenly among them",
};
const KINDS: Variable = Variable {
    name: "COX_KINDS",
    default: "",
    meaning: "the kinds of nodes that it runs, separated by commas, such as llm,http,set; tasks of others are left to other workers; all where absent",
};
const SLOTS: Variable =
    Variable { name: "COX_SLOTS", default: "16", meaning: "attempts that it runs at once, 1 to 1000" };
const STUCK_MAX: Variable = Variable {
    name: "COX_STUCK_MAX",
    default: "0",
    meaning: "slots that may be stuck in a handler that blocks before the worker drains itself and exits with code 70; 0: as many as it has slots",
};
const WORK_THREADS: Variable = Variable {
    name: "COX_WORK_THREADS",
    default: "0",
    meaning: "threads for handlers; 0: enough for every slot to block at once, at most 64",
};
const HEARTBEAT_EVERY: Variable = Variable {
    name: "COX_HEARTBEAT",
    default: "1s",
    meaning: "how often leases are renewed; the same in the whole fleet",
};
const TTL: Variable = Variable {
    name: "COX_LEASE_TTL",
    default: "10s",
    meaning: "how long a lease lives without a heartbeat; at least three heartbeats",
};
const DRAIN_GRACE: Variable = Variable {
    name: "COX_DRAIN_GRACE",
    default: "20s",
    meaning: "how long attempts may go on after the first SIGTERM, before they are handed back",
};
const EXEC_ENV: Variable = Variable {
    name: "COX_EXEC_ENV",
    default: "",
    meaning: "variables of the worker that `exec` nodes may see, separated by commas, beside PATH, HOME, LANG, LC_*, TZ, TMPDIR and USER",
};
const WARM_START: Variable = Variable {
    name: "COX_WARM_START",
    default: "1m",
    meaning: "how long a warm process of an `exec` node may take until it is ready for its first task",
};
const WARM_IDLE: Variable =
    Variable { name: "COX_WARM_IDLE", default: "1m", meaning: "how long a warm process without a task is kept" };

const OUTSIDE_ALLOW: Variable = Variable {
    name: "COX_OUTSIDE_ALLOW",
    default: "",
    meaning: "private addresses, networks and hosts that nodes may call, separated by commas, such as 127.0.0.1, 10.0.0.0/8 or chroma; one may name a port, as 10.0.0.5:8080, 10.0.0.0/8:443 or [::1]:8080; the public internet is open",
};
const UPSTREAMS: Variable = Variable {
    name: "COX_UPSTREAMS",
    default: "",
    meaning: "limits of calls by upstream, see docs/upstreams.md: the path of a YAML or JSON file, or the text itself, such as {api.openai.com: {concurrency: 8}}",
};
const PRICES: Variable = Variable {
    name: "COX_PRICES",
    default: "",
    meaning: "what models cost per million tokens, see docs/runaway.md: the path of a YAML or JSON file, or the text itself, such as {gpt-5-mini: {input: 0.25, output: 2}}",
};
const SECRETS: Variable = Variable {
    name: "COX_SECRETS",
    default: "*_API_KEY,*_BASE_URL",
    meaning: "variables of the worker that graphs may refer to as ${env:NAME}, separated by commas; `*` stands for any letters; NAME@HOST lets a variable go to that host alone, file:NAME@HOST a file of COX_SECRETS_DIR, and a further entry to a further host; see docs/security.md",
};
const SECRETS_DIR: Variable = Variable {
    name: "COX_SECRETS_DIR",
    default: "",
    meaning: "the folder whose files graphs may refer to as ${file:NAME}",
};

/// The most threads that handlers are given unless told otherwise.
const WORK_THREADS_MAX: usize = 64;

/// A worker's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Its name; a fresh one where absent. `COX_WORKER_ID`.
    pub id: Option<WorkerId>,
    /// The pools it serves. `COX_POOLS`, default `default`.
    pub pools: Vec<PoolName>,
    /// The kinds of nodes that it runs; none stands for all. `COX_KINDS`.
    pub kinds: Vec<KindName>,
    /// Attempts that it runs at once. `COX_SLOTS`, default 16.
    pub slots: u16,
    /// Slots that may be stuck before it drains itself. `COX_STUCK_MAX`; absent: as many as it has slots.
    pub stuck_max: Option<u16>,
    /// Threads for handlers. `COX_WORK_THREADS`; absent: enough for every slot to block at once, at most 64.
    pub work_threads: Option<u16>,
    /// How often leases are renewed. `COX_HEARTBEAT`, default 1 s.
    pub heartbeat: Duration,
    /// How long a lease lives without a heartbeat. `COX_LEASE_TTL`, default 10 s.
    pub lease_ttl: Duration,
    /// How long attempts may go on when it drains. `COX_DRAIN_GRACE`, default 20 s.
    pub drain_grace: Duration,
    /// Variables that `exec` nodes may see beside the usual ones. `COX_EXEC_ENV`, default none.
    pub exec_env: Vec<String>,
    /// The limits that the commands of `exec` nodes run under. `COX_EXEC_…`, default none.
    pub exec_limits: ExecLimits,
    /// How long a warm process may take until it is ready: it may load a model. `COX_WARM_START`, default 1 min.
    pub warm_start: Duration,
    /// How long a warm process without a task is kept. `COX_WARM_IDLE`, default 1 min.
    pub warm_idle: Duration,
    /// What calls to the outside may do.
    pub outside: OutsideConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            id: None,
            pools: vec![PoolName::standard()],
            kinds: Vec::new(),
            slots: 16,
            stuck_max: None,
            work_threads: None,
            heartbeat: HEARTBEAT,
            lease_ttl: LEASE_TTL,
            drain_grace: Duration::from_secs(20),
            exec_env: Vec::new(),
            exec_limits: ExecLimits::default(),
            warm_start: Duration::from_mins(1),
            warm_idle: Duration::from_mins(1),
            outside: OutsideConfig::default(),
        }
    }
}

impl Config {
    /// The variables it reads.
    pub const VARIABLES: [Variable; 22] = [
        ID,
        POOLS,
        KINDS,
        SLOTS,
        STUCK_MAX,
        WORK_THREADS,
        HEARTBEAT_EVERY,
        TTL,
        DRAIN_GRACE,
        EXEC_ENV,
        ExecLimits::VARIABLES[0],
        ExecLimits::VARIABLES[1],
        ExecLimits::VARIABLES[2],
        ExecLimits::VARIABLES[3],
        ExecLimits::VARIABLES[4],
        WARM_START,
        WARM_IDLE,
        OUTSIDE_ALLOW,
        UPSTREAMS,
        PRICES,
        SECRETS,
        SECRETS_DIR,
    ];

    /// Reads it.
    pub fn read(source: &Source) -> Result<Self, Mistakes> {
        let mut reader = Reader::new(source);
        let pools: Vec<PoolName> = reader.list(&POOLS);
        reader.check(!pools.is_empty(), &POOLS, "name at least one pool");
        let slots = number(&mut reader, &SLOTS, 1..=1_000);
        reader.check(pools.len() <= usize::from(slots), &SLOTS, "give each pool at least one slot");
        let (heartbeat, lease_ttl) = (reader.duration(&HEARTBEAT_EVERY), reader.duration(&TTL));
        let long_enough = heartbeat >= Duration::from_millis(10);
        reader.check(long_enough, &HEARTBEAT_EVERY, "a heartbeat takes at least 10ms");
        reader.check(lease_ttl >= heartbeat * 3, &TTL, "it must be at least three heartbeats (COX_HEARTBEAT)");
        let secrets: Vec<Pattern> = reader.list(&SECRETS);
        let shared = OutsideConfig { secrets: secrets.clone(), ..OutsideConfig::default() };
        for (name, value) in Source::all_foreign(|name| shared.shares(name)) {
            let why = format!("the variable `{name}` has blanks or control characters around it: set it without them");
            reader.check(!has_blanks_around(&value), &SECRETS, why);
        }
        let id = optional(&mut reader, &ID, |text| WorkerId::new(text).map_err(|error| error.to_string()));
        let config = Self {
            id,
            pools,
            kinds: reader.list(&KINDS),
            slots,
            stuck_max: Some(number(&mut reader, &STUCK_MAX, 0..=1_000)).filter(|max| *max > 0),
            work_threads: Some(number(&mut reader, &WORK_THREADS, 0..=1_000)).filter(|threads| *threads > 0),
            heartbeat,
            lease_ttl,
            drain_grace: reader.duration(&DRAIN_GRACE),
            exec_env: reader.list(&EXEC_ENV),
            exec_limits: ExecLimits::read(&mut reader),
            warm_start: reader.duration(&WARM_START),
            warm_idle: reader.duration(&WARM_IDLE),
            outside: OutsideConfig {
                allow: reader.list(&OUTSIDE_ALLOW),
                secrets,
                secrets_dir: reader.optional(&SECRETS_DIR).map(PathBuf::from),
                upstreams: listed(&mut reader, &UPSTREAMS, Upstreams::read),
                prices: listed(&mut reader, &PRICES, Prices::read),
            },
        };
        reader.finish(config)
    }

    /// Slots that may be stuck before the worker drains itself.
    pub(crate) fn stuck_max(&self) -> usize {
        usize::from(self.stuck_max.unwrap_or(self.slots))
    }

    /// Threads for handlers: one for each that may block, so that those that await go on.
    pub(crate) fn work_threads(&self) -> usize {
        let enough = usize::from(self.slots) + self.stuck_max() + 1;
        self.work_threads.map_or(enough.min(WORK_THREADS_MAX), usize::from)
    }

    /// Deliveries that one pool's consumer may have in hand.
    pub(crate) fn prefetch(&self) -> u16 {
        let pools = u16::try_from(self.pools.len()).unwrap_or(u16::MAX);
        (self.slots / pools.max(1)).max(1)
    }
}

fn number(reader: &mut Reader<'_>, variable: &Variable, range: std::ops::RangeInclusive<u64>) -> u16 {
    u16::try_from(reader.number(variable, range)).expect("the ranges of this module fit a u16")
}

/// A setting that may hold several mistakes.
fn listed<T: Default>(
    reader: &mut Reader<'_>,
    variable: &Variable,
    read: impl Fn(&str) -> Result<T, Vec<String>>,
) -> T {
    let read = reader.optional(variable).map_or_else(|| Ok(T::default()), |text| read(&text));
    read.unwrap_or_else(|mistakes| {
        for why in mistakes {
            reader.check(false, variable, why);
        }
        T::default()
    })
}

fn optional<T>(reader: &mut Reader<'_>, variable: &Variable, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
    let text = reader.optional(variable)?;
    match parse(&text) {
        Ok(value) => Some(value),
        Err(why) => {
            reader.check(false, variable, why);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Config, Mistakes> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::read(&Source::from_pairs(pairs))
    }

    #[test]
    fn what_is_not_set_has_the_documented_default() {
        assert_eq!(read(&[]).unwrap(), Config::default());
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let told = read(&[
            ("COX_SLOTS", "0"),
            ("COX_POOLS", "a,b:c"),
            ("COX_HEARTBEAT", "4s"),
            ("COX_WORKER_ID", "a b"),
            ("COX_UPSTREAMS", "{h: {queu: 1, share: 101%}}"),
        ])
        .unwrap_err()
        .to_string();
        for part in [
            "6 mistake(s)",
            "h: `queu`",
            "h: `share`",
            "COX_SLOTS",
            "pool name `b:c`",
            "three heartbeats",
            "worker id `a b`",
        ] {
            assert!(told.contains(part), "{part} is missing in: {told}");
        }
    }

    #[test]
    fn slots_are_split_among_pools_and_threads_suffice_for_every_slot_to_block() {
        let config = read(&[("COX_SLOTS", "10"), ("COX_POOLS", "a, b,c")]).unwrap();
        assert_eq!(config.prefetch(), 3);
        assert_eq!(config.work_threads(), 21);
        assert!(read(&[("COX_SLOTS", "1"), ("COX_POOLS", "a,b")]).is_err());
    }
}
