//! The stock worker's settings, all of them: read together, so that all mistakes are told at once. Part of the program,
//! not of the SDK.

use coxswain_shared::backend::BackendConfig;
use coxswain_shared::broker::RabbitConfig;
use coxswain_shared::config::{Mistake, Mistakes, Source, Variable, check_unknown};
use coxswain_shared::crashpoint;
use coxswain_shared::telemetry::{HttpConfig, LogConfig};
use coxswain_worker::Config;

/// What the stock worker's connections are called in the broker's lists.
const PROGRAM: &str = "cox-worker";

/// The stock worker's settings.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) worker: Config,
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
            &Config::VARIABLES,
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
            let why = "a worker of its own needs a broker: write amqp://HOST; `cox up` runs without";
            mistakes.0.push(Mistake::new(RabbitConfig::URL_NAME, why));
        }
        let http = mistakes.note(HttpConfig::read(source));
        let worker = mistakes.note(Config::read(source));
        match (worker, backend, http) {
            (Some(worker), Some(backend), Some(http)) if mistakes.0.is_empty() => Ok(Self { worker, backend, http }),
            _ => Err(mistakes),
        }
    }
}

#[cfg(test)]
mod tests {
    use coxswain_shared::config::is_known;

    use super::*;

    #[test]
    fn mistakes_of_all_parts_are_told_at_once() {
        let pairs = [
            ("COX_STORE", "mysql://h"),
            ("COX_SLOTS", "many"),
            ("COX_HTTP", "here"),
            ("COX_LOG_FORMAT", "xml"),
            ("COX_SLOT", "1"),
        ];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let told = Settings::read(&Source::from_pairs(pairs)).unwrap_err().to_string();
        let parts = ["COX_STORE", "COX_SLOTS", "COX_HTTP", "COX_LOG_FORMAT", "COX_SLOT:", "COX_BROKER: a worker"];
        for part in ["6 mistake(s)"].into_iter().chain(parts) {
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
    fn prices_are_a_setting_and_settings_of_other_programs_are_none_of_its_matter() {
        let pairs = [
            ("COX_BROKER", "amqp://h/%2f"),
            ("COX_STORE", "redis://h"),
            ("COX_PRICES", "{m: {input: 1, output: 2}}"),
            ("COX_SWEEP_EVERY", "1s"),
        ];
        let source = Source::from_pairs(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let source = source.over_file("cox.yaml", "prices: {n: {input: 1, output: 2}}\noverload_backlog: 9\n");
        Settings::read(&source).expect("all of it is known");
    }

    #[test]
    fn a_worker_without_a_broker_is_told_so_beside_all_else() {
        let source = Source::from_pairs([("COX_SLOTS".to_owned(), "many".to_owned())]);
        let told = Settings::read(&source).unwrap_err().to_string();
        assert!(told.contains("2 mistake(s)") && told.contains("COX_BROKER: a worker"), "{told}");
    }
}
