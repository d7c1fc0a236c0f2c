//! The stock worker's settings, all of them: read together, so that all mistakes are told at once. Part of the program,
//! not of the SDK.

use coxswain_shared::backend::BackendConfig;
use coxswain_shared::config::{Mistakes, Source, Variable, check_unknown};
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
            &BackendConfig::variables()[..],
            &LogConfig::VARIABLES,
            &HttpConfig::VARIABLES,
            &Config::VARIABLES,
            &crashpoint::VARIABLES,
        ]
        .concat()
    }

    /// Reads them, and arms the crash point that they name, if any.
    pub(crate) fn read(source: &Source) -> Result<Self, Mistakes> {
        let mut mistakes = Vec::new();
        note(&mut mistakes, check_unknown(source, &Self::variables()));
        note(&mut mistakes, LogConfig::read(source));
        note(&mut mistakes, crashpoint::arm(source));
        let backend = note(&mut mistakes, BackendConfig::read(source, PROGRAM));
        let http = note(&mut mistakes, HttpConfig::read(source));
        let worker = note(&mut mistakes, Config::read(source));
        match (worker, backend, http) {
            (Some(worker), Some(backend), Some(http)) if mistakes.is_empty() => Ok(Self { worker, backend, http }),
            _ => Err(Mistakes(mistakes)),
        }
    }
}

fn note<T>(all: &mut Vec<coxswain_shared::config::Mistake>, read: Result<T, Mistakes>) -> Option<T> {
    read.map_err(|Mistakes(more)| all.extend(more)).ok()
}

#[cfg(test)]
mod tests {
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
        for part in ["5 mistake(s)", "COX_STORE", "COX_SLOTS", "COX_HTTP", "COX_LOG_FORMAT", "COX_SLOT:"] {
            assert!(told.contains(part), "{part} is missing in: {told}");
        }
    }

    #[test]
    fn every_variable_is_listed_once() {
        let mut names: Vec<_> = Settings::variables().into_iter().map(|variable| variable.name).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
