//! The settings of a `cox` that does work itself: those of a scheduler and a worker beside its own. Read together, so that
//! all mistakes are told at once.

use coxswain_scheduler::SchedulerConfig;
use coxswain_shared::backend::{BackendConfig, StoreChoice};
use coxswain_shared::config::{Mistakes, Source, check_unknown};
use coxswain_shared::telemetry::LogConfig;
use coxswain_worker::Config as WorkerConfig;

/// What the connections of `cox` are called in the broker's lists.
pub(crate) const PROGRAM: &str = "cox";

/// Who does the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Works {
    /// This process, whatever the store is.
    Here,
    /// This process if the store is a file, else the fleet.
    Embedded,
}

/// Checks all settings that such a process reads; says how it logs.
pub(crate) fn check(source: &Source, works: Works) -> Result<LogConfig, Mistakes> {
    let mut mistakes = Mistakes::default();
    mistakes.note(check_unknown(source, &[]));
    let logs = mistakes.note(LogConfig::read(source));
    let backend = mistakes.note(BackendConfig::read(source, PROGRAM));
    let is_fleet = backend.is_some_and(|backend| matches!(backend.store, StoreChoice::Redis(_)));
    if works == Works::Here || !is_fleet {
        mistakes.note(SchedulerConfig::read(source));
        mistakes.note(WorkerConfig::read(source));
    }
    logs.filter(|_| mistakes.0.is_empty()).ok_or(mistakes)
}

#[cfg(test)]
mod tests {
    use coxswain_shared::config::is_known;

    use super::*;

    fn source(pairs: &[(&str, &str)]) -> Source {
        Source::from_pairs(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn mistakes_of_all_parts_are_told_at_once() {
        let set = [
            ("COX_LOG_FORMAT", "xml"),
            ("COX_RETENTION", "0s"),
            ("COX_POLL", "1ms"),
            ("COX_SLOTS", "many"),
            ("COX_SLOT", "1"),
        ];
        let told = check(&source(&set), Works::Embedded).unwrap_err().to_string();
        for part in ["5 mistake(s)", "COX_LOG_FORMAT", "COX_RETENTION", "COX_POLL", "COX_SLOTS:", "COX_SLOT:"] {
            assert!(told.contains(part), "{part} is missing in: {told}");
        }
    }

    #[test]
    fn who_only_watches_a_fleet_reads_no_settings_of_its_workers() {
        let set = source(&[("COX_STORE", "redis://h"), ("COX_SLOTS", "many")]);
        assert!(check(&set, Works::Embedded).is_ok() && check(&set, Works::Here).is_err());
    }

    #[test]
    fn every_variable_that_is_read_is_one_that_all_programs_know() {
        let source = source(&[]);
        check(&source, Works::Here).unwrap();
        let lacking: Vec<_> = source.asked().into_iter().filter(|name| !is_known(name)).collect();
        assert!(lacking.is_empty(), "shared/src/config/known.rs lacks {lacking:?}");
    }
}
