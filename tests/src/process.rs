//! The fleet's programs as child processes: `cox`, `cox-worker`, `cox-scheduler`.
//!
//! It is not for servers (see [`crate::servers`]). A program sees none of the caller's `COX_*` variables: its environment
//! is what the test gives, and the little that any program needs.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::guard::Guarded;
use crate::servers::tail;

/// The variables a program inherits: where to find programs and temporary folders, and where coverage goes.
const INHERITED: &[&str] = &["PATH", "HOME", "TMPDIR", "LLVM_PROFILE_FILE"];

/// How many lines of each output a failure shows.
const TAIL_LINES: usize = 40;

/// A program that is about to start.
#[derive(Debug)]
pub struct Launch {
    name: String,
    args: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    folder: Option<PathBuf>,
    files: Option<u32>,
}

/// A started program. Dropped, it is killed with its process group.
#[derive(Debug)]
pub struct Cox {
    name: String,
    // Before the folder: dropped in this order, it ends before its outputs go.
    process: Guarded,
    folder: TempDir,
}

/// How a program ended, and what it wrote.
#[derive(Debug)]
pub struct Output {
    /// The exit status.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
}

impl Launch {
    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets its working folder; without it, a temporary one of its own.
    #[must_use]
    pub fn current_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Lets it have no more than so many files open, whatever it asks for.
    #[must_use]
    pub fn limit_files(mut self, files: u32) -> Self {
        self.files = Some(files);
        self
    }

    /// Starts it; panics with the remedy if it was not built.
    pub fn start(self) -> Cox {
        let folder = tempfile::Builder::new().prefix("coxswain-program-").tempdir();
        let folder = folder.expect("a temporary folder can be made");
        let output = |file| File::create(folder.path().join(file)).expect("an output file can be made");
        let inherited = INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        let mut command = match self.files {
            None => Command::new(built(&self.name)),
            Some(files) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", "ulimit -n \"$0\"; exec \"$@\"", &files.to_string()]).arg(built(&self.name));
                shell
            }
        };
        command
            .args(&self.args)
            .env_clear()
            .envs(inherited)
            .envs(self.variables)
            .current_dir(self.folder.as_deref().unwrap_or(folder.path()))
            .stdout(output("stdout"))
            .stderr(output("stderr"));
        let process = Guarded::spawn(command, Some(folder.path()));
        let process = process.unwrap_or_else(|error| panic!("{} does not start: {error}", self.name));
        Cox { name: self.name, process, folder }
    }

    /// Starts it and waits for its end.
    pub async fn run(self, within: Duration) -> Output {
        let mut cox = self.start();
        let status = cox.wait_exit(within).await;
        Output { status, stdout: cox.stdout(), stderr: cox.stderr() }
    }
}

impl Cox {
    /// Prepares a program of the workspace by its name: `cox`, `cox-worker`, `cox-scheduler`, or
    /// `examples/name` for an example.
    pub fn program(name: &str) -> Launch {
        Launch { name: name.to_owned(), args: Vec::new(), variables: Vec::new(), folder: None, files: None }
    }

    /// The path of a program of the workspace; panics with the remedy if it was not built.
    pub fn path(name: &str) -> PathBuf {
        built(name)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Signals the program itself, not what it started. To one that has ended it does nothing.
    pub fn kill(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Says whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.process.exited().is_none()
    }

    /// Waits for its end; panics with the end of its outputs if it does not come.
    pub async fn wait_exit(&mut self, within: Duration) -> ExitStatus {
        let ended = self.process.wait(within).await;
        ended.unwrap_or_else(|| panic!("{} still runs after {within:?}\n{}", self.name, self.tails()))
    }

    /// What it has written to its standard output.
    pub fn stdout(&self) -> String {
        self.written("stdout")
    }

    /// What it has written to its standard error.
    pub fn stderr(&self) -> String {
        self.written("stderr")
    }

    /// The end of both outputs, for a failure's message.
    pub fn tails(&self) -> String {
        let [out, err] = [self.stdout(), self.stderr()].map(|text| tail(&text, TAIL_LINES));
        format!("the end of its stdout:\n{out}\nthe end of its stderr:\n{err}")
    }

    fn written(&self, file: &str) -> String {
        let bytes = std::fs::read(self.folder.path().join(file)).expect("the output file is there");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// The program's path in the target folder that this test was built into: `target/debug/deps/test` → `target/debug/name`.
fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running test knows its own path");
    let folder = test.parent().and_then(|deps| deps.parent()).expect("a test is built into target/<profile>/deps");
    let file = folder.join(name);
    assert!(
        file.is_file(),
        "{} is not built: run `cargo build --workspace --bins --examples` before the tests, as `scripts/test` does",
        file.display()
    );
    file
}
