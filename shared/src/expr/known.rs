//! Refuses filters and tests that there are not, before anything is evaluated.

use std::collections::BTreeSet;

use super::Error;
use super::names::Uses;
use super::weigh::{FILTERS, TESTS};
use crate::closest::closest;

/// Refuses what is unknown, and names what was probably meant.
pub(super) fn check(text: &str, uses: &Uses<'_>) -> Result<(), Error> {
    all_of(text, "filter", &uses.filters, &FILTERS)?;
    all_of(text, "test", &uses.tests, &TESTS)
}

fn all_of(text: &str, what: &'static str, used: &BTreeSet<&str>, all: &[&str]) -> Result<(), Error> {
    let Some(name) = used.iter().find(|name| !all.contains(*name)) else { return Ok(()) };
    Err(Error::Unknown {
        text: text.to_owned(),
        what: what.into(),
        name: (*name).to_owned(),
        near: closest(name, all).map(|near| (*near).to_owned()),
    })
}
