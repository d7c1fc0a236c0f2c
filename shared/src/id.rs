//! Identities: every name and number that travels between processes has a type of its own.
//!
//! Names are 1 to 128 characters of `A-Z a-z 0-9 _ . -` and start with a letter, a digit or `_`, so that they are
//! safe in keys, queue names, paths and metrics, and `:` and `|` are free as separators.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The longest name that is accepted, in bytes.
pub const NAME_LENGTH_MAX: usize = 128;

/// Why a name or number was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is empty, too long or has a character outside the allowed set.
    #[error(
        "{what} `{text}` is not a name: use 1 to {NAME_LENGTH_MAX} characters of A-Z a-z 0-9 _ . -, starting with a letter, a digit or _"
    )]
    Name {
        /// What was being named, such as `run id`.
        what: &'static str,
        /// The offending text, shortened to 64 characters.
        text: String,
    },
    /// The text is not `step:node:item`.
    #[error("`{0}` is not a task id: it reads step:node:item, such as 3:work:0")]
    Task(String),
}

fn check_name(what: &'static str, text: &str) -> Result<(), Error> {
    let first_ok = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    let rest_ok = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if first_ok && rest_ok && text.len() <= NAME_LENGTH_MAX {
        return Ok(());
    }
    Err(Error::Name { what, text: text.chars().take(64).collect() })
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks the text and makes a name of it.
            pub fn new(text: impl AsRef<str>) -> Result<Self, Error> {
                check_name($what, text.as_ref())?;
                Ok(Self(Arc::from(text.as_ref())))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $type {
            type Error = Error;
            fn try_from(text: String) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

name!(
    /// One execution of a graph; chosen by the client, or a fresh UUID v7.
    RunId, "run id"
);
name!(
    /// A conversation: runs one after another over the same state.
    ThreadId, "thread id"
);
name!(
    /// The name of a graph.
    GraphName, "graph name"
);
name!(
    /// The content hash (SHA-256, hex) of a graph's canonical JSON: its exact version.
    GraphHash, "graph hash"
);
name!(
    /// A place in a graph that does something.
    NodeName, "node name"
);
name!(
    /// A named slot of a run's state.
    ChannelName, "channel name"
);
name!(
    /// One worker process.
    WorkerId, "worker id"
);
name!(
    /// A set of workers that serve one task queue.
    PoolName, "pool name"
);
name!(
    /// The name of an operators' policy.
    PolicyName, "policy name"
);
name!(
    /// Makes a repeated call recognisable, so that it is answered as it was the first time.
    Nonce, "nonce"
);

impl RunId {
    /// Makes a fresh id that sorts by its time of making.
    pub fn fresh() -> Self {
        Self(Arc::from(Uuid::now_v7().simple().to_string()))
    }
}

impl Nonce {
    /// Makes a fresh nonce.
    pub fn fresh() -> Self {
        Self(Arc::from(Uuid::now_v7().simple().to_string()))
    }
}

impl WorkerId {
    /// Makes a fresh id from a host's name: `host-xxxxxxxx`. Characters a name cannot have become `-`.
    pub fn fresh(host: &str) -> Self {
        let host: String = host.chars().take(64).map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let unique = Uuid::now_v7().simple().to_string();
        Self(Arc::from(format!("w{host}-{}", &unique[20..])))
    }

    /// Makes a fresh id of a scheduler, which reports itself as workers do: `shost-xxxxxxxx`.
    pub fn fresh_of_scheduler(host: &str) -> Self {
        let worker = Self::fresh(host);
        Self(Arc::from(format!("s{}", &worker.as_str()[1..])))
    }
}

impl PoolName {
    /// The pool of nodes that name none: `default`.
    pub fn standard() -> Self {
        Self(Arc::from("default"))
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $type:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type($inner);

        impl $type {
            /// Wraps the number.
            pub const fn new(number: $inner) -> Self {
                Self(number)
            }

            /// The bare number.
            pub const fn get(self) -> $inner {
                self.0
            }

            /// The number after this one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A round of a run. Checkpoint 0 is the state after the input; checkpoint n is the state after step n.
    Step, u64
);
number!(
    /// A lease's number within its run; it grows with every claim, and a write with an old one is refused.
    Fence, u64
);
number!(
    /// A count of changes to a run's plan: what `advance` compares and sets.
    Revision, u64
);
number!(
    /// Which try at a task this is, from 1.
    AttemptNumber, u32
);
number!(
    /// The place of a thread's data: everything that must change together has the same one.
    Partition, u16
);

impl Partition {
    /// The partition of a thread among `count`: FNV-1a of its name, modulo `count`.
    pub fn of(thread: &ThreadId, count: u16) -> Self {
        let hash = thread
            .as_str()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let index = hash % u64::from(count.max(1));
        Self(u16::try_from(index).expect("a remainder of a u16 fits a u16"))
    }
}

/// A run's full address: its id, and the partition that its data is in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunKey {
    /// Where the run's data is.
    pub partition: Partition,
    /// Which run.
    pub id: RunId,
}

/// One node due in one step of one run: `step:node:item`. `item` is 0 unless the node is fanned out.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskId {
    /// The step the task belongs to.
    pub step: Step,
    /// The node that is due.
    pub node: NodeName,
    /// Which item of a fan-out.
    pub item: u32,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.step, self.node, self.item)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TaskId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = || Error::Task(text.chars().take(64).collect());
        let mut parts = text.split(':');
        let (Some(step), Some(node), Some(item), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(refuse());
        };
        Ok(Self {
            step: Step(step.parse().map_err(|_| refuse())?),
            node: NodeName::new(node).map_err(|_| refuse())?,
            item: item.parse().map_err(|_| refuse())?,
        })
    }
}

impl TryFrom<String> for TaskId {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<TaskId> for String {
    fn from(id: TaskId) -> Self {
        id.to_string()
    }
}

/// A task's full address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskKey {
    /// The run the task belongs to.
    pub run: RunKey,
    /// Which task of it.
    pub task: TaskId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_separator_is_refused_with_the_rule() {
        let refused = RunId::new("a:b").unwrap_err().to_string();
        assert!(refused.contains("run id `a:b`") && refused.contains("A-Z"), "{refused}");
        assert!(NodeName::new("").is_err() && NodeName::new("-x").is_err());
        assert!(NodeName::new("x".repeat(NAME_LENGTH_MAX + 1)).is_err());
    }

    #[test]
    fn a_task_id_reads_as_it_was_written() {
        let id: TaskId = "3:work-1:7".parse().unwrap();
        assert_eq!(id.to_string(), "3:work-1:7");
        for bad in ["", "3:work", "x:work:1", "3:work:1:2", "3::1"] {
            assert!(bad.parse::<TaskId>().is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn a_thread_always_has_the_same_partition() {
        let thread = ThreadId::new("t-1").unwrap();
        assert_eq!(Partition::of(&thread, 16), Partition::of(&thread, 16));
        let hit: std::collections::BTreeSet<_> =
            (0..1000).map(|n| Partition::of(&ThreadId::new(format!("t{n}")).unwrap(), 16)).collect();
        assert_eq!(hit.len(), 16, "a thousand threads reach every partition");
    }

    #[test]
    fn fresh_ids_differ_and_are_names() {
        assert_ne!(RunId::fresh(), RunId::fresh());
        assert!(WorkerId::new(WorkerId::fresh("my.host_1").as_str()).is_ok());
    }
}
