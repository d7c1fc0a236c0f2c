//! Secrets by reference: found by the worker, put into what is sent, and taken out of all that is told.

use std::path::Path;

use coxswain_shared::config::{Secret, Source};
use coxswain_shared::expr;
use coxswain_shared::graph::Reference;

use super::config::OutsideConfig;

/// Bytes of a secret in a file.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Shorter values are found everywhere, and tell nothing.
const REDACTED_MIN: usize = 4;
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
        if !is_address(reference) {
            self.0.extend(forms(&value).into_iter().map(Secret::new));
        }
        Ok(value)
    }

    /// A text without the secrets.
    pub(crate) fn redact(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret.expose(), STARS))
    }

    /// How many bytes at the end of a text may be the beginning of a secret, of which the rest is still to come.
    pub(crate) fn begun_in(&self, text: &str) -> usize {
        let begun = |secret: &str| {
            let lengths = secret.char_indices().map(|(length, _)| length).skip(1);
            lengths.filter(|length| text.ends_with(&secret[..*length])).max().unwrap_or(0)
        };
        self.0.iter().map(|secret| begun(secret.expose())).max().unwrap_or(0)
    }
}

/// Whether a reference is to where something is, which failures have to tell, and not to a secret.
fn is_address(reference: &Reference) -> bool {
    matches!(reference, Reference::Env(name) if name.ends_with("_BASE_URL"))
}

/// How a value may be repeated: as it is, in JSON, and in an address.
fn forms(value: &str) -> Vec<String> {
    let json = serde_json::Value::from(value).to_string();
    let mut address = reqwest::Url::parse("http://host/").expect("a constant address is well formed");
    address.set_query(Some(value));
    let in_query = address.query().unwrap_or_default().to_owned();
    address.set_path(value);
    let in_path = address.path().trim_start_matches('/').to_owned();
    let in_json = json[1..json.len() - 1].to_owned();
    let mut forms = vec![value.to_owned(), in_json, in_query, in_path];
    // An address drops what leads nowhere: what is left of `////` is nothing, which is found everywhere.
    forms.retain(|form| form.len() >= REDACTED_MIN);
    forms.sort();
    forms.dedup();
    forms
}

fn variable(name: &str, config: &OutsideConfig) -> Result<String, Error> {
    if !config.secrets.iter().any(|pattern| pattern.means(name)) {
        return Err(Error::NotShared(name.to_owned()));
    }
    Source::foreign(name).filter(|value| !value.is_empty()).ok_or_else(|| Error::NotSet(name.to_owned()))
}

fn file(name: &str, folder: Option<&Path>) -> Result<String, Error> {
    let path = folder.ok_or(Error::NoFolder)?.join(name);
    let unreadable = |error: std::io::Error| Error::Unreadable { name: name.to_owned(), why: error.to_string() };
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

    #[test]
    fn a_secret_is_known_in_every_dress() {
        let secrets = Secrets(forms("a\"b c/d\\").into_iter().map(Secret::new).collect());
        for told in [r#"{"key": "a\"b c/d\\"}"#, "http://x/?key=a%22b%20c/d\\", "raw a\"b c/d\\"] {
            let redacted = secrets.redact(told);
            assert!(redacted.contains("***") && !redacted.contains("c/d"), "{told}: {redacted}");
        }
        assert_eq!(forms("////"), ["////"]);
        assert!(forms("abc").is_empty());
    }
}
