//! What can go wrong in a store.

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be reached, did not answer in time, or does not serve now. The call may or may not have been applied:
    /// repeat it. The text has all that is known of the cause, so that no log leaves it out.
    #[error("the store at {place} is unavailable: {}", whole(why.as_ref()))]
    Unavailable {
        /// Which store, without credentials.
        place: String,
        /// What the server, the file or the client library said, with the remedy where there is one.
        why: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It refuses to work as it is set up.
    #[error("the store at {place} cannot be used: {why}")]
    Unsuitable {
        /// Which store, without credentials.
        place: String,
        /// What is wrong, with the remedy.
        why: String,
    },
    /// What it holds cannot be read.
    #[error("the record {key} cannot be read: {why}")]
    Corrupt {
        /// Which record.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// A record was written by a version that this build does not know.
    #[error("the record {key} has format {format}; this build reads {known}: upgrade it")]
    Format {
        /// Which record.
        key: String,
        /// Its format.
        format: u32,
        /// The newest that is known.
        known: u32,
    },
    /// The call is over a size limit.
    #[error("{what} has {size}, over the limit of {max}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// How large it is.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// The text is not a cursor that a listing gave out.
    #[error("`{text}` is not a cursor of this listing: leave it out to begin at the newest")]
    Cursor {
        /// The text, shortened to 64 characters.
        text: String,
    },
}

/// An error with what lay under it, each said once.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(inner) = next {
        let said = inner.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = inner.source();
    }
    text
}

/// What a store's library said, with what can be done about it: a cause of [`Error::Unavailable`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{said} ({remedy})")]
pub struct Advised {
    /// What the library said.
    pub said: String,
    /// What can be done about it, in a sentence.
    pub remedy: &'static str,
}

/// What is wrong with a store, as long as it lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Which store, and what it says.
    pub why: String,
    /// What can be done about it, in a sentence.
    pub remedy: String,
}

impl Trouble {
    /// The trouble that an error tells of, apart from its remedy.
    pub fn of(error: &Error) -> Self {
        let why = match error {
            Error::Unavailable { place, why } => match why.downcast_ref::<Advised>() {
                Some(Advised { said, .. }) => format!("the store at {place} is unavailable: {said}"),
                None => error.to_string(),
            },
            Error::Unsuitable { .. }
            | Error::Corrupt { .. }
            | Error::Format { .. }
            | Error::TooLarge { .. }
            | Error::Cursor { .. } => error.to_string(),
        };
        Self { why, remedy: error.remedy().unwrap_or(SEE_IT).to_owned() }
    }
}

/// What helps with a store that says nothing of why it does not answer.
const SEE_IT: &str = "see that it runs and can be reached from here, then ask again: repeating is safe";

impl Error {
    /// What can be done about it, in a sentence; absent where the message says it already.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Unavailable { why, .. } => {
                Some(why.downcast_ref::<Advised>().map_or(SEE_IT, |advised| advised.remedy))
            }
            Self::Unsuitable { .. }
            | Self::Corrupt { .. }
            | Self::Format { .. }
            | Self::TooLarge { .. }
            | Self::Cursor { .. } => None,
        }
    }

    /// Whether the same call may succeed later.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Unsuitable { .. }
            | Self::Corrupt { .. }
            | Self::Format { .. }
            | Self::TooLarge { .. }
            | Self::Cursor { .. } => false,
        }
    }
}
