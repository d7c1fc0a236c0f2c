//! Logs: to standard error, as text for people or as JSON for machines.

use std::fmt;
use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::format::{FmtSpan, FormatFields, Writer, debug_fn};

use crate::config::{Mistakes, Reader, Source, Variable};
use crate::printable;

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
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_span_events(FmtSpan::NONE).with_target(true);
    let started = if config.json {
        builder.with_writer(|| PlainJson(io::stderr())).json().flatten_event(true).try_init()
    } else {
        let is_terminal = io::IsTerminal::is_terminal(&io::stderr());
        builder.with_writer(io::stderr).with_ansi(is_terminal).fmt_fields(fields()).try_init()
    };
    if started.is_err() {
        tracing::debug!("logging had been started before");
    }
}

/// Writes messages and fields on one line, whatever is in them.
fn fields() -> impl for<'w> FormatFields<'w> + Send + Sync + 'static {
    debug_fn(|writer: &mut Writer<'_>, field, value: &dyn fmt::Debug| {
        let value = printable::line(&format!("{value:?}"));
        if field.name() == "message" { writer.write_str(&value) } else { write!(writer, "{field}={value}") }
    })
    .delimited(" ")
}

/// Takes whole JSON documents, and escapes in them what JSON lets be.
#[derive(Debug)]
struct PlainJson<W>(W);

impl<W: Write> Write for PlainJson<W> {
    fn write(&mut self, document: &[u8]) -> io::Result<usize> {
        self.0.write_all(printable::json(&String::from_utf8_lossy(document)).as_bytes())?;
        Ok(document.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What was logged.
    #[derive(Debug, Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Kept {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    #[test]
    fn whatever_is_logged_is_one_line_of_plain_text() {
        for nasty in printable::NASTY {
            let (kept, json) = (Kept::default(), Kept::default());
            let log = |text: &str| {
                let span = tracing::info_span!("attempt", run.id = text);
                let _entered = span.enter();
                tracing::error!(error = %text, quoted = text, debugged = ?text, "it failed: {text}");
            };
            let writer = kept.clone();
            let builder = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false);
            tracing::subscriber::with_default(builder.fmt_fields(fields()).finish(), || log(nasty));
            let text = kept.text();
            assert_eq!(printable::line(text.strip_suffix('\n').unwrap()), text.trim_end_matches('\n'), "{nasty:?}");
            assert!(text.contains("error=") && text.contains("run.id=") && text.contains("it failed: "), "{text}");
            let writer = json.clone();
            let builder = tracing_subscriber::fmt().with_writer(move || PlainJson(writer.clone())).json();
            tracing::subscriber::with_default(builder.flatten_event(true).finish(), || log(nasty));
            let text = json.text();
            assert_eq!(printable::line(text.strip_suffix('\n').unwrap()), text.trim_end_matches('\n'), "{nasty:?}");
            let document: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(document["error"], nasty);
        }
    }

    #[test]
    fn an_unknown_format_is_a_mistake_that_names_the_known_ones() {
        let source = Source::from_pairs([("COX_LOG_FORMAT".to_owned(), "xml".to_owned())]);
        let told = LogConfig::read(&source).unwrap_err().to_string();
        assert!(told.contains("text or json"), "{told}");
    }
}
