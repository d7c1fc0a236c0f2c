//! What the client library reports, in words for an operator. Nothing here has seen the credentials.

use lapin::ErrorKind;

use crate::broker::{Complaint, Error, Hindrance};

const ACCESS_REFUSED: u16 = 403;
const PRECONDITION_FAILED: u16 = 406;
const NOT_ALLOWED: u16 = 530;

/// Why something did not work. Unlike the port's error it can be told to many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// Whether an operator must act before it can work.
    pub(super) is_lasting: bool,
    pub(super) hindrance: Hindrance,
    pub(super) why: String,
}

impl Failure {
    pub(super) fn passing(why: impl Into<String>) -> Self {
        Self { is_lasting: false, hindrance: Hindrance::Unconfirmed, why: why.into() }
    }

    /// There is no connection, for now.
    pub(super) fn apart(why: impl Into<String>) -> Self {
        Self { hindrance: Hindrance::NoConnection, ..Self::passing(why) }
    }

    /// An alarm is on.
    pub(super) fn blocked() -> Self {
        let why = "an alarm (memory or disk) of the broker blocks all that publish: give it memory or disk";
        Self { hindrance: Hindrance::Blocked, ..Self::passing(why) }
    }

    fn lasting(why: String) -> Self {
        Self { is_lasting: true, hindrance: Hindrance::Refused, why }
    }

    /// The same, for readiness.
    pub(super) fn into_complaint(self) -> Complaint {
        Complaint { hindrance: self.hindrance, why: self.why }
    }

    /// A try to connect failed.
    pub(super) fn of_connecting(error: &lapin::Error, is_tls: bool) -> Self {
        match (error.kind(), code(error)) {
            (_, Some(ACCESS_REFUSED)) => {
                Self::lasting(format!("it refuses the user or the password ({error}): check them in the URL"))
            }
            (_, Some(NOT_ALLOWED)) => Self::lasting(format!(
                "it refuses the virtual host ({error}): make it, grant it to the user, or correct the URL"
            )),
            (ErrorKind::IOError(io), _) if is_tls && io.kind() == std::io::ErrorKind::InvalidData => {
                Self::lasting(format!(
                    "no TLS session came about ({error}): the URL says amqps, so the port must speak TLS, with a certificate \
                     for this host from an authority of the system or of COX_BROKER_TLS_CA"
                ))
            }
            _ => Self::apart(format!("no connection: {error}")),
        }
    }

    /// A queue could not be declared, or consumed from.
    pub(super) fn of_queue(error: &lapin::Error, queue: &str) -> Self {
        match code(error) {
            Some(PRECONDITION_FAILED) => Self::lasting(format!(
                "the queue {queue} exists with other settings ({error}): delete it, its tasks are sent again; or set another \
                 COX_BROKER_QUEUE_PREFIX for the whole fleet"
            )),
            Some(ACCESS_REFUSED) if error.to_string().contains("exchange '") => Self::of_exchange(error),
            Some(ACCESS_REFUSED) => Self::lasting(format!(
                "the user may not use the queue {queue} ({error}): grant configure and read on it"
            )),
            _ => Self::passing(format!("the queue {queue} cannot be used: {error}")),
        }
    }

    /// Something could not be published.
    pub(super) fn of_publishing(error: &lapin::Error) -> Self {
        match code(error) {
            Some(ACCESS_REFUSED) => Self::of_exchange(error),
            _ => Self::of(error),
        }
    }

    /// What every message goes through. It has no name; in permissions it is called `amq.default`.
    fn of_exchange(error: &lapin::Error) -> Self {
        Self::lasting(format!(
            "the user may not publish ({error}): grant write on `amq.default`, as permissions call the default exchange"
        ))
    }

    /// Anything else.
    pub(super) fn of(error: &lapin::Error) -> Self {
        Self::passing(error.to_string())
    }

    pub(super) fn at(self, place: &str) -> Error {
        let (place, why) = (place.to_owned(), self.why);
        if self.is_lasting { Error::Unsuitable { place, why } } else { Error::Unavailable { place, why } }
    }
}

fn code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}
