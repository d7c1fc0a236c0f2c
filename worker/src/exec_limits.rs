//! The limits that the commands of `exec` nodes run under: settings of the worker.

use std::ops::RangeInclusive;
use std::str::FromStr;

use coxswain_shared::config::{Reader, Variable};
use coxswain_shared::{duration, process};
use serde::{Deserialize, Serialize};

const MEMORY: Variable = Variable {
    name: "COX_EXEC_MEMORY",
    default: "",
    meaning: "memory that one process of an `exec` node may ask for, such as 2GiB, at least 64MiB; no limit where absent",
};
const PROCESSES: Variable = Variable {
    name: "COX_EXEC_PROCESSES",
    default: "",
    meaning: "processes and threads that the worker's user may have when an `exec` node starts one more, all of them counted; it does not hold for root; no limit where absent",
};
const FILE_SIZE: Variable = Variable {
    name: "COX_EXEC_FILE_SIZE",
    default: "",
    meaning: "size of a file that an `exec` node writes, such as 1GiB; no limit where absent",
};
const CPU: Variable = Variable {
    name: "COX_EXEC_CPU",
    default: "",
    meaning: "processor time of one process of an `exec` node, in whole seconds, such as 10m; no limit where absent",
};
const FILES: Variable = Variable {
    name: "COX_EXEC_FILES",
    default: "",
    meaning: "files that one process of an `exec` node may have open, 16 to 1048576; as many as the worker could when it was started where absent",
};

/// Less than this and no program starts.
const MEMORY_MIN: u64 = 64 * 1024 * 1024;

/// The limits that a command and all that it starts run under; each process for itself, but for the number of processes,
/// which counts all of the user's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecLimits {
    /// Bytes of memory that a process may ask for (`RLIMIT_AS`). `COX_EXEC_MEMORY`.
    pub memory: Option<u64>,
    /// Processes and threads of the user (`RLIMIT_NPROC`). `COX_EXEC_PROCESSES`.
    pub processes: Option<u64>,
    /// Bytes of a file that a process writes (`RLIMIT_FSIZE`). `COX_EXEC_FILE_SIZE`.
    pub file_size: Option<u64>,
    /// Seconds of processor time of a process (`RLIMIT_CPU`). `COX_EXEC_CPU`.
    pub cpu_seconds: Option<u64>,
    /// Files that a process may have open (`RLIMIT_NOFILE`). `COX_EXEC_FILES`.
    pub files: Option<u64>,
}

impl ExecLimits {
    /// The variables it reads.
    pub(crate) const VARIABLES: [Variable; 5] = [MEMORY, PROCESSES, FILE_SIZE, CPU, FILES];

    /// Reads them.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let whole = |text: &str| text.parse::<u64>().map_err(|_| format!("`{text}` is not a whole number"));
        let bytes = |text: &str| text.parse().map(|Bytes(bytes)| bytes).map_err(|why| format!("`{text}`: {why}"));
        let time = |text: &str| duration::parse(text).map(|time| time.as_secs()).map_err(|error| error.to_string());
        Self {
            memory: limit(reader, &MEMORY, bytes, (MEMORY_MIN..=u64::MAX, "it must be at least 64MiB")),
            processes: limit(reader, &PROCESSES, whole, (1..=4_194_304, "it must be from 1 to 4194304")),
            file_size: limit(reader, &FILE_SIZE, bytes, (1..=u64::MAX, "it must be at least 1")),
            cpu_seconds: limit(reader, &CPU, time, (1..=u64::MAX, "it must be at least 1s")),
            files: limit(reader, &FILES, whole, (16..=1_048_576, "it must be from 16 to 1048576")),
        }
    }

    /// The same, with what the worker itself could open where nothing is said: its own limit was raised.
    pub(crate) fn or_inherited(self) -> Self {
        Self { files: self.files.or_else(process::files_before), ..self }
    }
}

/// A limit that may be absent; a mistake is noted, and is none.
fn limit(
    reader: &mut Reader<'_>,
    variable: &Variable,
    parse: impl Fn(&str) -> Result<u64, String>,
    (range, wanted): (RangeInclusive<u64>, &str),
) -> Option<u64> {
    let text = reader.optional(variable)?;
    let value = parse(&text).and_then(|value| range.contains(&value).then_some(value).ok_or_else(|| wanted.to_owned()));
    value.map_err(|why| reader.check(false, variable, why)).ok()
}

/// A number of bytes: `1048576`, `512KiB`, `64MiB`, `2GiB`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Bytes(u64);

impl FromStr for Bytes {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANTED: &str = "write a whole number of bytes, or one with KiB, MiB or GiB, such as 512MiB";
        let units = [("KiB", 1_u64 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
        let (number, unit) =
            units.into_iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit))).unwrap_or((text, 1));
        let number: u64 = number.trim_end().parse().map_err(|_| WANTED)?;
        number.checked_mul(unit).filter(|bytes| *bytes > 0).map(Self).ok_or(WANTED)
    }
}

#[cfg(test)]
mod tests {
    use coxswain_shared::config::Source;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<ExecLimits, String> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let source = Source::from_pairs(pairs);
        let mut reader = Reader::new(&source);
        let limits = ExecLimits::read(&mut reader);
        reader.finish(limits).map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn limits_are_read_with_their_units_and_absent_ones_are_none() {
        assert_eq!(read(&[]), Ok(ExecLimits::default()));
        let all = [
            ("COX_EXEC_MEMORY", "2GiB"),
            ("COX_EXEC_PROCESSES", "100"),
            ("COX_EXEC_FILE_SIZE", "512 KiB"),
            ("COX_EXEC_CPU", "10m"),
            ("COX_EXEC_FILES", "64"),
        ];
        let limits = ExecLimits {
            memory: Some(2 << 30),
            processes: Some(100),
            file_size: Some(512 << 10),
            cpu_seconds: Some(600),
            files: Some(64),
        };
        assert_eq!(read(&all), Ok(limits));
    }

    #[test]
    fn a_limit_that_no_program_can_live_under_is_a_mistake() {
        let told = read(&[("COX_EXEC_MEMORY", "1MiB"), ("COX_EXEC_FILE_SIZE", "much"), ("COX_EXEC_CPU", "10ms")]);
        let told = told.unwrap_err();
        for part in ["64MiB", "COX_EXEC_FILE_SIZE", "at least 1s"] {
            assert!(told.contains(part), "{part} is missing in: {told}");
        }
    }
}
