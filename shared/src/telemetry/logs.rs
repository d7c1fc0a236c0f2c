//! Logs: to standard error, as text for people or as JSON for machines.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::{Mistakes, Reader, Source, Variable};

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// A filter such as `info` or `coxswain_worker=debug,warn`.
    pub filter: String,
    /// Whether each line is a JSON object.
    pub json: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: Self::FILTER.default.to_owned(), json: false }
    }
}

impl LogConfig {
    const FILTER: Variable = Variable {
        name: "COX_LOG",
        default: "info",
        meaning: "what is logged: a level, or a filter such as coxswain_worker=debug,warn",
    };
    const FORMAT: Variable =
        Variable { name: "COX_LOG_FORMAT", default: "text", meaning: "how it is logged: text or json" };

    /// The variables it reads.
    pub const VARIABLES: [Variable; 2] = [Self::FILTER, Self::FORMAT];

    /// Reads it.
    pub fn read(source: &Source) -> Result<Self, Mistakes> {
        let mut reader = Reader::new(source);
        let filter = reader.text(&Self::FILTER);
        let format = reader.text(&Self::FORMAT);
        let well_formed = EnvFilter::try_new(&filter).is_ok();
        reader.check(
            well_formed,
            &Self::FILTER,
            format!("`{filter}` is not a filter: write info, debug or a=debug,warn"),
        );
        let known = matches!(format.as_str(), "text" | "json");
        reader.check(known, &Self::FORMAT, format!("`{format}` is not a format: write text or json"));
        reader.finish(Self { filter, json: format == "json" })
    }
}

/// Starts logging for the whole process. A second call changes nothing.
pub fn start_logs(config: &LogConfig) {
    // The AMQP client logs every reconnect as an error of its own; the adapter says the same in the fleet's words.
    let quieted = format!("lapin=off,{}", config.filter);
    let filter = EnvFilter::try_new(quieted).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE)
        .with_target(true);
    let started = if config.json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init()
    };
    if started.is_err() {
        tracing::debug!("logging had been started before");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_format_is_a_mistake_that_names_the_known_ones() {
        let source = Source::from_pairs([("COX_LOG_FORMAT".to_owned(), "xml".to_owned())]);
        let told = LogConfig::read(&source).unwrap_err().to_string();
        assert!(told.contains("text or json"), "{told}");
    }
}
