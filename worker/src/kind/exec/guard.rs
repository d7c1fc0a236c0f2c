//! Makes a child die with its worker, even if the worker is killed: `setpriv --pdeathsig` of util-linux, where there is one.
//!
//! The kernel offers this to a process about itself alone, and between fork and exec only unsafe code could ask for it.
//! The signal comes when the *thread* that started the child ends, so children are started on threads of the work
//! runtime, which live as long as the worker does. It reaches the child, not what the child has started.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use tokio::process::Command;

/// The guard, if this machine has one.
#[derive(Debug, Clone)]
pub(super) struct Guard(Option<PathBuf>);

impl Guard {
    /// Looks for the guard in a `PATH`.
    pub(super) fn find(path: Option<&str>) -> Self {
        Self(path.and_then(|path| look_up(OsStr::new("setpriv"), path)))
    }

    /// A command that runs a program under the guard.
    pub(super) fn command(&self, program: &str, arguments: &[String]) -> Command {
        let mut command = match &self.0 {
            Some(guard) => {
                let mut command = Command::new(guard);
                command.args(["--pdeathsig", "KILL", "--"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.args(arguments);
        command
    }

    /// Whether a program is there for the guard to start; without a guard, starting it tells.
    pub(super) fn finds(&self, program: &str, path: Option<&str>, cwd: Option<&str>) -> bool {
        let is_path = program.contains('/');
        match path {
            _ if self.0.is_none() => true,
            _ if is_path => Path::new(cwd.unwrap_or(".")).join(program).is_file(),
            Some(path) => look_up(OsStr::new(program), path).is_some(),
            None => true,
        }
    }
}

fn look_up(program: &OsStr, path: &str) -> Option<PathBuf> {
    std::env::split_paths(path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use coxswain_shared::config::Source;

    use super::*;

    #[test]
    fn a_child_dies_with_the_thread_that_started_it() {
        let guard = Guard::find(Source::foreign("PATH").as_deref());
        assert!(guard.0.is_some(), "util-linux is part of every Debian");
        let start = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut child = guard.command("sleep", &["1000".to_owned()]).spawn().unwrap();
                // Until it has become what it is to be, it is not guarded yet.
                let pid = child.id().unwrap();
                let begun = Instant::now();
                while std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap().trim() != "sleep" {
                    assert!(begun.elapsed() < Duration::from_secs(20), "it never started");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                assert!(child.try_wait().unwrap().is_none());
                pid
            })
        };
        let pid = std::thread::spawn(start).join().unwrap();
        let begun = Instant::now();
        let lives = || {
            let seen = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !seen.is_empty() && !seen.contains(") Z ")
        };
        while lives() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it lives on");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_program_is_looked_for_where_the_child_will_look() {
        let guard = Guard(Some("/usr/bin/setpriv".into()));
        assert!(guard.finds("sh", Some("/no/where:/bin"), None));
        assert!(!guard.finds("no-such-program", Some("/usr/bin:/bin"), None));
        assert!(
            guard.finds("./sh", Some(""), Some("/bin")) && !guard.finds("./no-such-program", Some(""), Some("/bin"))
        );
        assert!(Guard(None).finds("no-such-program", Some("/bin"), None));
    }
}
