//! Where the secrets of calls are: in the worker's environment, and in its folder of secrets.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use coxswain_shared::config::{Source, has_blanks_around};
use coxswain_shared::exhaustion::Resource;
use coxswain_shared::expr;
use coxswain_shared::graph::Reference;
use nix::libc::O_NONBLOCK;

use super::config::OutsideConfig;

/// Bytes of a secret in a file.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Why a secret is not revealed, or a text not filled in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("this worker does not share the variable `{0}`: COX_SECRETS says which ones graphs may refer to")]
    NotShared(String),
    #[error("the variable `{0}` is not set on this worker")]
    NotSet(String),
    #[error("the secret `{0}` has blanks or control characters around it: set it without them")]
    Blanks(String),
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

/// The value of a secret.
pub(super) fn reveal(reference: &Reference, config: &OutsideConfig) -> Result<String, Error> {
    let (name, value) = match reference {
        Reference::Env(name) => (name, variable(name, config)?),
        Reference::File(name) => (name, file(name, config.secrets_dir.as_deref())?),
    };
    if has_blanks_around(&value) { Err(Error::Blanks(name.clone())) } else { Ok(value) }
}

fn variable(name: &str, config: &OutsideConfig) -> Result<String, Error> {
    if !config.shares(name) {
        return Err(Error::NotShared(name.to_owned()));
    }
    Source::foreign(name).filter(|value| !value.is_empty()).ok_or_else(|| Error::NotSet(name.to_owned()))
}

fn file(name: &str, folder: Option<&Path>) -> Result<String, Error> {
    let path = folder.ok_or(Error::NoFolder)?.join(name);
    let unreadable = |why: String| Error::Unreadable { name: name.to_owned(), why };
    let text = read(&path).map_err(|error| match Resource::behind(&error) {
        Some(resource) => Error::Exhausted { name: name.to_owned(), resource },
        None => unreadable(error.to_string()),
    })?;
    let text = text.ok_or_else(|| Error::TooLong(name.to_owned()))?;
    let text = String::from_utf8(text).map_err(|_| unreadable("it is not UTF-8".to_owned()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// The content of a file; none if it is too long. Nothing else is opened for long: who waits at a pipe waits for ever.
fn read(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    let file: File = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is no regular file, nor a link to one"));
    }
    let mut content = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut content)?;
    Ok((content.len() as u64 <= FILE_BYTES_MAX).then_some(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, OutsideConfig) {
        let folder = tempfile::tempdir().unwrap();
        let config = OutsideConfig { secrets_dir: Some(folder.path().to_owned()), ..OutsideConfig::default() };
        (folder, config)
    }

    fn file(name: &str) -> Reference {
        Reference::File(name.to_owned())
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
        let (folder, config) = folder();
        std::fs::write(folder.path().join("key"), "hunter2\n").unwrap();
        assert_eq!(reveal(&file("key"), &config).unwrap(), "hunter2");
        let refused = reveal(&file("kee"), &config).unwrap_err();
        assert!(matches!(refused, Error::Unreadable { .. }), "{refused}");
        assert!(matches!(reveal(&file("key"), &OutsideConfig::default()), Err(Error::NoFolder)));
    }

    #[test]
    fn a_secret_with_blanks_around_it_is_refused_by_name_and_not_told() {
        let (folder, config) = folder();
        for text in [" hunter2", "hunter2 \n", "\u{feff}hunter2", "\thunter2", "hunter2\0", "hunter2\u{a0}"] {
            std::fs::write(folder.path().join("key"), text).unwrap();
            let refused = reveal(&file("key"), &config).unwrap_err().to_string();
            assert!(refused.contains("`key` has blanks") && !refused.contains("hunter2"), "{refused}");
        }
        std::fs::write(folder.path().join("key"), "-----BEGIN KEY-----\nabc\n-----END KEY-----\n").unwrap();
        assert!(reveal(&file("key"), &config).unwrap().ends_with("END KEY-----"), "within, it may have some");
    }

    #[test]
    fn what_is_no_file_is_refused_at_once_and_links_are_followed() {
        let (folder, config) = folder();
        nix::unistd::mkfifo(&folder.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
        std::fs::create_dir(folder.path().join("folder")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("device")).unwrap();
        for name in ["pipe", "socket", "folder", "device"] {
            let refused = reveal(&file(name), &config).unwrap_err();
            assert!(matches!(refused, Error::Unreadable { .. }), "{name}: {refused}");
        }
        // As Kubernetes mounts a secret.
        std::fs::create_dir(folder.path().join("..2026")).unwrap();
        std::fs::write(folder.path().join("..2026/key"), "hunter2").unwrap();
        std::os::unix::fs::symlink("..2026", folder.path().join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/key", folder.path().join("key")).unwrap();
        assert_eq!(reveal(&file("key"), &config).unwrap(), "hunter2");
        std::fs::write(folder.path().join("long"), "x".repeat(65_537)).unwrap();
        assert!(matches!(reveal(&file("long"), &config), Err(Error::TooLong(_))));
    }
}
