//! The message on the queue: ids, no state, and a version.
//!
//! A message is a hint that a task exists. It may be lost, late or doubled; a claim in the store decides.

use serde::{Deserialize, Serialize};

use crate::id::{Partition, RunId, RunKey, TaskId, TaskKey};
use crate::limits::MESSAGE_BYTES_MAX;

/// The version of the message format that is written and understood.
pub const WIRE_VERSION: u32 = 1;

/// Why a message was not understood. It goes to the dead letters; nothing else is lost.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is longer than any message of ours.
    #[error("the message has {0} bytes, more than {MESSAGE_BYTES_MAX}")]
    TooLong(usize),
    /// It is not JSON of the expected shape.
    #[error("the message is not a task message")]
    Malformed(#[source] serde_json::Error),
    /// It is of a version that this build does not know.
    #[error("the message has version {0}; this build understands {WIRE_VERSION}: upgrade it, or send the task again")]
    Version(u32),
}

#[derive(Serialize, Deserialize)]
struct Wire {
    v: u32,
    p: Partition,
    run: RunId,
    task: TaskId,
}

#[derive(Deserialize)]
struct VersionOnly {
    v: u32,
}

/// Writes a task message.
pub fn encode(key: &TaskKey) -> Vec<u8> {
    let wire = Wire { v: WIRE_VERSION, p: key.run.partition, run: key.run.id.clone(), task: key.task.clone() };
    serde_json::to_vec(&wire).expect("a struct of names and numbers is always JSON")
}

/// Reads a task message.
pub fn decode(bytes: &[u8]) -> Result<TaskKey, Error> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(Error::TooLong(bytes.len()));
    }
    let version = serde_json::from_slice::<VersionOnly>(bytes).map_err(Error::Malformed)?.v;
    if version != WIRE_VERSION {
        return Err(Error::Version(version));
    }
    let wire: Wire = serde_json::from_slice(bytes).map_err(Error::Malformed)?;
    Ok(TaskKey { run: RunKey { partition: wire.p, id: wire.run }, task: wire.task })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> TaskKey {
        TaskKey {
            run: RunKey { partition: Partition::new(3), id: RunId::new("r1").unwrap() },
            task: "2:work:0".parse().unwrap(),
        }
    }

    #[test]
    fn a_message_reads_as_it_was_written() {
        let bytes = encode(&key());
        assert_eq!(bytes, br#"{"v":1,"p":3,"run":"r1","task":"2:work:0"}"#);
        assert_eq!(decode(&bytes).unwrap(), key());
    }

    #[test]
    fn a_message_of_another_version_is_refused_by_its_version() {
        let error = decode(br#"{"v":2,"anything":true}"#).unwrap_err();
        assert!(matches!(error, Error::Version(2)), "{error}");
    }

    #[test]
    fn garbage_is_refused_and_never_panics() {
        for bytes in [&b""[..], b"{}", b"\xff\xfe", br#"{"v":1,"p":3,"run":"a:b","task":"x"}"#, &[b' '; 5_000]] {
            assert!(decode(bytes).is_err());
        }
    }
}
