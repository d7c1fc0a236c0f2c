//! Why a command failed: what the user is told, in one line for the place and one for the remedy, and the exit code.

use coxswain_shared::control::{self, ErrorKind};
use coxswain_shared::printable;
use coxswain_shared::store;

use crate::exit::Exit;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failed {
    /// How the program ends.
    pub(crate) exit: Exit,
    /// What is wrong, and where.
    pub(crate) message: String,
    /// What can be done about it.
    pub(crate) remedy: Option<String>,
}

impl Failed {
    /// A mistake of the user's.
    pub(crate) fn usage(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into(), remedy: Some(remedy.into()) }
    }

    /// A failure without a remedy of its own.
    pub(crate) fn bare(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), remedy: None }
    }
}

impl From<control::Error> for Failed {
    fn from(error: control::Error) -> Self {
        let exit = match error.kind() {
            ErrorKind::Usage => Exit::Usage,
            ErrorKind::NotFound => Exit::NotFound,
            ErrorKind::Conflict => Exit::Conflict,
            ErrorKind::Overloaded => Exit::Overloaded,
            ErrorKind::Unavailable => Exit::Unavailable,
            ErrorKind::Internal => Exit::Internal,
        };
        // What the store's library said, and what helps, are told apart.
        if let control::Error::Store(unavailable @ store::Error::Unavailable { .. }) = &error {
            let store::Trouble { why, remedy } = store::Trouble::of(unavailable);
            return Self { exit, message: why, remedy: Some(remedy) };
        }
        Self { exit, message: whole(&error), remedy: error.remedy() }
    }
}

impl From<store::Error> for Failed {
    fn from(error: store::Error) -> Self {
        control::Error::from(error).into()
    }
}

impl From<control::cancel::Broken> for Failed {
    fn from(broken: control::cancel::Broken) -> Self {
        let message = broken.to_string();
        let why = Self::from(broken.source);
        Self { message: format!("{message}: {}", why.message), ..why }
    }
}

/// An error with all that lies under it, in one line.
pub(crate) fn whole(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = printable::line(&error.to_string());
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = printable::line(&inner.to_string());
        // Said once is enough.
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text
}
