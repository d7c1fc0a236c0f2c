//! Secrets by reference: found by the worker, put into what is sent, and taken out of all that is told.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use coxswain_shared::config::{Secret, Source};
use coxswain_shared::exhaustion::Resource;
use coxswain_shared::expr;
use coxswain_shared::graph::Reference;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::config::OutsideConfig;
use super::echo::{Found, IN_DRESS, begins};

/// Bytes of a secret in a file.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Shorter values are found everywhere, and tell nothing.
const REDACTED_MIN: usize = 4;
/// Letters of base64 that may come by chance.
const ENCODED_MIN: usize = 8;
/// What stands for a secret.
const STARS: &str = "***";

/// Why a secret is not revealed, or a text not filled in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("this worker does not share the variable `{0}`: COX_SECRETS says which ones graphs may refer to")]
    NotShared(String),
    #[error("the variable `{0}` is not set on this worker")]
    NotSet(String),
    #[error("this worker shares no files: COX_SECRETS_DIR is the folder that graphs may refer to")]
    NoFolder,
    #[error("the file `{name}` of COX_SECRETS_DIR cannot be read: {why}")]
    Unreadable { name: String, why: String },
    #[error("the file `{name}` of COX_SECRETS_DIR cannot be read now")]
    Exhausted { name: String, resource: Resource },
    #[error("the file `{0}` of COX_SECRETS_DIR is longer than 64 KiB")]
    TooLong(String),
    #[error(transparent)]
    Expression(#[from] expr::Error),
}

/// The secrets of one call.
#[derive(Debug, Default)]
pub(crate) struct Secrets(Vec<Secret<String>>);

impl Secrets {
    /// Finds a secret, and remembers it.
    pub(super) fn reveal(&mut self, reference: &Reference, config: &OutsideConfig) -> Result<String, Error> {
        let value = match reference {
            Reference::Env(name) => variable(name, config)?,
            Reference::File(name) => file(name, config.secrets_dir.as_deref())?,
        };
        if is_address(reference) {
            self.0.extend(passwords(&value).into_iter().flat_map(|password| forms(&password)).map(Secret::new));
        } else {
            self.0.extend(forms(&value).into_iter().map(Secret::new));
        }
        // Of two that begin alike, the rest of the longer one must not stay behind.
        self.0.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
        self.0.dedup_by(|a, b| a.expose() == b.expose());
        Ok(value)
    }

    /// A text without the secrets, in whatever dress they come back.
    pub(crate) fn redact(&self, text: &str) -> String {
        if self.0.is_empty() {
            return text.to_owned();
        }
        let (mut redacted, mut rest) = (String::with_capacity(text.len()), text);
        let firsts: Vec<char> = self.0.iter().filter_map(|secret| secret.expose().chars().next()).collect();
        let may_begin = |next: char| IN_DRESS.contains(&next) || firsts.contains(&next);
        while let Some(place) = rest.find(may_begin) {
            let (before, behind) = rest.split_at(place);
            redacted.push_str(before);
            rest = behind;
            let found = self.0.iter().find_map(|secret| match begins(rest, secret.expose()) {
                Found::Whole(length) => Some(length),
                Found::No | Found::Begun => None,
            });
            if let Some(length) = found {
                redacted.push_str(STARS);
                rest = &rest[length..];
            } else {
                let next = rest.ceil_char_boundary(1);
                redacted.push_str(&rest[..next]);
                rest = &rest[next..];
            }
        }
        redacted.push_str(rest);
        redacted
    }

    /// Reads JSON, without the secrets. They are taken out of its texts alone: a secret may look like a part of a number.
    pub(crate) fn read<T: DeserializeOwned>(&self, json: &str) -> Result<T, serde_json::Error> {
        if self.0.is_empty() || self.redact(json) == json {
            return serde_json::from_str(json);
        }
        let mut told: Value = serde_json::from_str(json)?;
        self.redact_value(&mut told);
        serde_json::from_value(told)
    }

    fn redact_value(&self, told: &mut Value) {
        match told {
            Value::String(text) => *text = self.redact(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.redact_value(item)),
            Value::Object(fields) => {
                let redacted = std::mem::take(fields).into_iter().map(|(key, mut field)| {
                    self.redact_value(&mut field);
                    (self.redact(&key), field)
                });
                *fields = redacted.collect();
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// How many bytes at the end of a text may be the beginning of a secret, of which the rest is still to come.
    pub(crate) fn begun_in(&self, text: &str) -> usize {
        let begun = |at: &usize| self.0.iter().any(|secret| begins(&text[*at..], secret.expose()) == Found::Begun);
        text.char_indices().map(|(at, _)| at).find(begun).map_or(0, |at| text.len() - at)
    }
}

/// Whether a reference is to where something is, which failures have to tell, and not to a secret.
fn is_address(reference: &Reference) -> bool {
    matches!(reference, Reference::Env(name) if name.ends_with("_BASE_URL"))
}

/// The password that an address may hold: as it is written there, and as it is meant.
fn passwords(address: &str) -> Vec<String> {
    let Ok(url) = reqwest::Url::parse(address.trim()) else { return Vec::new() };
    let Some(password) = url.password() else { return Vec::new() };
    vec![password.to_owned(), percent_decode_str(password).decode_utf8_lossy().into_owned()]
}

/// What a value is known by: itself, what an address makes of it, and what stands for it in whatever base64 it is a part of.
fn forms(value: &str) -> Vec<String> {
    let mut address = reqwest::Url::parse("http://host/").expect("a constant address is well formed");
    address.set_path(value);
    // An address drops what leads nowhere: what is left of `////` is nothing, which is found everywhere.
    let in_path = address.path().trim_start_matches('/').to_owned();
    let mut forms = vec![value.to_owned(), in_path];
    forms.retain(|form| form.len() >= REDACTED_MIN);
    if value.len() >= REDACTED_MIN {
        forms.extend(encoded(value));
    }
    forms.sort();
    forms.dedup();
    forms
}

/// The letters of base64 that a value alone decides, however many bytes stand before it and behind.
fn encoded(value: &str) -> Vec<String> {
    let places = (0..3).flat_map(|before| {
        let bytes = [&b"\0\0"[..before], value.as_bytes()].concat();
        // A letter is six bits: the first ones are shared with what stands before, the last with what stands behind.
        let (first, last) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
        [STANDARD_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)].map(|text| text[first..last].to_owned())
    });
    places.filter(|text| text.len() >= ENCODED_MIN).collect()
}

fn variable(name: &str, config: &OutsideConfig) -> Result<String, Error> {
    if !config.secrets.iter().any(|pattern| pattern.means(name)) {
        return Err(Error::NotShared(name.to_owned()));
    }
    Source::foreign(name).filter(|value| !value.is_empty()).ok_or_else(|| Error::NotSet(name.to_owned()))
}

fn file(name: &str, folder: Option<&Path>) -> Result<String, Error> {
    let path = folder.ok_or(Error::NoFolder)?.join(name);
    let unreadable = |error: std::io::Error| match Resource::behind(&error) {
        Some(resource) => Error::Exhausted { name: name.to_owned(), resource },
        None => Error::Unreadable { name: name.to_owned(), why: error.to_string() },
    };
    if std::fs::metadata(&path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        return Err(Error::TooLong(name.to_owned()));
    }
    let text = std::fs::read_to_string(&path).map_err(unreadable)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reveal(reference: &Reference, config: &OutsideConfig) -> Result<String, Error> {
        Secrets::default().reveal(reference, config)
    }

    #[test]
    fn only_what_is_shared_is_revealed() {
        let path = || Reference::Env("PATH".to_owned());
        let refused = reveal(&path(), &OutsideConfig::default()).unwrap_err();
        assert!(matches!(&refused, Error::NotShared(name) if name == "PATH"), "{refused}");
        let open = OutsideConfig { secrets: vec!["PA*".parse().unwrap()], ..OutsideConfig::default() };
        assert!(!reveal(&path(), &open).unwrap().is_empty());
        let absent = OutsideConfig { secrets: vec!["*".parse().unwrap()], ..OutsideConfig::default() };
        let refused = reveal(&Reference::Env("COX_NO_SUCH_VARIABLE".to_owned()), &absent).unwrap_err();
        assert!(matches!(refused, Error::NotSet(_)), "{refused}");
    }

    #[test]
    fn a_file_is_read_without_its_last_line_break() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "hunter2\n").unwrap();
        let config = OutsideConfig { secrets_dir: Some(folder.path().to_owned()), ..OutsideConfig::default() };
        assert_eq!(reveal(&Reference::File("key".to_owned()), &config).unwrap(), "hunter2");
        let refused = reveal(&Reference::File("kee".to_owned()), &config).unwrap_err();
        assert!(matches!(refused, Error::Unreadable { .. }), "{refused}");
        assert!(matches!(reveal(&Reference::File("key".to_owned()), &OutsideConfig::default()), Err(Error::NoFolder)));
    }

    #[test]
    fn what_was_revealed_is_taken_out_of_what_is_told() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "hunter2").unwrap();
        let config = OutsideConfig { secrets_dir: Some(folder.path().to_owned()), ..OutsideConfig::default() };
        let mut secrets = Secrets::default();
        secrets.reveal(&Reference::File("key".to_owned()), &config).unwrap();
        assert_eq!(secrets.redact("the key hunter2 is wrong"), "the key *** is wrong");
        let begun = ["", "the hun", "the key", "hunter2", "hhhunter", "th"].map(|text| secrets.begun_in(text));
        assert_eq!(begun, [0, 3, 0, 0, 6, 1]);
        assert!(!format!("{secrets:?}").contains("hunter2"));
    }

    fn known(values: &[&str]) -> Secrets {
        let folder = tempfile::tempdir().unwrap();
        let config = OutsideConfig { secrets_dir: Some(folder.path().to_owned()), ..OutsideConfig::default() };
        let mut secrets = Secrets::default();
        for value in values {
            std::fs::write(folder.path().join("key"), value).unwrap();
            secrets.reveal(&Reference::File("key".to_owned()), &config).unwrap();
        }
        secrets
    }

    #[test]
    fn a_secret_is_taken_out_in_every_dress() {
        let secrets = known(&["a\"b c/d\\"]);
        for told in
            [r#"{"key": "a\"b c/d\\"}"#, "http://x/?key=a%22b%20c/d\\", "raw a\"b c/d\\", r#""a\u0022b\u0020c\/d\\""#]
        {
            let redacted = secrets.redact(told);
            assert!(
                redacted.contains("***") && !redacted.contains('c') && !redacted.contains("/d"),
                "{told}: {redacted}"
            );
        }
        assert_eq!(known(&["////"]).redact("a ////"), "a ***");
        assert_eq!(known(&["abc"]).redact("abc"), "abc");
    }

    #[test]
    fn of_two_secrets_that_begin_alike_nothing_stays_behind() {
        let secrets = known(&["hunter", "hunter2-and-more"]);
        assert_eq!(secrets.redact("hunter2-and-more, hunter2"), "***, ***2");
        assert_eq!(secrets.begun_in("it is hunter2-and"), 11);
    }

    #[test]
    fn a_secret_within_base64_is_taken_out_wherever_it_stands() {
        let secrets = known(&["hunter2?>secret"]);
        for before in ["", "u", "us", "user:"] {
            for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
                let login = engine.encode(format!("{before}hunter2?>secret!"));
                let redacted = secrets.redact(&format!("Basic {login}"));
                assert!(
                    redacted.contains("***") && redacted.len() < 6 + 3 + before.len() * 2 + 6,
                    "{before}: {redacted}"
                );
            }
        }
    }

    #[test]
    fn json_is_read_without_secrets_and_its_numbers_stay() {
        let secrets = known(&["12345"]);
        let read: Value = secrets.read(r#"{"n": 12345, "t": "is 12345", "12345": ["\u0031\u0032345"]}"#).unwrap();
        assert_eq!(read, serde_json::json!({"n": 12345, "t": "is ***", "***": ["***"]}));
    }

    #[test]
    fn an_address_is_told_and_its_password_is_not() {
        assert_eq!(passwords("http://u:p%40ss@host/v1"), ["p%40ss", "p@ss"]);
        assert!(passwords("http://host/v1").is_empty() && passwords("?").is_empty());
    }
}
