//! The last words of a program that cannot do its work.
//!
//! They are part of its log. Where the log shows no errors, as with `COX_LOG=off` or before it was started, they go to
//! standard error as they are: no program ends without saying why.

use std::io::Write as _;

use crate::config::Mistakes;
use crate::printable;

/// Tells why the program ends.
pub fn report_fatal(why: &str) {
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!("{why}");
    } else {
        // There is nobody left to tell if standard error is gone.
        let _ = writeln!(std::io::stderr(), "ERROR {}", printable::line(why));
    }
}

/// Tells what is wrong with the command line, which may hold anything.
pub fn report_usage(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", printable::lines(text.trim_end()));
}

/// Tells every mistake of a configuration, each on a line of its own.
pub fn report_mistakes(mistakes: &Mistakes) {
    report_fatal(&format!("the configuration has {} mistake(s)", mistakes.0.len()));
    for mistake in &mistakes.0 {
        report_fatal(&format!("{}: {}", mistake.variable, mistake.why));
    }
}
