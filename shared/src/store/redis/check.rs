//! What is checked before a store is used: the server's version and settings, and what the database was made with.

use redis::cmd;

use super::FORMAT;
use super::keys::Keys;
use super::link::Link;
use super::reply::Reply;
use crate::store::Error;

/// The oldest server that will do: exclusive ranges of streams came with 6.2.
const VERSION_MIN: (u32, u32) = (6, 2);

/// How a server keeps what it has acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// An append-only file, synced at every write: nothing acknowledged is lost.
    AppendOnlyAlways,
    /// An append-only file, synced by time: a crash of the machine loses up to a second, or more.
    AppendOnly,
    /// Snapshots at most: a crash of the server loses what came after the last one, or everything.
    SnapshotsOrNothing,
    /// The server does not say.
    Unknown,
}

impl Persistence {
    /// What an operator should know; absent if there is nothing.
    pub const fn warning(self) -> Option<&'static str> {
        match self {
            Self::AppendOnlyAlways => None,
            Self::AppendOnly => Some(
                "Redis syncs its append-only file by time: a crash of its machine may lose the last second; \
                 set appendfsync always to lose nothing that was acknowledged",
            ),
            Self::SnapshotsOrNothing => Some(
                "Redis keeps no append-only file: a crash loses runs and stop orders that were acknowledged; \
                 set appendonly yes",
            ),
            Self::Unknown => {
                Some("Redis does not say whether it keeps what it acknowledges: see that appendonly is yes")
            }
        }
    }
}

/// What a server says of itself.
pub(super) struct Server {
    pub(super) persistence: Persistence,
    /// Whether it is a node of a cluster.
    pub(super) is_cluster: bool,
}

/// Checks the server, and says how it keeps its data. What it hides (managed servers refuse CONFIG) is read from INFO,
/// and not held against it.
pub(super) async fn server(link: &Link) -> Result<Server, Error> {
    let refuse = |why: String| Err(Error::Unsuitable { place: link.place().to_owned(), why });
    let info = info(link).await?;
    let version = info_field(&info, "redis_version").unwrap_or_default();
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found < VERSION_MIN {
        let (major, minor) = VERSION_MIN;
        return refuse(format!("it is Redis {version}; {major}.{minor} or newer is needed: upgrade the server"));
    }
    let policy = match setting(link, "maxmemory-policy").await? {
        Some(policy) => Some(policy),
        None => info_field(&info, "maxmemory_policy").map(str::to_owned),
    };
    if let Some(policy) = policy.filter(|policy| policy != "noeviction") {
        return refuse(format!(
            "its maxmemory-policy is {policy}, so that it would drop runs and stop orders when memory is short: \
             set `maxmemory-policy noeviction`"
        ));
    }
    let is_appending = info_field(&info, "aof_enabled");
    let persistence = match (is_appending, setting(link, "appendfsync").await?.as_deref()) {
        (Some("1"), Some("always")) => Persistence::AppendOnlyAlways,
        (Some("1"), _) => Persistence::AppendOnly,
        (Some(_), _) => Persistence::SnapshotsOrNothing,
        (None, _) => Persistence::Unknown,
    };
    Ok(Server { persistence, is_cluster: info_field(&info, "redis_mode") == Some("cluster") })
}

/// Makes the database one of ours, or checks that it is: same format, same number of partitions.
pub(super) async fn database(link: &Link, keys: &Keys, partitions: u16) -> Result<(), Error> {
    let key = keys.meta();
    for (field, value) in [("format", FORMAT), ("partitions", u32::from(partitions))] {
        link.call(cmd("HSETNX").arg(&key).arg(field).arg(value)).await?;
    }
    let mut reply = Reply::new(&key, link.call(cmd("HMGET").arg(&key).arg("format").arg("partitions")).await?);
    let (format, found): (u32, u16) = (reply.parsed()?, reply.parsed()?);
    if format > FORMAT {
        return Err(Error::Format { key, format, known: FORMAT });
    }
    if found != partitions {
        let why = format!(
            "its database has {found} partitions, and {partitions} are configured: set {found}, which cannot be \
             changed later, or use another key prefix or database"
        );
        return Err(Error::Unsuitable { place: link.place().to_owned(), why });
    }
    Ok(())
}

async fn info(link: &Link) -> Result<String, Error> {
    Reply::new("INFO", link.call(&cmd("INFO")).await?).text()
}

fn info_field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// A setting of the server; absent where the server does not tell.
async fn setting(link: &Link, name: &str) -> Result<Option<String>, Error> {
    match link.send(cmd("CONFIG").arg("GET").arg(name)).await {
        Ok(value) => {
            let mut reply = Reply::new("CONFIG", value);
            if reply.len() < 2 {
                return Ok(None);
            }
            reply.text()?;
            reply.optional()
        }
        Err(error) if matches!(error.kind(), redis::ErrorKind::Server(_) | redis::ErrorKind::Extension) => Ok(None),
        Err(error) => Err(super::link::fault(link.place(), error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_info_is_found_by_its_whole_name() {
        let info = "# Server\r\nredis_version:7.0.15\r\nredis_version_x:1\r\naof_enabled:1\r\n";
        assert_eq!(info_field(info, "redis_version"), Some("7.0.15"));
        assert_eq!(info_field(info, "aof_enabled"), Some("1"));
        assert_eq!(info_field(info, "version"), None);
    }
}
