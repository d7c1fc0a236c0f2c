//! Takes what is not for everybody out of the process's environment, by starting the program again without it.
//!
//! The kernel keeps the environment that a program was started with, and shows it in `/proc/PID/environ`; removing a
//! variable later changes nothing there. So the program hands its variables to itself: it writes them into a file in
//! memory, and executes itself with an environment that has only the harmless ones. The process, its id and its parent
//! stay the same.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::OnceLock;

use nix::sys::memfd::{MFdFlags, memfd_create};

/// Names the file in memory, by its descriptor, to the program that is started again.
const HANDED_OVER: &str = "COX_HANDED_OVER";

/// The variables that stay: what programs and libraries need, and what is no secret.
const KEPT: [&str; 28] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "HOSTNAME",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TZDIR",
    "TMPDIR",
    "TERM",
    "COLORTERM",
    "COLUMNS",
    "LINES",
    "NO_COLOR",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "RUST_BACKTRACE",
    "RUST_LIB_BACKTRACE",
    "RUST_MIN_STACK",
    "TOKIO_WORKER_THREADS",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "LLVM_PROFILE_FILE",
    "XDG_RUNTIME_DIR",
];

/// What was taken out of the environment.
static TAKEN: OnceLock<Vec<(OsString, OsString)>> = OnceLock::new();

/// Takes all variables but the harmless ones out of the environment; [`variables`] still gives them. To be called first
/// in `main`, before any thread: it may start the program again, and does not return then. Where that fails, the
/// environment stays as it is.
pub(crate) fn take() -> io::Result<()> {
    if let Some(number) = std::env::var_os(HANDED_OVER) {
        let _ = TAKEN.set(received(&number)?);
        return Ok(());
    }
    let (kept, taken): (Vec<_>, Vec<_>) = std::env::vars_os().partition(|(name, _)| is_kept(name));
    if taken.is_empty() {
        return Ok(());
    }
    let file = hand_over(&taken)?;
    let mut arguments = std::env::args_os();
    let mut command = Command::new(std::env::current_exe()?);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.args(arguments).env_clear().envs(kept).env(HANDED_OVER, file.as_raw_fd().to_string());
    Err(command.exec())
}

/// The process's variables, also those that were taken out of its environment.
pub(super) fn variables() -> impl Iterator<Item = (OsString, OsString)> {
    let current = std::env::vars_os().filter(|(name, _)| name != HANDED_OVER);
    TAKEN.get().cloned().unwrap_or_default().into_iter().chain(current)
}

fn is_kept(name: &OsStr) -> bool {
    let is_locale = name.as_bytes().starts_with(b"LC_");
    is_locale || KEPT.iter().any(|kept| name == *kept)
}

/// A file in memory with these variables, which is inherited.
fn hand_over(variables: &[(OsString, OsString)]) -> io::Result<File> {
    let mut file = File::from(memfd_create(c"cox-environment", MFdFlags::empty())?);
    file.write_all(&encoded(variables))?;
    file.rewind()?;
    Ok(file)
}

fn received(number: &OsStr) -> io::Result<Vec<(OsString, OsString)>> {
    let number: i32 = number.to_str().and_then(|text| text.parse().ok()).ok_or(io::ErrorKind::InvalidInput)?;
    let mut bytes = Vec::new();
    File::open(format!("/proc/self/fd/{number}"))?.read_to_end(&mut bytes)?;
    // It was opened anew; the inherited one must not be handed on.
    nix::unistd::close(number)?;
    Ok(decoded(&bytes))
}

/// Each variable as `NAME=value`, and a NUL behind each, as the kernel does it.
fn encoded(variables: &[(OsString, OsString)]) -> Vec<u8> {
    let one = |(name, value): &(OsString, OsString)| [name.as_bytes(), b"=", value.as_bytes(), b"\0"].concat();
    variables.iter().flat_map(one).collect()
}

fn decoded(bytes: &[u8]) -> Vec<(OsString, OsString)> {
    let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let one = |variable: &[u8]| {
        let at = variable.iter().position(|byte| *byte == b'=')?;
        Some((text(&variable[..at]), text(&variable[at + 1..])))
    };
    bytes.split(|byte| *byte == 0).filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_come_through_as_they_were() {
        let variables = [("A", "1"), ("B", ""), ("C", "x=y\nz")];
        let variables = variables.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let mut file = hand_over(&variables).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!(decoded(&bytes), variables);
    }

    #[test]
    fn what_may_be_a_secret_does_not_stay() {
        for name in ["COX_STORE", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY", "PGPASSWORD"] {
            assert!(!is_kept(OsStr::new(name)), "{name}");
        }
        assert!(is_kept(OsStr::new("PATH")) && is_kept(OsStr::new("LC_ALL")));
    }
}
