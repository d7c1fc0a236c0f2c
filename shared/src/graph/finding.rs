//! Mistakes while they are being collected: their places are structured, their lines not yet known.

use super::diagnostic::{Diagnostic, Diagnostics, Severity};
use super::place::Place;

/// A mistake whose line is not yet known.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    pub(super) place: Place,
    pub(super) message: String,
    pub(super) remedy: Option<String>,
    /// Where it stands, if the place does not tell.
    pub(super) at: Option<(u32, u32)>,
}

/// Mistakes while they are being collected.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    /// Notes what keeps the graph from being run.
    pub(super) fn error(&mut self, place: &Place, message: impl Into<String>) -> &mut Finding {
        self.push(Severity::Error, place, message.into())
    }

    /// Notes what is hardly meant.
    pub(super) fn warning(&mut self, place: &Place, message: impl Into<String>) -> &mut Finding {
        self.push(Severity::Warning, place, message.into())
    }

    /// Gives what was read, or notes why it could not be.
    pub(super) fn keep<T>(&mut self, place: &Place, read: Result<T, impl std::fmt::Display>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(error) => {
                self.error(place, error.to_string());
                None
            }
        }
    }

    fn push(&mut self, severity: Severity, place: &Place, message: String) -> &mut Finding {
        self.0.push(Finding { severity, place: place.clone(), message, remedy: None, at: None });
        self.0.last_mut().expect("an element was pushed just now")
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether one of them keeps the graph from being run.
    pub(super) fn has_errors(&self) -> bool {
        self.0.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// Whether one of them lies in a part of the definition and keeps the graph from being run.
    pub(super) fn has_errors_in(&self, part: &str) -> bool {
        let is_in = |finding: &&Finding| finding.place.segments().first().is_some_and(|first| first.is_key(part));
        self.0.iter().filter(is_in).any(|finding| finding.severity == Severity::Error)
    }

    /// Takes over what was found inside of a place.
    pub(super) fn extend_within(&mut self, place: &Place, inner: Self) {
        self.0.extend(inner.0.into_iter().map(|finding| Finding { place: place.join(&finding.place), ..finding }));
    }

    /// The same, for a definition that is in no file.
    pub(super) fn into_diagnostics(self) -> Diagnostics {
        self.into_iter().map(|finding| finding.locate(None, None)).collect()
    }
}

impl FromIterator<Finding> for Findings {
    fn from_iter<I: IntoIterator<Item = Finding>>(findings: I) -> Self {
        Self(findings.into_iter().collect())
    }
}

impl IntoIterator for Findings {
    type Item = Finding;
    type IntoIter = std::vec::IntoIter<Finding>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Finding {
    /// Adds what to do about it.
    pub(super) fn remedy(&mut self, remedy: impl Into<String>) {
        self.remedy = Some(remedy.into());
    }

    /// Adds the name that was probably meant, or what there is to choose from.
    pub(super) fn suggest<'a>(&mut self, name: &str, known: impl IntoIterator<Item = &'a str>) {
        self.remedy = super::suggest::remedy(name, known);
    }

    /// Gives it its file, line and column.
    pub(super) fn locate(self, file: Option<&str>, at: Option<(u32, u32)>) -> Diagnostic {
        let at = self.at.or(at);
        Diagnostic {
            severity: self.severity,
            path: self.place.to_string(),
            file: file.map(ToOwned::to_owned),
            line: at.map(|(line, _)| line),
            column: at.map(|(_, column)| column),
            message: self.message,
            remedy: self.remedy,
        }
    }
}
