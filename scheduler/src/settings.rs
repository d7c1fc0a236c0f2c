//! The stock scheduler's settings, all of them: read together, so that all mistakes are told at once. Part of the program,
//! not of the library.

use coxswain_scheduler::SchedulerConfig;
use coxswain_shared::backend::BackendConfig;
use coxswain_shared::broker::RabbitConfig;
use coxswain_shared::config::{Mistake, Mistakes, Source, Variable, check_unknown};
use coxswain_shared::crashpoint;
use coxswain_shared::telemetry::{HttpConfig, LogConfig};

/// What the stock scheduler's connections are called in the broker's lists.
const PROGRAM: &str = "cox-scheduler";

/// The stock scheduler's settings.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) scheduler: SchedulerConfig,
    pub(crate) backend: BackendConfig,
    pub(crate) http: HttpConfig,
}

impl Settings {
    /// All the variables that are read.
    pub(crate) fn variables() -> Vec<Variable> {
        [
            &Source::VARIABLES[..],
            &BackendConfig::variables(),
            &LogConfig::VARIABLES,
            &HttpConfig::VARIABLES,
            &SchedulerConfig::VARIABLES,
            &crashpoint::VARIABLES,
        ]
        .concat()
    }

    /// Reads them, and arms the crash point that they name, if any.
    pub(crate) fn read(source: &Source) -> Result<Self, Mistakes> {
        let mut mistakes = Mistakes::default();
        mistakes.note(check_unknown(source, &[]));
        mistakes.note(LogConfig::read(source));
        mistakes.note(crashpoint::arm(source));
        let backend = mistakes.note(BackendConfig::read(source, PROGRAM));
        if source.get(RabbitConfig::URL_NAME).is_none() {
            let why = "a scheduler of its own needs a broker: write amqp://HOST; `cox up` runs without";
            mistakes.0.push(Mistake::new(RabbitConfig::URL_NAME, why));
        }
        let http = mistakes.note(HttpConfig::read(source));
        let scheduler = mistakes.note(SchedulerConfig::read(source));
        match (scheduler, backend, http) {
            (Some(scheduler), Some(backend), Some(http)) if mistakes.0.is_empty() => {
                Ok(Self { scheduler, backend, http })
            }
            _ => Err(mistakes),
        }
    }
}

#[cfg(test)]
mod tests {
    use coxswain_shared::config::is_known;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, Mistakes> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::read(&Source::from_pairs(pairs))
    }

    #[test]
    fn mistakes_of_all_parts_are_told_at_once() {
        let told = read(&[
            ("COX_STORE", "mysql://h"),
            ("COX_SWEEP_EVERY", "1m"),
            ("COX_HTTP", "here"),
            ("COX_LOG_FORMAT", "xml"),
            ("COX_CRASH_POINT", "nowhere"),
            ("COX_SLOT", "1"),
        ]);
        let told = told.unwrap_err().to_string();
        let parts = [
            "7 mistake(s)",
            "COX_STORE",
            "COX_BROKER: a scheduler",
            "COX_SWEEP_EVERY",
            "COX_HTTP",
            "COX_LOG_FORMAT",
            "COX_CRASH_POINT",
            "COX_SLOT:",
        ];
        for part in parts {
            assert!(told.contains(part), "{part} is missing in: {told}");
        }
    }

    #[test]
    fn every_variable_that_is_read_is_listed_once_and_no_other() {
        let source = Source::from_pairs([]);
        // Whether the settings suffice does not matter here: all of them are asked for.
        let _ = Settings::read(&source);
        let read: Vec<_> = source.asked().into_iter().filter(|name| name != "COX_CONFIG").collect();
        let mut listed: Vec<_> = Settings::variables().into_iter().map(|variable| variable.name).collect();
        listed.retain(|name| *name != "COX_CONFIG");
        listed.sort_unstable();
        assert_eq!(listed, read);
        let lacking: Vec<_> = listed.into_iter().filter(|name| !is_known(name)).collect();
        assert!(lacking.is_empty(), "shared/src/config/known.rs lacks {lacking:?}");
    }

    #[test]
    fn settings_of_workers_are_accepted() {
        let set = [("COX_BROKER", "amqp://h/%2f"), ("COX_STORE", "redis://h"), ("COX_OUTSIDE_ALLOW", "127.0.0.1")];
        read(&set).expect("all of it is known");
        let told = read(&set[1..]).unwrap_err().to_string();
        assert!(told.contains("COX_BROKER: a scheduler"), "{told}");
    }
}
