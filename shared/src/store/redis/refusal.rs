//! What a server says when it is there and does not do what it was asked to: what that means, and what helps.
//!
//! All of it is passing: an operator can mend it, or a failover does, and the same call succeeds then. Only at the start is a
//! refused user a mistake in the settings.

use std::fmt;

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Why a server that answers does not serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is a replica.
    ReadOnly,
    /// It reads its data.
    Loading,
    /// It is a replica whose primary is away.
    MasterDown,
    /// It wants a login, or refuses the one it was given.
    Login,
    /// The user may not do that.
    NoPermission,
    /// A script has run for long.
    Busy,
    /// It cannot write its data to its disk.
    Disk,
    /// Its memory is full.
    Memory,
    /// Too few replicas follow it.
    NoReplicas,
    /// The cluster lacks a part, or moves it.
    Cluster,
}

impl Refusal {
    const CODES: [(&'static str, Self); 13] = [
        ("READONLY", Self::ReadOnly),
        ("LOADING", Self::Loading),
        ("MASTERDOWN", Self::MasterDown),
        ("NOAUTH", Self::Login),
        ("WRONGPASS", Self::Login),
        ("NOPERM", Self::NoPermission),
        ("BUSY", Self::Busy),
        ("MISCONF", Self::Disk),
        ("OOM", Self::Memory),
        ("NOREPLICAS", Self::NoReplicas),
        ("CLUSTERDOWN", Self::Cluster),
        ("TRYAGAIN", Self::Cluster),
        ("UNBLOCKED", Self::MasterDown),
    ];

    /// The refusal that an error is, if it is one.
    pub(super) fn of(error: &RedisError) -> Option<Self> {
        match error.kind() {
            ErrorKind::AuthenticationFailed => return Some(Self::Login),
            ErrorKind::Server(ServerErrorKind::NoPerm) => return Some(Self::NoPermission),
            ErrorKind::Server(ServerErrorKind::BusyLoading) => return Some(Self::Loading),
            _ => {}
        }
        let named = |code: &str| Self::CODES.iter().find(|(name, _)| *name == code).map(|(_, refusal)| *refusal);
        if let Some(refusal) = error.code().and_then(named) {
            return Some(refusal);
        }
        // Servers before 7 put what a command of a script was answered into the script's own error: `… -READONLY You …`.
        let text = error.detail().unwrap_or_default();
        let inner = text.split_whitespace().filter_map(|word| word.strip_prefix('-')).find_map(named);
        inner.or_else(|| text.contains("The user executing the script").then_some(Self::NoPermission))
    }

    /// Whether the user is to blame, not the server.
    pub(super) const fn is_of_the_user(self) -> bool {
        matches!(self, Self::Login | Self::NoPermission)
    }

    /// Whether it may be over within a moment.
    pub(super) const fn is_brief(self) -> bool {
        matches!(self, Self::ReadOnly | Self::Loading | Self::MasterDown | Self::Login | Self::Cluster)
    }

    /// What an operator can do about it.
    pub(super) const fn remedy(self) -> &'static str {
        match self {
            Self::ReadOnly => {
                "it is a replica: after a failover the address leads to the new primary soon; else let the URL name the primary"
            }
            Self::Loading => "it reads its data after a start: that ends by itself",
            Self::MasterDown => {
                "it is a replica whose primary is away: let the URL name a primary, or wait for the failover"
            }
            Self::Login => {
                "it refuses the user or the password: check those in the URL, and the server's `requirepass` and users"
            }
            Self::NoPermission => {
                "give the user in the URL all keys and channels of its prefix, and the commands of docs/operations.md"
            }
            Self::Busy => "a script has run for long: wait, or look at SLOWLOG and `SCRIPT KILL`",
            Self::Disk => {
                "it cannot write to its disk: make room, look at its log, and see that its folder can be written"
            }
            Self::Memory => "its memory is full: raise its `maxmemory`, or shorten COX_RETENTION",
            Self::NoReplicas => "too few replicas follow it: bring them back, or lower `min-replicas-to-write`",
            Self::Cluster => {
                "the cluster lacks a part, or moves it: that ends by itself, or `redis-cli --cluster check` tells why"
            }
        }
    }
}

/// A refusal as an error: the server's own words, and the remedy.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    pub(super) words: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.words, self.refusal.remedy())
    }
}

impl std::error::Error for Refused {}

#[cfg(test)]
mod tests {
    use redis::parse_redis_value;

    use super::*;

    fn answered(text: &str) -> RedisError {
        parse_redis_value(format!("-{text}\r\n").as_bytes()).and_then(redis::Value::extract_error).unwrap_err()
    }

    #[test]
    fn every_refusal_is_known_by_what_the_server_says_also_within_a_script() {
        let said = [
            ("READONLY You can't write against a read only replica.", Refusal::ReadOnly),
            (
                "READONLY You can't write against a read only replica. script: 00ff, on @user_script:3.",
                Refusal::ReadOnly,
            ),
            (
                "ERR Error running script (call to f_00ff): @user_script:1: -READONLY You can't write against a read only replica.",
                Refusal::ReadOnly,
            ),
            ("LOADING Redis is loading the dataset in memory", Refusal::Loading),
            ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", Refusal::MasterDown),
            ("NOAUTH Authentication required.", Refusal::Login),
            ("WRONGPASS invalid username-password pair or user is disabled.", Refusal::Login),
            ("NOPERM User ann has no permissions to run the 'evalsha' command", Refusal::NoPermission),
            (
                "ERR The user executing the script can't run this command or subcommand script: 00ff",
                Refusal::NoPermission,
            ),
            ("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", Refusal::Busy),
            ("MISCONF Redis is configured to save RDB snapshots, but it's unable to persist to disk.", Refusal::Disk),
            (
                "OOM command not allowed when used memory > 'maxmemory'. script: 00ff, on @user_script:9.",
                Refusal::Memory,
            ),
            ("ERR Error running script: @user_script:1: -OOM command not allowed", Refusal::Memory),
            ("NOREPLICAS Not enough good replicas to write.", Refusal::NoReplicas),
            ("CLUSTERDOWN Hash slot not served", Refusal::Cluster),
            ("TRYAGAIN Multiple keys request during rehashing of slot", Refusal::Cluster),
        ];
        for (text, refusal) in said {
            assert_eq!(Refusal::of(&answered(text)), Some(refusal), "{text}");
        }
        for text in ["ERR unknown command 'x'", "NOSCRIPT No matching script.", "WRONGTYPE Operation against a key"] {
            assert_eq!(Refusal::of(&answered(text)), None, "{text}");
        }
    }
}
