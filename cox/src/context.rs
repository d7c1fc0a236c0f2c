//! What every command needs: the output, the settings, who the user is, and a way to the store.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use coxswain_shared::backend::{self, Backend, BackendConfig};
use coxswain_shared::broker;
use coxswain_shared::config::{Mistakes, Source, tell_unknown};
use coxswain_shared::lifecycle::Tasks;
use coxswain_shared::store::{self, Store};
use coxswain_shared::telemetry::start_logs;

use crate::cli::Global;
use crate::exit::Exit;
use crate::failure::{Failed, whole};
use crate::output::Output;
use crate::settings::{self, PROGRAM, Works};

/// The folder of the store where none is set, in the folder that `cox` is called in.
const FOLDER: &str = ".cox";

/// What a command has at hand.
#[derive(Debug)]
pub(crate) struct Context {
    /// Where it writes.
    pub(crate) output: Arc<Output>,
    /// The settings: flags over the environment.
    pub(crate) source: Source,
    is_default_store: bool,
    /// What the store's connections need; it lives as long as the process.
    background: Tasks,
}

impl Context {
    /// A context as the flags want it.
    pub(crate) fn new(output: Arc<Output>, flags: &Global) -> Self {
        let source = Source::from_process()
            .with_flag("COX_STORE", flags.store.clone())
            .with_flag("COX_BROKER", flags.broker.clone());
        let is_default_store = source.get("COX_STORE").is_none();
        Self { output, source, is_default_store, background: Tasks::new() }
    }

    /// Checks all settings of a process that may do the work itself, and starts its log: at `level` unless one is set.
    pub(crate) fn start_logs(&self, works: Works, level: &str) -> Result<(), Failed> {
        start_logs(&settings::check(&self.source_with_default("COX_LOG", level), works)?);
        tell_unknown(&self.source, &[]);
        Ok(())
    }

    /// The settings, with another default for one of them.
    fn source_with_default(&self, name: &str, default: &str) -> Source {
        let absent = self.source.get(name).is_none();
        self.source.clone().with(name, absent.then_some(default))
    }

    /// Connects to the store, and to the broker if one is set.
    pub(crate) async fn backend(&self) -> Result<Backend, Failed> {
        self.connect(&self.source).await
    }

    /// Connects to the store alone if that is Redis, where a fleet does the work; else to what the work needs too.
    pub(crate) async fn backend_to_watch(&self) -> Result<Backend, Failed> {
        let is_remote = self.source.get("COX_STORE").is_some_and(|store| store.starts_with("redis"));
        if is_remote { self.connect(&self.without_broker()).await } else { self.backend().await }
    }

    /// Connects to the store alone, whatever the broker does: orders and answers go straight to it.
    pub(crate) async fn store(&self) -> Result<Arc<dyn Store>, Failed> {
        Ok(self.connect(&self.without_broker()).await?.store)
    }

    fn without_broker(&self) -> Source {
        self.source.clone().with("COX_BROKER", Some(""))
    }

    async fn connect(&self, source: &Source) -> Result<Backend, Failed> {
        let backend = Backend::connect(&BackendConfig::read(source, PROGRAM)?, &self.background).await?;
        if self.is_default_store {
            hide_folder()?;
        }
        Ok(backend)
    }

    /// Who is asking: what was said, else `user@host`.
    pub(crate) fn actor(said: Option<String>) -> String {
        said.unwrap_or_else(|| {
            let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten().map(|user| user.name);
            let host = nix::unistd::gethostname().ok().and_then(|host| host.into_string().ok());
            format!("{}@{}", user.as_deref().unwrap_or("unknown"), host.as_deref().unwrap_or("localhost"))
        })
    }
}

/// Hides the default store's folder from version control, from within.
fn hide_folder() -> Result<(), Failed> {
    let ignore = Path::new(FOLDER).join(".gitignore");
    if ignore.exists() {
        return Ok(());
    }
    let made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&ignore);
    made.and_then(|mut file| file.write_all(b"*\n")).map_err(|error| {
        let message = format!("{} cannot be written: {error}", ignore.display());
        Failed {
            remedy: Some("say where runs are kept: --store sqlite:PATH".to_owned()),
            ..Failed::bare(Exit::Usage, message)
        }
    })
}

impl From<Mistakes> for Failed {
    fn from(mistakes: Mistakes) -> Self {
        Self::bare(Exit::Usage, mistakes.to_string())
    }
}

impl From<backend::Error> for Failed {
    fn from(error: backend::Error) -> Self {
        let exit = match &error {
            backend::Error::Store { source: store::Error::Unavailable { .. }, .. }
            | backend::Error::Broker(broker::Error::Unavailable { .. }) => Exit::Unavailable,
            backend::Error::Store { source: store::Error::Corrupt { .. } | store::Error::Format { .. }, .. } => {
                Exit::Internal
            }
            backend::Error::Store { .. } | backend::Error::Broker(_) | backend::Error::Folder { .. } => Exit::Usage,
        };
        Self::bare(exit, whole(&error))
    }
}
