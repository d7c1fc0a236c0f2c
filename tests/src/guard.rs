//! A child process that cannot outlive its test.
//!
//! ```text
//! test process ──owns── Guarded ──┬── the child, leader of a process group of its own
//!       └────────pipe─────────────┴── a watchdog (`sh`): when the pipe closes, it kills that group
//! ```
//!
//! Drop kills the group. If the test process is killed, or ends with the handle in a `static`, nothing is dropped: then
//! the kernel closes the pipe and the watchdog does it. It is not for processes that leave their group on purpose.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::wait::poll;

/// Waits for the end of its input, then kills the group `$1` and removes the folder `$2`, if one is named. What is killed
/// may still write for a moment: hence the second try.
const WATCHDOG: &str = r#"
    while read -r _; do :; done
    kill -s KILL -- "-$1"
    [ -n "$2" ] || exit 0
    rm -rf -- "$2" || { sleep 1; rm -rf -- "$2"; }
"#;

/// A running child with its watchdog; both end when it is dropped.
#[derive(Debug)]
pub(crate) struct Guarded {
    child: Child,
    watchdog: Child,
}

impl Guarded {
    /// Starts the command. `folder` is removed if the test process dies without dropping this.
    pub(crate) fn spawn(mut command: Command, folder: Option<&Path>) -> io::Result<Self> {
        let mut child = command.process_group(0).stdin(Stdio::null()).spawn()?;
        match watch(child.id(), folder) {
            Ok(watchdog) => Ok(Self { child, watchdog }),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error)
            }
        }
    }

    /// The child's process id, which is its group's too.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How the child ended, if it has.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of ours can be waited for")
    }

    /// Signals the child alone. To one that has ended it does nothing.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if self.exited().is_none() {
            // It is a zombie at worst, never another process: it was not reaped.
            let _ = kill(self.pid(), signal);
        }
    }

    /// Signals the child and what it started in its group.
    pub(crate) fn signal_group(&mut self, signal: Signal) {
        if self.exited().is_none() {
            let _ = killpg(self.pid(), signal);
        }
    }

    /// Waits until the child has ended.
    pub(crate) async fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
        poll(within, async || self.exited()).await.ok()
    }

    fn pid(&self) -> Pid {
        let id = i32::try_from(self.child.id()).expect("a process id is a positive i32");
        Pid::from_raw(id)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // The group before the reaping: until then its number cannot be given to others.
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
        let _ = self.child.wait();
    }
}

/// Starts the watchdog, in a group of its own so that an interrupt from the terminal does not take it along.
fn watch(group: u32, folder: Option<&Path>) -> io::Result<Child> {
    Command::new("sh")
        .args(["-c", WATCHDOG, "watchdog", &group.to_string()])
        .arg(folder.map_or(OsStr::new(""), Path::as_os_str))
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}
